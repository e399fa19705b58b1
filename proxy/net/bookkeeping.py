"""What a worker writes down on the operator's own connection: sessions, texts of statements, gaps
that no transaction of a client could hold. Gathered and written in batches, never waited for by a
client; `flush` waits until all that was gathered is there.

The same connection holds the lock that says that a proxy serves the database. It is there as long
as a session of the database may write, and not much longer: an idle one would be in the way of
DROP DATABASE.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import structlog

from proxy.net import operator
from proxy.session.session import Session
from undo.errors import ForeignLog
from undo.log import LOCK_SERVING
from undo.origin import check_origin

_log = structlog.get_logger()

_INTERVAL: Final = 0.1  # seconds between two batches
_RETRY: Final = 1.0  # after a failure; also until a backend is looked at again that had not ended
_LINGER: Final = 2.0  # the server lets DROP DATABASE wait five seconds for others to go
# More than this is not kept while the server cannot be reached.
_MOST: Final = 100_000
_MOST_TEXT: Final = 100_000  # characters of one statement

_SESSIONS: Final = (
    "INSERT INTO hotrollback.session"
    " (pid, started, role, application_name, client_addr, proxy) VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (pid, started) DO NOTHING"
)
_STATEMENTS: Final = (
    "INSERT INTO hotrollback.statement (fingerprint, text) VALUES ($1, $2) ON CONFLICT DO NOTHING"
)
_GAPS: Final = """
INSERT INTO hotrollback.gap (pid, role, login, fingerprint, relid, reason, apart)
VALUES ($1, $2, COALESCE((SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = $3), $2),
        $4, $5, $6, true)
"""
# A client may be gone while its last statement still runs: a session ends with its backend. A role
# that may not see when a backend started takes it for the same one.
_ALIVE: Final = """
SELECT e.pid, e.started
  FROM unnest($1::pg_catalog.int4[], $2::pg_catalog.timestamptz[]) AS e(pid, started)
  JOIN pg_catalog.pg_stat_activity a
    ON a.pid = e.pid AND COALESCE(a.backend_start, e.started) = e.started
"""
_ENDS: Final = (
    "UPDATE hotrollback.session SET ended = pg_catalog.clock_timestamp()"
    " WHERE pid = $1 AND started = $2"
)
_INSTALLED: Final = "SELECT pg_catalog.to_regclass('hotrollback.change') IS NOT NULL"
_SERVING: Final = f"SELECT pg_catalog.pg_try_advisory_lock_shared({LOCK_SERVING})"

Connecting = Callable[[str], Awaitable[asyncpg.Connection]]  # by database
Started = tuple[int, datetime]  # a session: pid and start of its backend


@dataclass(slots=True, eq=False)
class Book:
    """What is to be written into one database."""

    statements: dict[int, str] = field(default_factory=dict)
    sessions: list[tuple[Any, ...]] = field(default_factory=list)
    ends: list[Started] = field(default_factory=list)
    gaps: list[tuple[Any, ...]] = field(default_factory=list)
    written: set[int] = field(default_factory=set)  # fingerprints
    live: int = 0  # sessions that may write
    connection: asyncpg.Connection | None = None
    due: float = 0.0  # not before this
    needed: float = 0.0  # the last time
    warned: bool = False

    @property
    def empty(self) -> bool:
        return not (self.statements or self.sessions or self.ends or self.gaps)

    @property
    def connected(self) -> bool:
        return self.connection is not None and not self.connection.is_closed()

    def bound(self, database: str) -> None:
        """While nothing can be written, what comes last is kept."""
        for name in ("sessions", "ends", "gaps"):
            kept = getattr(self, name)
            if len(kept) > _MOST:
                _log.error("bookkeeping_dropped", database=database, what=name)
                del kept[: _MOST // 2]
        if len(self.statements) > _MOST:
            self.statements.clear()
        if len(self.written) > _MOST:
            self.written.clear()


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
        # Told when nothing is known any more of whether a database has the log.
        self.left: Callable[[str], None] = lambda _database: None

    def _book(self, database: str) -> Book:
        book = self._books.get(database)
        if book is None:
            book = self._books[database] = Book()
        return book

    # -- what sessions tell --------------------------------------------------------------------

    def statement(self, database: str, fingerprint: int, text: bytes) -> None:
        book = self._book(database)
        if fingerprint not in book.written and fingerprint not in book.statements:
            shown = text[: 4 * _MOST_TEXT].decode("utf-8", "replace").replace("\0", "")
            book.statements[fingerprint] = shown[:_MOST_TEXT]

    def began(self, session: Session, address: str) -> None:
        identity, login = session.identity, session.login
        if identity is None or not identity.installed:
            return
        row = (login.pid, moment(identity.started), login.user, login.application_name, address)
        book = self._book(login.database)
        book.sessions.append((*row, self._proxy))
        book.live += 1

    def ended(self, session: Session, started: int) -> None:
        book = self._book(session.login.database)
        book.ends.append((session.login.pid, moment(started)))
        book.live -= 1

    def gap(self, session: Session, fingerprint: int, relid: int | None, reason: str) -> None:
        login, identity = session.login, session.identity
        role = identity.role if identity is not None else 0
        row = (login.pid, role, login.user, fingerprint, relid, reason)
        self._book(login.database).gaps.append(row)

    def serving(self) -> list[str]:
        """Databases whose log is written now."""
        return [database for database, book in self._books.items() if book.live]

    # -- writing -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            async with self._lock:
                now = time.monotonic()
                for database, book in list(self._books.items()):
                    if book.due <= now:
                        await self._look_after(database, book, now)

    async def _look_after(self, database: str, book: Book, now: float) -> None:
        if not book.empty or (book.live and not book.connected):
            await self._write(database, book)
        if book.live or not book.empty:
            book.needed = now
        elif now - book.needed > _LINGER:
            await self._forget(database, book)

    async def _forget(self, database: str, book: Book) -> None:
        self._books.pop(database, None)
        self.left(database)
        if book.connection is not None:
            await operator.close(book.connection)

    async def flush(self) -> None:
        async with self._lock:
            for database, book in list(self._books.items()):
                if not book.empty:
                    await self._write(database, book)

    async def _write(self, database: str, book: Book) -> None:
        book.due = 0.0
        sessions, book.sessions = book.sessions, []
        statements, book.statements = book.statements, {}
        gaps, book.gaps = book.gaps, []
        ends, book.ends = book.ends, []
        try:
            connection = await self._connection(database, book)
            if connection is None:
                return
            if sessions:
                await connection.executemany(_SESSIONS, sessions)
                sessions = []
            if gaps:
                await connection.executemany(_GAPS, gaps)
                gaps = []
            if statements:
                await _keep_texts(connection, statements)
                book.written.update(statements)
            if ends:
                ends = await _end(connection, ends)
                book.due = time.monotonic() + (_RETRY if ends else 0)
            book.warned = False
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not book.warned:
                _log.warning("bookkeeping_failed", database=database, error=_told(error))
            book.warned = True
            book.due = time.monotonic() + _RETRY
        finally:
            # Texts come again with their statements; the rest is kept for the next time.
            book.sessions[:0], book.gaps[:0], book.ends[:0] = sessions, gaps, ends
            book.bound(database)

    async def _connection(self, database: str, book: Book) -> asyncpg.Connection | None:
        """One that holds the lock; None if the log is not there (any more)."""
        if book.connection is not None and not book.connection.is_closed():
            return book.connection
        connection = await self._connecting(database)
        try:
            installed = await connection.fetchval(_INSTALLED)
            locked = installed and await connection.fetchval(_SERVING)
        except BaseException:
            await operator.close(connection)
            raise
        if locked:
            await _look_at_origin(connection, database)
            book.connection = connection
            return connection
        await operator.close(connection)
        if installed:
            raise BlockingIOError("the log is being taken out of this database")
        self.left(database)
        return None

    async def close(self, patience: float) -> None:
        """`patience`: seconds for the last batch."""
        try:
            async with asyncio.timeout(patience):
                await self.flush()
        except TimeoutError:
            _log.error("bookkeeping_dropped", reason="the server does not answer")
        held = [book.connection for book in self._books.values() if book.connection is not None]
        await asyncio.gather(*map(operator.close, held))


async def _look_at_origin(connection: asyncpg.Connection, database: str) -> None:
    """A log that came along with a dump or a template is written, and cannot be undone."""
    try:
        await check_origin(connection)
    except ForeignLog as error:
        _log.warning("log_of_another_database", database=database, hint=str(error))


async def _end(connection: asyncpg.Connection, ends: list[Started]) -> list[Started]:
    """Write down that sessions have ended; those whose backend has not, yet."""
    pids, starts = [pid for pid, _ in ends], [started for _, started in ends]
    alive = {(row["pid"], row["started"]) for row in await connection.fetch(_ALIVE, pids, starts)}
    over = [end for end in ends if end not in alive]
    await connection.executemany(_ENDS, over)
    return [end for end in ends if end in alive]


async def _keep_texts(connection: asyncpg.Connection, texts: dict[int, str]) -> None:
    """In one order everywhere, so that two proxies never wait for each other. A text that the
    database's encoding does not have is kept as far as it has it."""
    rows = sorted(texts.items())
    try:
        await connection.executemany(_STATEMENTS, rows)
    except asyncpg.DataError:
        plain = [(key, text.encode("ascii", "replace").decode()) for key, text in rows]
        await connection.executemany(_STATEMENTS, plain)


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
