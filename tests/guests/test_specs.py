"""Specifications of guests are checked before anything starts, and any name gives a hostname."""

from __future__ import annotations

import pytest

from vmr.errors import InvalidInputError
from vmr.guests import GuestSpec, backend
from vmr.guests.base import check_specs, hostname


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([GuestSpec(name="a"), GuestSpec(name="a")], "'a' is there twice"),
        ([GuestSpec(name="a", address="10.0.0.1")], "'10.0.0.1' is no address with a prefix"),
        ([GuestSpec(name="a", address="10.0.0.1/")], "is no address"),
        ([GuestSpec(name="a", address="10.0.0.1/24 x=y")], "is no address"),
        ([GuestSpec(name="a", address="10.0.0.256/24")], "is no address"),
        ([GuestSpec(name="a", address="10.0.0.1/8"), GuestSpec(name="b", address="10.0.0.1/24")], "another guest's"),
        ([GuestSpec(name="a", memory_mb=64)], "96 at least"),
        ([GuestSpec(name="a\0b")], "NUL"),
        ([GuestSpec(name="a\ud800")], "lone surrogate"),
    ],
)
def test_a_wrong_specification_is_refused(specs: list[GuestSpec], message: str) -> None:
    """The error names the guest and what is wrong with it."""
    with pytest.raises(InvalidInputError, match=message):
        check_specs(specs)


def test_any_text_is_a_name() -> None:
    """Names with spaces, dots, non-ASCII characters and none at all are accepted, and so are IPv6 addresses."""
    check_specs([GuestSpec(name=name) for name in ("", "a b", "a.b", "größe", "a/../b", "x" * 300)])
    check_specs([GuestSpec(name="a", address="fd00::1/64")])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("client.1", "client-1"),
        ("a b/c", "a-b-c"),
        ("-größe-", "gr-e"),
        ("", "guest"),
        ("é", "guest"),
        ("x" * 100, "x" * 63),
    ],
)
def test_a_hostname_is_made_of_the_name(name: str, expected: str) -> None:
    """Only what a hostname may have is left of a name."""
    assert hostname(name) == expected


def test_an_unknown_kind_is_refused() -> None:
    """The error lists the kinds there are."""
    with pytest.raises(InvalidInputError, match="'qemu': use one of vm, agent"):
        backend("qemu")
