"""Conditions on the log that a selection becomes, and pieces of SQL that several of them need."""

from dataclasses import dataclass, field
from typing import Any, Final

# The session that a row of the log (alias c) belongs to: a pid alone is used again.
SESSION_OF: Final = """(
    SELECT s.pid || '.' || (EXTRACT(epoch FROM s.started) * 1000000)::pg_catalog.int8
      FROM hotrollback.session s
     WHERE s.pid = c.pid AND s.started <= c.at AND (s.ended IS NULL OR s.ended >= c.at)
     ORDER BY s.started DESC LIMIT 1)"""


@dataclass(slots=True)
class Chosen:
    """Conditions on hotrollback.change and hotrollback.gap, both as alias c."""

    changes: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    args: list[Any] = field(default_factory=list)
    redo_of: int | None = None  # the undo whose own rows these are
    along: frozenset[int] = frozenset()  # transactions besides, whatever the conditions say
    cleared: tuple[str, ...] = ()  # what was run to clear away what failed half-way
    # These are what is left out: a gap that may be one of them is not, since it may be another.
    excepted: bool = False
    # Only what still stands is looked at besides: a table may have been rewritten since, so that
    # where a row was then says nothing any more.
    standing: bool = False
    # For a list: what nobody wrote is an empty one, not a mistake.
    listed: bool = False

    def given(self, value: Any) -> str:
        """The placeholder of a value."""
        self.args.append(value)
        return f"${len(self.args)}"

    def either(self, certain: str, perhaps: str) -> None:
        """Of gaps: the condition that one fits, and how else it may be that it does."""
        self.gaps.append(certain if self.excepted else f"{certain} OR {perhaps}")

    def both(self, condition: str) -> None:
        self.changes.append(condition)
        self.gaps.append(condition)

    @property
    def where(self) -> str:
        return self._all(self.changes)

    @property
    def gaps_where(self) -> str:
        return self._all(self.gaps)

    def _all(self, conditions: list[str]) -> str:
        fits = " AND ".join(f"({condition})" for condition in conditions)
        if not self.along:
            return fits
        # The bounds are for the index, which knows no lists.
        low, high = min(self.along), max(self.along)
        listed = ", ".join(map(str, sorted(self.along)))
        return f"(({fits}) OR (c.xid BETWEEN {low} AND {high} AND c.xid IN ({listed})))"


def unseen(alias: str, snapshot: str) -> str:
    """Whether a record's transaction was not visible in a snapshot (SQL of type pg_snapshot)."""
    return (
        f"{alias}.xid >= pg_catalog.pg_snapshot_xmin({snapshot})::pg_catalog.text::pg_catalog.int8"
        f" AND NOT pg_catalog.pg_visible_in_snapshot("
        f"{alias}.xid::pg_catalog.text::pg_catalog.xid8, {snapshot})"
    )


def of_session(condition: str) -> str:
    """Whether a record (c) is of a session (s) that fits."""
    return (
        "EXISTS (SELECT FROM hotrollback.session s WHERE s.pid = c.pid AND s.started <= c.at"
        f" AND (s.ended IS NULL OR s.ended >= c.at) AND {condition}"
        " AND NOT EXISTS (SELECT FROM hotrollback.session n WHERE n.pid = s.pid"
        "                    AND n.started > s.started AND n.started <= c.at))"
    )
