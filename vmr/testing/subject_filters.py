"""Which subjects a consumer's filters select, by the rules of the server: ``*`` is one token, a last ``>`` all the rest."""

from __future__ import annotations

from collections.abc import Sequence

from vmr.errors import InvalidInputError


class SubjectFilters:
    """The filters of one consumer; none at all select everything.

    Raises `InvalidInputError`, as the server does, when one of them selects all that another does.
    """

    def __init__(self, filters: Sequence[str] | None) -> None:
        given = [">"] if filters is None else list(filters)
        tokens = [tuple(each.split(".")) for each in given]
        self._others = [each for each in tokens if "*" in each or each == (">",)]
        self._exact = {each for each in given if not {"*", ">"} & set(each.split("."))}
        self._beginnings = {each[:-1] for each in given if each.endswith(".>") and "*" not in each.split(".")}
        if self._overlap(given, tokens):
            raise InvalidInputError(f"subject filters overlap, and a consumer's must not: {', '.join(given)[:300]}")
        self._known: dict[str, bool] = {}

    def _overlap(self, given: list[str], tokens: list[tuple[str, ...]]) -> bool:
        """Return whether one filter selects all that another does. Filters without ``*`` may be thousands: these are looked up."""
        if len(set(given)) < len(given):
            return True
        if any(each[:end] in self._beginnings and each[end:] != ">" for each in given for end in _ends(each)):
            return True
        return any(a is not b and (_covers(a, b) or _covers(b, a)) for a in self._others for b in tokens)

    def match(self, subject: str) -> bool:
        """Return whether the filters select ``subject``."""
        known = self._known.get(subject)
        if known is None:
            known = self._known[subject] = self._match(subject)
        return known

    def _match(self, subject: str) -> bool:
        if subject in self._exact:
            return True
        if any(subject[:end] in self._beginnings for end in _ends(subject)):
            return True
        tokens = tuple(subject.split("."))
        return any(_matches(each, tokens) for each in self._others)


def _ends(subject: str) -> list[int]:
    """Return the positions after each dot."""
    return [index + 1 for index, character in enumerate(subject) if character == "."]


def _matches(pattern: tuple[str, ...], subject: tuple[str, ...]) -> bool:
    if pattern[-1] == ">":
        pattern, subject = pattern[:-1], subject[: len(pattern) - 1] if len(subject) >= len(pattern) else ()
    return len(pattern) == len(subject) and all(a in ("*", b) for a, b in zip(pattern, subject, strict=True))


def _covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Return whether every subject that ``narrow`` selects is selected by ``wide``, too."""
    if wide[-1] == ">":
        wide, narrow = wide[:-1], narrow[: len(wide) - 1] if len(narrow) >= len(wide) else ()
    return len(wide) == len(narrow) and all(
        a == b or (a == "*" and b != ">") for a, b in zip(wide, narrow, strict=True)
    )
