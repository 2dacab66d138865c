"""The spool protocol: what a handler asks of a guest, and how it reads the answers. Pure: text and data, no sockets.

The guest is a spool. Every entry has a working directory, and every attempt to run it has a folder in there that can be made only
once, which is the claim::

    /var/launch/<time>/<name>/
        call_arguments.sh           runs the command; with an attempt number, runs that attempt at most once
        attempt-1/running           "<pid> <boot id> <uptime at begin>"
        attempt-1/stdout, stderr    what the program wrote, growing while it runs
        attempt-1/exit_code         the exit code; second line "<reboot asked: 0|1> <uptime at begin> <uptime at end>"
        stdout, stderr, exit_code   links to those of the latest attempt, for people

``/var/launch/.vmr/`` holds the mark of the run that the guest serves and uploads on their way to their places.

So a launch whose reply was lost can be sent again, a handler can die at any moment, and its successor reads from these files what
is running, what finished, and from which byte to go on. Nothing needs more than the stock QEMU guest agent.

Every operation is a constant shell script with positional arguments (``sh -c SCRIPT vmr-<operation> ARG…``): nothing that comes from
a schedule or a guest is ever quoted into shell text. Exceptions are the executable and the arguments of an entry, which their
author wrote for the shell (FIREWHEEL's rule: ``>`` and quotes work).
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath
from typing import Final, Literal, TypeAlias

import msgspec

from vmr.errors import DataError
from vmr.schedule import Entry

SHELL: Final = "/bin/sh"
LAUNCH_ROOT: Final = "/var/launch"
INCOMING: Final = f"{LAUNCH_ROOT}/.vmr"
CALL_SCRIPT_NAME: Final = "call_arguments.sh"
REBOOT_EXIT_CODE: Final = 10

MISSING: Final = 9
"""The exit code of a `snapshot` of a file that is not there."""

INLINE_OUTPUT: Final = 65_536
"""Bytes of each output stream that a launch hands back with its summary; the rest is read from the files."""

INLINE_TEXT: Final = 65_536
"""A text file up to this size (bytes) travels as an argument of the install operation; the kernel's limit is 128 KiB an argument."""

INSTALL_BYTES: Final = 262_144
"""Bytes of arguments of one install operation; the kernel's limit is 2 MiB."""

MKDIR: Final = 'mkdir -p -- "$@"'

INSTALL: Final = """\
umask 022
number=0 code=0
while [ $# -ge 4 ]; do
  put() {
    case $2 in *-anew) ;; *) [ -e "$3" ] && return 0 ;; esac
    parent=${3%/*}
    [ -z "$parent" ] || [ -d "$parent" ] || mkdir -p -- "$parent" || return 1
    from=$4
    if [ "$1" = text ]; then
      # A handler that was killed may have left one of these running, at the same files.
      from=$3.vmr-part.$$
      printf %s "$4" > "$from" || { rm -f -- "$from"; return 1; }
    fi
    case $2 in executable*) chmod +x -- "$from" || return 1 ;; esac
    mv -- "$from" "$3"
  }
  put "$1" "$2" "$3" "$4" || { echo "$number"; code=1; }
  number=$((number + 1))
  shift 4
done
exit $code
"""

PROBE: Final = """\
look() {
  cd -- "$1" 2> /dev/null || { echo absent; return; }
  claim=attempt-$2
  [ -d "$claim" ] || { echo absent; return; }
  if [ ! -s "$claim/exit_code" ] && [ -s "$claim/running" ]; then
    read -r pid boot rest < "$claim/running"
    now=
    [ -r /proc/sys/kernel/random/boot_id ] && read -r now < /proc/sys/kernel/random/boot_id
    if [ "$boot" = "$now" ] && [ "/proc/$pid/cwd" -ef . ]; then echo running; return; fi
  fi
  if [ -s "$claim/exit_code" ]; then
    { read -r code; read -r rest; } < "$claim/exit_code"
    echo "finished $code $rest"
  elif [ -s "$claim/running" ]; then
    echo dead
  else
    echo claimed
  fi
}
while [ $# -ge 2 ]; do
  (look "$1" "$2")
  shift 2
done
"""

KILL: Final = """\
cd -- "$1" && read -r root rest < "attempt-$2/running" && [ "/proc/$root/cwd" -ef . ] || exit 0
tree=" $root " grown=1
while [ "$grown" = 1 ]; do
  grown=0
  for stat in /proc/[0-9]*/stat; do
    read -r line < "$stat" || continue
    child=${stat#/proc/}
    child=${child%/stat}
    rest=${line##*) }
    parent=${rest#* }
    parent=${parent%% *}
    case $tree in *" $child "*) continue ;; esac
    case $tree in *" $parent "*) tree="$tree$child " grown=1 ;; esac
  done 2> /dev/null
done
for process in $tree; do
  [ "$process" = "$root" ] || kill -KILL "$process" 2> /dev/null
done
exit 0
"""

BEGIN: Final = f"""\
root={LAUNCH_ROOT} mark={INCOMING}/run old= boot=
mkdir -p -- {INCOMING} || exit 1
[ -s "$mark" ] && read -r old < "$mark"
if [ "$old" != "$1" ]; then
  aside={INCOMING}/before-$1
  for path in "$root"/*; do
    [ -e "$path" ] || continue
    mkdir -p -- "$aside" || exit 1
    # What is gone by now, another handler's beginning has set aside.
    mv -- "$path" "$aside/" || [ ! -e "$path" ] || exit 1
  done
  echo "$1" > "$mark" || exit 1
fi
[ -r /proc/sys/kernel/random/boot_id ] && read -r boot < /proc/sys/kernel/random/boot_id
echo "boot $boot"
"""

LIST: Final = """\
IFS=
for path in $1; do
  [ -e "$path" ] || continue
  find "$path" -type f -exec sh -c 'for file; do stat -c "%s %Y" -- "$file" && printf "%s\\0" "$file"; done' sh {} +
done
"""

_CALL_SCRIPT = """\
#!/bin/sh
# Written by vmr. With an attempt number it runs that attempt, once, however often it is started; without, just the command.
cd -- "${0%/*}" || exit 126
if [ $# -gt 0 ]; then
  claim=attempt-$1
  if ! mkdir "$claim" 2> /dev/null; then
    [ -d "$claim" ] || { echo "vmr refused"; exit 1; }
    echo "vmr again"
    exit 0
  fi
  boot= begin=0 end=0
  [ -r /proc/sys/kernel/random/boot_id ] && read -r boot < /proc/sys/kernel/random/boot_id
  [ -r /proc/uptime ] && read -r begin rest < /proc/uptime
  echo "$$ $boot $begin" > "$claim/running"
  [ -e reboot ] && rm -f reboot
  ln -sf "$claim/stdout" "$claim/stderr" "$claim/exit_code" . 2> /dev/null
  /bin/sh "./${0##*/}" > "$claim/stdout" 2> "$claim/stderr" < /dev/null
  code=$? asked=0
  [ -e reboot ] && asked=1
  [ -r /proc/uptime ] && read -r end rest < /proc/uptime
  printf '%s\\n%s\\n' "$code" "$asked $begin $end" > "$claim/exit_code.part"
  mv "$claim/exit_code.part" "$claim/exit_code" || exit 1
  echo "vmr finished $code $asked $begin $end"
  [ -s "$claim/stdout" ] && head -c @INLINE@ "$claim/stdout"
  [ -s "$claim/stderr" ] && head -c @INLINE@ "$claim/stderr" >&2
  exit 0
fi
"""


class Command(msgspec.Struct, frozen=True):
    """One ``guest-exec``: the path of the program, its arguments, and the files (path, bytes) to be written before."""

    path: str
    arguments: tuple[str, ...]
    uploads: tuple[tuple[str, bytes], ...] = ()


class Install(msgspec.Struct, frozen=True):
    """A file to put in place: the text itself, or the path in the guest where its bytes were uploaded.

    A target that exists is left as it is, unless ``overwrite``.
    """

    target: str
    text: str | None = None
    uploaded: str | None = None
    executable: bool = False
    overwrite: bool = False


class Finished(msgspec.Struct, frozen=True):
    """How an attempt ended, as its call script recorded it.

    Attributes:
        exit_code: 0 to 255; 128 + n when signal n ended the program.
        reboot: whether a file named ``reboot`` stands in the working directory.
        duration: seconds by the guest's uptime, to 10 ms.

    """

    exit_code: int
    reboot: bool
    duration: float


ProbeState: TypeAlias = Literal["absent", "claimed", "running", "dead"]
Probe: TypeAlias = ProbeState | Finished
"""What a probe found of an attempt: not there, just claimed, running, ended without a record (dead), or how it finished."""


class GuestFile(msgspec.Struct, frozen=True):
    """A file in a guest, as a listing says.

    Attributes:
        path: absolute path, undecodable bytes as surrogate escapes.
        size: bytes.
        modified: modification time by the guest's clock, in whole seconds since the epoch.

    """

    path: str
    size: int
    modified: int


class LaunchReply(msgspec.Struct, frozen=True):
    """What a launch said when it ended.

    Attributes:
        outcome: how the attempt ended; ``again`` when it had been claimed before; ``refused`` when it could not be claimed.
        stdout: the first `INLINE_OUTPUT` bytes of standard output; None when they are only in the attempt's file.
        stderr: likewise of standard error.

    """

    outcome: Finished | Literal["again", "refused"]
    stdout: bytes | None = b""
    stderr: bytes | None = b""


def working_directory(entry_path: str) -> str:
    """Return the working directory of the entry whose place under the launch root is ``entry_path`` (``<time>/<name>``)."""
    return f"{LAUNCH_ROOT}/{entry_path}"


def attempt_file(directory: str, attempt: int, name: str) -> str:
    """Return the path of one of an attempt's files: ``stdout``, ``stderr``, ``exit_code`` or ``running``."""
    return f"{directory}/attempt-{attempt}/{name}"


def call_script_path(directory: str) -> str:
    """Return the path of an entry's call script."""
    return f"{directory}/{CALL_SCRIPT_NAME}"


def incoming_path(name: str) -> str:
    """Return where an upload called ``name`` waits to be put in place."""
    return f"{INCOMING}/{name}"


def call_script(entry: Entry) -> str:
    """Return the text of an entry's call script. The entry must have an executable."""
    assert entry.executable is not None
    executable = entry.executable
    if any(file.location == executable for file in entry.files) and not executable.startswith("/"):
        executable = shlex.quote(f"./{executable}")
    return _CALL_SCRIPT.replace("@INLINE@", str(INLINE_OUTPUT)) + f"{executable} {entry.arguments}".rstrip(" ") + "\n"


def target_path(location: str, directory: str) -> str:
    """Return where a file of an entry goes: as given when absolute, else in the entry's working directory."""
    return location if location.startswith("/") else f"{directory}/{location}"


def unwritable(path: str) -> str:
    """Return why no file can be put at ``path``, or nothing: the guest itself says that."""
    del path
    return ""


def path_parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path that a guest named, for a copy on the host. Raises `DataError` for one that is not absolute or climbs."""
    parts = PurePosixPath(path).parts
    if not path.startswith("/") or ".." in parts or "\0" in path:
        raise DataError(f"the guest names a file {path[:300]!r}, which is no absolute plain path")
    return parts[1:]


def preparations() -> list[Command]:
    """Return the commands that prepare a guest for all others: none."""
    return []


def snapshot(path: str) -> tuple[Command, str] | None:
    """Return None: a file that a program is writing can be read as it is."""
    del path
    return None


def mkdir(*directories: str) -> Command:
    """Return the command that makes directories and their parents."""
    return _operation("mkdir", MKDIR, *directories)


def install(files: list[Install]) -> Command:
    """Return the command that puts ``files`` in place; it prints the number of each that failed, from 0, one a line."""
    arguments: list[str] = []
    for file in files:
        kind, payload = ("text", file.text) if file.text is not None else ("file", file.uploaded)
        assert payload is not None
        mode = ("executable" if file.executable else "plain") + ("-anew" if file.overwrite else "")
        arguments += [kind, mode, file.target, payload]
    return _operation("install", INSTALL, *arguments)


def launch(directory: str, attempt: int) -> Command:
    """Return the command that runs an attempt, at most once however often it is sent."""
    return Command(SHELL, (call_script_path(directory), str(attempt)))


def probe(attempts: list[tuple[str, int]]) -> Command:
    """Return the command that tells how attempts (working directory, number) stand, one line each."""
    return _operation("probe", PROBE, *(str(part) for pair in attempts for part in pair))


def kill(directory: str, attempt: int) -> Command:
    """Return the command that kills what an attempt started. Its call script lives on and records the end, with exit code 137."""
    return _operation("kill", KILL, directory, str(attempt))


def begin(run: str) -> Command:
    """Return the command with which a handler begins: it moves what an earlier run left out of the way and prints the boot's identity.

    ``run`` identifies the VM's part in one run, so that a guest that serves two runs never takes one's attempts for the other's.
    """
    return _operation("begin", BEGIN, run)


def list_files(pattern: str) -> Command:
    """Return the command that lists the files at ``pattern`` (absolute; shell wildcards; folders with all that is in them)."""
    return _operation("list", LIST, pattern)


def content(text: str) -> bytes:
    """Return the bytes of a file whose content a schedule gives as ``text``."""
    return text.encode()


def travels_as_text(data: bytes) -> bool:
    """Return whether a file's bytes can be an argument of the install operation: small, UTF-8, no NUL."""
    if len(data) > INLINE_TEXT or b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_launch(stdout: bytes, stderr: bytes) -> LaunchReply:
    """Return what a launch said; raise `DataError` when it is nothing that the call script says."""
    line, _, rest = stdout.partition(b"\n")
    words = line.split()
    if words == [b"vmr", b"again"]:
        return LaunchReply("again")
    if words == [b"vmr", b"refused"]:
        return LaunchReply("refused")
    if words[:2] == [b"vmr", b"finished"]:
        return LaunchReply(_finished(words[2:]), rest, stderr)
    raise DataError(f"the call script answered {line[:120]!r}, which is not of the spool protocol")


def parse_probe(output: bytes, count: int) -> list[Probe]:
    """Return what a probe of ``count`` attempts printed; raise `DataError` when it is not one line for each."""
    lines = output.splitlines()
    if len(lines) != count:
        raise DataError(f"a probe of {count} attempts answered {len(lines)} lines")
    return [_parse_probe_line(line) for line in lines]


def parse_begin(output: bytes) -> str:
    """Return the identity of the guest's boot, empty where it has none; raise `DataError` when ``output`` says no such thing."""
    words = output.split()
    if words[:1] != [b"boot"] or len(words) > 2:
        raise DataError(f"the guest answered {output[:120]!r} when asked for its boot")
    return words[1].decode("ascii", "replace") if len(words) == 2 else ""


def parse_failed_installs(output: bytes, count: int) -> list[int]:
    """Return the numbers of the files, of ``count``, that an install could not put in place."""
    return [int(line) for line in output.split() if line.isdigit() and int(line) < count]


def parse_list(output: bytes) -> list[GuestFile]:
    """Return the files that a listing printed; raise `DataError` when it is no listing."""
    files = []
    for record in output.split(b"\0")[:-1]:
        numbers, _, path = record.partition(b"\n")
        try:
            size, modified = (int(word) for word in numbers.split())
        except ValueError as error:
            raise DataError(f"a listing answered {record[:120]!r}, which is not of the spool protocol") from error
        files.append(GuestFile(path.decode("utf-8", "surrogateescape"), size, modified))
    return files


def parse_state(words: list[bytes]) -> ProbeState:
    """Return the state that a line of a probe names; raise `DataError` when it names none."""
    match words:
        case [b"absent"]:
            return "absent"
        case [b"claimed"]:
            return "claimed"
        case [b"running"]:
            return "running"
        case [b"dead"]:
            return "dead"
    raise DataError(f"a probe answered {b' '.join(words)[:120]!r}, which is not of the spool protocol")


def _parse_probe_line(line: bytes) -> Probe:
    words = line.split()
    return _finished(words[1:]) if words[:1] == [b"finished"] else parse_state(words)


def _finished(words: list[bytes]) -> Finished:
    try:
        code, asked, begin, end = words
        return Finished(int(code), asked == b"1", max(0.0, round(float(end) - float(begin), 3)))
    except ValueError as error:
        raise DataError(f"{b' '.join(words)[:120]!r} does not say how an attempt finished") from error


def _operation(name: str, script: str, *arguments: str) -> Command:
    return Command(SHELL, ("-c", script, f"vmr-{name}", *arguments))
