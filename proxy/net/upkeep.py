"""What keeps the log in order while the proxy runs: partitions made ahead, old ones dropped, on the
operator's connection, and the lock that says that a proxy serves a database."""

import asyncio
from typing import Final

import asyncpg
import structlog

from config import Settings
from proxy.net import operator
from undo import retention

_log = structlog.get_logger()

_EVERY: Final = 3600.0  # seconds
_RETRY: Final = 5.0


class Upkeep:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: asyncpg.Connection | None = None

    async def run(self) -> None:
        """Until cancelled. Where the server is away it is tried again."""
        while True:
            try:
                await self._once()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("upkeep_failed", error=str(error))
                await asyncio.sleep(_RETRY)
            else:
                await asyncio.sleep(_EVERY)

    async def _once(self) -> None:
        connection = await operator.connect(self._settings.upstream, None)
        try:
            for line in await retention.upkeep(
                connection,
                retention=self._settings.retention,
                max_log_size=self._settings.max_log_size,
            ):
                _log.info("upkeep", did=line)
        finally:
            await connection.close()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
