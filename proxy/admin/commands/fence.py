"""FENCE, UNFENCE and SHOW FENCES. What a fence is and how it holds is undo's."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.table import TEXT, TIME, Column
from undo import fences
from undo.fences import Fence

_WORDS: Final = ("tag", "role", "application")


def fence_of(values: Mapping[str, Any]) -> Fence:
    return Fence(**{name: values[name] for name in _WORDS if name in values})


def _words(fence: Fence) -> str:
    said = zip(_WORDS, fence.given, strict=True)
    return " and ".join(f"{name} {value}" for name, value in said if value is not None)


async def fence(asked: Asked, values: Mapping[str, Any]) -> Rows:
    wanted = fence_of(values)
    async with asked.backend.database(values.get("database")) as db:
        await fences.put_up(db, wanted, by=asked.user, reason=values.get("reason"))
    return [(f"further writes of {_words(wanted)} are refused",)]


async def unfence(asked: Asked, values: Mapping[str, Any]) -> Rows:
    wanted = fence_of(values)
    async with asked.backend.database(values.get("database")) as db:
        await fences.lift(db, wanted)
    return [(f"{_words(wanted)} may write again",)]


async def show(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        rows = await fences.standing(db)
    return [[*(row[column.name] for column in _FENCES[:-1]), _until(row)] for row in rows]


def _until(row: Any) -> str:
    if not row["bound"]:
        return "it is lifted"
    return "its undo ends" if row["holds"] else "over: left behind, and holds nobody back"


_STATE: Final = (Column("state", TEXT, "what is so now"),)
_FENCES: Final = (
    Column("tag", TEXT, "whose writes under this tag are refused"),
    Column("role", TEXT, "by this role, the current one or the login's"),
    Column("application", TEXT, "with this application_name; what is given fits together"),
    Column("by", TEXT, "who set it"),
    Column("at", TIME, "when"),
    Column("reason", TEXT, "why"),
    Column("until", TEXT, "it is lifted; its undo ends; or it is over, of an undo that was killed"),
)
_WHOSE: Final = (clauses.TAG, clauses.ROLE, clauses.APPLICATION)

COMMANDS: Final = (
    Command(
        ("SHOW", "FENCES"),
        "whose writes are refused, by whom and why",
        Permission.LOOK,
        _FENCES,
        show,
        (clauses.DATABASE,),
    ),
    Command(
        ("FENCE",),
        "refuse the further writes of what the selectors fit together, as they are at each write;"
        " reads go on, and statements that run already",
        Permission.UNDO,
        _STATE,
        fence,
        (clauses.DATABASE, *_WHOSE, clauses.REASON),
    ),
    Command(
        ("UNFENCE",),
        "lift the fence that was set with these selectors",
        Permission.UNDO,
        _STATE,
        unfence,
        (clauses.DATABASE, *_WHOSE),
    ),
)
