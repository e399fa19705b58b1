"""install and uninstall: again and again, in whatever state the database is."""

import asyncio
import subprocess

import asyncpg
import pytest
from fix_log import Connect
from fix_postgres import Database, Server

from undo import install as module
from undo.doctor import examine
from undo.errors import ForeignLog, NotPossible
from undo.install import (
    InstallBusy,
    InstallRefused,
    MadeByNewer,
    ServerTooOld,
    StillServed,
    install,
    uninstall,
)
from undo.log import LOCK_INSTALL, LOCK_SERVING
from undo.migrations import current, migrations

ODD_TABLES = (
    'public."Ta""b.le"',
    '"Sche ma"."select"',
    f'"Sche ma"."{"n" * 63}"',
    "public.\"ü $$ 'x' %s\"",
    'public."back\\slash"',
)


def schema_of(database: Database) -> str:
    """All of the database, as pg_dump sees it, without what differs from dump to dump."""
    command = [str(database.server.bin / "pg_dump"), "--dbname", database.url()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("\\")]
    return "\n".join(lines)


async def with_odd_tables(db: asyncpg.Connection) -> None:
    await db.execute('CREATE SCHEMA "Sche ma"')
    for table in ODD_TABLES:
        await db.execute(
            f"CREATE TABLE {table} (id integer PRIMARY KEY);"
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        )


async def captured(db: asyncpg.Connection) -> set[str]:
    rows = await db.fetch(
        "SELECT format('%I.%I', relnamespace::regnamespace, relname) AS name FROM pg_class"
        " WHERE (SELECT count(*) FROM pg_trigger"
        "         WHERE tgrelid = pg_class.oid AND tgname ~ '^hotrollback_' AND tgenabled = 'A') = 2"
    )
    return {row["name"] for row in rows}


async def test_twice(db: asyncpg.Connection) -> None:
    await with_odd_tables(db)
    first = await install(db)
    assert first.lines[0] == f"made schema hotrollback, version {current()}"
    assert len(first.attached) == len(ODD_TABLES)
    assert first.event_trigger
    second = await install(db)
    assert second.lines == ("every table that needs a capture trigger has it",)
    assert (second.attached, second.missing) == ((), ())


async def test_what_it_attached_is_said_with_the_reason(db: asyncpg.Connection) -> None:
    await with_odd_tables(db)
    lines = [line for line in (await install(db)).lines if line.startswith("capture trigger")]
    assert len(lines) == len(ODD_TABLES)
    assert all("row-level security" in line for line in lines)


async def test_triggers_of_odd_tables_record(db: asyncpg.Connection) -> None:
    await with_odd_tables(db)
    await install(db)
    for table in ODD_TABLES:
        await db.execute(f"INSERT INTO {table} VALUES (1)")
    assert await db.fetchval("SELECT count(*) FROM hotrollback.change") == len(ODD_TABLES)
    names = await db.fetch(
        "SELECT name FROM hotrollback.change JOIN hotrollback.relation USING (relid) ORDER BY lsn"
    )
    assert len({row["name"] for row in names}) == len(ODD_TABLES)


@pytest.mark.parametrize("have", [migration.number for migration in migrations()[:-1]])
async def test_upgrade_gives_what_a_new_install_gives(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, have: int
) -> None:
    await install(db)
    fresh = schema_of(database)
    await uninstall(db)
    with monkeypatch.context() as older:
        older.setattr(module, "migrations", lambda: migrations()[:have])
        older.setattr(module, "current", lambda: have)
        await module._migrate(db)
    assert await module.installed_version(db) == have
    report = await install(db)
    assert report.lines[0] == f"upgraded schema hotrollback from version {have} to {current()}"
    assert comparable(schema_of(database)) == comparable(fresh)


def comparable(dump: str) -> list[str]:
    """Without the instant of the install and the numbers that count from it."""
    lines = []
    in_meta = False
    for line in dump.splitlines():
        in_meta = line.startswith("COPY hotrollback.meta") or (in_meta and line != "")
        if not in_meta and "pg_catalog.setval('hotrollback.epoch'" not in line:
            lines.append(line)
    return lines


async def test_newer_schema_is_left_alone(log: asyncpg.Connection) -> None:
    await log.execute("UPDATE hotrollback.meta SET version = 999")
    with pytest.raises(MadeByNewer, match=f"schema 999, this one knows {current()}"):
        await install(log)


async def test_failed_migration_leaves_nothing(
    db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = migrations()[-1].__class__(99, "broken", "SELECT 1 / 0")
    monkeypatch.setattr(module, "migrations", lambda: (*migrations(), broken))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await install(db)
    assert await db.fetchval("SELECT to_regnamespace('hotrollback') IS NULL")
    monkeypatch.undo()
    await install(db)


async def test_one_install_at_a_time(db: asyncpg.Connection, connect: Connect) -> None:
    other = await connect()
    await other.execute(f"SELECT pg_advisory_lock({LOCK_INSTALL})")
    with pytest.raises(InstallBusy):
        await install(db)
    await other.execute(f"SELECT pg_advisory_unlock({LOCK_INSTALL})")
    both = await asyncio.gather(install(db), install(other), return_exceptions=True)
    assert all(not isinstance(it, BaseException) or isinstance(it, InstallBusy) for it in both)
    assert any(not isinstance(it, BaseException) for it in both)
    assert (await install(db)).missing == ()


async def test_too_old_a_server(db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number; there is none here to try."""

    async def fourteen(_: object) -> int:
        return 140011

    monkeypatch.setattr(module, "_server_version", fourteen)
    with pytest.raises(ServerTooOld, match="PostgreSQL 14 is too old: 15"):
        await install(db)


async def test_publication_of_all_tables(database: Database, db: asyncpg.Connection) -> None:
    """Refused, and nothing made. Accepted, a consumer sees the log, and rows can leave it."""
    await db.execute(
        'CREATE TABLE t (id integer PRIMARY KEY); CREATE PUBLICATION "My Pub" FOR ALL TABLES'
    )
    with pytest.raises(InstallRefused, match='publication "My Pub" is FOR ALL TABLES'):
        await install(db)
    assert await db.fetchval("SELECT to_regnamespace('hotrollback') IS NULL")
    slot = f"{database.name}_slot"
    await db.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')")
    report = await install(db, accept_publication=True)
    assert {f.subject for f in report.findings} >= {"publication", "logical_slot"}
    await db.execute(
        "SET synchronous_commit = on;"  # what is not flushed is not decoded
        "SELECT hotrollback.attach_v1('t'::regclass); INSERT INTO t VALUES (1)"
    )
    seen = await db.fetchval(
        f"SELECT string_agg(data, ' ') FROM pg_logical_slot_get_changes('{slot}', NULL, NULL)"
    )
    assert "table hotrollback.change" in seen
    for name in ("gap", "session", "undone", "restore_point"):
        await db.execute(f"DELETE FROM hotrollback.{name}")
    await db.execute(f"SELECT pg_drop_replication_slot('{slot}')")


async def test_publication_by_name_is_no_matter(db: asyncpg.Connection) -> None:
    await db.execute("CREATE TABLE t (id integer); CREATE PUBLICATION p FOR TABLE t")
    await install(db)


async def test_table_in_use_is_left_for_the_next_run(
    db: asyncpg.Connection, connect: Connect
) -> None:
    await db.execute(
        "CREATE TABLE a (id integer); CREATE TABLE b (id integer); CREATE TABLE c (id integer)"
    )
    busy = await connect()
    await busy.execute("BEGIN; INSERT INTO b VALUES (1)")
    report = await install(db, all_tables=True, lock_timeout_ms=20)
    assert {it.relation for it in report.attached} == {"public.a", "public.c"}
    assert [it.relation for it in report.missing] == ["public.b"]
    assert "NOT attached to public.b: the table was in use" in "".join(report.lines)
    await busy.execute("COMMIT")
    report = await install(db)
    assert [it.relation for it in report.attached] == ["public.b"]


async def test_table_that_is_freed_meanwhile(db: asyncpg.Connection, connect: Connect) -> None:
    await db.execute("CREATE TABLE a (id integer)")
    busy = await connect()
    await busy.execute("BEGIN; INSERT INTO a VALUES (1)")
    running = asyncio.create_task(install(db, all_tables=True, lock_timeout_ms=20))
    # It waits, gives up, and waits again.
    waiting = "SELECT wait_event_type = 'Lock' FROM pg_stat_get_activity($1)"
    while not await busy.fetchval(waiting, db.get_server_pid()):
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.1)
    await busy.execute("COMMIT")
    assert (await running).missing == ()


async def test_all_tables_is_remembered(db: asyncpg.Connection) -> None:
    await db.execute("CREATE TABLE a (id integer)")
    await install(db, all_tables=True)
    await db.execute("CREATE TABLE b (id integer)")
    await install(db)
    assert await captured(db) >= {"public.a", "public.b"}


async def test_hardened_default_privileges(db: asyncpg.Connection, connect: Connect) -> None:
    """Whoever may do nothing by default still can write what a capture trigger records."""
    await db.execute(
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;"
        "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO app;"
        "CREATE TABLE t (id integer, v jsonb, f float8[]); GRANT INSERT, UPDATE ON t TO app"
    )
    await install(db, all_tables=True)
    app = await connect("app")
    await app.execute("INSERT INTO t VALUES (1, 'null', '{0.1}')")
    await app.execute(
        "SELECT hotrollback.mark_v1(1); SELECT hotrollback.relations_v1('[[null, \"t\"]]')"
    )
    written = "SELECT count(*) FROM hotrollback.change WHERE op = 'I'"
    assert await db.fetchval(written) == 1
    # A table made later is followed by functions that are made later.
    await db.execute("CREATE TABLE later (id integer, v jsonb); GRANT INSERT ON later TO app")
    await app.execute("INSERT INTO later VALUES (1, 'null')")
    assert await db.fetchval(written) == 2
    await db.execute("GRANT CREATE ON SCHEMA public TO app")
    await app.execute("CREATE TABLE made (id integer)")
    assert (
        await db.fetchval(
            "SELECT count(*) FROM hotrollback.change WHERE op = 'C' AND relid = 'made'::regclass"
        )
        == 1
    )
    assert await db.fetchval("SELECT count(*) FROM hotrollback.gap") == 0


async def test_odd_database_and_settings(server: Server) -> None:
    """The names and settings of a database that nobody planned for."""
    name = 'Odd "da.ta" ü'
    quoted = '"' + name.replace('"', '""') + '"'
    server.psql(f"CREATE DATABASE {quoted}")
    for setting in (
        "search_path = nowhere",
        "default_transaction_isolation = serializable",
        "DateStyle = German",
        "lock_timeout = '1h'",
        "check_function_bodies = off",
        "standard_conforming_strings = off",
        "default_table_access_method = heap",
    ):
        server.psql(f"ALTER DATABASE {quoted} SET {setting}")
    connection = await asyncpg.connect(
        host=server.host, port=server.port, user="postgres", database=name
    )
    try:
        await connection.execute('CREATE TABLE public."a b" (id integer)')
        report = await install(connection, all_tables=True)
        assert [it.relation for it in report.attached] == ['public."a b"']
        await connection.execute('INSERT INTO public."a b" VALUES (1)')
        assert await connection.fetchval("SELECT count(*) FROM hotrollback.change") == 1
        await uninstall(connection)
    finally:
        await connection.close()
        server.psql(f"DROP DATABASE {quoted} WITH (FORCE)")


async def test_uninstall_leaves_no_trace(database: Database, db: asyncpg.Connection) -> None:
    await with_odd_tables(db)
    before = schema_of(database)
    await install(db, all_tables=True)
    assert schema_of(database) != before
    lines = await uninstall(db)
    assert lines[-1] == "dropped schema hotrollback"
    assert schema_of(database) == before
    assert await uninstall(db) == ("there is no undo log in this database",)


async def test_uninstall_while_a_proxy_serves(log: asyncpg.Connection, connect: Connect) -> None:
    proxy = await connect()
    await proxy.execute(f"SELECT pg_advisory_lock_shared({LOCK_SERVING})")
    with pytest.raises(StillServed):
        await uninstall(log)
    assert await log.fetchval("SELECT to_regclass('hotrollback.change') IS NOT NULL")
    await proxy.close()
    await uninstall(log)


async def test_uninstall_of_a_table_in_use(db: asyncpg.Connection, connect: Connect) -> None:
    """Capture goes on there until it is uninstalled again."""
    await db.execute("CREATE TABLE a (id integer); CREATE TABLE b (id integer)")
    await install(db, all_tables=True)
    busy = await connect()
    await busy.execute("BEGIN; INSERT INTO a VALUES (1)")
    lines = await uninstall(db, lock_timeout_ms=20)
    assert "dropped the triggers of 1 tables" in lines
    assert lines[-1].startswith("schema hotrollback stays")
    await busy.execute("INSERT INTO a VALUES (2); COMMIT")
    await uninstall(db)
    assert await db.fetchval("SELECT to_regnamespace('hotrollback') IS NULL")


async def test_log_of_a_dump_is_foreign(
    database: Database, server: Server, log: asyncpg.Connection
) -> None:
    """Readable, never undoable: even in another database of the same cluster."""
    await log.execute("INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I')")
    with server.database() as elsewhere:
        dump = [str(server.bin / "pg_dump"), "--dbname", database.url()]
        done = subprocess.run(dump, check=True, capture_output=True)
        restore = [str(server.bin / "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", elsewhere.url()]
        subprocess.run(restore, input=done.stdout, check=True, capture_output=True)
        there = await elsewhere.connect()
        assert await there.fetchval("SELECT count(*) FROM hotrollback.change") == 1
        with pytest.raises(ForeignLog):
            await install(there)
        assert ("refuse", "origin") in [(f.level, f.subject) for f in await examine(there)]
        await there.execute("UPDATE hotrollback.meta SET system_identifier = 1, database = 1")
        with pytest.raises(ForeignLog):
            await install(there)
        await there.close()


async def test_standby_is_refused(standby18: Server) -> None:
    connection = await asyncpg.connect(standby18.url())
    with pytest.raises(NotPossible, match="this server is a standby: name the primary"):
        await install(connection)
    await connection.close()


@pytest.mark.usefixtures("log")
def test_a_dump_without_the_log_has_nothing_of_it(database: Database) -> None:
    """Event triggers are in no schema, and would be there."""
    dump = [str(database.server.bin / "pg_dump"), "-N", "hotrollback", "--dbname", database.url()]
    done = subprocess.run(dump, check=True, capture_output=True, text=True)
    assert "hotrollback" not in done.stdout
