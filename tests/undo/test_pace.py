"""Batches that wait: for the rate that was asked for, and for standbys."""

import asyncio

import asyncpg
import pytest
from fix_postgres import Server
from fix_undo import BAD, TWO_TABLES, Ground

from undo import batches
from undo.errors import LagUnknown, UsageError
from undo.model import Outcome
from undo.pace import Pace
from undo.request import Selection, UndoRequest


def request(**more) -> UndoRequest:
    return UndoRequest(Selection(tag=BAD), by="test", **more)


@pytest.fixture
def server(server18: Server) -> Server:
    return server18


async def until(db: asyncpg.Connection, condition: str, *args: object) -> None:
    while not await db.fetchval(f"SELECT {condition}", *args):
        await asyncio.sleep(0.02)


SLEEPS = "query ~ 'pg_sleep' AND state = 'active' FROM pg_stat_activity WHERE pid = $1"


async def test_a_standby_that_does_not_follow_holds_it_up(
    ground: Ground, standby18: Server
) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1")
    server, look = ground.database.server, await ground.connect()
    standby = await asyncpg.connect(standby18.url("postgres"))
    await standby.execute(
        f"ALTER SYSTEM SET primary_conninfo = 'host={server.host} port={server.port} user=postgres'"
    )
    await standby.execute("SELECT pg_reload_conf()")
    await until(look, "count(replay_lsn) = 1 FROM pg_stat_replication")
    await standby.execute("SELECT pg_wal_replay_pause()")
    await until(standby, "pg_get_wal_replay_pause_state() = 'paused'")
    undo = asyncio.ensure_future(batches.run(ground.db, request(batch=2, max_lag=0.01)))
    await until(look, SLEEPS, ground.db.get_server_pid())
    assert 0 < await look.fetchval("SELECT count(*) FROM hotrollback.undo") < 5
    assert not undo.done()
    await standby.execute("SELECT pg_wal_replay_resume()")
    report = await undo
    assert (report.outcome, report.batches) == (Outcome.DONE, 5)
    await standby.close()


async def test_who_may_not_see_standbys_is_told(ground: Ground, standby18: Server) -> None:
    """Instead of not waiting for them. A standby that cannot be seen is one that may lag."""
    server = ground.database.server
    standby = await asyncpg.connect(standby18.url("postgres"))
    await standby.execute(
        f"ALTER SYSTEM SET primary_conninfo = 'host={server.host} port={server.port} user=postgres'"
    )
    await standby.execute("SELECT pg_reload_conf()")
    app = await ground.connect("app")
    with pytest.raises(LagUnknown):
        for _ in range(200):  # its receiver may begin twice
            await until(ground.db, "count(replay_lsn) = 1 FROM pg_stat_replication")
            await Pace(None, 1.0).keep(app, 1)
    await standby.close()


async def test_a_rate_is_kept_between_batches(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1")
    look = await ground.connect()
    undo = asyncio.ensure_future(batches.run(ground.db, request(batch=3, rate=6)))
    await until(look, SLEEPS, ground.db.get_server_pid())
    assert await look.fetchval("SELECT count(*) FROM hotrollback.undo") in {1, 2}
    assert (await undo).batches == 3


@pytest.mark.parametrize("given", [{"rate": 1}, {"max_lag": 1.0}])
async def test_one_transaction_has_no_pace(ground: Ground, given: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="say BATCH"):
        await batches.run(ground.db, request(**given))
