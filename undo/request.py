"""What an operator asks for. Values only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final

# A key's values as text, each with its column or, where they are in the key's own order, with "".
Key = tuple[tuple[str, str], ...]

_TIMES: Final = ("since", "until")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which changes; what is given combines with AND, and what is excepted with AND NOT.

    Tag, role, table, key and statement select rows; session, xids, times, restore point,
    application and address select whole transactions. A transaction is inside a time window when it
    committed there, where the server kept that (track_commit_timestamp); otherwise when its last
    recorded change is: that is the nearest to its commit that is known.
    """

    session: str | None = None  # PID.MICROS
    tag: str | None = None
    xids: tuple[int, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    restore_point: str | None = None
    tables: tuple[str, ...] = ()
    key: Key = ()  # of one row of the one table
    role: str | None = None
    application: str | None = None
    address: str | None = None  # an address, or a network as CIDR has it
    statement: str | None = None  # in it, or a pattern for LIKE
    fingerprints: tuple[int, ...] = ()
    except_tags: tuple[str, ...] = ()
    except_sessions: tuple[str, ...] = ()
    except_xids: tuple[int, ...] = ()
    except_tables: tuple[str, ...] = ()
    except_roles: tuple[str, ...] = ()
    except_applications: tuple[str, ...] = ()
    undo_id: int | None = None

    @property
    def empty(self) -> bool:
        """Nothing but exceptions is empty, too: the rest would be everything."""
        names = (f.name for f in fields(self) if not f.name.startswith("except_"))
        return all(getattr(self, name) in (None, ()) for name in names)

    def words(self) -> str:
        """The selectors as people read them."""
        said = []
        for f in fields(self):
            value = getattr(self, f.name)
            if value in (None, ()):
                continue
            if f.name == "key":
                value = key_words(value)
            elif isinstance(value, tuple):
                value = ", ".join(str(v) for v in value)
            elif isinstance(value, datetime):
                value = value.isoformat()
            said.append(f"{f.name.replace('_', ' ')} {value}")
        return ", ".join(said)

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> "Selection":
        """From UndoRequest.as_dict's JSON, as far as this version knows what is in it."""
        given: dict[str, Any] = {}
        for f in fields(cls):
            value = found.get(f.name)
            if value is None:
                continue
            if f.name == "key":
                value = tuple((str(column), str(text)) for column, text in value)
            elif isinstance(value, list):
                value = tuple(value)
            elif f.name in _TIMES:
                value = datetime.fromisoformat(value)
            given[f.name] = value
        return cls(**given)


def key_words(key: Key) -> str:
    return ", ".join(f"{column} = {text}" if column else text for column, text in key)


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """One undo, with all that decides about it."""

    selection: Selection = field(default_factory=Selection)
    policy: str = "abort"
    policies: tuple[tuple[str, str], ...] = ()  # of single tables
    ignore: tuple[str, ...] = ()  # table.column: whoever changes it is in nobody's way
    accept_gaps: bool = False
    trust_log: bool = False
    dry_run: bool = False
    batch: int | None = None  # rows of one transaction; None: all of them
    rate: int | None = None  # rows per second, on an average; for batches
    max_lag: float | None = None  # seconds that standbys may lag; for batches
    lock_timeout: float | None = None  # seconds; tried again a few times
    sequences: bool = False  # set behind the rows that are left
    by: str = ""
    reason: str | None = None
    diff: bool = False  # report each row as it is and as it was
    plan: str | None = None  # the digest of a preview: this and nothing else is to be done

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        found = asdict(self)
        for name in _TIMES:
            value = found["selection"][name]
            found["selection"][name] = value.isoformat() if value else None
        return found
