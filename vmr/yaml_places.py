"""YAML read strictly, with the line of every value, so that a wrong value can be shown where it stands.

Scalars follow the core schema of YAML 1.2: ``no`` and ``on`` are text, ``1:30`` is text and not 90, ``010`` is ten. Keys are
text, each at most once in a mapping. Anchors, aliases and ``<<`` work; how much they may expand to is bounded, and so is depth,
because a file may come from anywhere. The document is built from libyaml's events rather than by PyYAML's composer: that one
recurses once per level and ends the whole process on a deeply nested file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]
"""Where a value is in a document: keys and list positions from the top."""

MAX_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 5_000_000

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class Problem(NamedTuple):
    """Something wrong at one place: line (from 1; 0 for the file as a whole), path, and what to do about it."""

    line: int
    path: Path
    text: str


class YamlError(Exception):
    """The document cannot be read at all."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


@dataclass(slots=True)
class Node:
    """A value and its line. Mappings hold nodes by key, sequences hold nodes; anything else is the scalar itself."""

    line: int
    value: Any


class Document:
    """A YAML document as plain data (`value`), the line of each path (`line`), and what is wrong with its keys (`problems`)."""

    def __init__(self, text: str) -> None:
        """Read ``text``; raise `YamlError` when it is no single YAML document within the bounds."""
        builder = _Builder()
        try:
            self._root = builder.build(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise _fatal(
                0 if mark is None else mark.line, f"not valid YAML: {error.problem or error.context}"
            ) from error
        except (yaml.YAMLError, UnicodeError) as error:
            raise _fatal(-1, f"not valid YAML: {' '.join(str(error).split())}") from error
        self._left = MAX_VALUES
        self.problems = builder.problems
        self.value: Any = self._plain(self._root)

    def line(self, path: Path) -> int:
        """Return the line of the value at ``path``, or of the nearest value around it that exists."""
        node = self._root
        for step in path:
            try:
                node = node.value[step]
            except (KeyError, IndexError, TypeError):
                break
        return node.line

    def _plain(self, node: Node) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _fatal(node.line - 1, f"the document expands to more than {MAX_VALUES} values; use fewer aliases")
        if isinstance(node.value, dict):
            return {key: self._plain(item) for key, item in node.value.items()}
        if isinstance(node.value, list):
            return [self._plain(item) for item in node.value]
        return node.value


def _fatal(line: int, text: str) -> YamlError:
    return YamlError(Problem(line + 1, (), text))


class _Builder:
    """Builds nodes from parser events, one frame on the stack per open collection."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._anchors: dict[str, Node] = {}
        self._path: list[str | int] = []

    def build(self, text: str) -> Node:
        if len(text) > MAX_BYTES:
            raise _fatal(-1, f"the file is larger than {MAX_BYTES >> 20} MB")
        events = iter(yaml.parse(text, Loader=_LOADER))
        roots = [self._node(event, events) for event in events if _starts_node(event)]
        if not roots:
            raise _fatal(0, "the file is empty; see docs/experiments.md for the format")
        if len(roots) > 1:
            raise _fatal(roots[1].line - 1, "a second document begins here; keep one experiment per file")
        return roots[0]

    def _node(self, event: Any, events: Iterator[Any]) -> Node:
        line = event.start_mark.line + 1
        if len(self._path) > MAX_DEPTH:
            raise _fatal(line - 1, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _fatal(line - 1, f"alias *{event.anchor} names no anchor that is complete before it")
            return self._anchors[event.anchor]
        if isinstance(event, yaml.MappingStartEvent):
            node = Node(line, self._mapping(event, events))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(line, self._sequence(event, events))
        else:
            node = Node(line, self._scalar(event))
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, start: Any, events: Iterator[Any]) -> list[Node]:
        self._check_tag(start, "seq")
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            self._path.append(len(items))
            items.append(self._node(event, events))
            self._path.pop()
        return items

    def _mapping(self, start: Any, events: Iterator[Any]) -> dict[str, Node]:
        self._check_tag(start, "map")
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key, line = self._key(event, events), event.start_mark.line + 1
            self._path.append(key)
            value = self._node(next(events), events)
            if key == "<<" and not event.style:
                self._merge(value, merged)
            elif key in own:
                self._problem(line, f"{key!r} is already given in line {own[key].line}; names are unique")
            else:
                own[key] = Node(line, value.value)
            self._path.pop()
        return merged | own

    def _key(self, event: Any, events: Iterator[Any]) -> str:
        key = self._node(event, events).value
        if isinstance(key, str):
            return key
        if isinstance(key, dict | list):
            raise _fatal(event.start_mark.line, "a key must be text, not a list or a mapping")
        self._problem(event.start_mark.line + 1, f"the key {event.value or 'null'!s} is not text; put it in quotes")
        return str(event.value)

    def _merge(self, value: Node, merged: dict[str, Node]) -> None:
        for part in value.value if isinstance(value.value, list) else [value]:
            if isinstance(part.value, dict):
                merged.update((key, item) for key, item in part.value.items() if key not in merged)
            else:
                self._problem(part.line, "<< merges mappings; this is none")

    def _scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag is None:
            return _resolve(event.value) if event.implicit[0] else event.value
        if tag in {"!", _TAG + "str"}:
            return event.value
        value = _resolve(event.value)
        if tag != _TAG + {bool: "bool", int: "int", float: "float"}.get(type(value), "null"):
            self._problem(event.start_mark.line + 1, f"the tag {tag} is not understood here; remove it")
        return value

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in {None, "!", _TAG + kind}:
            self._problem(event.start_mark.line + 1, f"the tag {event.tag} is not understood here; remove it")

    def _problem(self, line: int, text: str) -> None:
        self.problems.append(Problem(line, tuple(self._path), text))


def _starts_node(event: Any) -> bool:
    return isinstance(event, yaml.NodeEvent | yaml.CollectionStartEvent)


@lru_cache(maxsize=4096)
def _resolve(text: str) -> Any:
    """Return what a plain scalar stands for in the core schema of YAML 1.2. Remembered: most of a large file is the same words."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    return text


def _integer(text: str) -> int | float:
    if len(text) > 400:
        return math.inf
    return int(text, 8) if text.startswith("0o") else int(text, 16) if text.startswith("0x") else int(text)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def plain_is_text(text: str) -> bool:
    """Return whether ``text``, written without quotes, is read back as text (and not as a number, a truth value or null)."""
    return isinstance(_resolve(text), str)
