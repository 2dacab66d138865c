"""`VMMapping`: the VMs of a database, as the documented interface says and as FIREWHEEL's users know it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vmr.errors import UnknownVmError
from vmr.events import VmRemoved, VmStateSet, VmTimeTicked
from vmr.log import Log
from vmr.settings import Settings
from vmr.vm_mapping import VMMapping, VMState


@pytest.fixture
def mapping(served: Settings) -> Iterator[VMMapping]:
    """Yield the VMs of the test's database: none yet."""
    with VMMapping() as made:
        assert made.db == served.db
        yield made


def _three(mapping: VMMapping) -> None:
    mapping.batch_put(
        [
            {"server_uuid": "u1", "server_name": "a", "state": "configured", "current_time": "-10"},
            {"server_uuid": "u2", "server_name": "b", "state": "n/a", "control_ip": "10.0.0.2"},
            {"server_uuid": "u3", "server_name": "c", "current_time": "0"},
        ]
    )


def test_a_vm_is_six_strings(mapping: VMMapping, served: Settings) -> None:
    """What is put comes back under the six documented keys, with the documented defaults."""
    mapping.put("u1", "client.example")
    mapping.put("u2", "server", VMState.TESTING, "-5", "10.0.0.2")
    first = {"db": served.db, "server_uuid": "u1", "server_name": "client.example", "control_ip": ""}
    first |= {"state": "uninitialized", "current_time": ""}
    assert mapping.get("u1") == first
    second = {"db": served.db, "server_uuid": "u2", "server_name": "server", "control_ip": "10.0.0.2"}
    second |= {"state": "testing", "current_time": "-5"}
    assert mapping.get_all() == [first, second]
    assert all(type(value) is str for value in mapping.get("u2").values())  # type: ignore[union-attr]


def test_nothing_is_known_of_an_unknown_vm(mapping: VMMapping) -> None:
    """An unknown uuid is None, no uuid an error, an empty database an empty list; removing nothing is no error."""
    assert mapping.get("nobody") is None
    with pytest.raises(ValueError, match="server_uuid"):
        mapping.get()
    assert mapping.get_all() == []
    assert mapping.get_all(length=True) == 0
    mapping.destroy_one("nobody")
    mapping.destroy_all()
    mapping.destroy_all()
    assert mapping.get_count_vm_not_ready() == 0


def test_putting_a_uuid_again_replaces_the_vm(mapping: VMMapping) -> None:
    """Name, address, state and time are the later ones; there is one VM."""
    mapping.put("u1", "old", "failed", "-1", "10.0.0.1")
    mapping.set_vm_time_by_uuid("u1", -2)
    mapping.put("u1", "new")
    (vm,) = mapping.get_all()
    assert vm == mapping.get("u1")
    assert (vm["server_name"], vm["state"], vm["current_time"], vm["control_ip"]) == ("new", "uninitialized", "", "")


@pytest.mark.parametrize(
    ("entry", "missing"),
    [({"server_name": "b"}, "server_uuid"), ({"server_uuid": "u9"}, "server_name"), ({"server_uuid": None}, "uuid")],
)
def test_a_wrong_batch_stores_nothing(mapping: VMMapping, entry: dict[str, str], missing: str) -> None:
    """Every entry is checked before the first is stored, and the error names what is missing."""
    with pytest.raises(ValueError, match=missing):
        mapping.batch_put([{"server_uuid": "u1", "server_name": "a"}, entry])
    assert mapping.get_all() == []


def test_prepare_put_fills_in_the_defaults(mapping: VMMapping) -> None:
    """The prepared entry has the five stored fields; a state of None is an error."""
    assert mapping.prepare_put({"server_uuid": "u", "server_name": "n"}) == {
        "server_uuid": "u",
        "server_name": "n",
        "state": "uninitialized",
        "current_time": "",
        "control_ip": "",
    }
    with pytest.raises(ValueError, match="state"):
        mapping.prepare_put({"server_uuid": "u", "server_name": "n", "state": None})


def test_states_filter_exactly_or_by_text(mapping: VMMapping) -> None:
    """A VMState chooses that state; a plain string any state that contains it, whatever its case."""
    _three(mapping)
    mapping.put("u4", "d", "Not Configured Yet")

    def names(state: VMState | str) -> list[str]:
        return [vm["server_name"] for vm in mapping.get_all(filter_state=state)]

    assert names(VMState.CONFIGURED) == ["a"]
    assert names("CONFIG") == ["a", "d"]
    assert names("N/A") == ["b"]
    assert names("nothing like it") == []


@pytest.mark.parametrize(("time", "name"), [(0, "c"), ("0", "c"), (-10, "a"), ("-10", "a")], ids=repr)
def test_times_filter_as_numbers_and_strings(mapping: VMMapping, time: int | str, name: str) -> None:
    """0 is a time like any other, and a number is the same as its string."""
    _three(mapping)
    assert [vm["server_name"] for vm in mapping.get_all(filter_time=time)] == [name]
    assert mapping.get_all(filter_time=time, filter_state="no such") == []
    assert mapping.get_all(filter_time=time, length=True) == 1


def test_a_projection_keeps_only_its_keys(mapping: VMMapping, served: Settings) -> None:
    """project_dict names keys, as a dictionary or any other collection; keys that no VM has are left out."""
    _three(mapping)
    assert mapping.get_all(filter_time=0, project_dict={"server_name": 1, "_id": 0}) == [{"server_name": "c"}]
    assert mapping.get_all(filter_state="n/a", project_dict=["current_time", "db"]) == [
        {"db": served.db, "current_time": ""}
    ]


def test_one_value_by_name(mapping: VMMapping) -> None:
    """What `get_all` returns under one key, for the same filters."""
    _three(mapping)
    assert mapping.by_name("state") == {"a": "configured", "b": "n/a", "c": "uninitialized"}
    assert mapping.by_name("control_ip", filter_state=VMState.NA) == {"b": "10.0.0.2"}
    assert mapping.by_name("server_uuid", filter_time=0) == {"c": "u3"}


def test_setting_returns_the_vm_with_it(mapping: VMMapping) -> None:
    """State and time are set one by one and returned together; None clears the time, and is no state."""
    mapping.put("u1", "a", server_address="10.0.0.1")
    assert mapping.set_vm_time_by_uuid("u1", -10)["current_time"] == "-10"
    changed = mapping.set_vm_state_by_uuid("u1", "some word")
    assert changed == mapping.get("u1") == mapping.get_all()[0]
    assert (changed["state"], changed["current_time"], changed["control_ip"]) == ("some word", "-10", "10.0.0.1")
    assert mapping.set_vm_time_by_uuid("u1", None)["current_time"] == ""
    with pytest.raises(ValueError, match="None"):
        mapping.set_vm_state_by_uuid("u1", None)  # type: ignore[arg-type]


def test_only_configured_and_na_are_ready(mapping: VMMapping) -> None:
    """Any other word counts as not ready; ready states are compared without case."""
    for number, state in enumerate(["configured", "n/a", "N/A", "CONFIGURED", "failed", "configuring", "odd", ""]):
        mapping.put(f"u{number}", f"vm-{number}", state)
    assert mapping.get_count_vm_not_ready() == 4
    mapping.destroy_one("u4")
    assert mapping.get_count_vm_not_ready() == 3


def test_setting_an_unknown_vm_leaves_no_trace(mapping: VMMapping, served: Settings) -> None:
    """It is a RuntimeError, and neither the log nor the count of VMs knows of it."""
    with pytest.raises(RuntimeError, match="nobody"):
        mapping.set_vm_state_by_uuid("nobody", "configuring")
    with pytest.raises(UnknownVmError):
        mapping.set_vm_time_by_uuid("nobody", 1)
    assert mapping.get_count_vm_not_ready() == 0
    with Log.connect(served) as log:
        assert log.last_sequence() == 0


def test_what_others_write_is_seen_by_the_next_change(mapping: VMMapping, served: Settings) -> None:
    """A change knows of times, replacements and removals that came over other connections meanwhile."""
    mapping.put("u1", "a")
    mapping.set_vm_state_by_uuid("u1", "configuring")
    with Log.connect(served) as other:
        for time in ("-3", "-2", "-1"):
            other.publish(VmTimeTicked(server_uuid="u1", current_time=time))
            assert mapping.set_vm_state_by_uuid("u1", f"at {time}")["current_time"] == time
            assert mapping.set_vm_state_by_uuid("u1", "configuring")["current_time"] == time
        other.add_vm("u1", "renamed")
        assert mapping.set_vm_time_by_uuid("u1", 5)["server_name"] == "renamed"
        other.publish(VmRemoved(server_uuid="u1"))
        with pytest.raises(RuntimeError, match="u1"):
            mapping.set_vm_state_by_uuid("u1", "configured")
        assert mapping.get("u1") is None
        mapping.put("u1", "back")
        other.clear(["vms"])
        other.clear(["times"])
        with pytest.raises(RuntimeError, match="u1"):
            mapping.set_vm_time_by_uuid("u1", 1)
    assert mapping.get_count_vm_not_ready() == 0


def test_changes_are_exact_however_much_others_write(mapping: VMMapping, served: Settings) -> None:
    """A change returns what the VM is, whether nobody else wrote since the last one, few did, or many."""
    mapping.batch_put({"server_uuid": f"u{number}", "server_name": f"vm-{number}"} for number in range(3))
    with Log.connect(served) as other:
        for round_, events in enumerate([0, 0, 1, 3, 4, 5, 20, 0, 0, 1, 20, 20, 0, 2, 0]):
            time = str(round_)
            other.publish_many(
                [VmTimeTicked(server_uuid="u1", current_time=time)] * (events > 0)
                + [VmStateSet(server_uuid="u2", state=f"{time}.{number}") for number in range(events)]
            )
            known = time if events else mapping.get("u1")["current_time"]  # type: ignore[index]
            assert mapping.set_vm_state_by_uuid("u1", f"state {round_}")["current_time"] == known
            assert mapping.set_vm_state_by_uuid("u0", "any")["current_time"] == ""
            assert mapping.set_vm_time_by_uuid("u1", -1)["state"] == f"state {round_}"
            if events:
                assert mapping.set_vm_time_by_uuid("u2", 1)["state"] == f"{time}.{events - 1}"


def test_databases_are_apart(mapping: VMMapping, served: Settings) -> None:
    """`db` names another database: one VM in each."""
    with VMMapping(db=f"{served.db}_other") as other:
        other.put("u1", "there")
        mapping.put("u1", "here")
        assert other.get("u1") == mapping.get("u1") | {"db": f"{served.db}_other", "server_name": "there"}  # type: ignore[operator]


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "two words", "Größe 雪", "line\nbreak", "x" * 300])
def test_names_and_uuids_are_any_strings(mapping: VMMapping, name: str) -> None:
    """What comes back is what was put, whatever a subject of the log would make of it."""
    mapping.put(name, name, name)
    mapping.set_vm_time_by_uuid(name, name)
    vm = mapping.get(name)
    assert vm is not None
    assert {vm[key] for key in ("server_uuid", "server_name", "state", "current_time")} == {name}
    assert mapping.get_all() == [vm]


def test_states_equal_their_strings() -> None:
    """`VMState` is a string enum with FIREWHEEL's members."""
    assert {state.name: state.value for state in VMState} == {
        "UNINITIALIZED": "uninitialized",
        "NA": "n/a",
        "CONFIGURING": "configuring",
        "CONFIGURED": "configured",
        "FAILED": "failed",
        "TESTING": "testing",
    }
    assert all(state == state.value == str(state) for state in VMState)
