"""doctor: what install would meet, each with its remedy; and an operator who is no superuser."""

import subprocess
from collections.abc import AsyncIterator

import asyncpg
import pytest
from fix_log import Connect, roles_made
from fix_postgres import Database

from undo import doctor
from undo.capture_state import capture_state
from undo.doctor import Finding, examine, script
from undo.install import InstallRefused, install, uninstall
from undo.retention import upkeep

TABLES = """
CREATE SCHEMA "Shop"; GRANT ALL ON SCHEMA "Shop" TO {owner};
CREATE TABLE "Shop".orders (id integer PRIMARY KEY, v jsonb);
ALTER TABLE "Shop".orders OWNER TO {owner};
GRANT ALL ON "Shop".orders TO app; GRANT USAGE ON SCHEMA "Shop" TO app;
CREATE TABLE "Shop".forced (id integer);
ALTER TABLE "Shop".forced OWNER TO {owner};
ALTER TABLE "Shop".forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""


async def found(db: asyncpg.Connection, subject: str) -> list[Finding]:
    return [finding for finding in await examine(db) if finding.subject == subject]


@pytest.fixture
async def roles(db: asyncpg.Connection, database: Database) -> AsyncIterator[list[str]]:
    """An operator and an owner of tables, both without any right."""
    async with roles_made(db, database, "Op", "Owner") as made:
        await db.execute(TABLES.format(owner=made[1]))
        yield made


@pytest.fixture
async def operator(roles: list[str], connect: Connect) -> asyncpg.Connection:
    return await connect(roles[0].strip('"'))


async def test_clean_database(db: asyncpg.Connection) -> None:
    assert [finding.level for finding in await examine(db)] == ["ok", "ok"]


async def test_doctor_changes_nothing(db: asyncpg.Connection) -> None:
    """It cannot: it runs in a read-only transaction, whatever a check tries."""

    async def careless(db: doctor.Database) -> list[Finding]:
        await db.execute("CREATE TABLE oops ()")
        return []

    checks = doctor.CHECKS
    try:
        doctor.CHECKS = (*checks, careless)  # type: ignore[misc]
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await examine(db)
    finally:
        doctor.CHECKS = checks  # type: ignore[misc]


async def test_every_right_that_is_lacking_is_said(
    operator: asyncpg.Connection, roles: list[str], database: Database
) -> None:
    op, owner = roles
    findings = await examine(operator)
    assert script(findings) == (
        f"GRANT CREATE ON DATABASE {database.name} TO {op};",
        f"GRANT {owner} TO {op};",
        f"ALTER ROLE {op} BYPASSRLS;",
        f"GRANT pg_read_all_stats TO {op};",
        f"GRANT SET ON PARAMETER session_replication_role TO {op};",
    )
    levels = [f.level for f in findings if f.subject == "rights"]
    assert levels == ["refuse", "warn", "warn", "warn", "warn"]
    assert [f.level for f in findings if f.subject == "event_trigger"] == ["warn"]


async def test_operator_without_rights_is_refused(
    operator: asyncpg.Connection, db: asyncpg.Connection
) -> None:
    with pytest.raises(InstallRefused, match=r"may not create a schema.*GRANT CREATE ON DATABASE"):
        await install(operator)
    assert await db.fetchval("SELECT to_regnamespace('hotrollback') IS NULL")


async def test_operator_with_the_script(
    operator: asyncpg.Connection, db: asyncpg.Connection, connect: Connect, roles: list[str]
) -> None:
    """Exactly what the doctor says, and install, capture, upkeep and uninstall work."""
    for statement in script(await examine(operator)):
        await db.execute(statement)
    assert script(await examine(operator)) == ()
    report = await install(operator, all_tables=True)
    assert report.missing == ()
    assert not report.event_trigger
    assert any(line.startswith("no event trigger") for line in report.lines)
    app = await connect("app")
    await app.execute("""INSERT INTO "Shop".orders VALUES (1, 'null')""")
    row = await operator.fetchrow("SELECT after::text, role::regrole::text FROM hotrollback.change")
    assert tuple(row) == ('{"id":1,"v":"null"}', "app")
    # A table that is altered is noticed by its trigger, one that is new by the upkeep.
    owner = await connect(roles[1].strip('"'))
    await owner.execute(
        """ALTER TABLE "Shop".orders ADD w text; CREATE TABLE "Shop".fresh (id integer)"""
    )
    await app.execute("""UPDATE "Shop".orders SET id = 2""")
    assert await operator.fetchval("SELECT stale FROM hotrollback.change ORDER BY lsn DESC LIMIT 1")
    lines = await upkeep(operator, retention=None, max_log_size=None)
    assert set(lines) == {
        'attached the capture trigger of "Shop".fresh',
        'renewed the capture trigger of "Shop".orders',
    }
    assert all("trigger" in how for _, how, _ in await capture_state(operator))
    assert (await uninstall(operator))[-1] == "dropped schema hotrollback"


async def test_operator_with_no_more_than_create(
    operator: asyncpg.Connection, db: asyncpg.Connection, database: Database, roles: list[str]
) -> None:
    """Each missing right is a degraded mode with a name; nothing fails."""
    await db.execute(f"GRANT CREATE ON DATABASE {database.name} TO {roles[0]}")
    report = await install(operator, all_tables=True)
    why = "this role may not: it has to be a member of the table's owner"
    assert [(it.relation, it.why[: len(why)]) for it in report.missing] == [
        ('"Shop".forced', why),
        ('"Shop".orders', why),
    ]
    state = {relation: how for relation, how, _ in await capture_state(operator)}
    assert state['"Shop".orders'] == "rewrite"
    lines = await upkeep(operator, retention=None, max_log_size=None)
    assert [line.partition(":")[0] for line in lines] == [
        'no capture trigger on "Shop".forced',
        'no capture trigger on "Shop".orders',
    ]


async def test_superuser_helps_once(
    operator: asyncpg.Connection, db: asyncpg.Connection, connect: Connect, roles: list[str]
) -> None:
    """After a superuser ran install, tables are followed, though the log is the operator's. DDL of
    somebody whom the operator is no member of goes on, and is said where it matters."""
    for statement in script(await examine(operator)):
        await db.execute(statement)
    await install(operator, all_tables=True)
    assert (await install(db)).event_trigger
    assert await found(operator, "event_trigger") == []
    owner = await connect(roles[1].strip('"'))
    await owner.execute("""CREATE TABLE "Shop".fresh (id integer)""")
    state = {relation: how for relation, how, _ in await capture_state(operator)}
    assert "trigger" in state['"Shop".fresh']
    assert await operator.fetchval("SELECT count(*) FROM hotrollback.gap") == 0
    await db.execute("CREATE TABLE public.strange (id integer)")
    gap = await operator.fetchrow("SELECT reason, statement FROM hotrollback.gap")
    assert gap["reason"] == "event_trigger"
    assert "must be owner of table strange" in gap["statement"] or "permission" in gap["statement"]


async def test_pg_dump_without_select_on_the_log(
    log: asyncpg.Connection, database: Database
) -> None:
    """The role can dump today, and fails after the install, unless it leaves the log out."""
    await log.execute("CREATE TABLE t (id integer); GRANT SELECT ON t TO PUBLIC")
    async with roles_made(log, database, "Reader", "Poor") as (reader, poor):
        await log.execute(
            f"CREATE TABLE u (id integer); GRANT SELECT ON u TO {reader};"
            f"INSERT INTO u VALUES (1); GRANT CONNECT ON DATABASE {database.name} TO {poor}"
        )
        (finding,) = await found(log, "pg_dump")
        assert reader.strip('"') in finding.text
        assert poor.strip('"') not in finding.text
        assert "pg_dump -N 'hotrollback*'" in finding.remedy
        url = f"host={database.host} port={database.port} dbname={database.name}"
        dump = [str(database.server.bin / "pg_dump"), "-d", f"{url} user='{reader.strip(chr(34))}'"]
        failed = subprocess.run(dump, check=False, capture_output=True, text=True)
        assert failed.returncode != 0
        assert "permission denied" in failed.stderr
        done = subprocess.run([*dump, "-N", "hotrollback*"], check=True, capture_output=True)
        assert b"COPY public.u" in done.stdout


async def test_long_transactions(
    db: asyncpg.Connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_LONG_MINUTES", 0)
    other = await connect("app")
    await other.execute("BEGIN; SELECT 1")
    await db.execute("BEGIN; CREATE TABLE x (); PREPARE TRANSACTION 'pending'")
    texts = [finding.text for finding in await found(db, "long_transaction")]
    await db.execute("ROLLBACK PREPARED 'pending'")
    assert any(f"session {other.get_server_pid()} of app" in text for text in texts)
    assert any("prepared transaction pending" in text for text in texts)
    monkeypatch.undo()
    assert await found(db, "long_transaction") == []


async def test_settings_and_code(db: asyncpg.Connection) -> None:
    await db.execute(
        "SET track_counts = off;"
        "CREATE FUNCTION f(x text) RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN EXECUTE format('DELETE FROM %I', x); END $$;"
        "CREATE FUNCTION g() RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN DELETE FROM pg_class WHERE false; END $$"
    )
    assert [f.level for f in await found(db, "track_counts")] == ["warn"]
    (finding,) = await found(db, "dynamic_sql")
    assert finding.text.startswith("f(text): which tables")


async def test_log_that_somebody_touched(log: asyncpg.Connection) -> None:
    assert [f for f in await examine(log) if f.level != "ok"] == []
    await log.execute(
        "CREATE TABLE t (id integer); SELECT hotrollback.attach_v1('t'::regclass);"
        "ALTER EVENT TRIGGER hotrollback_ddl DISABLE;"
        "ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ENABLE TRIGGER ALL;"
        "REVOKE USAGE ON SCHEMA hotrollback FROM PUBLIC"
    )
    later = await log.fetch(
        "SELECT inhrelid::regclass AS name FROM pg_inherits"
        " WHERE inhparent = 'hotrollback.change'::regclass ORDER BY inhrelid DESC LIMIT 9"
    )
    for row in later:
        await log.execute(f"DROP TABLE {row['name']}")
    subjects = {f.subject for f in await examine(log) if f.level == "warn"}
    assert subjects == {"trigger_disabled", "log_grants", "partitions"}
    grants = (await found(log, "log_grants"))[0].remedy
    await log.execute(grants)
    await install(log)
    assert [f for f in await examine(log) if f.level != "ok"] == []


async def test_subscription(db: asyncpg.Connection) -> None:
    await db.execute(
        "CREATE TABLE t (id integer PRIMARY KEY);"
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)"
    )
    found_ = await found(db, "subscription")
    await db.execute("ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s")
    assert [(f.level, f.remedy) for f in found_] == [("warn", "hotrollback install")]
