"""What keeps logs in order while the proxy runs, on the operator's connections: partitions made
ahead, old ones dropped, and what expires in the bin; triggers of new tables; ends of sessions that
a crash left open.

It covers the database of --upstream, whose lock it holds as long as the proxy runs, and every other
database whose log is being written (their locks: bookkeeping).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import structlog

from config import Settings
from proxy.net import operator
from undo import retention
from undo.log import LOCK_SERVING

_log = structlog.get_logger()

_LOOK: Final = 2.0  # seconds between two looks at which databases there are
_EVERY: Final = 3600.0
_EVERY_IF_BOUNDED: Final = 60.0  # where a size must not be passed by much
_RETRY: Final = 10.0

_INSTALLED: Final = "SELECT pg_catalog.to_regclass('hotrollback.meta') IS NOT NULL"
_SERVING: Final = f"SELECT pg_catalog.pg_try_advisory_lock_shared({LOCK_SERVING})"
# A session that nobody ended: its backend is gone, or it is another one that has its pid.
_LEFT_OPEN: Final = """
UPDATE hotrollback.session s
   SET ended = COALESCE((SELECT min(n.started) FROM hotrollback.session n
                          WHERE n.pid = s.pid AND n.started > s.started),
                        pg_catalog.clock_timestamp())
 WHERE s.ended IS NULL
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a
                    WHERE a.pid = s.pid AND COALESCE(a.backend_start, s.started) = s.started)
"""

Serving = Callable[[], Awaitable[list[str]]]  # databases whose log is being written


class Upkeep:
    def __init__(self, settings: Settings, serving: Serving) -> None:
        self._settings = settings
        self._serving = serving
        self._connection: asyncpg.Connection | None = None
        self._locked = False
        self._due: dict[str, float] = {}
        self._warned = False
        bounded = (settings.max_log_size, settings.max_bin_size) != (None, None)
        self._every = _EVERY_IF_BOUNDED if bounded else _EVERY

    async def run(self) -> None:
        """Until cancelled. Where the server is away it is tried again."""
        while True:
            try:
                await self._look()
                self._warned = False
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not self._warned:
                    _log.warning("upkeep_failed", error=str(error) or type(error).__name__)
                self._warned = True
            await asyncio.sleep(_LOOK)

    async def _look(self) -> None:
        connection = await self._upstream()
        databases = set(await self._serving())
        own = str(await connection.fetchval("SELECT pg_catalog.current_database()"))
        if await connection.fetchval(_INSTALLED):
            databases.add(own)
            if not self._locked:
                self._locked = bool(await connection.fetchval(_SERVING))
        now = time.monotonic()
        for database in sorted(databases):
            if self._due.get(database, now) <= now:
                self._due[database] = now + _RETRY
                if database == own:
                    await self._once(connection, database)
                else:
                    await self._visit(database)
                self._due[database] = now + self._every

    async def _upstream(self) -> asyncpg.Connection:
        connection = self._connection
        if connection is None or connection.is_closed():
            self._locked = False
            connection = await operator.connect(self._settings.upstream, None)
            self._connection = connection
        return connection

    async def _visit(self, database: str) -> None:
        connection = await operator.connect(self._settings.upstream, database)
        try:
            await self._once(connection, database)
        finally:
            await operator.close(connection)

    async def _once(self, connection: asyncpg.Connection, database: str) -> None:
        for line in await retention.upkeep(
            connection,
            retention=self._settings.retention,
            max_log_size=self._settings.max_log_size,
            max_bin_size=self._settings.max_bin_size,
        ):
            _log.info("upkeep", database=database, did=line)
        await connection.execute(_LEFT_OPEN)

    async def close(self) -> None:
        if self._connection is not None:
            await operator.close(self._connection)
