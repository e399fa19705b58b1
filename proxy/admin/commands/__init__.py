"""THE TABLE of commands: the console, the command line, HELP and docs/commands.md come from it.

A new command is a row in the module of its family.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.commands import check, fence, ignore, lifecycle, past, recycle, running, show, undo
from proxy.admin.table import TEXT, Column


async def show_help(_asked: Asked, _values: Mapping[str, Any]) -> Rows:
    return [(command.wrapped_syntax, command.help) for command in COMMANDS]


_HELP: Final = Command(
    ("SHOW", "HELP"),
    "this list",
    Permission.LOOK,
    (Column("command", TEXT, "how it is written"), Column("does", TEXT, "what it does")),
    show_help,
)

COMMANDS: Final[tuple[Command, ...]] = (
    *show.COMMANDS,
    *past.COMMANDS,
    *check.COMMANDS,
    *undo.COMMANDS,
    *running.COMMANDS,
    *recycle.COMMANDS,
    *fence.COMMANDS,
    *ignore.COMMANDS,
    *lifecycle.COMMANDS,
    _HELP,
)
