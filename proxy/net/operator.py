"""Connections of the operator's role: where the log is read and written, and undos run.

They never inherit anything from clients, and nothing of a role's or a database's own settings that
would change what a statement of ours means or how long it may take.
"""

from typing import Final

import asyncpg

from config import upstream
from config.upstream import without_password
from proxy.net import credentials
from proxy.net.upstream import Route, for_operator

__all__ = ["APPLICATION", "close", "connect", "without_password"]

APPLICATION: Final = "hotrollback"
CONNECT_TIMEOUT: Final = 10.0  # seconds
_CLOSE_TIMEOUT: Final = 1.0
_SETTINGS: Final = {
    "application_name": APPLICATION,
    "search_path": "",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}


async def connect(url: str, database: str | None) -> asyncpg.Connection:
    """`database` None: the one that the URL names. Raises ValueError for a URL or certificates
    that cannot be used, OSError where nobody answers, asyncpg.PostgresError for what the server
    says, and asyncpg.InterfaceError for what the driver does."""
    to = upstream.read(url)
    return await asyncpg.connect(
        host=to.host,
        port=to.port,
        user=to.user,
        password=to.password,
        database=database or to.database,
        timeout=CONNECT_TIMEOUT,
        server_settings=_SETTINGS,
        **for_operator(Route(to, credentials.for_server(to))),
    )


async def close(connection: asyncpg.Connection) -> None:
    """Also where the server has nothing more to say."""
    try:
        await connection.close(timeout=_CLOSE_TIMEOUT)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
