"""What an operator asks for. Values only."""

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Selection:
    """Which changes; what is given combines with AND.

    Tag, role and table select rows; session, xids, times, restore point and application select
    whole transactions. A transaction is inside a time window when its last recorded change is:
    that is the nearest to its commit that is known.
    """

    session: str | None = None  # PID.MICROS
    tag: str | None = None
    xids: tuple[int, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    restore_point: str | None = None
    tables: tuple[str, ...] = ()
    role: str | None = None
    application: str | None = None
    undo_id: int | None = None

    @property
    def empty(self) -> bool:
        return all(getattr(self, f.name) in (None, ()) for f in fields(self))

    def words(self) -> str:
        """The selectors as people read them."""
        said = []
        for f in fields(self):
            value = getattr(self, f.name)
            if value in (None, ()):
                continue
            if isinstance(value, tuple):
                value = ", ".join(str(v) for v in value)
            elif isinstance(value, datetime):
                value = value.isoformat()
            said.append(f"{f.name.replace('_', ' ')} {value}")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """One undo, with all that decides about it."""

    selection: Selection = field(default_factory=Selection)
    policy: str = "abort"
    accept_gaps: bool = False
    trust_log: bool = False
    dry_run: bool = False
    by: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        found = asdict(self)
        for name in ("since", "until"):
            value = found["selection"][name]
            found["selection"][name] = value.isoformat() if value else None
        return found
