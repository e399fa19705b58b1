"""The nouns of an undo. Values only."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

Tid = tuple[int, int]


class Outcome(StrEnum):
    DONE = "done"
    NOTHING = "nothing"  # nothing is left to undo
    PREVIEW = "preview"  # what would be done; rolled back
    CONFLICTS = "conflicts"  # nothing was changed
    GAPS = "gaps"  # nothing was changed


EXIT_CODES = {
    Outcome.DONE: 0,
    Outcome.NOTHING: 0,
    Outcome.PREVIEW: 0,
    Outcome.CONFLICTS: 3,
    Outcome.GAPS: 4,
}


class Kind(StrEnum):
    """Why an effect cannot be taken back as it is."""

    LATER_CHANGE = "later_change"  # somebody else changed the row after the selection did
    CHANGED = "changed"  # the row is not what the selection left, and the log does not say why
    MISSING = "missing"  # the row that the selection left is gone
    OCCUPIED = "occupied"  # the key of a row to restore belongs to somebody else's row now
    UNIQUE = "unique"  # another unique value of it does
    REFERENCED = "referenced"  # rows of others refer to what would be deleted
    PARENT_MISSING = "parent_missing"  # what a row to restore refers to is gone
    PRIVILEGE = "privilege"  # the recorded role may not do what the log says it did
    GONE = "relation_gone"  # the table was dropped
    SCHEMA = "schema"  # a column that the row needs was dropped
    CHECK = "check"  # a row, as it was or as it is merged, breaks a rule of its table


class Resolution(StrEnum):
    """What a policy does about a conflict."""

    STOP = "stop"  # nothing is changed at all
    DROP = "drop"  # this row stays as it is
    OVERWRITE = "overwrite"  # this row becomes what it was, whatever it is now
    MERGE = "merge"  # those of its columns that nobody has changed since become what they were
    TAKE_ALONG = "take_along"  # who is in the way is taken back, too


class Change(NamedTuple):
    """One row of the log without its images. `old` and `new` are (relation, tid)."""

    part: int  # where the log row is: oid of the partition and its tid
    place: Tid
    xid: int
    lsn: int
    relid: int
    new_relid: int  # the same as relid unless the row moved
    op: str
    old_tid: Tid | None
    new_tid: Tid | None
    key: int | None
    role: int
    stale: bool  # the image may not be exact
    selected: bool
    dead: bool  # undone, or an undo's own: it and its counterpart cancel each other out


class Move(NamedTuple):
    """A table that the selection made (CREATE), or that an undo took away (REMOVE)."""

    relid: int
    op: str
    role: int
    xid: int
    lsn: int


class Effect(NamedTuple):
    """What the selection did to one row; positions are into the list of changes."""

    members: tuple[int, ...]  # the whole chain
    changes: tuple[int, ...]  # the selected ones
    first: int  # its before-image is what the row was, unless it inserted the row
    last: int  # its after-image is what the selection left, unless it deleted the row
    tail: int  # the last change of all: says under which key the row is now
    later: int | None  # the last unselected change that follows a selected one
    torn: bool  # one of those stands between selected ones, or something unrecorded does
    broken: bool  # something unrecorded does


@dataclass(frozen=True, slots=True)
class Conflict:
    """One row that stands in the way. `before`, `ours` and `now` are images (JSON text)."""

    relation: str
    key: str | None
    kind: str
    before: str | None
    ours: str | None
    now: str | None
    xid: int | None = None  # who changed it since
    session: str | None = None
    tag: str | None = None
    at: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    xid: int
    at: datetime
    session: str | None
    tag: str | None
    role: str | None
    relation: str | None
    reason: str
    statement: str | None


@dataclass(frozen=True, slots=True)
class Open:
    """A transaction that has written and not ended; what is not known of it is None."""

    xid: int | None
    session: str | None  # PID.MICROS
    pid: int | None
    gid: str | None  # the name of a prepared transaction
    role: str | None  # that logged in, or prepared it
    application: str | None
    address: str | None
    since: datetime | None
    relations: tuple[str, ...]  # that it may have written

    def __str__(self) -> str:
        if self.gid is not None:
            said = f"prepared transaction {self.gid!r}"
        else:
            said = f"session {self.session}" if self.session else f"backend {self.pid}"
        about = [
            f"{name} {value}"
            for name, value in (
                ("transaction", self.xid),
                ("role", self.role),
                ("application", self.application),
                ("since", f"{self.since:%Y-%m-%d %H:%M:%S%z}" if self.since else None),
                ("writes", ", ".join(self.relations)),
            )
            if value
        ]
        return f"{said} ({', '.join(about)})"


@dataclass(frozen=True, slots=True)
class Along:
    """A transaction that is taken back since it was in the way of others."""

    xid: int
    at: datetime
    session: str | None
    tag: str | None


@dataclass(frozen=True, slots=True)
class Trigger:
    """Of a table that the undo writes to: a trigger, a rule, a foreign key's checks; or an event
    trigger of the database."""

    relation: str | None
    name: str
    kind: str  # trigger, rule, foreign key, event trigger
    fires: bool  # or is kept silent

    def __str__(self) -> str:
        where = f" of {self.relation}" if self.relation else ""
        silent = "checked by the undo itself" if self.kind == "foreign key" else "kept silent"
        return f"{self.kind} {self.name}{where}: {'acts' if self.fires else silent}"


@dataclass(frozen=True, slots=True)
class Lock:
    """The strongest one on a table, as pg_locks names it, and how many of its rows are locked."""

    relation: str
    mode: str
    rows: int

    def __str__(self) -> str:
        rows = f" and {self.rows} row{'' if self.rows == 1 else 's'}" if self.rows else ""
        return f"{self.relation}: {self.mode}{rows}"


@dataclass(frozen=True, slots=True)
class Untouched:
    """What the selection is likely to have touched and an undo does not: kind is sequence,
    materialized view, notify, large object or outside."""

    kind: str
    name: str | None
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}{f' {self.name}' if self.name else ''}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A sequence that was set behind the rows that are there, by the value that it gives next; or
    why it was not."""

    name: str
    was: int | None = None
    now: int | None = None
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"{self.name} stays where it is: {self.why}"
        return f"{self.name} gives {self.now} next, not {self.was}"


@dataclass(frozen=True, slots=True)
class ColumnDiff:
    """Values as text; None is NULL, or that there is no row."""

    column: str
    now: str | None
    then: str | None

    def told(self, op: str) -> str:
        now, then = _short(self.now), _short(self.then)
        return f"{self.column} " + {"insert": then, "delete": now}.get(op, f"{now} -> {then}")


@dataclass(frozen=True, slots=True)
class RowDiff:
    """One row as it is before the undo, and after it: the columns that differ."""

    relation: str
    key: str | None  # None: the table has none
    op: str  # insert, update, delete: what the undo does
    columns: tuple[ColumnDiff, ...]

    def __str__(self) -> str:
        sign = {"insert": "+", "delete": "-"}.get(self.op, "~")
        told = ", ".join(column.told(self.op) for column in self.columns)
        return f"{sign} {f'{self.key}: ' if self.key else ''}{told}"


_SHOWN = 60  # characters of a value


def _short(value: str | None) -> str:
    if value is None:
        return "NULL"
    line = " ".join(value.split())
    return f"{line[:_SHOWN]}..." if len(line) > _SHOWN else line
