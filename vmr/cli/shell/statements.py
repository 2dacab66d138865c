"""Where statements end: semicolons that are in no string, name or comment."""

from __future__ import annotations

import re
from typing import Final

# What is not closed goes to the end of the text, as one of the groups `_OPEN`.
_PIECE: Final = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|\\.|'')*(?:'|(?P<open_escaped>\\?\Z))
    | '(?:[^']|'')*(?:'|(?P<open_string>\Z))
    | "(?:[^"]|"")*(?:"|(?P<open_name>\Z))
    | \$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|(?P<open_dollars>\Z))
    | (?P<comment>--[^\n]*|/\*.*?(?:\*/|(?P<open_comment>\Z)))
    | (?P<end>;)
    """,
    re.DOTALL | re.VERBOSE,
)
_OPEN: Final = ("open_escaped", "open_string", "open_name", "open_dollars", "open_comment")
_LEAVING: Final = frozenset({"quit", "exit"})


def split(text: str) -> tuple[list[str], str]:
    """Return the statements of ``text`` that a semicolon ends, without it, and what comes after the last semicolon."""
    ended, begin = [], 0
    for piece in _PIECE.finditer(text):
        if piece["end"]:
            ended.append(text[begin : piece.start()])
            begin = piece.end()
    return [statement for statement in ended if not is_blank(statement)], text[begin:]


def is_blank(text: str) -> bool:
    """Return whether ``text`` says nothing: spaces and comments only."""
    return not _PIECE.sub(lambda piece: "" if piece["comment"] else piece[0], text).strip()


def is_command(text: str) -> bool:
    """Return whether ``text`` is for the shell itself, and no SQL."""
    return text.lstrip().startswith((".", "\\")) or text.strip().lower().rstrip(";") in _LEAVING


def is_complete(text: str) -> bool:
    """Return whether ``text`` can be executed as it stands: a command, nothing at all, or statements that have ended."""
    if is_command(text) or not text.strip():
        return True
    ended, rest = split(text)
    return bool(ended) and is_blank(rest) and not _is_open(text)


def _is_open(text: str) -> bool:
    return any(piece[name] is not None for piece in _PIECE.finditer(text) for name in _OPEN)


def in_quotes(text: str) -> bool:
    """Return whether the end of ``text`` is inside of a string, a quoted name, or a comment."""
    in_line_comment = any(
        piece["comment"] and piece["comment"].startswith("--") and piece.end() == len(text)
        for piece in _PIECE.finditer(text)
    )
    return in_line_comment or _is_open(text)
