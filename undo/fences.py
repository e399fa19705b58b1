"""Fences: whose further writes the server refuses, until the fence is lifted.

They stand in the database, so that they hold for everybody who writes there, by whatever way, and
survive whoever set them. How they hold is said in 0010_fences.sql. Not: taking back what was
written before (engine).
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from undo.database import Database
from undo.errors import AlreadyFenced, NotFenced, NothingToFence, UnknownRole
from undo.log import LOCK_FENCE
from undo.origin import check_installed


@dataclass(frozen=True, slots=True)
class Fence:
    """Whose writes: what is given fits together. Role: the current or the login's."""

    tag: str | None = None
    role: str | None = None
    application: str | None = None

    @property
    def empty(self) -> bool:
        return self == Fence()

    @property
    def given(self) -> tuple[str | None, str | None, str | None]:
        return self.tag, self.role, self.application


_SAME: Final = """
    tag IS NOT DISTINCT FROM $1 AND role IS NOT DISTINCT FROM $2
    AND application IS NOT DISTINCT FROM $3
"""
# What a crash has left behind holds nobody back.
_LEFT_BEHIND: Final = "bound AND NOT hotrollback.fence_holds_v1(id::pg_catalog.oid)"


async def put_up(db: Database, fence: Fence, *, by: str, reason: str | None = None) -> None:
    """From its commit on. Raises NothingToFence, AlreadyFenced, UnknownRole, NotInstalled."""
    await _check(db, fence)
    async with db.transaction():
        await _lock(db)
        row = await db.fetchrow(
            f"SELECT by, at FROM hotrollback.fence WHERE {_SAME} AND NOT bound", *fence.given
        )
        if row is not None:
            raise AlreadyFenced(row["by"], f"{row['at']:%Y-%m-%d %H:%M:%S%z}")
        await _insert(db, fence, by, reason, bound=False)


async def lift(db: Database, fence: Fence) -> None:
    """Raises NotFenced, NothingToFence, NotInstalled."""
    await _check(db, fence)
    async with db.transaction():
        await _lock(db)
        gone = await db.fetch(
            f"DELETE FROM hotrollback.fence WHERE {_SAME} RETURNING id", *fence.given
        )
        if not gone:
            raise NotFenced
        await db.execute("SELECT hotrollback.set_fences_v1()")
    await _settle(db)


async def standing(db: Database) -> Sequence[Any]:
    """All, the oldest first: tag, role, application, by, at, reason, bound, holds."""
    await check_installed(db, "fence")
    return await db.fetch(
        "SELECT tag, role, application, by, at, reason, bound,"
        f"      NOT ({_LEFT_BEHIND}) AS holds FROM hotrollback.fence ORDER BY id"
    )


@contextlib.asynccontextmanager
async def fenced(db: Database, fence: Fence, *, by: str, reason: str | None) -> AsyncIterator[None]:
    """A fence that goes when this ends, or with the connection. Raises what put_up does, but for
    AlreadyFenced."""
    await _check(db, fence)
    async with db.transaction():
        await _lock(db)
        number = await _insert(db, fence, by, reason, bound=True)
    try:
        yield
    except BaseException:
        # Where that cannot be done any more, the connection's end does it.
        with contextlib.suppress(Exception):
            await _take_down(db, number)
        raise
    else:
        await _take_down(db, number)


async def _check(db: Database, fence: Fence) -> None:
    if fence.empty:
        raise NothingToFence
    await check_installed(db, "fence")
    if fence.role is not None and not await db.fetchval(
        "SELECT true FROM pg_catalog.pg_roles WHERE rolname = $1", fence.role
    ):
        raise UnknownRole(fence.role)


async def _lock(db: Database) -> None:
    """Writers look at the table's size, which this lock lets them."""
    await db.execute("LOCK TABLE hotrollback.fence IN SHARE ROW EXCLUSIVE MODE")
    await db.execute(f"DELETE FROM hotrollback.fence WHERE {_LEFT_BEHIND}")


async def _insert(db: Database, fence: Fence, by: str, reason: str | None, *, bound: bool) -> int:
    number: int = await db.fetchval(
        "INSERT INTO hotrollback.fence (tag, role, application, by, reason, bound)"
        " VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        *(*fence.given, by, reason, bound),
    )
    if bound:
        await db.execute(f"SELECT pg_catalog.pg_advisory_lock({LOCK_FENCE}, {number})")
    await db.execute("SELECT hotrollback.set_fences_v1()")
    return number


async def _take_down(db: Database, number: int) -> None:
    async with db.transaction():
        await _lock(db)
        await db.execute("DELETE FROM hotrollback.fence WHERE id = $1", number)
        await db.execute("SELECT hotrollback.set_fences_v1()")
    await db.execute(f"SELECT pg_catalog.pg_advisory_unlock({LOCK_FENCE}, {number})")
    await _settle(db)


async def _settle(db: Database) -> None:
    """When the last one has gone, and that is committed, nobody needs to look any more."""
    async with db.transaction():
        await _lock(db)
        await db.execute(
            "SELECT pg_catalog.setval('hotrollback.fences', 1, false)"
            " WHERE NOT EXISTS (SELECT FROM hotrollback.fence)"
        )
