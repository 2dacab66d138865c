"""A VM driven by the planner alone: every action becomes its events at once, programs end when the test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vmr import events, planner
from vmr.events import KnownBody, Recorded, new_event
from vmr.schedule import Entry, Pause
from vmr.vm_state import ExperimentState, VmState

ORIGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def entry(time: float | str, name: str = "x", identity: str = "") -> Entry:
    """Return an entry that runs a program."""
    return Entry(id=identity or f"{time}/{name}", start_time=time, executable=name)  # type: ignore[arg-type]


def pause(time: float | str, duration: float | None, identity: str = "pause") -> Entry:
    """Return a pause; a break when ``duration`` is None."""
    return Entry(id=identity, start_time=time, pause=Pause(duration))  # type: ignore[arg-type]


def resume(identity: str = "resume") -> Entry:
    """Return a resume entry."""
    return Entry(id=identity, start_time="-inf", resume=True)


class Drive:
    """One VM's log, folded as it grows. ``now`` is in seconds after ``ORIGIN``."""

    def __init__(self, *entries: Entry) -> None:
        self.vm = VmState("u")
        self.experiment = ExperimentState()
        self.now = 0.0
        self.sequence = 0
        self.launched: list[tuple[float, str]] = []
        self.log: list[KnownBody] = []
        self.published: tuple[Entry, ...] = ()
        self.record(events.VmAdded(server_uuid="u", server_name="vm"))
        self.publish(*entries)

    def record(self, body: KnownBody) -> None:
        """Append an event and fold it."""
        self.sequence += 1
        recorded = self.recorded(self.sequence, body)
        self.log.append(body)
        self.vm.apply(recorded)
        self.experiment.apply(recorded)

    def recorded(self, sequence: int, body: KnownBody) -> Recorded:
        """Return ``body`` as an event of this moment."""
        at = ORIGIN + timedelta(seconds=self.now)
        return Recorded(sequence=sequence, stored=0, subject="", event=new_event(body, producer="test", time=at))

    def publish(self, *entries: Entry) -> None:
        """Publish a schedule of exactly these entries."""
        self.published = entries
        self.record(events.SchedulePublished(server_name="vm", entries=entries))

    def append(self, *entries: Entry) -> None:
        """Publish the present schedule with more entries."""
        self.publish(*self.published, *entries)

    def start(self, seconds: float = 0.0) -> None:
        """Report the start of the experiment, ``seconds`` from now."""
        self.record(events.ExperimentStarted(start_time=ORIGIN + timedelta(seconds=self.now + seconds)))

    def step(self) -> planner.Plan:
        """Plan until nothing is to be done now, recording every action; return the last, empty plan."""
        for _ in range(1000):
            plan = planner.plan(self.vm, self.experiment, ORIGIN + timedelta(seconds=self.now))
            if not plan.actions:
                return plan
            for action in plan.actions:
                self._act(action)
        raise AssertionError("the planner does not come to rest")

    def _act(self, action: planner.Action) -> None:
        match action:
            case planner.SetState(state=state, reason=reason):
                self.record(events.VmStateSet(server_uuid="u", state=state, reason=reason))
            case planner.Waive(reason=reason):
                self.record(events.VmWaived(server_uuid="u", reason=reason))
            case planner.Tick(current_time=time):
                self.record(events.VmTimeTicked(server_uuid="u", current_time=time))
            case planner.Launch(entry=identity, attempt=number):
                self.launched.append((self.now, identity))
                self._started(identity, number)
            case planner.BeginHold(entry=identity):
                self._started(identity, 1)
            case planner.EndHold(entry=identity):
                self.finish(identity)
            case planner.Reboot(entries=entries):
                self.record(events.VmRebooted(server_uuid="u", entries=entries))

    def _started(self, identity: str, number: int) -> None:
        self.record(events.EntryStarted(server_uuid="u", entry=identity, attempt=number, name="", start_time=""))

    def finish(self, identity: str, code: int | None = 0, *, reboot: bool = False) -> None:
        """Let the last attempt of an entry end."""
        number = len(self.vm.entries[identity].attempts)
        self.record(
            events.EntryFinished(server_uuid="u", entry=identity, attempt=number, exit_code=code, reboot=reboot)
        )

    def run_to(self, end: float) -> None:
        """Go on from wake to wake up to ``end``; programs end at once."""
        while True:
            plan = self.step()
            while running := [
                each.entry for each in self.vm.entries.values() if each.running and each.entry.executable
            ]:
                self.finish(running[0].id)
                plan = self.step()
            wake = end if plan.wake is None else (plan.wake - ORIGIN).total_seconds()
            if wake >= end:
                self.now = end
                self.step()
                return
            self.now = max(wake, self.now + 1e-6)

    @property
    def order(self) -> list[str]:
        """The ids of what was launched, in order."""
        return [identity for _, identity in self.launched]
