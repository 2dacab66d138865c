"""The examples in time of ``docs/schedules.md``, executed: what the planner does is exactly what the document says."""

from __future__ import annotations

import re

import msgspec
import pytest

from tests.unit.driving import ORIGIN, Drive
from tests.unit.schedule_document import DOCUMENT, Example, entries_of, examples
from vmr import events, planner
from vmr.events import KnownBody, Recorded
from vmr.schedule import Entry
from vmr.vm_state import ExperimentState, VmState

EXAMPLES = examples("when")


class Told(Drive):
    """A driven VM that tells what is done to it in the document's words."""

    def __init__(self, example: Example) -> None:
        self.story: list[tuple[float, str]] = []
        self.history: list[Recorded] = []
        told = {given.split(" ")[0] for _, given, _ in example.rows if re.search("` (ends|cannot)", given)}
        self.slow = {name.strip("`") for name in told}
        super().__init__(*entries_of(example.text))

    def recorded(self, sequence: int, body: KnownBody) -> Recorded:
        """Remember what is recorded, for handlers that restart."""
        self.history.append(super().recorded(sequence, body))
        return self.history[-1]

    def _act(self, action: planner.Action) -> None:
        super()._act(action)
        match action:
            case planner.Launch(entry=identity):
                self._tell(f"run `{self._entry(identity).executable}`")
                if self._entry(identity).executable not in self.slow:
                    self.finish(identity)
            case planner.Reboot():
                self._tell("reboot")
            case planner.SetState(state=state) if state != "configuring":
                self._tell(state)
            case _:
                pass

    def _tell(self, what: str) -> None:
        self.story.append((round(self.now, 3), what))

    def _entry(self, identity: str) -> Entry:
        return self.vm.entries[identity].entry

    def _id(self, name: str) -> str:
        return next(
            identity for identity, state in self.vm.entries.items() if state.entry.executable == name.strip("`")
        )

    def happen(self, given: str) -> None:
        """Let something happen to the VM."""
        match given.split(" "):
            case [""]:
                pass
            case ["start"]:
                self.start()
            case ["resume"]:
                self.record(events.VmResumed(server_uuid="u"))
            case ["break"]:
                self.record(events.VmPaused(server_uuid="u"))
            case ["pause", seconds]:
                self.record(events.VmPaused(server_uuid="u", duration=float(seconds)))
            case ["add", *rest]:
                self.append(*entries_of(f"- {' '.join(rest).strip('`')}"))
            case ["remove", name]:
                self.publish(*(each for each in self.published if each.id != self._id(name)))
            case ["move", name, "to", time]:
                self.publish(
                    *(
                        msgspec.structs.replace(each, start_time=int(time)) if each.id == self._id(name) else each
                        for each in self.published
                    )
                )
            case _:
                self._befall(given)

    def _befall(self, given: str) -> None:
        match given.split(" "):
            case [name, "ends"]:
                self._end(name, 0)
            case [name, "ends", "with", code]:
                self._end(name, int(code))
            case [name, "cannot", "be", "launched"]:
                self.record(events.EntryFailed(server_uuid="u", entry=self._id(name), attempt=1, error="refused"))
            case ["guest", "reboots"]:
                running = [state for state in self.vm.entries.values() if state.running]
                for state in running:
                    lost = events.EntryLost(
                        server_uuid="u", entry=state.entry.id, attempt=len(state.attempts), reason="reset"
                    )
                    self.record(lost)
                self.record(events.VmRebooted(server_uuid="u"))
            case ["handler", "restarts"]:
                self.vm, self.experiment = VmState("u"), ExperimentState()
                for recorded in self.history:
                    self.vm.apply(recorded)
                    self.experiment.apply(recorded)
            case _:
                raise AssertionError(f"the document's words {given!r} mean nothing here")

    def _end(self, name: str, code: int) -> None:
        if self.vm.entries[self._id(name)].running:
            self.finish(self._id(name), code, reboot=code == 10)

    def go_to(self, end: float) -> None:
        """Do what is due before ``end``, from wake-up to wake-up."""
        while (wake := self.step().wake) is not None and (wake - ORIGIN).total_seconds() < end:
            self.now = (wake - ORIGIN).total_seconds()
        self.now = end


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"line {each.line}")
def test_an_example_in_time(example: Example) -> None:
    """What is done, in its order and at its time, is what the table says, and nothing else is."""
    drive = Told(example)
    expected = []
    for when, given, then in example.rows:
        if float(when) > drive.now:
            drive.go_to(float(when))
        drive.happen(given)
        drive.step()
        expected += [(float(when), each) for each in then.split(", ") if each]
    drive.go_to(drive.now + 10_000)
    drive.step()
    assert drive.story == expected


def test_the_examples_are_found() -> None:
    """No example of the document is left out because of its form."""
    text = DOCUMENT.read_text()
    kinds = ("when", "file in the guest", "copy on the host")
    assert sum(len(examples(kind)) for kind in kinds) == text.count("```yaml")
    assert len(EXAMPLES) >= 20
