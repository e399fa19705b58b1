"""Undos that run in this proxy: how far they are, and whether they are to pause or to end."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from undo.errors import UndoError

_LOOK_AGAIN: Final = 0.1  # seconds, of what is paused or has not begun


class Cancelled(UndoError):
    """it was cancelled by {}"""

    sqlstate = "57014"


@dataclass(slots=True)
class Speed:
    """Of the stage that counts: rows a second, and the seconds that are left at that."""

    stage: str = ""
    begun: float = 0.0
    first: int = 0

    def of(self, stage: str, done: int, total: int) -> tuple[int, int] | None:
        """None as long as nothing can be said."""
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.begun, self.first = stage, now, done
        if done <= self.first or now <= self.begun:
            return None
        rate = (done - self.first) / (now - self.begun)
        return round(rate), round((total - done) / rate)


@dataclass(slots=True, eq=False)
class Running:
    by: str
    what: str
    database: str | None  # None: the one that the upstream names
    since: datetime
    splits: bool  # in batches: it can pause
    pid: int | None = None  # of the server, for its connection; before it has one, None
    stage: str = ""
    done: int = 0
    total: int = 0
    speed: tuple[int, int] | None = None
    paused: bool = False
    cancelled_by: str = ""
    _speed: Speed = field(default_factory=Speed)

    @property
    def state(self) -> str:
        if self.cancelled_by:
            return "ends"
        return "paused" if self.paused else "runs"

    def tell(self, stage: str, done: int, total: int) -> None:
        """Raises Cancelled."""
        self.stage, self.done, self.total = stage, done, total
        self.speed = self._speed.of(stage, done, total)
        self.end()

    def end(self) -> None:
        """Raises Cancelled if it is to."""
        if self.cancelled_by:
            raise Cancelled(self.cancelled_by)

    async def until(self, due: datetime) -> None:
        """Raises Cancelled."""
        while (left := (due - datetime.now(UTC)).total_seconds()) > 0:
            self.tell(f"waits until {due:%Y-%m-%d %H:%M:%S} UTC", 0, 0)
            await asyncio.sleep(min(left, _LOOK_AGAIN))

    async def between(self, db: Any) -> None:
        """Two batches. Raises Cancelled."""
        self.end()
        while self.paused:
            await db.fetchval("SELECT pg_catalog.pg_sleep($1)", _LOOK_AGAIN)
            self.end()
