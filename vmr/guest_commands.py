"""What a driver runs in a guest to look after files: one command each, on POSIX systems and on Windows. Pure.

On POSIX systems these are constant scripts with positional arguments, as in `vmr.spool`: no path is ever quoted into
shell text. On Windows they are built-in commands of ``cmd.exe``, which has no such thing; a path that ``cmd.exe`` would
read as more than a path is refused.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from vmr.errors import InvalidInputError

Run: TypeAlias = tuple[str, list[str]]
"""A program and its arguments."""

_MKDIR: Final = 'mkdir -p -- "$1"'
_REMOVE: Final = 'rm -f -- "$1"'
_EXECUTABLE: Final = 'chmod +x -- "$1"'
_EXISTS: Final = """\
[ -e "$1" ] && exit 0
IFS=
for path in $1; do
  [ -e "$path" ] && exit 0
done
exit 1
"""
_REMOVE_EMPTY: Final = """\
directory=$1
while [ "$directory" != / ] && [ "$directory" != . ] && rmdir -- "$directory" 2> /dev/null; do
  directory=$(dirname -- "$directory")
done
"""
_FILES: Final = """\
since=
[ $# -lt 2 ] || since=$(date -d "$2" +%s) || exit 1
list() {
  if [ -z "$since" ]; then find "$1" -type f; return; fi
  find "$1" -type f -exec sh -c '
    since=$1
    shift
    for file; do
      if [ "$(stat -c %Y -- "$file")" -gt "$since" ]; then printf "%s\\n" "$file"; fi
    done' sh "$since" {} +
}
if [ -e "$1" ]; then list "$1"; exit; fi
IFS= found=1
for path in $1; do
  [ -e "$path" ] && found=0 && list "$path"
done
exit $found
"""

_CMD: Final = "cmd.exe"
_SPECIAL: Final = re.compile(r'["%&|<>^!\r\n]')


def make_directories(path: str, *, windows: bool) -> Run:
    """Return what makes a folder with its parents. On Windows it fails when the folder is there."""
    return _cmd("mkdir", path) if windows else _sh("mkdir", _MKDIR, path)


def exists(path: str, *, windows: bool) -> Run:
    """Return what succeeds when there is a file or folder at ``path``, which may hold wildcards."""
    return _cmd("dir", "/b", "/a", path) if windows else _sh("exists", _EXISTS, path)


def remove_file(path: str, *, windows: bool) -> Run:
    """Return what removes one file; it succeeds when there is none."""
    return _cmd("del", "/f", "/q", path) if windows else _sh("remove", _REMOVE, path)


def remove_empty_directories(path: str) -> Run:
    """Return what removes a folder, then its parents, up to the first that is not empty (POSIX)."""
    return _sh("remove-empty", _REMOVE_EMPTY, path)


def remove_empty_directory(path: str) -> Run:
    """Return what removes one empty folder, and fails on any other (Windows)."""
    return _cmd("rmdir", path)


def make_executable(path: str) -> Run:
    """Return what sets a file's executable flags (POSIX; Windows has none)."""
    return _sh("executable", _EXECUTABLE, path)


def list_files(path: str, timestamp: str | None, *, windows: bool) -> Run:
    """Return what prints the files at ``path``, one a line: a file, a folder with all that is in it, or wildcards.

    With ``timestamp``, a date as the guest's ``date -d`` reads it, only files that were modified in a later second.
    Windows lists all, each time (FIREWHEEL's rule).
    """
    if windows:
        return _cmd("dir", "/s", "/b", "/a-d", path)
    return _sh("files", _FILES, path, *([] if timestamp is None else [timestamp]))


def _sh(name: str, script: str, *arguments: str) -> Run:
    return "/bin/sh", ["-c", script, f"vmr-{name}", *arguments]


def _cmd(*words: str) -> Run:
    if _SPECIAL.search(words[-1]):
        raise InvalidInputError(
            f"path {words[-1]!r}: cmd.exe would not take it for a path; use one without {_SPECIAL.pattern}"
        )
    return _CMD, ["/c", *words]
