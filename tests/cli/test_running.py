"""Undos that run, seen, paused and ended from another console."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from fix_postgres import Database, install_into
from fix_proxy import Proxy, Serve

ROWS = 8
SCHEMA = f"""
CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, 0 FROM generate_series(1, {ROWS}) g;
GRANT ALL ON t TO app
"""


@pytest.fixture
def proxy(database: Database, serve: Serve) -> Proxy:
    database.psql(SCHEMA)
    install_into(database)
    return serve()


@asynccontextmanager
async def console(proxy: Proxy) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        host=str(proxy.admin), port=6433, user="ops", database="hotrollback"
    )
    try:
        yield connection
    finally:
        await connection.close()


async def until(connection: asyncpg.Connection, condition: str) -> None:
    while not await connection.fetchval(f"SELECT {condition}"):
        await asyncio.sleep(0.02)


BLOCKED = "count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_paused_and_resumed(proxy: Proxy) -> None:
    proxy.psql("UPDATE t SET v = 1", tag="bad")
    look, holder = await proxy.database.connect(), await proxy.database.connect()
    await holder.execute("BEGIN; SELECT FROM t WHERE id = 5 FOR UPDATE")
    async with console(proxy) as one, console(proxy) as other:
        undo = asyncio.ensure_future(one.fetch("UNDO TAG 'bad' BATCH 1"))
        await until(look, BLOCKED)
        (shown,) = await other.fetch("SHOW UNDO PROGRESS")
        assert (shown["by"], shown["what"], shown["state"]) == ("ops", "tag bad", "runs")
        assert (shown["done"], shown["total"]) == (3, ROWS)
        assert await other.fetch("PAUSE UNDO") == [("tag bad", "pauses before its next batch")]
        await holder.execute("ROLLBACK")
        await until(look, "count(*) = 4 FROM hotrollback.undo")
        await until(
            look,
            "query ~ 'pg_sleep' FROM pg_stat_activity WHERE application_name = 'hotrollback' AND query ~ 'pg_sleep' LIMIT 1",
        )
        assert [row["state"] for row in await other.fetch("SHOW UNDO PROGRESS")] == ["paused"]
        assert await look.fetchval("SELECT count(*) FROM t WHERE v = 0") == 4
        assert await other.fetch("RESUME UNDO") == [("tag bad", "goes on")]
        rows = await undo
        assert f"{ROWS} batches" in rows[0]["detail"]
        assert await other.fetch("SHOW UNDO PROGRESS") == []
    assert await look.fetchval("SELECT count(*) FROM t WHERE v = 0") == ROWS
    await look.close()
    await holder.close()


@pytest.mark.parametrize(("batch", "left"), [("", 0), ("BATCH 1", 3)])
async def test_cancelled_in_the_middle(proxy: Proxy, batch: str, left: int) -> None:
    proxy.psql("UPDATE t SET v = 1", tag="bad")
    look, holder = await proxy.database.connect(), await proxy.database.connect()
    await holder.execute("BEGIN; SELECT FROM t WHERE id = 5 FOR UPDATE")
    async with console(proxy) as one, console(proxy) as other:
        undo = asyncio.ensure_future(one.fetch(f"UNDO TAG 'bad' {batch}"))
        await until(look, BLOCKED)
        assert await other.fetch("CANCEL UNDO") == [("tag bad", "ended")]
        with pytest.raises(
            asyncpg.PostgresError, match="stay done" if batch else "cancelled by ops"
        ):
            await undo
        assert await look.fetchval("SELECT count(*) FROM t WHERE v = 0") == left
        await holder.execute("ROLLBACK")
        await one.fetch(f"UNDO TAG 'bad' {batch}")
    assert await look.fetchval("SELECT count(*) FROM t WHERE v = 0") == ROWS
    await look.close()
    await holder.close()
