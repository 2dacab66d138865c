"""What the shell does besides SQL: commands that begin with a dot."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from vmr.cli.output import Format
from vmr.errors import InvalidInputError

if TYPE_CHECKING:
    from vmr.cli.shell.interactive import Shell


class Command(msgspec.Struct, frozen=True):
    """A command: what follows its name, what it does, and the function that does it."""

    usage: str
    help: str
    run: Callable[[Shell, str], None]


def execute(shell: Shell, line: str) -> None:
    """Carry out the command in ``line``; raise `InvalidInputError` when there is none of that name, or it makes no sense."""
    name, _, argument = line.strip().partition(" ")
    name = name.rstrip(";").lower().replace("\\", ".", 1)
    command = COMMANDS.get(_SHORT.get(name, name))
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InvalidInputError(f"no command {name}; {hint}.help lists them")
    command.run(shell, argument.strip().rstrip(";").rstrip())


def _tables(shell: Shell, argument: str) -> None:
    rows = [
        (table.name, table.kind, table.comment) for table in shell.catalog.tables.values() if argument in table.name
    ]
    shell.show(("name", "kind", "what it holds"), rows)


def _schema(shell: Shell, argument: str) -> None:
    table = shell.catalog.tables.get(argument.lower())
    if table is None:
        near = difflib.get_close_matches(argument.lower(), shell.catalog.tables, 1)
        hint = f"did you mean {near[0]}?" if near else ".tables lists them"
        raise InvalidInputError(
            f"no table or view {argument!r}; {hint}" if argument else ".schema NAME, of a table or view"
        )
    shell.say(f"{table.kind} {table.name}: {table.comment}")
    shell.show(("column", "type", "what it says"), [(one.name, one.type, one.comment) for one in table.columns])


def _questions(shell: Shell, argument: str) -> None:
    rows = [
        (one.name, one.description, ", ".join(one.parameters))
        for one in shell.catalog.questions.values()
        if argument in one.name
    ]
    shell.show(("name", "question", "parameters"), rows)


def _ask(shell: Shell, argument: str) -> None:
    try:
        name, *words = shlex.split(argument)
    except ValueError as error:
        raise InvalidInputError(f".ask NAME PARAMETER=VALUE: {error}" if argument else _ASK_USAGE) from error
    shell.ask(name, dict(_given(word) for word in words))


def _given(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise InvalidInputError(f"{word}: give parameters as PARAMETER=VALUE")
    return name.removeprefix("--").replace("-", "_"), value


def _as_of(shell: Shell, argument: str) -> None:
    if argument == "now":
        shell.as_of = None
    elif argument:
        shell.look_back(argument)
    shell.say("as it is now" if shell.as_of is None else f"as it was at {shell.as_of}; .as-of now goes back")


def _format(shell: Shell, argument: str) -> None:
    if argument:
        try:
            shell.form = Format(argument.lower())
        except ValueError:
            raise InvalidInputError(f"no format {argument!r}; there are table, json and csv") from None
    shell.say(f"format: {shell.form.value}")


def _help(shell: Shell, _argument: str) -> None:
    for name, command in COMMANDS.items():
        shell.say(f"{f'{name} {command.usage}':<32} {command.help}")
    shell.say(
        "SQL ends with a semicolon and may have several lines. Tab completes; Ctrl-R searches what was typed before; "
        "Ctrl-C stops a statement, or takes back what is typed; Ctrl-D leaves."
    )


def _quit(_shell: Shell, _argument: str) -> None:
    raise EOFError


_ASK_USAGE: Final = ".ask NAME PARAMETER=VALUE; .questions lists the names"
_SHORT: Final = {
    ".d": ".schema",
    ".dt": ".tables",
    ".q": ".quit",
    ".exit": ".quit",
    ".?": ".help",
    "quit": ".quit",
    "exit": ".quit",
}
COMMANDS: Final[dict[str, Command]] = {
    ".tables": Command("[TEXT]", "tables and views, with what they hold", _tables),
    ".schema": Command("NAME", "columns of a table or view, with what they say", _schema),
    ".questions": Command("[TEXT]", "questions that can be asked by name", _questions),
    ".ask": Command("NAME PARAMETER=VALUE …", "ask one of them", _ask),
    ".as-of": Command("MOMENT|now", "look back: a sequence, a time, start+30s", _as_of),
    ".format": Command("table|json|csv", "how rows are shown", _format),
    ".help": Command("", "this list", _help),
    ".quit": Command("", "leave", _quit),
}
"""Every command by its name."""
