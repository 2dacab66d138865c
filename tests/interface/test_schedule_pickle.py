"""FIREWHEEL's pickles: understood as its own code would, and nothing that they name is ever imported or called."""

from __future__ import annotations

import math
import pickle
import pickletools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmr.errors import InvalidInputError
from vmr.schedule_codec import encode_schedule
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_pickle import looks_pickled, read_pickled_schedule

ENTRY_CLASS = "firewheel.vm_resource_manager.schedule_entry"


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """Return a class that pickles as FIREWHEEL's does."""

    class Pickled:
        def __init__(self, **attributes: Any) -> None:
            self.__dict__.update(attributes)

    Pickled.__module__, Pickled.__qualname__, Pickled.__name__ = ENTRY_CLASS, "ScheduleEntry", "ScheduleEntry"
    module = ModuleType(ENTRY_CLASS)
    module.ScheduleEntry = Pickled  # type: ignore[attr-defined]
    for name in ("firewheel", "firewheel.vm_resource_manager"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, ENTRY_CLASS, module)
    return Pickled


def attributes(**changes: Any) -> dict[str, Any]:
    """Return the attributes of a plain entry, with ``changes``."""
    plain: dict[str, Any] = {
        "start_time": -10,
        "ignore_failure": False,
        "executable": "install.sh",
        "arguments": "--quiet größe",
        "data": [
            {"location": "install.sh", "filename": "install.sh", "executable": True},
            {"location": "/etc/motd", "content": "x" * 300},
            {"location": "/var/log", "interval": 30, "destination": None},
        ],
        "pause": False,
    }
    return plain | changes


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(foreign: type[Any], protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries come out with all that they say, while nothing of FIREWHEEL can be imported."""
    shared = [{"resume": True}]
    held = foreign(**attributes(start_time=0, executable=None, arguments=None, data=[], pause=math.inf))
    once = foreign(**attributes(start_time=-math.inf, executable=None, arguments=None, data=shared))
    twice = foreign(**attributes(start_time=2.5, data=shared, extra={"of": ["a", ("subclass",)]}))
    data = pickle.dumps([foreign(**attributes()), held, once, twice], protocol)
    monkeypatch.undo()
    first, second, third, fourth = read_pickled_schedule(data)
    expected = ScheduleEntry(-10)
    expected.set_executable("install.sh", "--quiet größe")
    expected.add_file("install.sh", "install.sh", executable=True)
    expected.add_content("/etc/motd", "x" * 300)
    expected.add_file_transfer("/var/log")
    assert first == expected
    assert (second.start_time, second.pause) == (0, math.inf)
    assert (third.start_time, third.data) == (-math.inf, [{"resume": True}])
    assert (fourth.start_time, fourth.executable) == (2.5, "install.sh")
    assert ENTRY_CLASS not in sys.modules


class Evil:
    """Pickles as a call of something else."""

    def __init__(self, called: Any, *arguments: Any) -> None:
        self._reduced = (called, arguments)

    def __reduce__(self) -> Any:
        return self._reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("called", [eval, open, Path.touch, getattr])
def test_a_call_of_anything_else_is_refused_by_name(called: Any, protocol: int, tmp_path: Path) -> None:
    """The message names it, and it does not happen."""
    target = tmp_path / "touched"
    arguments = {eval: (f"open({str(target)!r}, 'w')",), open: (str(target), "w"), Path.touch: (target,)}
    data = pickle.dumps([Evil(called, *arguments.get(called, (1, "real")))], protocol)
    with pytest.raises(
        InvalidInputError, match=r"byte \d+ of the pickle: (\w|\.)*(eval|open|touch|getattr|Path).* refused"
    ):
        read_pickled_schedule(data)
    assert not target.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"c__builtin__\neval\n.", "__builtin__.eval"),
        (b"(S'x'\ni__builtin__\neval\n.", "INST"),
        (b"(c__builtin__\nobject\nS'x'\no.", "OBJ"),
        (b"Psome id\n.", "PERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"c__builtin__\nobject\n)R.", r"call of the global '__builtin__ object'"),
        (
            b"cvmr.schedule_entry\nScheduleEntry\n(I1\ntR.",
            "call of the global 'vmr.schedule_entry ScheduleEntry' with a value",
        ),
        (b"ccopyreg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.", "_reconstructor"),
        (b"]q\x00h\x00a.", "list.*where a schedule entry belongs"),
        (b"](I1\nI2\ne.", "int at .0."),
        (b"}.", "a value of type dict"),
        (b"cvmr.schedule_entry\nScheduleEntry\n.", "the global"),
        (b"](.", "one value"),
        (b"(.", "type object"),
        (b".", "one value"),
        (b"", "damaged"),
        (b"]", "damaged"),
        (b"0.", "damaged"),
        (b"t.", "damaged"),
        (b"h\x05.", "damaged"),
        (b"(((((.", "one value"),
        (b"I1\na.", "damaged"),
        (b"](I1\nN}b.", "damaged"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x00x.", "damaged|BINBYTES8"),
        (b"\x80\x02" + b"\xff" * 20, "damaged"),
        (b"]" * 10 + b".", "one value"),
    ],
)
def test_what_is_no_schedule_is_refused(data: bytes, said: str) -> None:
    """Instructions that no schedule needs, other calls, other values, and rubbish."""
    with pytest.raises(InvalidInputError, match=said):
        read_pickled_schedule(data)


def test_attributes_of_wrong_types_are_refused(foreign: type[Any]) -> None:
    """The message says which entry and which attribute."""
    for changes, said in (
        ({"start_time": "now"}, r"\[1\].*start_time"),
        ({"data": [5]}, r"\[1\].*data"),
        ({"executable": ["x"]}, r"\[1\].*executable"),
        ({"pause": "long"}, r"\[1\].*pause"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            read_pickled_schedule(pickle.dumps([foreign(**attributes()), foreign(**attributes(**changes))]))


def test_values_that_contain_themselves_end_in_an_error(foreign: type[Any]) -> None:
    """Neither a loop nor a list that doubles forty times is followed."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInputError):
        read_pickled_schedule(pickle.dumps([foreign(**attributes(data=loop))]))
    doubled: Any = ["x"]
    for _ in range(40):
        doubled = [doubled, doubled]
    (entry,) = read_pickled_schedule(pickle.dumps([foreign(**attributes(extra=doubled))]))
    assert entry.executable == "install.sh"
    tuples: Any = ("x",)
    for _ in range(40):
        tuples = (tuples, tuples)
    nested = [pickle.dumps(each, 4)[2:-1] for each in (doubled, tuples)]
    for value in nested:
        for program in (
            b"cvmr.schedule_entry\nScheduleEntry\n" + value + b"R.",
            b"ccopyreg\n_reconstructor\n(" + value + value + b"NtR.",
            b"ccopyreg\n_reconstructor\n(cvmr.schedule_entry\nScheduleEntry\nc__builtin__\nobject\n" + value + b"tR.",
            value + value + b"\x93.",
            b"}(" + value + b"K\x01u.",
            b"]" + value + b"a.",
        ):
            with pytest.raises(InvalidInputError):
                read_pickled_schedule(program)
    entry_of = pickle.dumps([foreign(**attributes(data=[{"location": doubled}]))])
    with pytest.raises(InvalidInputError):
        encode_schedule(read_pickled_schedule(entry_of))


@given(st.binary(max_size=40).map(lambda tail: b"\x80\x04" + tail) | st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """There is no third outcome."""
    try:
        schedule = read_pickled_schedule(data)
    except InvalidInputError:
        return
    assert all(isinstance(entry, ScheduleEntry) for entry in schedule)


_codes = st.sampled_from([code.code.encode("latin-1") for code in pickletools.opcodes if code.arg is None])


@given(
    st.lists(_codes | st.just(b"K\x01") | st.just(b"q\x00h\x00") | st.just(b"X\x01\x00\x00\x00a"), max_size=30).map(
        b"".join
    )
)
def test_any_instructions_are_followed_or_refused(program: bytes) -> None:
    """Also in orders in which no pickler puts them."""
    try:
        read_pickled_schedule(program + b".")
    except InvalidInputError as error:
        assert str(error)  # noqa: PT017 - any message will do, no other error will


def test_what_looks_like_a_pickle() -> None:
    """Any protocol of a list; no JSON."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert looks_pickled(pickle.dumps([1], protocol))
    assert not looks_pickled(b'{"vm": []}')
    assert not looks_pickled(b"[]")
