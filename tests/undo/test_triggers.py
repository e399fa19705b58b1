"""What a capture trigger records, whatever writes the table."""

import asyncio

import asyncpg
import pytest
from fix_log import Connect
from fix_postgres import Server

from undo.capture_state import capture_state
from undo.install import install
from undo.triggers import needs

TABLES = """
CREATE TABLE public.t (id integer PRIMARY KEY, v text);
GRANT ALL ON public.t TO PUBLIC;
"""


async def attach(db: asyncpg.Connection, *tables: str) -> None:
    for table in tables:
        await db.fetchval("SELECT hotrollback.attach_v1($1::text::regclass)", table)


async def changes(db: asyncpg.Connection) -> list[str]:
    """The log, as `table op before -> after`, in its order; images as text without quotes."""
    rows = await db.fetch(
        "SELECT relid::regclass::text AS relation, op::text, before::text, after::text,"
        " new_relid::regclass::text AS moved FROM hotrollback.change WHERE op <> 'C'"
        " ORDER BY lsn, at"
    )
    return [
        f"{r['relation']}{'>' + r['moved'] if r['moved'] else ''} {r['op']} "
        + " -> ".join(image for image in (r["before"], r["after"]) if image).replace('"', "")
        for r in rows
    ]


async def gaps(db: asyncpg.Connection) -> list[tuple[str, str | None]]:
    return [
        (row["reason"], row["relation"])
        for row in await db.fetch(
            "SELECT reason, relid::regclass::text AS relation FROM hotrollback.gap ORDER BY lsn, at"
        )
    ]


@pytest.fixture
async def table(log: asyncpg.Connection) -> asyncpg.Connection:
    """With public.t, which has a capture trigger."""
    await log.execute(TABLES)
    await attach(log, "public.t")
    return log


async def test_rows_written_by_statements(table: asyncpg.Connection) -> None:
    await table.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    await table.execute("UPDATE t SET v = 'c' WHERE id = 1")
    await table.execute("DELETE FROM t WHERE id = 2")
    await table.execute("INSERT INTO t VALUES (1, 'd') ON CONFLICT (id) DO UPDATE SET v = 'e'")
    await table.execute(
        "MERGE INTO t USING (VALUES (1), (3)) s(id) ON t.id = s.id"
        " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'm')"
    )
    assert await changes(table) == [
        "t I {id:1,v:a}",
        "t I {id:2,v:b}",
        "t U {id:1,v:a} -> {id:1,v:c}",
        "t D {id:2,v:b}",
        "t U {id:1,v:c} -> {id:1,v:e}",
        "t D {id:1,v:e}",
        "t I {id:3,v:m}",
    ]
    assert await gaps(table) == []


async def test_copy(table: asyncpg.Connection) -> None:
    await table.copy_records_to_table("t", records=[(1, "a"), (2, None)])
    assert await changes(table) == ["t I {id:1,v:a}", "t I {id:2,v:null}"]


async def test_code_of_users(table: asyncpg.Connection) -> None:
    await table.execute(
        "CREATE VIEW seen AS SELECT * FROM t;"
        "CREATE FUNCTION put() RETURNS void LANGUAGE sql AS 'INSERT INTO t VALUES (1, ''f'')';"
        "CREATE PROCEDURE twice() LANGUAGE plpgsql AS"
        " 'BEGIN UPDATE t SET v = ''p''; COMMIT; UPDATE t SET v = ''q''; END'"
    )
    await table.execute("SELECT put()")
    await table.execute("CALL twice()")
    await table.execute("UPDATE seen SET v = 'v'")
    await table.execute("DO $$ BEGIN EXECUTE 'DELETE FROM t'; END $$")
    assert await changes(table) == [
        "t I {id:1,v:f}",
        "t U {id:1,v:f} -> {id:1,v:p}",
        "t U {id:1,v:p} -> {id:1,v:q}",
        "t U {id:1,v:q} -> {id:1,v:v}",
        "t D {id:1,v:v}",
    ]
    written = "SELECT count(DISTINCT xid) FROM hotrollback.change WHERE op <> 'C'"
    assert await table.fetchval(written) == 5


async def test_what_cascades(table: asyncpg.Connection) -> None:
    await table.execute(
        "CREATE TABLE child (id integer,"
        " t integer REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE)"
    )
    assert "cascade" in {n.relation: n.reasons for n in await needs(table)}["public.child"]
    await table.execute("INSERT INTO t VALUES (1, 'a'); INSERT INTO child VALUES (7, 1)")
    await table.execute("UPDATE t SET id = 2; DELETE FROM t")
    assert [line for line in await changes(table) if line.startswith("child")] == [
        "child I {id:7,t:1}",
        "child U {id:7,t:1} -> {id:7,t:2}",
        "child D {id:7,t:2}",
    ]


async def test_row_that_a_trigger_changes_again(table: asyncpg.Connection) -> None:
    """The first change is recorded after the second; the versions chain by their tids."""
    await table.execute(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  IF NEW.v <> 'again' THEN UPDATE t SET v = 'again' WHERE id = NEW.id; END IF;"
        "  RETURN NULL; END $$;"
        "CREATE TRIGGER again AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION again();"
        "INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'"
    )
    rows = await table.fetch(
        "SELECT before->>'v' AS before, after->>'v' AS after, old_tid, new_tid"
        " FROM hotrollback.change WHERE op = 'U'"
    )
    by_before = {row["before"]: row for row in rows}
    assert {(row["before"], row["after"]) for row in rows} == {("a", "b"), ("b", "again")}
    assert by_before["a"]["new_tid"] == by_before["b"]["old_tid"]
    now = await table.fetchval("SELECT ctid FROM t")
    assert by_before["b"]["new_tid"] == now


async def test_before_trigger_has_the_last_word(table: asyncpg.Connection) -> None:
    await table.execute(
        "CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.v := upper(NEW.v); RETURN NEW; END';"
        "CREATE TRIGGER loud BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION loud();"
        "INSERT INTO t VALUES (1, 'a')"
    )
    assert await changes(table) == ["t I {id:1,v:A}"]


async def test_partitions(log: asyncpg.Connection) -> None:
    """A row that moves is a DELETE and an INSERT; a partition may have another column order."""
    await log.execute(
        "CREATE TABLE p (id integer, part integer, v text) PARTITION BY LIST (part);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        "CREATE TABLE p2 (v text, gone text, part integer, id integer);"
        "ALTER TABLE p2 DROP COLUMN gone; ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2)"
    )
    await attach(log, "p1", "p2")
    await log.execute("INSERT INTO p VALUES (7, 1, 'a'); UPDATE p SET part = 2")
    await log.execute("UPDATE p SET v = 'b'; DELETE FROM p")
    assert await changes(log) == [
        "p1 I {id:7,part:1,v:a}",
        "p1 D {id:7,part:1,v:a}",
        "p2 I {v:a,part:2,id:7}",
        "p2 U {v:a,part:2,id:7} -> {v:b,part:2,id:7}",
        "p2 D {v:b,part:2,id:7}",
    ]


async def test_inheritance(log: asyncpg.Connection) -> None:
    await log.execute(
        "CREATE TABLE base (id integer); CREATE TABLE more (v text) INHERITS (base);"
        "INSERT INTO more VALUES (1, 'a'); UPDATE base SET id = 2"
    )
    assert await changes(log) == [
        "more I {id:1,v:a}",
        "more U {id:1,v:a} -> {id:2,v:a}",
    ]


async def test_who_wrote(table: asyncpg.Connection, connect: Connect, server: Server) -> None:
    """The writer's role, not the owner of the function; its login, session and tag."""
    await table.execute('DROP ROLE IF EXISTS "My ""App"; CREATE ROLE "My ""App" LOGIN')
    await table.execute('GRANT app TO "My ""App"')
    odd = await connect('My "App', server_settings={"hotrollback.tag": "deploy"})
    await odd.execute("SET hotrollback.statement = '-9223372036854775808'")
    await odd.execute("INSERT INTO t VALUES (1, 'a'); SET ROLE app; UPDATE t SET v = 'b'")
    await odd.execute("BEGIN; SET LOCAL hotrollback.tag = 'x'; DELETE FROM t; COMMIT")
    await odd.execute("SET hotrollback.tag = ''; INSERT INTO t VALUES (2, 'a')")
    rows = await table.fetch(
        "SELECT op::text, role::regrole::text, login::regrole::text, tag, pid, fingerprint"
        " FROM hotrollback.change WHERE op <> 'C' ORDER BY lsn"
    )
    pid, name, statement = odd.get_server_pid(), '"My ""App"', -(2**63)
    assert [tuple(row) for row in rows] == [
        ("I", name, name, "deploy", pid, statement),
        ("U", "app", name, "deploy", pid, statement),
        ("D", "app", name, "x", pid, statement),
        ("I", "app", name, None, pid, statement),
    ]
    await odd.close()
    await table.execute('DROP OWNED BY "My ""App"; DROP ROLE "My ""App"')


async def test_replicas_record_too(table: asyncpg.Connection) -> None:
    await table.execute("SET session_replication_role = replica; INSERT INTO t VALUES (1, 'a')")
    assert await changes(table) == ["t I {id:1,v:a}"]


async def test_rolled_back_is_not_recorded(table: asyncpg.Connection) -> None:
    await table.execute("BEGIN; INSERT INTO t VALUES (1, 'a'); SAVEPOINT s")
    await table.execute("INSERT INTO t VALUES (2, 'b'); ROLLBACK TO s; COMMIT")
    await table.execute("BEGIN; INSERT INTO t VALUES (3, 'c'); ROLLBACK")
    assert await changes(table) == ["t I {id:1,v:a}"]


async def test_lastval_and_counts_are_the_clients(table: asyncpg.Connection) -> None:
    await table.execute("CREATE TABLE s (id serial, v text)")
    await attach(table, "public.s")
    assert await table.execute("INSERT INTO s (v) VALUES ('a'), ('b')") == "INSERT 0 2"
    assert await table.fetchval("SELECT lastval()") == 2
    found = "DO $$ BEGIN UPDATE s SET v = 'c' WHERE id = 9; ASSERT NOT found; END $$"
    await table.execute(found)


@pytest.mark.parametrize("forged", ["lsn", "xid", "at", "pid", "role", "login", "tag"])
async def test_identity_cannot_be_forged(
    table: asyncpg.Connection, connect: Connect, forged: str
) -> None:
    app = await connect("app")
    for log in ("change", "gap"):
        given = "relid, op" if log == "change" else "relid, reason"
        await app.execute(f"INSERT INTO hotrollback.{log} ({given}) VALUES (1, 'I')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(
                f"INSERT INTO hotrollback.{log} ({given}, {forged}) VALUES (1, 'I', NULL)"
            )


async def test_nobody_reads_or_changes_the_log(table: asyncpg.Connection, connect: Connect) -> None:
    app = await connect("app")
    relations = await table.fetchval(
        "SELECT array_agg(oid::regclass::text) FROM pg_class"
        " WHERE relnamespace = 'hotrollback'::regnamespace AND relkind IN ('r', 'p')"
    )
    for relation in relations:
        for attempt in (
            f"SELECT FROM {relation}",
            f"DELETE FROM {relation}",
            f"TRUNCATE {relation}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(attempt)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("CREATE TABLE hotrollback.mine ()")


async def test_capture_state(log: asyncpg.Connection, server: Server) -> None:
    await log.execute(
        "CREATE TABLE plain (id integer);"
        'CREATE TABLE "Se cret" (id integer); ALTER TABLE "Se cret" ENABLE ROW LEVEL SECURITY;'
        "CREATE TABLE off (id integer); ALTER TABLE off ENABLE ROW LEVEL SECURITY;"
        "ALTER EVENT TRIGGER hotrollback_ddl DISABLE;"
        "ALTER TABLE off DISABLE TRIGGER ALL; ALTER TABLE off ENABLE TRIGGER ALL;"
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE far (id integer) SERVER s"
    )
    state = {relation: (how, why) for relation, how, why in await capture_state(log)}
    assert state["public.far"] == ("none", "foreign table")
    assert state['public."Se cret"'][0] == "trigger"
    assert "row-level security" in state['public."Se cret"'][1]
    if server.version >= 18:
        assert state["public.plain"] == ("rewrite, trigger", "every table has one")
    else:
        assert state["public.plain"][0] == "trigger"
    assert state["public.off"] == ("none", "the capture trigger is disabled: run install")
    await install(log)
    state = {relation: how for relation, how, _ in await capture_state(log)}
    assert state["public.off"] == "trigger"


async def test_two_writers_of_a_row_are_in_the_order_of_the_row(
    table: asyncpg.Connection, connect: Connect
) -> None:
    other = await connect("app")
    await table.execute("INSERT INTO t VALUES (1, '0')")
    await table.execute("BEGIN; UPDATE t SET v = v || 'a'")
    waiting = asyncio.create_task(other.execute("UPDATE t SET v = v || 'b'"))
    await asyncio.sleep(0.05)
    await table.execute("COMMIT")
    await waiting
    assert await changes(table) == [
        "t I {id:1,v:0}",
        "t U {id:1,v:0} -> {id:1,v:0a}",
        "t U {id:1,v:0a} -> {id:1,v:0ab}",
    ]


@pytest.mark.parametrize(
    "revoke",
    [
        "REVOKE USAGE ON SCHEMA hotrollback FROM PUBLIC",
        "REVOKE INSERT (old_tid, new_tid, relid, new_relid, key, fingerprint, op, stale, before, after)"
        " ON hotrollback.change FROM PUBLIC",
    ],
)
async def test_who_may_not_write_the_log_may_write_the_table(
    table: asyncpg.Connection, connect: Connect, revoke: str
) -> None:
    """Hardening that meant something else must be no outage; whoever still may is recorded."""
    await table.execute("INSERT INTO t VALUES (1, 'a')")
    await table.execute(revoke)
    app = await connect("app")
    await app.execute(
        "INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'x'; DELETE FROM t WHERE id = 2"
    )
    await app.execute("TRUNCATE t")
    await table.execute("INSERT INTO t VALUES (3, 'c')")
    assert await changes(table) == ["t I {id:1,v:a}", "t I {id:3,v:c}"]
