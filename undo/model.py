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
    CHECK = "check"  # a row that was merged breaks a rule of its table


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
