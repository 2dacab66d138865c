"""`ScheduleEntry`: every way to fill it, what is refused, and that it is the same after a round trip."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmr.errors import InvalidInputError
from vmr.schedule import Entry, EntryFile, ObjectRef, Pause, Transfer, check_entry
from vmr.schedule_codec import MAGIC, decode_entries, encode_entries, schedule_of
from vmr.schedule_db import decode_schedule, encode_schedule
from vmr.schedule_entry import ScheduleEntry


def full() -> ScheduleEntry:
    """Return an entry that does everything that an entry can do."""
    entry = ScheduleEntry(10, ignore_failure=True)
    entry.set_executable("install.sh", ["--quiet", "'two words'"])
    entry.append_arguments("> log")
    entry.add_content("install.sh", "#!/bin/sh\necho größe\n", executable=True)
    entry.add_file("/opt/data.bin", "data.bin")
    entry.add_file_transfer("/var/log/*.log", interval=60, destination="/srv/logs")
    entry.add_file_transfer("/tmp/result.json", interval=None)
    entry.add_pause(2.5)
    return entry


def test_a_new_entry_does_nothing_yet() -> None:
    """Its attributes have the values that FIREWHEEL's code expects to find."""
    entry = ScheduleEntry(5)
    assert (entry.start_time, entry.ignore_failure, entry.executable, entry.arguments) == (5, False, None, None)
    assert (entry.data, entry.pause, entry.on_host, entry.entry_id) == ([], False, False, None)
    rules = (entry.timeout, entry.retries, entry.when_lost, entry.nonzero_fails, entry.overwrite)
    assert rules == (None, 0, "continue", False, False)


@pytest.mark.parametrize("time", [0, 0.0, math.inf, math.nan, 2e9, "10", None, True])
def test_what_is_no_start_time_is_refused(time: Any) -> None:
    """Time 0 is the barrier; the others are no times."""
    with pytest.raises(ValueError, match="time"):
        ScheduleEntry(time)


def test_executables_and_arguments() -> None:
    """Arguments are words or strings, and add up to one command line; a new executable begins a new one."""
    entry = ScheduleEntry(1)
    entry.set_executable("a", "one two")
    entry.append_arguments(["three", "four five"])
    entry.append_arguments("six")
    assert (entry.executable, entry.arguments) == ("a", "one two three four five six")
    entry.set_executable("b")
    assert (entry.executable, entry.arguments) == ("b", None)
    with pytest.raises(RuntimeError, match="string"):
        entry.set_executable(["b"])  # type: ignore[arg-type]
    wrong: Any
    for wrong in (7, None, b"x", ["a", 1], {"a": 1}):
        with pytest.raises(TypeError, match="arguments"):
            entry.append_arguments(wrong)


@pytest.mark.parametrize("duration", [0, -1, math.nan, -math.inf, "5", None, True])
def test_what_is_no_pause_is_refused(duration: Any) -> None:
    """A pause has a positive length."""
    with pytest.raises(ValueError, match="pause"):
        ScheduleEntry(1).add_pause(duration)


def test_a_pause_leaves_the_start_time_alone_and_may_be_at_the_barrier() -> None:
    """Where it comes after what is due at its time is the planner's rule, and no trick with small numbers."""
    entry = ScheduleEntry(10)
    entry.add_pause(math.inf)
    assert (entry.start_time, entry.pause) == (10, math.inf)
    entry.start_time = 0
    (typed,) = entry.to_entries()
    assert (typed.start_time, typed.pause) == (0, Pause())
    early = ScheduleEntry(-math.inf)
    early.add_pause(3)
    assert (early.to_entry().start_time, early.to_entry().pause) == ("-inf", Pause(3.0))


def test_an_entry_becomes_typed_entries_that_do_one_thing_each() -> None:
    """Run, copy out, hold, in this order, and all of them under the identity of the entry."""
    run, often, once, hold = full().to_entries()
    assert (run.executable, run.arguments) == ("install.sh", "--quiet 'two words' > log")
    assert run.files == (
        EntryFile("install.sh", content="#!/bin/sh\necho größe\n", executable=True),
        EntryFile("/opt/data.bin", resource="data.bin"),
    )
    assert often.transfer == Transfer("/var/log/*.log", interval=60.0, destination="/srv/logs")
    assert once.transfer == Transfer("/tmp/result.json")
    assert hold.pause == Pause(2.5)
    assert [part.id for part in (often, once, hold)] == [f"{run.id}+{number}" for number in (1, 2, 3)]
    assert all(part.ignore_failure for part in (run, often, once, hold))
    with pytest.raises(InvalidInputError, match="4 typed entries"):
        full().to_entry()


def test_a_round_trip_keeps_what_an_entry_says() -> None:
    """Through typed entries, and through bytes."""
    resume = ScheduleEntry(-math.inf)
    resume.data.append({"resume": True})
    host = ScheduleEntry(70)
    host.set_executable("/usr/local/bin/notify")
    host.on_host = True
    stored = ScheduleEntry(3.5)
    stored.data.append({"location": "/x", "object": {"sha256": "0" * 64, "size": 3}, "executable": False})
    schedule = [full(), resume, host, stored]
    for entry in schedule:
        assert ScheduleEntry.from_entries(entry.to_entries()) == entry
    again = decode_schedule(encode_schedule(schedule))
    assert again == schedule
    assert [entry.entry_id for entry in again] == [entry.entry_id for entry in schedule]
    assert stored.to_entry().files == (EntryFile("/x", object=ObjectRef("0" * 64, 3)),)


def test_every_field_of_a_typed_entry_has_an_attribute() -> None:
    """None is lost on the way through a `ScheduleEntry`, whichever are added to the type."""
    typed = Entry(
        "id",
        5,
        executable="a",
        arguments="b",
        files=(EntryFile("/c", content="d"),),
        ignore_failure=True,
        on_host=True,
        timeout=1.5,
        retries=2,
        when_lost="fail",
        nonzero_fails=True,
        overwrite=True,
    )
    others = (Entry("t", 5, transfer=Transfer("/x")), Entry("p", 5, pause=Pause(1)), Entry("r", 5, resume=True))
    for entry in (typed, *others):
        assert ScheduleEntry.from_entry(entry).to_entry() == entry
    plain = msgspec.structs.asdict(Entry("", 0))
    said = [
        {name for name, value in msgspec.structs.asdict(entry).items() if value != plain[name]}
        for entry in (typed, *others)
    ]
    assert set.union(*said) == plain.keys()


def test_rules_for_programs_are_not_those_of_the_other_parts() -> None:
    """A transfer has no timeout; a wrong rule is refused by name."""
    entry = full()
    entry.timeout, entry.retries, entry.when_lost = 60, 3, "again"
    run, often, *_ = entry.to_entries()
    assert (run.timeout, run.retries, run.when_lost) == (60, 3, "again")
    assert (often.timeout, often.retries, often.when_lost) == (None, 0, "again")
    assert decode_schedule(encode_schedule([entry])) == [entry]
    for name, value in (("timeout", 0), ("retries", -1), ("when_lost", "perhaps"), ("ignore_failure", "no")):
        wrong = full()
        setattr(wrong, name, value)
        with pytest.raises(ValueError, match=name):
            wrong.to_entries()


def test_entries_that_say_something_else_are_not_equal() -> None:
    """Each attribute counts, but for the identity and for how a default is spelled."""
    changes: list[tuple[str, Any]] = [
        ("start_time", -11),
        ("ignore_failure", False),
        ("executable", "other"),
        ("arguments", "other"),
        ("pause", 2.0),
        ("pause", False),
        ("on_host", True),
        ("timeout", 5),
        ("retries", 1),
        ("when_lost", "again"),
        ("nonzero_fails", True),
        ("overwrite", True),
        ("data", []),
    ]
    for name, value in changes:
        other = full()
        setattr(other, name, value)
        assert other != full(), name
    same = full()
    same.entry_id = "named"
    same.data[1]["executable"] = False
    assert same == full()
    assert full() != "something"
    with pytest.raises(TypeError):
        hash(full())


def test_a_function_stands_for_content_until_the_schedule_is_encoded() -> None:
    """It is called once, and its text is what the entry has from then on."""
    calls: list[int] = []

    def content() -> str:
        calls.append(1)
        return f"call {len(calls)}"

    entry = ScheduleEntry(1)
    entry.add_content("/etc/motd", content)
    assert not calls
    first, second = encode_schedule([entry]), encode_schedule([entry])
    assert first == second
    assert calls == [1]
    assert decode_schedule(first) == [entry]
    assert entry.data[0]["content"] == "call 1"


def test_a_function_that_returns_no_text_is_refused() -> None:
    """The message names the file."""
    entry = ScheduleEntry(1)
    entry.add_content("/etc/motd", lambda: 7)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match=r"/etc/motd.*int"):
        encode_schedule([entry])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "nothing to do"),
        ([{}], "without location"),
        ([{"location": "relative", "interval": 5}], "must be absolute"),
        ([{"location": "/x", "interval": 0}], "interval"),
        ([{"location": "/x", "content": "a", "filename": "b"}], "exactly one"),
        ([{"location": "/x", "kontent": "a"}], "kontent"),
        ([{"location": 5, "content": "a"}], "location"),
        ([{"location": "relative", "content": "a"}], "relative location"),
        (["text"], "data"),
        ([{"location": "/x", "content": "\ud800"}], "Unicode"),
    ],
)
def test_data_that_makes_no_sense_is_refused(data: list[Any], said: str) -> None:
    """The message says what is wrong, and nothing is encoded."""
    entry = ScheduleEntry(4)
    entry.data = data
    with pytest.raises(ValueError, match=said):
        encode_schedule([entry])


def test_a_text_says_when_what_and_with_which_files() -> None:
    """It is one line for people."""
    assert str(full()) == (
        "ScheduleEntry at 10: run install.sh --quiet 'two words' > log; 21 characters to 'install.sh'; file 'data.bin' to "
        "'/opt/data.bin'; copy '/var/log/*.log' out every 60 s; copy '/tmp/result.json' out once; pause of 2.5 s, failures to "
        "load ignored"
    )
    hold = ScheduleEntry(-math.inf)
    hold.add_pause(math.inf)
    hold.data.append({"resume": True})
    assert str(hold) == "ScheduleEntry at -inf: resume; break until a resume"
    assert str(ScheduleEntry(1.5)) == "ScheduleEntry at 1.5: nothing"


def test_identities_follow_from_what_entries_say() -> None:
    """A schedule built anew has the same ones; another entry of the same time and name has another one."""

    def build(argument: str) -> ScheduleEntry:
        entry = ScheduleEntry(-10)
        entry.set_executable("/bin/echo", argument)
        return entry

    once, again, other = build("a"), build("a"), build("b")
    encode_schedule([once])
    encode_schedule([again])
    encode_schedule([other])
    assert once.entry_id == again.entry_id
    assert once.entry_id is not None
    assert once.entry_id.startswith("-10/echo~")
    assert other.entry_id != once.entry_id


def test_entries_of_one_schedule_never_share_an_identity() -> None:
    """Equal entries, the same object twice, and one that takes the identity that another would be given."""
    first, twin, thief = full(), full(), ScheduleEntry(1)
    thief.set_executable("/bin/true")
    encode_schedule([first])
    thief.entry_id = first.entry_id
    ids = [entry.id for entry in decode_entries(encode_schedule([twin, first, first, thief, full()]))]
    assert len(ids) == len(set(ids)) == 17
    kept = full()
    kept.entry_id = "mine"
    assert [part.id for part in decode_entries(encode_schedule([kept]))] == ["mine", "mine+1", "mine+2", "mine+3"]


def test_typed_entries_that_merely_look_like_parts_stay_apart() -> None:
    """Joining them would not give them back as they were."""
    typed = (Entry("x", 1, executable="/bin/a"), Entry("x+1", 2, executable="/bin/b"))
    schedule = schedule_of(typed)
    assert [entry.start_time for entry in schedule] == [1, 2]
    assert decode_entries(encode_schedule(schedule)) == typed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04]\x94.",
        MAGIC,
        MAGIC + b"[",
        MAGIC + b"{}",
        MAGIC + b"[] ",
        MAGIC + b'[{"id":"a","start_time":0,"executable":"/bin/true"}]',
        MAGIC + b'[{"id":"","start_time":1,"executable":"/bin/true"}]',
        MAGIC + b'[{"id":"a","start_time":1,"executable":"/bin/true","later":1}]',
        MAGIC + b'[{"id":"a","start_time":1,"executable":"x"},{"id":"a","start_time":2,"executable":"x"}]',
        MAGIC + b"[" * 100_000,
        MAGIC + b'[{"x":' * 100_000,
    ],
)
def test_bytes_that_are_no_schedule_are_refused(data: bytes) -> None:
    """Damaged, edited, of another version, too deep, or no schedule at all."""
    with pytest.raises(InvalidInputError, match=r"schedule|entry"):
        decode_schedule(data)


_paths = st.text(min_size=1, max_size=8).map(lambda name: "/" + name.replace("\0", ""))
_contents = st.fixed_dictionaries({"location": _paths, "content": st.text(max_size=8)})
_files = st.fixed_dictionaries(
    {"location": _paths, "filename": st.text(max_size=8)}, optional={"executable": st.booleans()}
)
_transfers = st.fixed_dictionaries(
    {"location": _paths},
    optional={"interval": st.none() | st.floats(0.1, 1e6) | st.integers(1, 99), "destination": st.just("/srv")},
)


@st.composite
def entries(draw: st.DrawFn) -> ScheduleEntry:
    """Draw an entry that makes sense."""
    entry = ScheduleEntry(draw(st.integers(-1000, -1) | st.integers(1, 1000) | st.floats(0.5, 1e6)))
    entry.ignore_failure, entry.on_host = draw(st.booleans()), draw(st.booleans())
    if draw(st.booleans()):
        entry.set_executable("/bin/" + draw(st.text(max_size=5)), draw(st.none() | st.text(max_size=5)))
    entry.data = draw(st.lists(_contents | _files | _transfers, min_size=not entry.executable, max_size=4))
    if entry.start_time > 0 and draw(st.booleans()):
        entry.add_pause(draw(st.floats(min_value=0.001) | st.integers(1, 10**6)))
    return entry


@given(st.lists(entries(), max_size=4))
def test_every_schedule_survives_its_encoding(schedule: list[ScheduleEntry]) -> None:
    """Entries and identities come back, bytes are the same each time, and the typed entries keep every rule."""
    data = encode_schedule(schedule)
    again = decode_schedule(data)
    assert again == [_in_order(entry) for entry in schedule]
    assert encode_schedule(again) == data
    assert encode_entries(decode_entries(data)) == data
    for entry in decode_entries(data):
        check_entry(entry)


def _in_order(entry: ScheduleEntry) -> ScheduleEntry:
    """Return the entry with its files before its transfers, as it is done."""
    files = [datum for datum in entry.data if "content" in datum or "filename" in datum]
    made = ScheduleEntry(entry.start_time, entry.ignore_failure)
    made.__dict__ |= entry.__dict__
    made.data = files + [datum for datum in entry.data if datum not in files]
    return made
