"""What may come next, while somebody types: columns of the tables in the statement, tables, functions, keywords, names of questions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from vmr.cli.shell.catalog import Catalog, Table
from vmr.cli.shell.commands import COMMANDS
from vmr.cli.shell.statements import in_quotes, is_command, split

_WORD: Final = re.compile(r"[A-Za-z_]\w*\Z")
_QUALIFIED: Final = re.compile(r"([A-Za-z_]\w*)\.([A-Za-z_]\w*)?\Z")
_WANTS_TABLE: Final = re.compile(
    r"\b(?:from|join|describe|summarize|table)\s+(?:\w+(?:\s+(?:as\s+)?\w+)?\s*,\s*)*\w*\Z", re.IGNORECASE
)
_ALIAS: Final = re.compile(r"\b(\w+)(?:\s+as)?\s+(\w+)\b", re.IGNORECASE)
_TEXT: Final = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)


class SqlCompleter(Completer):
    """Completes SQL and the shell's own commands, from a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        """Complete what ``catalog`` has."""
        self._catalog = catalog
        self._columns = {name: [column.name for column in table.columns] for name, table in catalog.tables.items()}

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what fits at the cursor; nothing within strings and comments."""
        before = document.text_before_cursor
        if is_command(before):
            yield from self._command(before.lstrip())
        elif not in_quotes(before):
            yield from self._sql(document, asked=complete_event.completion_requested)

    def _command(self, text: str) -> Iterator[Completion]:
        command, space, rest = text.partition(" ")
        word = rest.rpartition(" ")[2]
        if not space:
            yield from _fitting(
                command.replace("\\", ".", 1), ((name, one.help) for name, one in COMMANDS.items()), text
            )
        elif command[1:] == "schema":
            yield from _fitting(word, self._tables())
        elif command[1:] == "ask" and word is rest:
            yield from _fitting(word, ((name, one.description) for name, one in self._catalog.questions.items()))
        elif command[1:] == "ask" and (question := self._catalog.questions.get(rest.split(" ")[0])):
            yield from _fitting(word, ((f"{name}=", text) for name, text in question.parameters.items()))
        elif command[1:] in {"format", "as-of"}:
            words = ("table", "json", "csv") if command[1:] == "format" else ("now", "start+", "start-")
            yield from _fitting(word, ((one, "") for one in words))

    def _sql(self, document: Document, *, asked: bool) -> Iterator[Completion]:
        before = split(document.text_before_cursor)[1]
        whole = before + split(document.text_after_cursor + ";")[0][0] if document.text_after_cursor.strip() else before
        spoken_of = self._spoken_of(whole)
        if qualified := _QUALIFIED.search(before):
            table = spoken_of.get(qualified[1].lower()) or self._catalog.tables.get(qualified[1].lower())
            yield from _fitting(qualified[2] or "", _columns([table] if table else []))
            return
        found = _WORD.search(before)
        word = found[0] if found else ""
        if _WANTS_TABLE.search(before):
            yield from _fitting(word, self._tables())
        elif word or asked:
            yield from self._anything(word, spoken_of)

    def _anything(self, word: str, spoken_of: dict[str, Table]) -> Iterator[Completion]:
        # Before a table is named, a column of any of them may be meant.
        tables = spoken_of or self._catalog.tables
        yield from _fitting(word, _columns({table.name: table for table in tables.values()}.values()))
        yield from _fitting(word, self._tables())
        yield from _fitting(word, ((f"{name}(", "function") for name in self._catalog.functions))
        upper = not word or not word.islower()
        yield from _fitting(word, ((name.upper() if upper else name, "") for name in self._catalog.keywords))

    def _tables(self) -> Iterator[tuple[str, str]]:
        return ((table.name, table.comment or table.kind) for table in self._catalog.tables.values())

    def _spoken_of(self, statement: str) -> dict[str, Table]:
        """Return the tables of ``statement`` by their names and aliases."""
        plain = _TEXT.sub(" ", statement).lower()
        words = set(re.findall(r"\w+", plain))
        found = {name: table for name, table in self._catalog.tables.items() if name in words}
        for name, alias in _ALIAS.findall(plain):
            if name in found and alias not in self._catalog.keywords:
                found.setdefault(alias, found[name])
        return found


def _columns(tables: Iterable[Table]) -> Iterator[tuple[str, str]]:
    several: dict[str, str] = {}
    for table in tables:
        for column in table.columns:
            several.setdefault(column.name, f"{column.type.lower()}  {column.comment}")
    return iter(several.items())


def _fitting(word: str, names: Iterable[tuple[str, str]], typed: str | None = None) -> Iterator[Completion]:
    """Yield completions for the ``names`` (with what is said of each) that begin with ``word``; ``typed`` is what it replaces."""
    for name, meta in names:
        if name.lower().startswith(word.lower()) and name != word:
            yield Completion(name, start_position=-len(word if typed is None else typed), display_meta=meta)
