"""Capture triggers follow the schema at once, and the client's DDL never fails because of them."""

import asyncio
import time

import asyncpg
import pytest
from fix_log import Connect
from test_triggers import attach, changes, gaps

from undo.install import install
from undo.retention import upkeep
from undo.triggers import needs

# What is done to a table between two writes, and the images that the second one must have.
ALTERED = {
    "ADD COLUMN w integer DEFAULT 7": "{id:1,v:a,w:7} -> {id:1,v:b,w:7}",
    "DROP COLUMN gone": "{id:1,v:a} -> {id:1,v:b}",
    "ALTER COLUMN id TYPE text": "{id:1,v:a} -> {id:1,v:b}",
    "RENAME COLUMN id TO number": "{number:1,v:a} -> {number:1,v:b}",
    "ADD COLUMN j jsonb DEFAULT 'null'": "{id:1,v:a,j:null} -> {id:1,v:b,j:null}",
    "ADD COLUMN f float8 DEFAULT 0.1": "{id:1,v:a,f:0.1} -> {id:1,v:b,f:0.1}",
    'RENAME TO "Odd\'s"': "{id:1,v:a} -> {id:1,v:b}",
    "SET SCHEMA other": "{id:1,v:a} -> {id:1,v:b}",
    "DROP CONSTRAINT t_pkey": "{id:1,v:a} -> {id:1,v:b}",
}


async def reasons(db: asyncpg.Connection, relation: str) -> tuple[set[str], str]:
    """Why a table needs a trigger, and how its trigger is enabled."""
    need = {need.relation: need for need in await needs(db)}[relation]
    return set(need.reasons) - {"no_old"}, need.enabled


@pytest.mark.parametrize("altered", ALTERED)
@pytest.mark.parametrize("followed", [True, False], ids=["followed", "alone"])
async def test_table_altered_between_writes(
    log: asyncpg.Connection, connect: Connect, altered: str, *, followed: bool
) -> None:
    """In one transaction. Where no event trigger can be made, the trigger notices by itself."""
    if not followed:
        await log.execute(
            "ALTER EXTENSION plpgsql DROP EVENT TRIGGER hotrollback_ddl; DROP EVENT TRIGGER hotrollback_ddl;"
            "ALTER EXTENSION plpgsql DROP EVENT TRIGGER hotrollback_drop; DROP EVENT TRIGGER hotrollback_drop"
        )
    await log.execute(
        "CREATE SCHEMA other; GRANT ALL ON SCHEMA other, public TO app;"
        "CREATE TABLE public.t (id integer PRIMARY KEY, v text, gone float8);"
        "INSERT INTO t VALUES (1, 'a', 0.5); ALTER TABLE t OWNER TO app"
    )
    await attach(log, "public.t")
    oid = await log.fetchval("SELECT 't'::regclass::oid")
    app = await connect("app")
    await app.execute(f"BEGIN; UPDATE t SET v = v; ALTER TABLE t {altered}")
    name = await app.fetchval("SELECT $1::oid::regclass::text", oid)
    await app.execute(f"UPDATE {name} SET v = 'b'; COMMIT")
    last = (await changes(log))[-1]
    assert last.partition(" U ")[2].replace(",gone:0.5", "") == ALTERED[altered]
    stale = await log.fetchval("SELECT stale FROM hotrollback.change ORDER BY lsn DESC LIMIT 1")
    if followed:
        assert stale is None
    # What went with it was not kept, since it did not come through a proxy.
    loses = followed and altered.startswith(("DROP COLUMN", "ALTER COLUMN id TYPE"))
    assert await gaps(log) == ([("lost", "t")] if loses else [])


async def test_columns_that_a_trigger_alone_does_not_notice_are_said(
    log: asyncpg.Connection,
) -> None:
    """Images that are taken by an old list of columns are marked, never silently short."""
    await log.execute(
        "ALTER EXTENSION plpgsql DROP EVENT TRIGGER hotrollback_ddl; DROP EVENT TRIGGER hotrollback_ddl;"
        "ALTER EXTENSION plpgsql DROP EVENT TRIGGER hotrollback_drop; DROP EVENT TRIGGER hotrollback_drop"
    )
    await log.execute("CREATE TABLE t (id integer PRIMARY KEY, j jsonb); INSERT INTO t VALUES (1)")
    await attach(log, "public.t")
    await log.execute("ALTER TABLE t ADD w jsonb DEFAULT 'null'; UPDATE t SET id = 2")
    row = await log.fetchrow("SELECT stale, key, after::text FROM hotrollback.change")
    assert (row["stale"], row["key"]) == (True, None)
    lines = await upkeep(log, retention=None, max_log_size=None)
    assert lines == ("renewed the capture trigger of public.t",)
    await log.execute("UPDATE t SET id = 3")
    row = await log.fetchrow(
        "SELECT stale, key IS NULL AS no_key, after::text FROM hotrollback.change ORDER BY lsn DESC"
    )
    assert tuple(row) == (None, False, '{"id":3,"j":null,"w":"null"}')


async def test_new_tables(log: asyncpg.Connection, connect: Connect) -> None:
    await log.execute("GRANT ALL ON SCHEMA public TO app")
    await install(log, all_tables=True)
    app = await connect("app")
    await app.execute("BEGIN; CREATE TABLE n (id integer); INSERT INTO n VALUES (1); COMMIT")
    await app.execute("CREATE TABLE n2 AS SELECT 1 AS id; SELECT 2 AS id INTO n3")
    await app.execute("CREATE TEMPORARY TABLE tmp (id integer); INSERT INTO tmp VALUES (1)")
    assert await changes(log) == ["n I {id:1}"]
    for name in ("n", "n2", "n3"):
        assert await reasons(log, f"public.{name}") == ({"all_tables"}, "A")
    assert await gaps(log) == []


async def test_what_makes_a_table_need_a_trigger(log: asyncpg.Connection, connect: Connect) -> None:
    """Each word of needs_v1, as soon as the DDL has run that causes it."""
    await install(log, all_tables=False)
    await log.execute("GRANT ALL ON SCHEMA public TO app")
    app = await connect("app")
    await app.execute(
        "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    )
    tables = [
        *("secured", "ruled", "triggered", "parent", "child", "asked", "base", "heir"),
        *("shared", "viewed", "written"),
    ]
    for name in tables:
        await app.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, v text)")
    await app.execute(
        "ALTER TABLE secured ENABLE ROW LEVEL SECURITY;"
        "CREATE RULE r AS ON DELETE TO ruled DO INSTEAD NOTHING;"
        "CREATE TRIGGER x BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION noop();"
        "ALTER TABLE child ADD FOREIGN KEY (id) REFERENCES parent ON DELETE CASCADE;"
        "ALTER TABLE asked ALTER v SET DEFAULT current_query();"
        "ALTER TABLE heir INHERIT base;"
        "GRANT INSERT ON shared TO PUBLIC;"
        "CREATE VIEW v AS SELECT * FROM viewed;"
        "CREATE FUNCTION w() RETURNS void LANGUAGE sql AS 'INSERT INTO written VALUES (1)'"
    )
    found = {need.relation.removeprefix("public."): need for need in await needs(log)}
    why = {name: set(found[name].reasons) - {"no_old"} for name in tables}
    assert why == {
        "secured": {"row_security"},
        "ruled": {"rules"},
        "triggered": {"triggers"},
        "parent": set(),
        "child": {"cascade"},
        "asked": {"current_query"},
        "base": {"inheritance"},
        "heir": {"inheritance"},
        "shared": {"no_select"},
        "viewed": {"view"},
        "written": {"function"},
    }
    # What is on the table itself is followed at once; what is elsewhere, by the next upkeep.
    at_once = {"secured", "ruled", "triggered", "child", "asked", "base", "heir"}
    assert {name for name in at_once if found[name].enabled != "A"} == set()
    await upkeep(log, retention=None, max_log_size=None)
    assert [need.relation for need in await needs(log) if need.missing] == []


async def test_dynamic_code_needs_every_table(log: asyncpg.Connection) -> None:
    await log.execute(
        "CREATE TABLE t (id integer);"
        "CREATE FUNCTION f(x text) RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN EXECUTE format('DELETE FROM %I', x); END $$"
    )
    report = await install(log, all_tables=False)
    assert [finding.subject for finding in report.findings if finding.level == "warn"] == [
        "dynamic_sql"
    ]
    assert await reasons(log, "public.t") == ({"function"}, "A")


async def test_partitions_are_followed(log: asyncpg.Connection) -> None:
    """Made, attached, and when the parent changes."""
    await log.execute(
        "CREATE TABLE p (id integer, v jsonb) PARTITION BY LIST (id);"
        "ALTER TABLE p ENABLE ROW LEVEL SECURITY;"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        "CREATE TABLE p2 (v jsonb, id integer);"
        "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2);"
        "ALTER TABLE p ADD COLUMN w jsonb;"
        "INSERT INTO p VALUES (1, '1', 'null'), (2, '2', 'null')"
    )
    assert await changes(log) == ["p1 I {id:1,v:1,w:null}", "p2 I {v:2,id:2,w:null}"]
    first = "SELECT after::text FROM hotrollback.change WHERE op = 'I' LIMIT 1"
    assert await log.fetchval(first) == ('{"id":1,"v":"1","w":"null"}')


async def test_disabled_and_enabled_again(log: asyncpg.Connection) -> None:
    """As restores and fixtures do: ENABLE makes ALWAYS into plain enabled."""
    await log.execute("CREATE TABLE t (id integer)")
    await attach(log, "public.t")
    await log.execute("ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ENABLE TRIGGER ALL")
    assert (await reasons(log, "public.t"))[1] == "A"


async def test_dropped_tables_keep_their_names(log: asyncpg.Connection) -> None:
    await log.execute('CREATE SCHEMA s; CREATE TABLE s."T t" (id integer)')
    oid = await log.fetchval("SELECT 's.\"T t\"'::regclass::oid")
    await log.execute("DROP SCHEMA s CASCADE")
    names = await log.fetch("SELECT name FROM hotrollback.relation WHERE relid = $1", oid)
    assert [row["name"] for row in names] == ['s."T t"']


async def test_ddl_neither_waits_nor_fails(log: asyncpg.Connection, connect: Connect) -> None:
    """A relative of the table is in use: what could not be done is a gap; the client goes on."""
    await log.execute(
        "UPDATE hotrollback.meta SET all_tables = false;"
        "CREATE TABLE base (id integer); CREATE TABLE used () INHERITS (base);"
        "ALTER EVENT TRIGGER hotrollback_ddl DISABLE;"
        "DROP TRIGGER hotrollback_capture ON used;"
        "ALTER EVENT TRIGGER hotrollback_ddl ENABLE ALWAYS"
    )
    busy = await connect()
    await busy.execute("BEGIN; INSERT INTO used VALUES (1)")
    began = time.monotonic()
    await log.execute("CREATE TABLE fresh () INHERITS (base)")
    assert time.monotonic() - began < 1
    assert {reason for reason, _ in await gaps(log)} == {"event_trigger"}
    await busy.execute("ROLLBACK")
    await upkeep(log, retention=None, max_log_size=None)
    assert [need.relation for need in await needs(log) if need.missing] == []


async def test_ddl_does_not_deadlock(log: asyncpg.Connection, connect: Connect) -> None:
    """Two sessions that change two tables of one tree in opposite order, while their triggers have
    to be made anew: whoever loses, loses by PostgreSQL's own rules without us, too."""
    await log.execute(
        "CREATE TABLE a (id integer, v jsonb); CREATE TABLE b (id integer, v jsonb);"
        "CREATE TABLE base (id integer); ALTER TABLE a INHERIT base; ALTER TABLE b INHERIT base"
    )
    one, two = await connect(), await connect()
    await one.execute("BEGIN; ALTER TABLE a ADD x jsonb")
    await two.execute("BEGIN; ALTER TABLE b ADD x jsonb")
    await asyncio.gather(one.execute("COMMIT"), two.execute("COMMIT"))
    await log.execute(
        "INSERT INTO a VALUES (1, '1', 'null'); INSERT INTO b VALUES (1, '1', 'null')"
    )
    assert await changes(log) == ["a I {id:1,v:1,x:null}", "b I {id:1,v:1,x:null}"]


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE x (id integer)",
        "CREATE TABLE IF NOT EXISTS t (id integer)",
        "CREATE INDEX CONCURRENTLY ON t (v)",
        "DROP TABLE t",
        "DROP SCHEMA public CASCADE",
        "DROP OWNED BY app",
        "REINDEX TABLE t",
        "CREATE EXTENSION citext",
        "CREATE TYPE e AS ENUM ('a')",
        "ALTER TABLE t ADD CHECK (id > 0), ALTER v SET NOT NULL",
        "CREATE MATERIALIZED VIEW m AS SELECT * FROM t",
        "COMMENT ON TABLE t IS 'x'",
        "GRANT SELECT ON t TO app",
        "ALTER TABLE t RENAME TO x",
        "IMPORT FOREIGN SCHEMA none FROM SERVER s INTO public",
        "CREATE CAST (t AS json) WITH INOUT",
    ],
)
async def test_ddl_goes_on_when_the_log_is_broken(log: asyncpg.Connection, ddl: str) -> None:
    """Somebody took the rights, or tables, of the log away: the client must not be hurt."""
    await log.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    await attach(log, "public.t")
    await log.execute(
        "ALTER TABLE hotrollback.gap RENAME TO g; ALTER TABLE hotrollback.ddl RENAME TO d"
    )
    await log.execute("ALTER TABLE hotrollback.relation RENAME TO r")
    if ddl.startswith("IMPORT"):
        with pytest.raises(asyncpg.PostgresError, match='server "s" does not exist'):
            await log.execute(ddl)
    else:
        await log.execute(ddl)


async def test_epoch_grows_with_ddl(log: asyncpg.Connection, connect: Connect) -> None:
    """At the statement, and once more when it commits; not for temporary tables."""

    async def epoch() -> int:
        return await log.fetchval("SELECT last_value FROM hotrollback.epoch")

    before = await epoch()
    await log.execute("BEGIN; CREATE TABLE x (id integer)")
    during = await epoch()
    assert during > before
    await log.execute("COMMIT")
    after = await epoch()
    assert after > during
    await log.execute(
        "CREATE TEMPORARY TABLE y (id integer); DROP TABLE y; COMMENT ON TABLE x IS ''"
    )
    assert await epoch() == after
    await log.execute("DROP TABLE x")
    assert await epoch() > after
    assert await log.fetchval("SELECT count(*) FROM hotrollback.ddl") == 0
