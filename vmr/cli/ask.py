"""``vmr ask``: the questions that analysts ask, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from vmr.cli.asked import (
    ArrowOption,
    AsOfOption,
    ParquetOption,
    SourceOption,
    TimeoutOption,
    answer_of,
    pick_output,
    print_answer,
)
from vmr.cli.context import settings_of
from vmr.cli.output import Format, print_rows
from vmr.errors import InvalidInputError
from vmr.projections import Query, load_queries, load_questions
from vmr.yaml_decode import suggestion

EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}


def ask(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Name of the question; without it, all of them are listed.")
    ] = None,
    as_of: AsOfOption = None,
    source: SourceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row and line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    parquet: ParquetOption = None,
    arrow: ArrowOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Ask a question by name, with --PARAMETER VALUE for each of its parameters. Without a name: list the questions."""
    output = pick_output(as_json=as_json, as_csv=as_csv, parquet=parquet, arrow=arrow)
    if name is None:
        if context.args:
            raise InvalidInputError(
                f"{context.args[0]}: parameters belong to a question; vmr ask NAME {context.args[0]}"
            )
        _list(output.form)
        return
    query = _find(name)
    params = parse_parameters(query, context.args)
    print_answer(answer_of(settings_of(context), name, params, as_of, source, timeout), output)


def _list(form: Format) -> None:
    rows = [
        (query.name, query.description, "\n".join(f"--{name}: {text}" for name, text in query.parameters.items()))
        for query in load_questions().values()
    ]
    print_rows(("name", "question", "parameters"), rows, form)


def _find(name: str) -> Query:
    known = load_questions() | load_queries()
    if name not in known:
        raise InvalidInputError(f"there is no question {name!r}; {suggestion(name, list(known))}; vmr ask lists them")
    return known[name]


def parse_parameters(query: Query, words: Sequence[str]) -> dict[str, str]:
    """Return the values that ``words`` (``--name value`` or ``--name=value``) give to parameters of ``query``.

    Raises `InvalidInputError` for a word that is no parameter, one without its value, or one that is given twice.
    """
    params: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, value = _parameter(query, word, rest)
        if name in params:
            raise InvalidInputError(f"--{name} is given twice")
        params[name] = value
    return params


def _parameter(query: Query, word: str, rest: Iterator[str]) -> tuple[str, str]:
    option, equals, value = word.partition("=")
    name = option.removeprefix("--").replace("-", "_")
    if not option.startswith("--") or name not in query.parameters:
        known = ", ".join(f"--{parameter}" for parameter in query.parameters) or "none"
        raise InvalidInputError(f"{word}: no parameter of {query.name}; there are: {known}")
    if equals:
        return name, value
    try:
        return name, next(rest)
    except StopIteration:
        raise InvalidInputError(f"{word}: a value is missing; {query.parameters[name]}") from None
