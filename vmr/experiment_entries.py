"""From the sections of one schedule to its entries: kinds told apart, defaults filled in, files found."""

from __future__ import annotations

import math
import shlex
from pathlib import Path, PurePosixPath

import msgspec

from vmr.errors import InvalidInputError
from vmr.experiment_format import EntrySection, FileSection, TransferSection
from vmr.schedule import Entry, EntryFile, Pause, Transfer, check_entry, default_id, is_absolute
from vmr.yaml_decode import Reporter, suggestion
from vmr.yaml_places import Path as Place

MAX_TIME = 1e9
KINDS = ("run", "script", "drop", "transfer", "pause", "resume")
PROGRAM_KEYS = ("args", "files", "on_host", "timeout", "retries", "when_lost", "nonzero_fails")


class Resources:
    """Finds resource files in the experiment's folders, each name once."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._found: dict[str, Path | str] = {}

    def find(self, name: str) -> Path | str:
        """Return the file's path, or what is wrong with ``name``."""
        if name not in self._found:
            self._found[name] = self._look(name)
        return self._found[name]

    def _look(self, name: str) -> Path | str:
        pure = PurePosixPath(name)
        if not name or pure.is_absolute() or ".." in pure.parts or "\0" in name:
            return f"resource {name!r}: name a file inside the experiment's folder of files, relative and without '..'"
        for folder in self._folders:
            if (folder / pure).is_file():
                return (folder / pure).absolute()
        where = " or ".join(str(folder) for folder in self._folders)
        return f"resource {name!r} is not a file in {where}; put it there or mend the name{self._near(name)}"

    def _near(self, name: str) -> str:
        names = [
            path.name for folder in self._folders if folder.is_dir() for path in folder.iterdir() if path.is_file()
        ]
        hint = suggestion(name, names) if names else ""
        return f" ({hint})" if hint.startswith("did") else ""


def build_entries(
    sections: list[EntrySection], path: Place, finder: Resources, reporter: Reporter
) -> tuple[tuple[Entry, ...], dict[str, Path]]:
    """Return the entries that ``sections`` describe and the files they need; what is wrong is reported and left out."""
    taken = {section.id for section in sections if section.id is not None}
    seen: dict[str, int] = {}
    entries: list[Entry] = []
    resources: dict[str, Path] = {}
    for index, section in enumerate(sections):
        place = (*path, index)
        if section.id is not None and seen.setdefault(section.id, index) != index:
            reporter.report(
                (*place, "id"), f"{section.id!r} is already the id of entry [{seen[section.id]}]; ids are unique"
            )
        entry = _EntryBuilder(section, place, finder, resources, reporter).build()
        if entry is not None:
            entries.append(
                msgspec.structs.replace(entry, id=section.id or default_id(entry.start_time, entry.name, taken))
            )
    return tuple(entries), resources


class _EntryBuilder:
    """Turns one section into one entry, or reports why not."""

    def __init__(
        self,
        section: EntrySection,
        path: Place,
        finder: Resources,
        resources: dict[str, Path],
        reporter: Reporter,
    ) -> None:
        self._section = section
        self._path = path
        self._finder = finder
        self._resources = resources
        self._reporter = reporter
        self._failed = False

    def build(self) -> Entry | None:
        kind = self._kind()
        entry = self._entry(kind) if kind else None
        self._check_time(kind)
        if entry is None or self._failed:
            return None
        location = entry.transfer.location if entry.transfer else ""
        if "\0" in f"{entry.executable}{entry.arguments}{location}":
            self._wrong((), "a command line or path cannot hold a NUL character; take it out")
            return None
        try:
            check_entry(entry)
        except InvalidInputError as error:
            self._wrong((), str(error).removeprefix(f"entry {entry.id!r} at {entry.start_time}: "))
            return None
        return entry

    def _wrong(self, below: Place, text: str) -> None:
        self._failed = True
        self._reporter.report((*self._path, *below), text)

    def _kind(self) -> str | None:
        given = [kind for kind in KINDS if getattr(self._section, kind) not in (None, False)]  # lists too
        if len(given) == 1:
            return given[0]
        if given:
            self._wrong((), f"{' and '.join(given)} are entries of their own; give each one its own time")
        else:
            self._wrong((), f"nothing to do; give one of {', '.join(KINDS)}")
        return None

    def _check_time(self, kind: str | None) -> None:
        at = self._section.at
        if isinstance(at, str) or at == -math.inf:
            if kind not in {"pause", "resume"}:
                self._wrong(("at",), "-inf is only for pauses and resumes; use a negative number")
        elif math.isnan(at) or abs(at) > MAX_TIME:
            self._wrong(("at",), f"{at} is no time; use seconds between -{MAX_TIME:.0f} and {MAX_TIME:.0f}")
        elif at == 0 and kind not in {"pause", "resume"}:
            self._wrong(
                ("at",),
                "time 0 is the barrier between configuration and experiment; use a negative time to configure or a positive one",
            )

    def _entry(self, kind: str) -> Entry:
        section = self._section
        self._check_keys(kind)
        transfer = section.transfer
        return Entry(
            id="",
            start_time="-inf" if section.at == -math.inf else section.at,
            executable=self._executable(),
            arguments=self._arguments(),
            files=self._files(),
            transfer=None if transfer is None else self._transfer(transfer),
            pause=None if section.pause is None else Pause(None if section.pause == "forever" else section.pause),
            resume=section.resume,
            ignore_failure=section.ignore_failure,
            on_host=section.on_host,
            timeout=section.timeout,
            retries=section.retries,
            when_lost=section.when_lost,
            nonzero_fails=section.nonzero_fails,
            overwrite=section.overwrite,
        )

    def _check_keys(self, kind: str) -> None:
        """Report keys that mean nothing in an entry of this kind."""
        section = self._section
        if kind not in {"run", "script"}:
            for key in PROGRAM_KEYS:
                if getattr(section, key) and not (key == "when_lost" and section.when_lost == "continue"):
                    self._wrong((key,), f"{key} belongs to run and script, not to {kind}; take it out")
            if section.overwrite and kind != "drop":
                self._wrong(("overwrite",), f"overwrite belongs to run, script and drop, not to {kind}; take it out")

    def _executable(self) -> str | None:
        script = self._section.script
        return self._section.run if script is None else PurePosixPath(script).name

    def _arguments(self) -> str:
        args = self._section.args
        return "" if args is None else args if isinstance(args, str) else shlex.join(args)

    def _transfer(self, given: str | TransferSection) -> Transfer:
        if isinstance(given, str):
            return Transfer(location=given)
        if given.destination is not None and not Path(given.destination).is_absolute():
            self._wrong(("transfer", "destination"), f"{given.destination!r} is not absolute; name a folder from / on")
        return Transfer(location=given.location, interval=given.interval, destination=given.destination)

    def _files(self) -> tuple[EntryFile, ...]:
        section = self._section
        files: list[EntryFile | None] = []
        if section.script is not None:
            script = FileSection(resource=section.script, executable=True)
            files.append(self._file(script, ("script",)))
        for index, given in enumerate(section.files):
            file = FileSection(resource=given) if isinstance(given, str) else given
            files.append(self._file(file, ("files", index)))
        if isinstance(section.drop, FileSection):
            files.append(self._file(section.drop, ("drop",)))
        elif section.drop is not None:
            files.extend(self._file(file, ("drop", index)) for index, file in enumerate(section.drop))
        return tuple(file for file in files if file is not None)

    def _file(self, file: FileSection, below: Place) -> EntryFile | None:
        if (file.content is None) == (file.resource is None):
            self._wrong(below, "give either content or resource")
            return None
        location = file.location
        if location is None and file.resource is not None and self._section.drop is None:
            location = PurePosixPath(file.resource).name
        if not location:
            self._wrong(below, "no location; say where in the guest the file goes")
            return None
        if self._section.drop is not None and not is_absolute(location):
            self._wrong((*below, "location"), f"{location!r} is relative and nothing is run here; make it absolute")
        if file.resource is not None:
            self._use(file.resource, below if below[0] == "script" else (*below, "resource"))
        return EntryFile(location=location, content=file.content, resource=file.resource, executable=file.executable)

    def _use(self, resource: str, below: Place) -> None:
        found = self._finder.find(resource)
        if isinstance(found, Path):
            self._resources[resource] = found
        else:
            self._wrong(below, found)
