"""Records to report on: one as large as experiments are, and one whose guests mean harm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vmr import events
from vmr.events import KnownBody, Recorded
from vmr.projector import Projector
from vmr.schedule import Entry

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOSTS, ROUTERS = 2002, 1001
HOST_TIMES = (-30, -20, -10, 1, 10)
ROUTER_TIMES = (-40, -30, -20, -10, 1, 5, 30)
_HARM = (
    '</script><script>document.documentElement.dataset.harmed = "script"</script>',
    "<img src=x onerror=\"document.documentElement.dataset.harmed = 'img'\">",
    "<!--<script>",
    "]]>{{ 7 * 7 }}{% raw %}",
    "line\u2028separator \u202etxt.exe\u202c",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x00",
    "javascript:alert(1)//'\"`${document.cookie}`",
)


def write(path: Path, told: Iterable[tuple[float, KnownBody]]) -> Path:
    """Write a read model at ``path`` from what is told, each with its second after the start, and return the path."""
    ordered = sorted(told, key=lambda each: each[0])
    recorded = [_record(sequence, second, body) for sequence, (second, body) in enumerate(ordered, 1)]
    projector = Projector(path)
    projector.apply(recorded)
    projector.close()
    return path


def _record(sequence: int, second: float, body: KnownBody) -> Recorded:
    time = START + timedelta(seconds=second)
    event = events.Event(id=f"0190a0b0-0000-7000-8000-{sequence:012x}", time=time, producer="test", body=body)
    stored = int(time.timestamp() * 1000) * 1_000_000
    return Recorded(sequence=sequence, stored=stored, subject=events.subject_of("test", body), event=event)


def large(vms: int = HOSTS + ROUTERS) -> Iterator[tuple[float, KnownBody]]:
    """Tell a run of the shape of a 1,000-router experiment: 3,003 VMs with 17,017 entries, of which some go wrong."""
    yield (
        -130,
        events.ExperimentLaunched(launch_time=START - timedelta(seconds=130), name="router-tree", start_buffer=10),
    )
    for number in range(vms):
        yield from _vm(number, HOST_TIMES if number % 3 else ROUTER_TIMES)
    yield -12, events.ExperimentStarted(start_time=START)
    yield 15, events.ExperimentPaused()
    yield 20, events.ExperimentResumed()
    yield 61, events.ExperimentEnded(reason="everything has run")


def _vm(number: int, times: Sequence[int]) -> Iterator[tuple[float, KnownBody]]:
    uuid, name = f"uuid-{number}", f"{'host' if number % 3 else 'router'}-{number}"
    entries = tuple(
        Entry(id=f"{at}/step.sh", start_time=at, executable="step.sh", arguments=f"--of {name}") for at in times
    )
    second = -129 + number / 3003
    yield second, events.VmAdded(server_uuid=uuid, server_name=name, control_ip=f"10.{number >> 8}.{number & 255}.1")
    yield second + 1, events.SchedulePublished(server_name=name, entries=entries)
    yield second + 2, events.HandlerAttached(server_uuid=uuid, handler="h1", host=f"lab{number % 4}")
    yield second + 3, events.VmStateSet(server_uuid=uuid, state="configuring")
    second += 5 + number * 7919 % 3003 / 60
    for at in (each for each in times if each < 0):
        duration = 1 + number * 31 % 97 / 20
        yield from _attempt(uuid, at, second, duration, number)
        second += duration + 0.5
    yield second, events.VmStateSet(server_uuid=uuid, state="configured")
    for at in (each for each in times if each > 0):
        yield from _attempt(
            uuid, at, at + (5 if at > 15 else 0) + number % 50 / 200, 0.5 + number * 17 % 89 / 10, number
        )


def _attempt(uuid: str, at: int, second: float, duration: float, number: int) -> Iterator[tuple[float, KnownBody]]:
    entry = f"{at}/step.sh"
    due = START + timedelta(seconds=at) if at > 0 else None
    if number % 401 == 7 and at == 10:
        yield second, events.EntryFailed(server_uuid=uuid, entry=entry, attempt=1, error="the agent is gone")
        return
    yield (
        second,
        events.EntryStarted(
            server_uuid=uuid,
            entry=entry,
            attempt=1,
            name="step.sh",
            start_time=str(at),
            due=due,
            directory="/var/launch",
        ),
    )
    text = (
        f"step {at} of {uuid}: 64 bytes from 10.0.{number & 255}.1: icmp_seq={number} ttl=64 time=0.{number:03} ms\n"
        * 4
    )
    yield second + duration * 0.9, wrote(uuid, entry, text)
    if number % 503 == 9 and at == 10:
        yield second + duration, events.EntryLost(server_uuid=uuid, entry=entry, attempt=1, reason="the guest rebooted")
    elif number % 601 != 11 or at != 10:
        code = 1 + number % 3 if number % 97 == 5 and at in {-10, 10} else 0
        yield (
            second + duration,
            events.EntryFinished(
                server_uuid=uuid, entry=entry, attempt=1, exit_code=code, stdout_size=len(text), duration=duration
            ),
        )


def wrote(uuid: str, entry: str, text: str | bytes, first: int = 0) -> KnownBody:
    """Return that the first attempt of ``entry`` wrote ``text`` to its standard output, from the byte ``first`` on."""
    data = text if isinstance(text, bytes) else text.encode()
    return events.OutputCaptured(
        server_uuid=uuid,
        entry=entry,
        attempt=1,
        stream="stdout",
        offset=first,
        size=len(data),
        text=text if isinstance(text, str) else None,
        data=None if isinstance(text, str) else data,
    )


def hostile() -> Iterator[tuple[float, KnownBody]]:
    """Tell a run in which every name and every output tries to break out of the page, and one line has ten million bytes."""
    yield -60, events.ExperimentLaunched(launch_time=START, name=_HARM[0])
    for number, harm in enumerate(_HARM):
        uuid, entry = f"{number}{harm}", f"1/{harm}"
        yield -50, events.VmAdded(server_uuid=uuid, server_name=harm, control_ip=harm)
        yield (
            -45,
            events.SchedulePublished(
                server_name=harm, entries=(Entry(id=entry, start_time=1, executable="x", arguments=harm),)
            ),
        )
        yield -40, events.VmStateSet(server_uuid=uuid, state="configured", reason=harm)
        yield 1, events.EntryStarted(server_uuid=uuid, entry=entry, attempt=1, name=harm, start_time="1")
        yield 2, wrote(uuid, entry, harm)
        yield 3, events.EntryFinished(server_uuid=uuid, entry=entry, attempt=1, exit_code=1, duration=1)
    yield -10, events.ExperimentStarted(start_time=START)
    yield 4, wrote(f"0{_HARM[0]}", f"1/{_HARM[0]}", b"\xff\xfe invalid \xc3", len(_HARM[0]))
    for piece in range(20):
        yield 5 + piece, wrote(f"1{_HARM[1]}", f"1/{_HARM[1]}", "<b>" + "x" * 499_997, len(_HARM[1]) + piece * 500_000)
    yield 5, wrote(f"3{_HARM[3]}", f"1/{_HARM[3]}", "it's more\n" * 1000, len(_HARM[3]))
    yield 40, events.VmStateSet(server_uuid="<i>nobody</i>", state="</td><script>")
    yield 50, events.ExperimentEnded(reason=_HARM[0])
