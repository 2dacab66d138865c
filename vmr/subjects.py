"""The subject grammar of the log: how names become subjects, and back.

A subject is ``vmr.<db>.<entity>.<key>.<event>`` (``vmr.<db>.experiment.<event>`` has no key). Names of VMs, schedules and
stores are arbitrary strings, so each travels as one token that NATS accepts and that decodes to exactly the same string:

- characters ``a-z A-Z 0-9 - _`` stand for themselves;
- every other byte of the name's UTF-8 form is ``=`` and two upper-case hexadecimal digits;
- the empty name is ``=``.

The grammar is stated, with examples, in ``streams/subjects.md``.
"""

from __future__ import annotations

import re
from typing import Final

from vmr.errors import InvalidInputError

ROOT: Final = "vmr"
QUERY_ROOT: Final = "vmrq"

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_TOKEN = re.compile(r"=|(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+")
_DATABASE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def encode_token(name: str) -> str:
    """Return the one subject token that stands for ``name`` (any string without lone surrogates)."""
    if name == "":
        return "="
    if _PLAIN.issuperset(name):
        return name
    try:
        raw = name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{name!r} is not valid Unicode and cannot be a name: remove the lone surrogate"
        ) from error
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"={byte:02X}" for byte in raw)


def decode_token(token: str) -> str:
    """Return the name that ``token`` stands for; raise `InvalidInputError` when no name encodes to it."""
    if token == "=":
        return ""
    if not _TOKEN.fullmatch(token):
        raise InvalidInputError(f"{token!r} is not a token of the subject grammar (streams/subjects.md)")
    raw = re.sub(r"=([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), token).encode("latin-1")
    try:
        name = raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{token!r} does not decode to UTF-8 (streams/subjects.md)") from error
    if encode_token(name) != token:
        raise InvalidInputError(f"{token!r} escapes characters that stand for themselves (streams/subjects.md)")
    return name


def check_database(db: str) -> str:
    """Return ``db`` if it can name a database: 1 to 64 of ``A-Z a-z 0-9 - _``; raise `InvalidInputError` otherwise."""
    if not _DATABASE.fullmatch(db):
        raise InvalidInputError(f"database name {db!r}: use 1 to 64 letters, digits, '-' or '_'")
    return db


def stream_name(db: str) -> str:
    """Return the name of the stream that holds database ``db``."""
    return f"VMR_{check_database(db)}"


def all_events(db: str) -> str:
    """Return the subject filter that matches every event of ``db``."""
    return f"{ROOT}.{check_database(db)}.>"


def entity_subject(db: str, entity: str, key: str | None, event: str) -> str:
    """Return the subject of one event; ``key`` is None for the experiment. ``event`` may be a wildcard."""
    middle = entity if key is None else f"{entity}.{encode_token(key)}"
    return f"{ROOT}.{check_database(db)}.{middle}.{event}"


def query_subject(db: str, query: str) -> str:
    """Return the request subject of one named query of ``db``."""
    return f"{QUERY_ROOT}.{check_database(db)}.{query}"
