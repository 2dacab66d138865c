"""How vmr's programs log: for people when standard error is a terminal, one JSON object per line elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal, TextIO, TypeAlias

import structlog

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

_SHARED: Final[list[structlog.typing.Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def quiet_by_default() -> None:
    """Let vmr, used as a library by a program that does not configure structlog, print its warnings on standard error only."""
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger("warning"),
            # Looked up anew each time: a program may replace its standard error.
            logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
            cache_logger_on_first_use=False,
        )


def configure_logging(level: Level = "info", stream: TextIO | None = None) -> None:
    """Send every log record of ``level`` and above, of vmr and of the libraries it uses, to ``stream`` (standard error).

    May be called again; the last call counts.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED, processors=_rendering(for_people=target.isatty())
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )


def _rendering(*, for_people: bool) -> list[structlog.typing.Processor]:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if for_people:
        return [remove, structlog.dev.ConsoleRenderer()]
    return [remove, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
