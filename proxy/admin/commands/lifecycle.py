"""Commands about the proxy itself: capture on and off, reload, shutdown, help."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from config import ROWS
from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.table import INT, TEXT, Column

_STATE: Final = (Column("state", TEXT, "what is so now"),)


async def capture_on(asked: Asked, _values: Mapping[str, Any]) -> Rows:
    await asked.backend.set_capture(on=True)
    return [("capture is on",)]


async def capture_off(asked: Asked, _values: Mapping[str, Any]) -> Rows:
    await asked.backend.set_capture(on=False)
    asked.warn("what is written from now on cannot be undone; transactions leave a gap record each")
    return [("capture is off",)]


async def reload(asked: Asked, _values: Mapping[str, Any]) -> Rows:
    await asked.backend.reload()
    return [("reloaded",)]


async def shutdown(asked: Asked, _values: Mapping[str, Any]) -> Rows:
    await asked.backend.shutdown()
    return [("stopping",)]


async def stats(asked: Asked, _values: Mapping[str, Any]) -> Rows:
    return sorted((await asked.backend.stats()).items())


async def config(asked: Asked, _values: Mapping[str, Any]) -> Rows:
    settings = asked.backend.settings()
    return [
        (
            row.name,
            row.show(getattr(settings, row.name)),
            row.show(row.default),
            settings.sources.get(row.name, "default"),
        )
        for row in ROWS.values()
    ]


async def show_version(_asked: Asked, _values: Mapping[str, Any]) -> Rows:
    return [(f"Hot Rollback {version('hotrollback')}",)]


COMMANDS: Final = (
    Command(
        ("SHOW", "STATS"),
        "counters of all workers since they started",
        Permission.LOOK,
        (Column("name", TEXT, "what is counted"), Column("value", INT, "how often")),
        stats,
    ),
    Command(
        ("SHOW", "CONFIG"),
        "settings and where they came from (docs/config.md)",
        Permission.LOOK,
        (
            Column("name", TEXT, "of the setting"),
            Column("value", TEXT, "as a config file would say it, without passwords"),
            Column("default", TEXT, "what it is when nobody says"),
            Column("source", TEXT, "default, or the file and line, variable or flag"),
        ),
        config,
    ),
    Command(
        ("SHOW", "VERSION"),
        "which version this is",
        Permission.LOOK,
        (Column("version", TEXT, "of the proxy"),),
        show_version,
    ),
    Command(
        ("CAPTURE", "ON"),
        "record writes again, at once, in all sessions",
        Permission.RUN,
        _STATE,
        capture_on,
    ),
    Command(
        ("CAPTURE", "OFF"),
        "record nothing more, at once, in all sessions; a transaction that writes leaves one gap",
        Permission.RUN,
        _STATE,
        capture_off,
    ),
    Command(
        ("RELOAD",),
        "read certificates and lists of secrets again, for connections from now on; if one of them"
        " cannot be used, nothing changes",
        Permission.RUN,
        _STATE,
        reload,
    ),
    Command(
        ("SHUTDOWN",),
        "stop the proxy: idle sessions at once, busy ones after the grace time",
        Permission.RUN,
        _STATE,
        shutdown,
    ),
)
