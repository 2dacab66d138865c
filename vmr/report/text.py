"""What guests and people wrote, as text that can be shown: nothing in it acts, nothing in it hides.

HTML is escaped where text becomes HTML, by Jinja and by the browser's ``textContent``. Here, what is invisible or changes how the rest
looks becomes visible: control characters, also those that terminals obey, and those of text direction; bytes that are no UTF-8.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_WORDS: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_KEPT_IN_LINES: Final = frozenset("\n\t")
_decoder: Final = codecs.getincrementaldecoder("utf-8")


def one_line(text: str) -> str:
    """Return ``text`` (a name, a reason) on one line, with everything that is invisible made visible."""
    return _HIDDEN.sub(lambda match: _escape(match[0]), text)


def lines(text: str) -> str:
    """Return ``text`` (output) with its lines and tabs as they are, and everything else that is invisible made visible."""
    plain = text.replace("\r\n", "\n")
    return _HIDDEN.sub(lambda match: match[0] if match[0] in _KEPT_IN_LINES else _escape(match[0]), plain)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return _WORDS.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def clipped(text: str, most: int) -> str:
    """Return ``text``, or its first ``most`` characters and an ellipsis."""
    return text if len(text) <= most else f"{text[:most]}…"


def beginning(data: bytes) -> tuple[str, int]:
    """Return what ``data``, the beginning of something longer, says, and how many bytes that is: no character is cut in two."""
    decoder = _decoder("backslashreplace")
    text = decoder.decode(data, final=False)
    return text, len(data) - len(decoder.getstate()[0])


def end(data: bytes) -> tuple[str, int]:
    """Return what ``data``, the end of something longer, says, and how many bytes that is: no character is cut in two."""
    cut = next((place for place, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
    rest = data[cut:]
    return rest.decode("utf-8", "backslashreplace"), len(rest)
