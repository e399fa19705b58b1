"""What an undo did, would do, or why it did nothing."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from undo.model import (
    EXIT_CODES,
    Along,
    Conflict,
    Fitted,
    Gap,
    Lock,
    Open,
    Outcome,
    RowDiff,
    Trigger,
    Untouched,
)


@dataclass(frozen=True, slots=True)
class TableReport:
    """Rows that the undo wrote: inserts are rows that were restored, deletes rows taken away."""

    relation: str
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    skipped: int = 0
    moved: str = ""  # the whole table: taken away or brought back


@dataclass(frozen=True, slots=True)
class Report:
    outcome: Outcome
    undo_id: int | None = None
    xid: int | None = None
    selected_transactions: int = 0
    tables: tuple[TableReport, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    gaps: tuple[Gap, ...] = ()
    along: tuple[Along, ...] = ()
    statements: tuple[str, ...] = ()
    open: tuple[Open, ...] = ()  # that may belong to the selection, and were left
    untouched: tuple[Untouched, ...] = ()
    sequences: tuple[Fitted, ...] = ()  # that were set, where that was asked for
    triggers: tuple[Trigger, ...] = ()  # in a preview, as are the locks
    locks: tuple[Lock, ...] = ()
    seconds: float = 0.0  # that all of it took, without the commit
    diff: tuple[RowDiff, ...] = ()
    batches: int = 0  # transactions that it took; 0: it was not split
    digest: str | None = None  # of what a preview would do: UndoRequest.plan
    message: str = ""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, with instants as ISO 8601 text."""
        found: dict[str, Any] = _plain(asdict(self))
        found["outcome"] = str(self.outcome)
        found["exit_code"] = self.exit_code
        return found

    def with_message(self, message: str) -> "Report":
        return replace(self, message=message)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value
