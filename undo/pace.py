"""How fast batches follow one another: so many rows a second, and no standby far behind."""

from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from undo.database import Database
from undo.errors import LagUnknown

_LOOK_AGAIN: Final = 0.1  # seconds

# A standby whose replay stands still reports what it measured last, or nothing: so what was written
# long enough ago must have arrived, too.
_BEHIND: Final = """
SELECT pg_catalog.bool_or(r.state IS NULL) AS hidden,
       pg_catalog.bool_or(EXTRACT(epoch FROM r.replay_lag) > $1::pg_catalog.float8
                          OR r.replay_lsn < $2::pg_catalog.text::pg_catalog.pg_lsn) AS behind
  FROM pg_catalog.pg_stat_replication r
"""


@dataclass(slots=True)
class Pace:
    rate: int | None  # rows per second
    max_lag: float | None  # seconds
    begun: float = field(default_factory=monotonic)
    written: list[tuple[float, str]] = field(default_factory=list)  # when, and up to which LSN

    def begin(self) -> None:
        """A batch: what was paused before is not caught up with."""
        self.begun = monotonic()

    async def keep(self, db: Database, rows: int) -> None:
        """After a batch of so many rows, outside of transactions. Raises LagUnknown."""
        if self.rate is not None:
            ahead = rows / self.rate - (monotonic() - self.begun)
            if ahead > 0:
                await db.fetchval("SELECT pg_catalog.pg_sleep($1)", ahead)
        if self.max_lag is not None:
            end = await db.fetchval(
                "SELECT pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text"
            )
            self.written.append((monotonic(), end))
            while await self._behind(db, self.max_lag):
                await db.fetchval("SELECT pg_catalog.pg_sleep($1)", _LOOK_AGAIN)

    async def _behind(self, db: Database, most: float) -> bool:
        due = [mark for mark in self.written if mark[0] <= monotonic() - most]
        row = await db.fetchrow(_BEHIND, most, due[-1][1] if due else None)
        if row["hidden"]:
            raise LagUnknown
        if row["behind"]:
            return True
        del self.written[: len(due)]
        return False
