"""From a YAML document to typed data, with every problem of it at once, each at its line.

`msgspec` decodes strictly and fast, but stops at the first problem and names no key on the way to it. So a document that msgspec
takes is done; one that it refuses is gone through piece by piece, each piece judged by msgspec again.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from vmr.yaml_places import Document, Path, Problem

T = TypeVar("T")
_MAPPINGS = frozenset({dict, Mapping})
_SEQUENCES = frozenset({list, tuple})
_SIMPLE_KEY = re.compile(r"[^\s.\[\]]+")


def decode(document: Document, kind: type[T]) -> tuple[T | None, list[Problem]]:
    """Return ``document`` as ``kind``, or None, and all that is wrong with it."""
    try:
        return msgspec.convert(document.value, kind), list(document.problems)
    except msgspec.ValidationError as error:
        finder = _Finder(document)
        finder.check(document.value, kind, ())
        if not finder.problems:
            finder.problems.append(Problem(document.line(()), (), str(error)))
        return None, document.problems + finder.problems


def render_path(path: Path) -> str:
    """Return ``path`` as people write it: ``vms.client-2.schedule[3].at``; ``the file`` for the top."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _SIMPLE_KEY.fullmatch(step) else repr(step)
            text += f".{key}" if text else key
    return text or "the file"


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return ``did you mean …?`` for the one of ``known`` that ``word`` resembles, else the list of ``known``."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


class Reporter:
    """Collects problems of ``document`` that its types cannot show."""

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self._document = document
        self.problems = problems

    def report(self, path: Path, text: str) -> None:
        """Note that the value at ``path`` is wrong."""
        self.problems.append(Problem(self._document.line(path), path, text))


class _Finder:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = []

    def check(self, value: Any, kind: Any, path: Path) -> None:
        """Add what is wrong with ``value`` as a ``kind``."""
        part = _matching_member(value, kind)
        if isinstance(part, type) and issubclass(part, msgspec.Struct) and isinstance(value, dict):
            self._check_struct(value, part, path)
        elif get_origin(part) in _MAPPINGS and isinstance(value, dict):
            for key, item in value.items():
                self.check(item, get_args(part)[1], (*path, key))
        elif get_origin(part) in _SEQUENCES and isinstance(value, list):
            for index, item in enumerate(value):
                self.check(item, get_args(part)[0], (*path, index))
        else:
            self._check_leaf(value, kind, path)

    def _check_struct(self, value: dict[str, Any], kind: type[msgspec.Struct], path: Path) -> None:
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for key, item in value.items():
            if key in fields:
                self.check(item, fields[key].type, (*path, key))
            else:
                self._report((*path, key), f"unknown key; {suggestion(key, list(fields))}")
        for name, field in fields.items():
            if field.required and name not in value:
                self._report(path, f"{name!r} is missing; give it")

    def _check_leaf(self, value: Any, kind: Any, path: Path) -> None:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self._report(path, _in_words(str(error), value, kind))

    def _report(self, path: Path, text: str) -> None:
        self.problems.append(Problem(self._document.line(path), path, text))


def _matching_member(value: Any, kind: Any) -> Any:
    """Return the member of a union that takes a mapping or a list; ``kind`` itself when it is no union."""
    if get_origin(kind) is Annotated:
        return _matching_member(value, get_args(kind)[0])
    if get_origin(kind) not in {Union, types.UnionType}:
        return kind
    for member in get_args(kind):
        mapping = get_origin(member) in _MAPPINGS or (isinstance(member, type) and issubclass(member, msgspec.Struct))
        if (isinstance(value, dict) and mapping) or (isinstance(value, list) and get_origin(member) in _SEQUENCES):
            return member
    return kind


_WORDS = {
    "array": "a list",
    "object": "a mapping",
    "str": "text",
    "null": "nothing",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
}


def _in_words(message: str, value: Any, kind: Any) -> str:
    """Return msgspec's message in YAML's words, with the mend where there is only one."""
    if message.startswith("Invalid enum value"):
        return f"{value!r} is not {' or '.join(_alternatives(kind))}"
    text = re.sub(r" - at `.*", "", message)
    text = re.sub(r"`([^`]*)`", lambda match: _types_in_words(match[1]), text)
    text = text[:1].lower() + text[1:]
    if isinstance(value, bool | int | float) and "expected text" in text:
        return f"{text}; put it in quotes"
    return text


def _types_in_words(types_: str) -> str:
    names = types_.replace("int | float", "float").split(" | ")
    return " or ".join(_WORDS.get(name, name) for name in names)


def _alternatives(kind: Any) -> list[str]:
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    if get_origin(kind) in {Union, types.UnionType}:
        members = [member for member in get_args(kind) if member is not types.NoneType]
        return list(dict.fromkeys(word for member in members for word in _alternatives(member)))
    return ["a number" if kind in {int, float} else _WORDS.get(kind.__name__, kind.__name__)]
