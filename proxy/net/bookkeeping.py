"""What a worker writes down on the operator's own connection: sessions, texts of statements, gaps
that no transaction of a client could hold. Gathered and written in batches, never waited for by a
client; `flush` waits until all that was gathered is there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog

from proxy.session.session import Session

_log = structlog.get_logger()

_INTERVAL: Final = 0.1  # seconds between two batches
_STATEMENTS: Final = (
    "INSERT INTO hotrollback.statement (fingerprint, text) VALUES ($1, $2) ON CONFLICT DO NOTHING"
)
_SESSIONS: Final = (
    "INSERT INTO hotrollback.session"
    " (pid, started, role, application_name, client_addr, proxy) VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (pid, started) DO NOTHING"
)
_ENDS: Final = "UPDATE hotrollback.session SET ended = $3 WHERE pid = $1 AND started = $2"
_GAPS: Final = (
    "INSERT INTO hotrollback.gap (pid, fingerprint, relid, reason) VALUES ($1, $2, $3, $4)"
)
_INSTALLED: Final = "SELECT pg_catalog.to_regclass('hotrollback.change') IS NOT NULL"

Connecting = Callable[[str], Awaitable[asyncpg.Connection]]  # by database


@dataclass(slots=True, eq=False)
class Book:
    """What is to be written into one database."""

    statements: dict[int, str] = field(default_factory=dict)
    sessions: list[tuple[object, ...]] = field(default_factory=list)
    ends: list[tuple[object, ...]] = field(default_factory=list)
    gaps: list[tuple[object, ...]] = field(default_factory=list)
    written: set[int] = field(default_factory=set)  # fingerprints
    connection: asyncpg.Connection | None = None
    warned: bool = False

    def empty(self) -> bool:
        return not (self.statements or self.sessions or self.ends or self.gaps)


def moment(micros: int) -> datetime:
    """Microseconds since 1970, as the log keeps a backend's start."""
    seconds, rest = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


class Bookkeeping:
    def __init__(self, connecting: Connecting, proxy: str) -> None:
        self._connecting = connecting
        self._proxy = proxy
        self._books: dict[str, Book] = {}
        self._lock = asyncio.Lock()

    def _book(self, database: str) -> Book:
        book = self._books.get(database)
        if book is None:
            book = self._books[database] = Book()
        return book

    def statement(self, database: str, fingerprint: int, text: bytes) -> None:
        book = self._book(database)
        if fingerprint not in book.written:
            book.statements[fingerprint] = text.decode("utf-8", "replace").replace("\0", "")

    def began(self, session: Session, address: str) -> None:
        identity, login = session.identity, session.login
        if identity is None or not identity.installed:
            return
        row = (login.pid, moment(identity.started), login.user, login.application_name, address)
        self._book(login.database).sessions.append((*row, self._proxy))

    def ended(self, session: Session, started: int) -> None:
        now = datetime.now(UTC)
        self._book(session.login.database).ends.append((session.login.pid, moment(started), now))

    def gap(self, session: Session, fingerprint: int, relid: int | None, reason: str) -> None:
        row = (session.login.pid, fingerprint, relid, reason)
        self._book(session.login.database).gaps.append(row)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.flush()

    async def flush(self) -> None:
        async with self._lock:
            for database, book in self._books.items():
                if not book.empty():
                    await self._write(database, book)

    async def _write(self, database: str, book: Book) -> None:
        statements, book.statements = book.statements, {}
        sessions, book.sessions = book.sessions, []
        ends, book.ends = book.ends, []
        gaps, book.gaps = book.gaps, []
        try:
            if book.connection is None or book.connection.is_closed():
                book.connection = await self._connecting(database)
            connection = book.connection
            if not await connection.fetchval(_INSTALLED):
                return
            await connection.executemany(_SESSIONS, sessions)
            await connection.executemany(_STATEMENTS, list(statements.items()))
            await connection.executemany(_GAPS, gaps)
            await connection.executemany(_ENDS, ends)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Sessions and gaps are kept for the next try; texts come again with their statements.
            book.sessions[:0], book.gaps[:0], book.ends[:0] = sessions, gaps, ends
            if not book.warned:
                _log.warning("bookkeeping_failed", database=database, error=str(error))
            book.warned = True
            return
        book.written.update(statements)
        book.warned = False

    async def close(self) -> None:
        await self.flush()
        for book in self._books.values():
            if book.connection is not None and not book.connection.is_closed():
                await book.connection.close()
