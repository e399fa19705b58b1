"""Transactions that are open during an undo: which are named, and waiting for them. And the window
of time, where the server keeps commits and where it does not."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import asyncpg
import pytest
from fix_postgres import ROLES, Server, cluster_of
from fix_undo import TWO_TABLES, Ground, changed
from test_selectors import SESSION

from undo import errors
from undo.engine import run
from undo.install import install
from undo.model import Open
from undo.request import Selection, UndoRequest
from undo.stages.windows import keeps_commits
from undo.unfinished import told, unfinished, wait


def _silence(_stage: str, _done: int, _total: int) -> None:
    """Nobody watches."""


async def test_open_transactions_are_named_unless_they_are_ruled_out(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id = 9")
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('r')")
    one, two, reader = await ground.connect(), await ground.connect("app"), await ground.connect()
    session = await ground.db.fetchval(SESSION, one.get_server_pid(), "one", "10.1.2.3")
    await reader.execute("BEGIN; LOCK TABLE s IN ROW EXCLUSIVE MODE")
    await one.execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1")
    xid = await one.fetchval("SELECT pg_current_xact_id()::text::bigint")
    await two.execute("BEGIN; UPDATE s SET v = 1 WHERE id = 2; PREPARE TRANSACTION 'p2'")
    now = await ground.db.fetchval("SELECT clock_timestamp()")
    pid = one.get_server_pid()

    def known(open_: Open) -> tuple:
        return open_.xid, open_.session, open_.pid, open_.gid, open_.role, open_.application

    by_all = await unfinished(ground.db, Selection(tag="bad"))
    assert [known(each)[1:] for each in by_all] == [
        (session, pid, None, "postgres", "one"),
        (None, None, "p2", "app", None),
    ]
    assert (by_all[0].xid, by_all[0].relations, by_all[0].address) == (
        xid,
        ("public.t",),
        "10.1.2.3",
    )
    assert f"session {session} (transaction {xid}, role postgres, application one" in told(by_all)
    assert "prepared transaction 'p2'" in told(by_all)
    early, late = now - timedelta(days=1), now + timedelta(days=1)
    assert by_all[1].xid is not None
    first, second, both, none = {session}, {None}, {session, None}, set()
    for selectors, wanted in (
        ({"tables": ("t",)}, first),
        ({"tables": ("s",)}, second),
        ({"session": session}, both),  # of which one was prepared is not known
        ({"session": f"{pid + 1}.5", "application": "one"}, second),
        ({"xids": (xid,)}, first),
        ({"xids": (by_all[1].xid,)}, second),
        ({"application": "two", "tables": ("t",)}, none),
        ({"role": "app"}, both),  # a superuser may act as anybody
        ({"role": "postgres"}, first),
        ({"since": early}, both),
        ({"until": early}, second),  # when it began is not known
        ({"until": late}, both),
        ({"restore_point": "r"}, both),
        ({"tag": "bad", "except_sessions": (session,)}, second),
        ({"tag": "bad", "except_applications": ("one",)}, second),
        ({"tag": "bad", "except_xids": (xid,)}, second),
        ({"tag": "bad", "except_tables": ("s",)}, first),
        ({"undo_id": 1}, none),
    ):
        found = await unfinished(ground.db, Selection(**selectors))
        assert {each.session for each in found} == wanted, selectors
    with pytest.raises(errors.UnknownRelation):
        await unfinished(ground.db, Selection(tables=("nothing",)))

    # An operator who is no superuser sees them, too.
    await ground.db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA hotrollback TO operator")
    operator = await ground.connect("operator")
    seen = await unfinished(operator, Selection(tag="bad"))
    assert sorted((each.xid, each.session, each.gid) for each in seen) == [
        (xid, session, None), (by_all[1].xid, None, "p2")]  # fmt: skip

    with pytest.raises(errors.StillOpen, match=r"did not end within 0\.2s: session "):
        await wait(ground.db, Selection(tables=("t",)), _silence, limit=0.2)
    await one.execute("COMMIT")
    await ground.db.execute("COMMIT PREPARED 'p2'")
    assert await unfinished(ground.db, Selection(tag="bad")) == ()


async def test_what_was_waited_for_is_selected(ground: Ground) -> None:
    """Also where it is prepared meanwhile; who begins meanwhile is not waited for."""
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id = 9")
    slow = await ground.connect(server_settings={"hotrollback.tag": "bad"})
    await slow.execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1")
    later = await ground.connect(server_settings={"hotrollback.tag": "bad"})
    seen = []

    async def meanwhile() -> None:
        while not seen:
            await asyncio.sleep(0.01)
        await later.execute("BEGIN; UPDATE t SET v = 1 WHERE id = 2")
        await slow.execute("PREPARE TRANSACTION 'slow'")
        before = len(seen)
        while len(seen) < before + 2:
            await asyncio.sleep(0.01)
        await slow.execute("COMMIT PREPARED 'slow'")

    ending = asyncio.create_task(meanwhile())
    await wait(ground.db, Selection(tag="bad"), lambda *told: seen.append(told))
    await ending
    assert set(seen) == {("wait", 0, 1)}
    report = await ground.undo()
    assert report.selected_transactions == 2
    await later.execute("COMMIT")
    assert await changed(ground) == ([2], [])


async def test_a_database_without_the_log(bare: Ground) -> None:
    with pytest.raises(errors.NotInstalled):
        await unfinished(bare.db, Selection(tag="bad"))


@pytest.fixture(scope="module", params=(18, 15), ids=lambda version: f"pg{version}")
def keeping(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that keeps when transactions commit."""
    cluster = cluster_of(request.param, track_commit_timestamp="on")
    cluster.start()
    server = Server(request.param, cluster.host, cluster.port, cluster.binaries)
    server.psql(ROLES)
    yield server
    cluster.stop()


async def test_a_window_of_commits(keeping: Server) -> None:
    """What wrote before the window and committed in it is inside; what is not committed in it is
    not, whenever it wrote. Where a commit is not kept (any more), the last record decides."""
    with keeping.database() as database:
        connections = [await database.connect("postgres") for _ in range(4)]
        db, slow, quick, late = connections
        try:
            await db.execute(TWO_TABLES)
            await install(db, all_tables=True)
            assert await keeps_commits(db)
            await check_the_window(db, slow, quick, late)
        finally:
            for connection in connections:
                connection.terminate()


async def check_the_window(
    db: asyncpg.Connection,
    slow: asyncpg.Connection,
    quick: asyncpg.Connection,
    late: asyncpg.Connection,
) -> None:
    now = "SELECT clock_timestamp()"
    await quick.execute("UPDATE t SET v = 1 WHERE id = 1")
    await slow.execute("BEGIN; UPDATE t SET v = 1 WHERE id = 2")
    await db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('one')")
    await quick.execute("UPDATE t SET v = 1 WHERE id = 3")
    since = await db.fetchval(now)
    await late.execute("BEGIN; UPDATE t SET v = 1 WHERE id = 4")
    await slow.execute("COMMIT")
    await quick.execute("UPDATE t SET v = 1 WHERE id = 5")
    until = await db.fetchval(now)
    await late.execute("COMMIT")

    async def selected(**window) -> set[str]:
        request = UndoRequest(Selection(**window), dry_run=True)
        report = await run(db, request)
        return {line.rpartition("id = ")[2].strip("';") for line in report.statements}

    past = "SELECT array_agg(id ORDER BY id) FROM hotrollback.as_of($1, NULL::t) WHERE v = 1"
    assert await db.fetchval(past, since) == [1, 3]
    assert await db.fetchval(past, until) == [1, 2, 3, 5]
    for _ in range(2):  # with a restore point that bounds the search, and without
        assert await selected(since=since, until=until) == {"2", "5"}
        assert await selected(until=until) == {"1", "2", "3", "5"}
        assert await selected(since=until) == {"4"}
        await db.execute("DELETE FROM hotrollback.restore_point")
    assert await selected(until=since) == {"1", "3"}
    # The number of a transaction from before 32 bits came round is another one's now.
    await db.execute("UPDATE hotrollback.change SET xid = xid - (1::bigint << 32)"
                     " WHERE after ->> 'id' = '2'")  # fmt: skip
    assert await selected(until=since) == {"1", "2", "3"}
