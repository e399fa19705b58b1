"""What undo needs of a database connection. An asyncpg.Connection satisfies it.

Not: sockets, drivers, where a connection comes from.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from undo.log import LOCK_UNDO


class Row(Protocol):
    """A row of a result: by position, by name, and as pairs for dict()."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __len__(self) -> int: ...
    def keys(self) -> Iterable[str]: ...
    def values(self) -> Iterable[Any]: ...


class Database(Protocol):
    """One connection, used by one task at a time. Errors are the driver's, with `sqlstate`."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Any]: ...
    async def fetchrow(self, query: str, *args: Any) -> Any: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None: ...
    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[Sequence[Any]],
        columns: Sequence[str] | None = None,
        schema_name: str | None = None,
    ) -> str: ...
    def transaction(
        self,
        *,
        isolation: Any = None,
        readonly: bool = False,
        deferrable: bool = False,
    ) -> AbstractAsyncContextManager[Any]: ...


Record = Mapping[str, Any]


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE that a driver's error carries; None if it is not the server's."""
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


async def set_all(db: Database, settings: Iterable[tuple[str, str]], *, local: bool) -> None:
    """Settings of the session; `local` ones are gone when the transaction ends."""
    names, values = zip(*settings, strict=True)
    await db.execute(
        "SELECT pg_catalog.set_config(s.name, s.value, $3)"
        "  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),"
        "                  pg_catalog.unnest($2::pg_catalog.text[])) AS s(name, value)",
        names,
        values,
        local,
    )


async def lock_undo(db: Database) -> None:
    """Until the transaction ends no undo is at work but this one, and nothing else comes or goes in
    the bin."""
    key: Any = LOCK_UNDO
    await db.execute(f"SELECT pg_catalog.pg_advisory_xact_lock({key})")
