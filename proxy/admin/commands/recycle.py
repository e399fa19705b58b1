"""SHOW BIN, RESTORE, PURGE, PIN and UNPIN: `hotrollback bin`. What they do is undo.bin's."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.table import BOOL, INT, TEXT, TIME, Column
from undo.bin import entries as held
from undo.bin.entries import Entry
from undo.bin.purge import purge as purge_it
from undo.bin.restore import restore as restore_it


async def show(asked: Asked, values: Mapping[str, Any]) -> Rows:
    retention = asked.backend.settings().retention
    async with asked.backend.database(values.get("database")) as db:
        found = await held.entries(db)
    return [_row(entry, retention) for entry in found]


def _row(entry: Entry, retention: timedelta | None) -> tuple[Any, ...]:
    return (
        *(entry.id, entry.label, entry.kind, entry.why, entry.at, entry.xid, entry.session),
        *(entry.tag, entry.role, entry.rows, entry.bytes, entry.pinned, entry.expires(retention)),
    )


async def restore(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        done = await restore_it(
            db,
            values["entry"],
            new_name=values.get("new_name"),
            by=asked.user,
            reason=values.get("reason"),
        )
    return [
        *(("brought back", table, f"as undo {done.undo_id}") for table in done.tables),
        *(("called", now, f"{was} is another's name now") for was, now in done.renamed),
        *(("missing", what, remedy) for what, remedy in done.missing),
    ]


async def purge(asked: Asked, values: Mapping[str, Any]) -> Rows:
    age = values.get("older_than")
    dry_run = values.get("dry_run", False)
    async with asked.backend.database(values.get("database")) as db:
        before = held.size(await held.entries(db))
        done = await purge_it(
            db,
            values.get("entry"),
            older_than=None if age is None else timedelta(seconds=age),
            dry_run=dry_run,
        )
        after = held.size(await held.entries(db))
    gone = "would go" if dry_run else "gone"
    if dry_run:
        after = before - held.size(each.entry for each in done if not each.left)
    return [
        *(
            ("left" if each.left else gone, each.entry.label, each.entry.bytes, each.left or None)
            for each in done
        ),
        ("bin before", None, before, None),
        ("bin after", None, after, None),
    ]


async def pin(asked: Asked, values: Mapping[str, Any]) -> Rows:
    return await _pin(asked, values, on=True)


async def unpin(asked: Asked, values: Mapping[str, Any]) -> Rows:
    return await _pin(asked, values, on=False)


async def _pin(asked: Asked, values: Mapping[str, Any], *, on: bool) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        entry = await held.pin(db, values["entry"], on=on)
    return [(f"{entry.label} {'is pinned' if on else 'is not pinned any more'}",)]


_BIN: Final = (
    Column("id", TEXT, "tells it from others of that name: every command takes it for the name"),
    Column("name", TEXT, "as it was: schema.table, or schema.table.column of values"),
    Column("kind", TEXT, "table, or values of columns that are gone or have another type"),
    Column("why", TEXT, "dropped by a client, or the undo that took it away"),
    Column("at", TIME, "since when"),
    Column("xid", INT, "the transaction that did it, as UNDO XID takes it"),
    Column("session", TEXT, "PID.MICROS: backend and its start; null if not known"),
    Column("tag", TEXT, "the tag under which it was done"),
    Column("role", TEXT, "the role that did it; null if it was dropped since"),
    Column("rows", INT, "an estimate"),
    Column("bytes", INT, "with indexes and TOAST"),
    Column("pinned", BOOL, "whether it stays until it is named"),
    Column(
        "expires",
        TIME,
        "when the upkeep lets it go for good, as far as it is known; null: pinned, or not in sight",
    ),
)
_DONE: Final = (
    Column("state", TEXT, "brought back, called (under another name), or missing"),
    Column("what", TEXT, "the table; the index or sequence; what is not as it was"),
    Column("detail", TEXT, "more about it; of what is missing, what makes it again"),
)
_GONE: Final = (
    Column("state", TEXT, "gone, would go, or left; how big the bin was before and is after"),
    Column("name", TEXT, "as it was"),
    Column("bytes", INT, "with indexes and TOAST"),
    Column("detail", TEXT, "why it is left"),
)
_STATE: Final = (Column("state", TEXT, "what is so now"),)

COMMANDS: Final = (
    Command(
        ("SHOW", "BIN"),
        "tables that were dropped or taken away, and values of columns that are gone",
        Permission.LOOK,
        _BIN,
        show,
        (clauses.DATABASE,),
        word="bin list",
    ),
    Command(
        ("RESTORE",),
        "bring a table back from the bin, with its partitions and all that is its own; what others"
        " had to do with it is for the undo of what took it away",
        Permission.UNDO,
        _DONE,
        restore,
        (clauses.IN_BIN, clauses.AS_NAME, clauses.DATABASE, clauses.REASON),
        word="bin restore",
    ),
    Command(
        ("PURGE",),
        "let go of what is in the bin, for good and without asking: no undo brings it back then",
        Permission.UNDO,
        _GONE,
        purge,
        (clauses.IN_BIN_OR_ALL, clauses.OLDER_THAN, clauses.SHOW_ONLY, clauses.DATABASE),
        word="bin purge",
    ),
    Command(
        ("PIN",),
        "keep it in the bin: it does not expire, and a PURGE that does not name it leaves it",
        Permission.UNDO,
        _STATE,
        pin,
        (clauses.IN_BIN, clauses.DATABASE),
        word="bin pin",
    ),
    Command(
        ("UNPIN",),
        "take the pin off again",
        Permission.UNDO,
        _STATE,
        unpin,
        (clauses.IN_BIN, clauses.DATABASE),
        word="bin unpin",
    ),
)
