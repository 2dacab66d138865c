"""Starts handlers quickly: a process that has imported everything forks one for each line that it reads, and prints its process id.

``python -m tests.handler.forker HOME DB HOST FOLDER``
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from vmr.handler import Handler
from vmr.log import AsyncLog
from vmr.logging import configure_logging
from vmr.settings import Settings


async def _handle(settings: Settings, host: str, folder: Path) -> None:
    async with await AsyncLog.connect(settings, producer=f"handler@{host}", create=False) as log:
        await Handler(log, host, folder).run()


def main(home: str, db: str, host: str, folder: str) -> None:
    """Fork a handler per line of standard input until it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    configure_logging("warning")
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asyncio.run(_handle(Settings(home=Path(home), db=db), host, Path(folder)))
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
