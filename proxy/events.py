"""What the proxy logs: one JSON object a line, on standard error, `event` first among equals.

Names of events are snake_case words; values are plain. The ready line is what starters wait for.
"""

import asyncio
import logging
import sys
from typing import Any, Final

import structlog
from structlog.tracebacks import ExceptionDictTransformer

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(log_level: str) -> None:
    """Once a process, before anything is logged."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Not the locals of its frames: there would be rows and passwords among them.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[log_level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def ready(*, listen: str, upstream: str, admin: str | None, workers: int, capture: bool) -> None:
    """The proxy listens. Said at any log level: starters wait for it."""
    values: dict[str, Any] = {
        "listen": listen,
        "upstream": upstream,
        "admin": admin,
        "workers": workers,
        "capture": "on" if capture else "off",
    }
    configured = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    structlog.get_logger().info("ready", **values)
    structlog.configure(wrapper_class=configured)


def say_faults(_loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
    """What asyncio could tell nobody else."""
    log = structlog.get_logger()
    log.error("loop_fault", message=about.get("message"), exc_info=about.get("exception"))
