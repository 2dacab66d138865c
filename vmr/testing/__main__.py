"""Simulated guests in a process of their own, which lives on when the one that started it dies.

::

    python -m vmr.testing FOLDER NAMES_FILE [BEHAVIOUR_FILE]

NAMES_FILE is a JSON array of the guests' names, BEHAVIOUR_FILE the YAML form of `vmr.testing.Behaviour`. The file
``host.pid`` in FOLDER appears, with the process id, when every guest answers; SIGTERM ends the process and removes that
file and the sockets. `vmr.testing.socket_path` says where a guest's socket is.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from vmr.errors import InvalidInputError, VmrError
from vmr.testing.host import SimulatedHost
from vmr.testing.programs import Behaviour, load_behaviour

_PID_FILE: Final = "host.pid"


async def _serve(host: SimulatedHost, pid_file: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with host:
        gc.freeze()  # the guests stay; looking at them again and again would cost more than the rest
        _write_pid(pid_file)
        await stop.wait()


def _write_pid(pid_file: Path) -> None:
    part = pid_file.with_suffix(".part")
    part.write_text(f"{os.getpid()}\n")
    part.replace(pid_file)


def _read_names(path: Path) -> list[str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[str])
    except msgspec.MsgspecError as error:
        raise InvalidInputError(
            f"names of simulated guests {path}: {error}; a JSON array of strings is needed"
        ) from error


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    if len(arguments) not in (2, 3):
        sys.stderr.write("usage: python -m vmr.testing FOLDER NAMES_FILE [BEHAVIOUR_FILE]\n")
        return 2
    folder = Path(arguments[0])
    try:
        names = _read_names(Path(arguments[1]))
        behaviour = load_behaviour(Path(arguments[2])) if len(arguments) == 3 else Behaviour()
        folder.mkdir(parents=True, exist_ok=True)
        asyncio.run(_serve(SimulatedHost(folder, names, behaviour), folder / _PID_FILE))
    except (VmrError, OSError) as error:
        sys.stderr.write(f"simulated guests: {error}\n")
        return 1
    finally:
        (folder / _PID_FILE).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
