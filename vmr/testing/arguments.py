"""The arguments of a simulated agent's commands: present, of the right type, or refused in the stock agent's words."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

Arguments: TypeAlias = Mapping[str, Any]
_Type = TypeVar("_Type")


class RefusalError(Exception):
    """The agent answers with an error."""

    def __init__(self, description: str, error_class: str = "GenericError") -> None:
        super().__init__(description)
        self.description = description
        self.error_class = error_class


def argument(arguments: Arguments, name: str, kind: type[_Type], word: str, default: _Type | None = None) -> _Type:
    """Return an argument of type ``kind``, which errors call ``word``; without a default it must be there."""
    value = arguments.get(name, default)
    if value is None:
        raise RefusalError(f"Parameter '{name}' is missing")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RefusalError(f"Invalid parameter type for '{name}', expected: {word}")
    return value


def integer(arguments: Arguments, name: str, default: int | None = None) -> int:
    """Return an integer; a boolean is none."""
    return argument(arguments, name, int, "integer", default)


def string(arguments: Arguments, name: str, default: str | None = None) -> str:
    """Return a string."""
    return argument(arguments, name, str, "string", default)


def flag(arguments: Arguments, name: str) -> bool:
    """Return a boolean, False when it is not there."""
    return argument(arguments, name, bool, "boolean", default=False)


def raw(arguments: Arguments, name: str, default: str | None = None) -> bytes:
    """Return the bytes of a base64 string."""
    try:
        return binascii.a2b_base64(string(arguments, name, default), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise RefusalError("Base64 data contains invalid characters") from error


def coded(data: bytes) -> str:
    """Return bytes as a base64 string."""
    return binascii.b2a_base64(data, newline=False).decode()
