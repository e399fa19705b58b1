"""Fences on plain connections: whose writes the server refuses, by whatever way they come."""

import asyncpg
import pytest
from fix_log import roles_made
from fix_undo import Ground

from undo import fences
from undo.errors import AlreadyFenced, NotFenced, NothingToFence, UnknownRole
from undo.fences import Fence

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE); INSERT INTO child VALUES (2);
CREATE TABLE empty (id int);
CREATE FUNCTION writes() RETURNS void LANGUAGE sql BEGIN ATOMIC UPDATE t SET v = 'f'; END;
CREATE FUNCTION trusted() RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC UPDATE t SET v = 'f'; END;
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET v = 'p'; COMMIT; END $$;
CREATE TABLE mine (id int); ALTER TABLE mine OWNER TO app;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON SCHEMA public TO app;
"""
WRITES = {
    "insert": "INSERT INTO t VALUES (3, 'c')",
    "update": "UPDATE t SET v = 'x' WHERE id = 1",
    "delete": "DELETE FROM t WHERE id = 1",
    "cascade": "DELETE FROM t WHERE id = 2",
    "merge": "MERGE INTO t USING (VALUES (1)) s(id) ON s.id = t.id WHEN MATCHED THEN DELETE",
    "with": "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
    "copy": "COPY t FROM PROGRAM 'echo 9,x' (FORMAT csv)",
    "truncate": "TRUNCATE t, child",
    "truncate of nothing": "TRUNCATE empty",
    "function": "SELECT writes()",
    "trusted function": "SELECT trusted()",
    "procedure": "CALL commits()",
    "do": "DO $$ BEGIN UPDATE t SET v = 'x'; END $$",
    "execute": "PREPARE p AS UPDATE t SET v = 'x'; EXECUTE p",
    "create": "CREATE TABLE made (a int)",
    "create as": "CREATE TABLE made AS SELECT * FROM t",
    "alter": "ALTER TABLE mine ADD COLUMN more int",
    "drop": "DROP TABLE mine",
}
READS = (
    "SELECT * FROM t FOR UPDATE; SELECT count(*) FROM child; BEGIN; SELECT 1; COMMIT;"
    "CREATE TEMP TABLE own (a int); INSERT INTO own VALUES (1); DROP TABLE own;"
    "PREPARE r AS SELECT * FROM t; EXECUTE r; UPDATE t SET v = 'none' WHERE id = 0"
)


@pytest.fixture
async def fenced(ground: Ground) -> Ground:
    """Who writes under the tag "bad" is refused."""
    await ground.given(TABLES)
    await ground.db.execute("GRANT pg_execute_server_program TO app")
    await fences.put_up(ground.db, Fence(tag="bad"), by="ann", reason="wrong prices")
    return ground


async def refused(connection: asyncpg.Connection, sql: str) -> asyncpg.PostgresError:
    with pytest.raises(asyncpg.PostgresError) as told:
        await connection.execute(sql)
    assert told.value.sqlstate == "RB004", told.value
    return told.value


async def bad(ground: Ground, user: str = "app") -> asyncpg.Connection:
    return await ground.connect(user, server_settings={"hotrollback.tag": "bad"})


async def test_every_way_to_write_is_refused_and_reads_go_on(fenced: Ground) -> None:
    writer, other = await bad(fenced), await fenced.connect("app")
    before = await fenced.dump()
    for sql in WRITES.values():
        await refused(writer, sql)
        await writer.execute("ROLLBACK; DEALLOCATE ALL")
    await writer.execute(READS)
    assert await fenced.dump() == before
    log = "SELECT 1 FROM hotrollback.change UNION ALL SELECT 1 FROM hotrollback.gap"
    assert await fenced.rows(log) == []
    await other.execute("UPDATE t SET v = 'other' WHERE id = 1")
    await fences.lift(fenced.db, Fence(tag="bad"))
    for sql in WRITES.values():
        await writer.execute(sql)
        await writer.execute("DEALLOCATE ALL; DROP TABLE IF EXISTS made; DELETE FROM t WHERE id > 2;"
                             "INSERT INTO t VALUES (1), (2) ON CONFLICT DO NOTHING")  # fmt: skip


async def test_what_the_writer_is_told_and_the_operator(fenced: Ground) -> None:
    told = await refused(await bad(fenced), WRITES["update"])
    assert (told.severity, told.message) == ("ERROR", "writes of TAG 'bad' are fenced")
    assert told.detail.startswith("Set by ann at 2")
    assert told.detail.endswith(" UTC: wrong prices.")
    assert told.hint == "Reads go on. UNFENCE TAG 'bad' on the admin console lifts the fence."
    (row,) = await fences.standing(fenced.db)
    assert tuple(row)[:4] == ("bad", None, None, "ann")
    assert tuple(row)[5:] == ("wrong prices", False, True)


# The fence, what keeps the session outside of it, what brings it inside.
AT_THE_WRITE = (
    (Fence(tag="x"), "SET hotrollback.tag = 'y'", "SET hotrollback.tag = 'x'"),
    (Fence(tag="o'x"), "RESET hotrollback.tag", "BEGIN; SET LOCAL hotrollback.tag = 'o''x'"),
    (Fence(application="a"), "SET application_name = 'b'", "SET application_name = 'a'"),
    (Fence(role="app"), "RESET ROLE", "SET ROLE app"),
    (Fence(role="app"), "RESET ROLE", "SET SESSION AUTHORIZATION app"),
    (Fence(tag="x", application="a"), "SET application_name = 'a'", "SET hotrollback.tag = 'x'"),
)


async def test_what_the_session_is_at_the_write_decides(ground: Ground) -> None:
    await ground.given(TABLES)
    writer = await ground.connect()
    for fence, outside, inside in AT_THE_WRITE:
        await fences.put_up(ground.db, fence, by="ann")
        await writer.execute(f"{outside}; {WRITES['update']}")
        await refused(writer, f"{inside}; {WRITES['update']}")
        await writer.execute("ROLLBACK; RESET SESSION AUTHORIZATION; RESET ALL; RESET ROLE")
        await writer.execute(f"{outside}; {WRITES['update']}")
        await fences.lift(ground.db, fence)
        await writer.execute(f"{inside}; {WRITES['update']}; COMMIT")
        await writer.execute("RESET SESSION AUTHORIZATION; RESET ALL; RESET ROLE")


async def test_a_role_is_that_of_the_login_too(ground: Ground) -> None:
    await ground.given(TABLES)
    async with roles_made(ground.db, ground.database, "Group") as (group,):
        await ground.db.execute(f"GRANT {group} TO app; GRANT ALL ON t TO {group}")
        await fences.put_up(ground.db, Fence(role="app"), by="ann")
        writer = await ground.connect("app")
        await refused(writer, f"SET ROLE {group}; {WRITES['update']}")
        await refused(writer, WRITES["trusted function"])
        await (await ground.connect(group.strip('"'))).execute(WRITES["update"])


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_a_transaction_that_has_written_writes_no_more(
    ground: Ground, isolation: str
) -> None:
    """Also by a statement that is planned and whose locks it has, and under an older snapshot."""
    await ground.given(TABLES)
    await fences.put_up(ground.db, Fence(tag="worse"), by="ann")
    writer, other = await bad(ground), await ground.connect("app")
    async with other.transaction(isolation=isolation):
        insert = await other.prepare("INSERT INTO t VALUES ($1)")
        for number in range(20, 30):
            await insert.fetch(number)
        with pytest.raises(asyncpg.PostgresError, match="fenced"):
            async with writer.transaction(isolation=isolation):
                update = await writer.prepare("UPDATE t SET v = $1 WHERE id = 1")
                for number in range(10):
                    await update.fetch(str(number))
                await fences.put_up(ground.db, Fence(tag="bad"), by="ann")
                await update.fetch("no more")
        await insert.fetch(30)
    assert await ground.rows("SELECT v FROM t WHERE id = 1") == [("a",)]
    await fences.lift(ground.db, Fence(tag="bad"))
    await update.fetch("again")
    assert await ground.rows("SELECT v FROM t WHERE id = 1") == [("again",)]


async def test_neither_an_undo_nor_an_install_is_held_back(ground: Ground) -> None:
    """Although they are of the role, and the fence is one of theirs."""
    await ground.given(TABLES)
    await ground.write("UPDATE t SET v = 'x'; CREATE TABLE made (a int); TRUNCATE child")
    await fences.put_up(ground.db, Fence(role="postgres"), by="ann")
    await refused(ground.db, "CREATE TABLE later (a int)")
    report = await ground.undo()
    assert report.outcome == "done"
    assert (await ground.redo()).outcome == "done"
    await ground.given("SELECT 1")
    await refused(ground.db, WRITES["update"])


async def test_what_cannot_be_fenced_is_said(fenced: Ground) -> None:
    db = fenced.db
    for fence, error in (
        (Fence(), NothingToFence),
        (Fence(role="nobody"), UnknownRole),
        (Fence(tag="bad"), AlreadyFenced),
    ):
        with pytest.raises(error):
            await fences.put_up(db, fence, by="bob")
    with pytest.raises(NotFenced):
        await fences.lift(db, Fence(tag="bad", role="app"))
    await fences.put_up(db, Fence(tag="bad", role="app"), by="bob")
    await fences.lift(db, Fence(tag="bad"))
    await refused(await bad(fenced), WRITES["update"])
    await (await bad(fenced, "postgres")).execute(WRITES["update"])


async def test_no_lifted_fence_is_looked_at(fenced: Ground) -> None:
    """What every write looks at says so again, when the last one has gone."""
    stands = "SELECT is_called FROM hotrollback.fences"
    assert await fenced.rows(stands) == [(True,)]
    await fences.put_up(fenced.db, Fence(tag="worse"), by="bob")
    await fences.lift(fenced.db, Fence(tag="bad"))
    assert await fenced.rows(stands) == [(True,)]
    await fences.lift(fenced.db, Fence(tag="worse"))
    assert await fenced.rows(stands) == [(False,)]


async def test_a_fence_of_an_undo_goes_with_its_connection(ground: Ground) -> None:
    await ground.given(TABLES)
    writer, undoer = await bad(ground), await ground.connect()
    standing = fences.fenced(undoer, Fence(tag="bad"), by="ann", reason=None)
    await standing.__aenter__()
    told = await refused(writer, WRITES["update"])
    assert told.hint == "Reads go on, and writes when the undo has ended."
    pid = undoer.get_server_pid()
    undoer.terminate()
    await ground.db.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                            f" WHERE pid = {pid}")  # fmt: skip
    await writer.execute(WRITES["update"])
    assert [row["holds"] for row in await fences.standing(ground.db)] == [False]
    await fences.put_up(ground.db, Fence(tag="other"), by="ann")
    assert [row["tag"] for row in await fences.standing(ground.db)] == ["other"]


async def test_without_rights_on_the_log_writes_go_on(fenced: Ground) -> None:
    """As ever: nothing of ours is an outage."""
    await fenced.db.execute("REVOKE ALL ON SEQUENCE hotrollback.fences FROM PUBLIC")
    await (await bad(fenced)).execute(WRITES["update"])


FAR = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{port}', dbname '{name}');
CREATE USER MAPPING FOR app SERVER here OPTIONS (user 'app', password_required 'false');
CREATE FOREIGN TABLE far (id int, v text) SERVER here OPTIONS (table_name 't');
GRANT ALL ON far TO app;
"""


async def test_foreign_tables(ground: Ground) -> None:
    """Also where the transaction has left its gap already."""
    database = ground.database
    await ground.given(
        TABLES + FAR.format(host=database.host, port=database.port, name=database.name)
    )
    writer = await bad(ground)
    await writer.execute("BEGIN; INSERT INTO far VALUES (3, 'far')")
    await fences.put_up(ground.db, Fence(tag="bad"), by="ann")
    await refused(writer, "INSERT INTO far VALUES (4, 'far')")
    await writer.execute("ROLLBACK; SELECT * FROM far")
    assert await ground.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
