"""The experiment file's format as types: one struct per mapping of the file, one field per key (reference: docs/experiments.md)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from vmr.schedule import StartTime
from vmr.testing.programs import SimulatedProgram

Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
PositiveSeconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every mapping of the file: an unknown key is an error."""


class FileSection(_Section, frozen=True):
    """A file to put into a guest.

    Attributes:
        location: path in the guest; a relative one lies in the entry's working directory. By default the resource's base name.
        content: the text that is in it, or:
        resource: the file of the experiment's folder of files that is copied.
        executable: whether it gets the executable flag.

    """

    location: str | None = None
    content: str | None = None
    resource: str | None = None
    executable: bool = False


class TransferSection(_Section, frozen=True):
    """A copy out of a guest.

    Attributes:
        location: absolute path in the guest; may hold shell wildcards.
        interval: seconds between copies; once when it is not given.
        destination: absolute folder on the handler's host.

    """

    location: str
    interval: PositiveSeconds | None = None
    destination: str | None = None


class EntrySection(_Section, frozen=True):
    """One entry of a schedule: a time and exactly one of run, script, drop, transfer, pause and resume.

    Attributes:
        at: experiment time in seconds; negative times are the order of configuration; ``-inf`` only for pauses and resumes.
        id: identity of the entry within its VM; by default its time and name.
        run: program to run: an absolute path, a name on the guest's PATH, or the location of one of the files.
        script: file of the experiment's folder of files to copy into the working directory and run.
        args: arguments as one line for the guest's shell, or as a list, each item quoted for it.
        files: files that must be in the guest before the program runs; text alone names a resource.
        drop: one or more files to put into the guest; nothing is run.
        transfer: path to copy out of the guest once, or the copy in detail.
        pause: seconds to hold what follows, or ``forever``: until a resume.
        resume: ends a pause of ``forever``.
        ignore_failure: whether a file that cannot be loaded leaves the VM alive instead of failing it.
        on_host: run on the handler's host, not in the guest.
        timeout: seconds after which the program is killed.
        retries: how many more attempts a program gets that ended with a nonzero exit code or was killed by its timeout.
        when_lost: what follows when the end of an attempt cannot be known: ``continue``, run it ``again``, or ``fail`` the VM.
        nonzero_fails: whether a nonzero exit code of the last attempt fails the VM.
        overwrite: whether the files replace files that exist in the guest.

    """

    at: StartTime
    id: Name | None = None
    run: str | None = None
    script: str | None = None
    args: str | list[str] | None = None
    files: list[str | FileSection] = []
    drop: FileSection | list[FileSection] | None = None
    transfer: str | TransferSection | None = None
    pause: PositiveSeconds | Literal["forever"] | None = None
    resume: bool = False
    ignore_failure: bool = False
    on_host: bool = False
    timeout: PositiveSeconds | None = None
    retries: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    when_lost: Literal["continue", "again", "fail"] = "continue"
    nonzero_fails: bool = False
    overwrite: bool = False


class VmSection(_Section, frozen=True):
    """One VM, or ``count`` equal ones.

    Attributes:
        count: how many; the name and all texts then may hold ``{n}`` (1, 2, …), ``{n+10}`` or ``{n-1}``.
        uuid: the VM's identity; by default derived from its name, the same every time.
        address: IPv4 address with prefix length on the experiment's network.
        memory: megabytes of a guest that vmr boots.
        agent: guest agent socket of a VM that exists already; a relative path begins at the experiment file.
        managed: false for a VM that is known, and that vmr leaves alone (state ``n/a``).
        schedule: what to run.

    """

    count: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    uuid: Name | None = None
    address: str | None = None
    memory: Annotated[int, msgspec.Meta(ge=96, le=1 << 20)] = 128
    agent: Name | None = None
    managed: bool = True
    schedule: list[EntrySection] | None = None


class ExperimentSection(_Section, frozen=True, kw_only=True):
    """The file.

    Attributes:
        name: name of the experiment.
        description: for people.
        start_buffer: seconds between the last VM being configured and the start.
        end: experiment time at which the run ends although entries go on; by default when nothing is left to run.
        failed_vms: whether the experiment waits for VMs that fail before the start, or goes on without them.
        files: folder of files that resources and scripts are names in, or several, searched in order.
        vms: the VMs by name.
        simulate: what programs do on simulated guests, by a pattern of their name, command line or entry; the first that fits counts.

    """

    name: Name
    description: str = ""
    start_buffer: Seconds = 60.0
    end: PositiveSeconds | None = None
    failed_vms: Literal["wait", "waive"] = "wait"
    files: str | list[str] = "."
    vms: dict[str, VmSection | None]
    simulate: dict[str, SimulatedProgram] = {}
