"""Undos that run, seen, paused and ended from another console."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

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


@pytest.mark.parametrize("command", ["PAUSE UNDO", "RESUME UNDO", "CANCEL UNDO"])
async def test_none_is_said(proxy: Proxy, command: str) -> None:
    told: list[str] = []
    async with console(proxy) as one:
        one.add_log_listener(lambda _connection, notice: told.append(notice.message))
        assert await one.fetch(command) == []
    assert told == ["there is none: SHOW UNDO PROGRESS lists those that run in this proxy"]


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


async def progress(connection: asyncpg.Connection, field: str) -> str:
    """Of the one undo that runs, or is going to."""
    while not (found := await connection.fetch("SHOW UNDO PROGRESS")):
        await asyncio.sleep(0.02)
    return found[0][field]


async def test_begins_when_it_is_told_to(proxy: Proxy) -> None:
    """What was written meanwhile is selected, too."""
    proxy.psql("UPDATE t SET v = 1 WHERE id > 1", tag="bad")
    look = await proxy.database.connect()
    async with console(proxy) as one, console(proxy) as other:
        due = datetime.now(UTC) + timedelta(seconds=2)
        undo = asyncio.ensure_future(one.fetch(f"UNDO TAG 'bad' AT '{due.isoformat()}'"))
        assert await progress(other, "stage") == f"waits until {due:%Y-%m-%d %H:%M:%S} UTC"
        proxy.psql("UPDATE t SET v = 1 WHERE id = 1", tag="bad")
        assert await look.fetchval("SELECT count(*) FROM t WHERE v = 0") == 0
        await undo
        assert datetime.now(UTC) >= due
    assert await look.fetchval("SELECT count(*) FROM t WHERE v = 0") == ROWS
    await look.close()


async def test_not_begun_yet_it_can_be_cancelled_or_left(proxy: Proxy) -> None:
    proxy.psql("UPDATE t SET v = 1", tag="bad")
    async with console(proxy) as other:
        async with console(proxy) as one:
            undo = asyncio.ensure_future(one.fetch("UNDO TAG 'bad' AT '2100-01-01 02:30Z'"))
            assert await progress(other, "state") == "runs"
            assert await other.fetch("CANCEL UNDO") == [("tag bad", "ended")]
            with pytest.raises(asyncpg.PostgresError, match="cancelled by ops"):
                await undo
            with pytest.raises(asyncpg.PostgresError, match="has passed: give a later time"):
                await one.fetch("UNDO TAG 'bad' AT '2026-01-31 02:30'")
            looked = await one.fetch("UNDO TAG 'bad' AT '2100-01-01 02:30Z' DRY RUN")
            assert looked[0]["detail"].startswith("dry run")
        left = await asyncpg.connect(
            host=str(proxy.admin), port=6433, user="ops", database="hotrollback"
        )
        waiting = asyncio.ensure_future(left.fetch("UNDO TAG 'bad' AT '2100-01-01 02:30Z'"))
        assert await progress(other, "by") == "ops"
        left.terminate()
        with pytest.raises(asyncpg.PostgresConnectionError):
            await waiting
        while await other.fetch("SHOW UNDO PROGRESS"):
            await asyncio.sleep(0.02)


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


def test_columns_that_no_undo_heeds(proxy: Proxy) -> None:
    assert proxy.cli("ignore", "t.v", "--reason", "ticks").stdout == "no undo heeds t.v\n"
    (found,) = json.loads(proxy.cli("show", "ignored", "--json").stdout)
    assert (found["relation"], found["column"], found["reason"]) == ("public.t", "v", "ticks")
    unknown = proxy.cli("ignore", "t.nix", check=False)
    assert (unknown.returncode, unknown.stderr) == (
        1,
        'hotrollback: no column "t.nix" is known here: name it as table.column\n',
    )
    assert proxy.cli("unignore", "t.v").stdout == "undos heed t.v again\n"
    assert json.loads(proxy.cli("show", "ignored", "--json").stdout) == []
