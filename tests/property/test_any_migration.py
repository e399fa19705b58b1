"""Exactness with DDL: whatever two clients do to tables and rows under one tag, in transactions that
commit or not, its undo gives back schema and rows, the redo what they had made; or it is said what
stands in the way, and nothing is changed.

HOTROLLBACK_EXAMPLES says how many examples are tried on each server.
"""

import asyncio
import json
from collections.abc import Iterator

import asyncpg
import pytest
from bed import EXPLORED
from fix_postgres import Database
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from undo.engine import redo, run
from undo.errors import NotReversible, UnknownTag
from undo.model import Outcome
from undo.request import Selection, UndoRequest

MADE = """
DROP SCHEMA IF EXISTS m CASCADE; DROP SCHEMA IF EXISTS m2 CASCADE; CREATE SCHEMA m;
SET search_path = m;
CREATE TABLE a (id int PRIMARY KEY, v text DEFAULT 'd', n int CHECK (n > -100));
CREATE TABLE b (k int, w text);
CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
CREATE INDEX on_n ON a (n); CREATE VIEW va AS SELECT id, v FROM a;
INSERT INTO a VALUES (1, 'x', 1), (2, NULL, 2), (3, 'z', NULL);
INSERT INTO b VALUES (1, 'p'), (1, 'p'), (2, NULL); INSERT INTO c VALUES (1, 1), (2, NULL);
"""
FORGET = """
TRUNCATE hotrollback.change, hotrollback.command, hotrollback.gap, hotrollback.undone,
         hotrollback.undo, hotrollback.bin, hotrollback.kept;
DO $$ DECLARE t regclass; BEGIN
    FOR t IN SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('hotrollback_bin')
                AND relkind = 'r' LOOP EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', t); END LOOP;
END $$;
SELECT hotrollback.drop_unneeded_v1();
SELECT hotrollback.refresh_components_v1();
"""
TABLES = ("a", "b", "c", "made", "a2")
COLUMNS = ("id", "v", "n", "k", "w", "more", "a")
# Most of it fails most of the time: so it is with what does not know of one another.
DDL = st.one_of(
    st.builds(
        "ALTER TABLE {} ADD COLUMN more {}".format,
        st.sampled_from(TABLES),
        st.sampled_from((
            *("int", "text DEFAULT 'q'", "int NOT NULL DEFAULT 7", "serial", "int UNIQUE"),
            *("int GENERATED ALWAYS AS IDENTITY", "int GENERATED ALWAYS AS (1 + 1) STORED"),
        )),
    ),
    st.builds(
        "ALTER TABLE {} DROP COLUMN {}{}".format,
        *(st.sampled_from(TABLES), st.sampled_from(COLUMNS), st.sampled_from(("", " CASCADE"))),
    ),
    st.builds(
        "ALTER TABLE {} RENAME COLUMN {} TO {}".format,
        *(st.sampled_from(TABLES), st.sampled_from(COLUMNS), st.sampled_from(COLUMNS)),
    ),
    st.builds(
        "ALTER TABLE {0} ALTER COLUMN {1} TYPE {2} USING {1}::text::{2}".format,
        *(st.sampled_from(TABLES), st.sampled_from(COLUMNS)),
        st.sampled_from(("text", "bigint", "numeric", "varchar(3)")),
    ),
    st.builds(
        "ALTER TABLE {} ALTER COLUMN {} {}".format,
        *(st.sampled_from(TABLES), st.sampled_from(COLUMNS)),
        st.sampled_from(("SET NOT NULL", "DROP NOT NULL", "SET DEFAULT '5'", "DROP DEFAULT")),
    ),
    st.builds("DROP TABLE {} CASCADE".format, st.sampled_from(TABLES)),
    st.builds("DROP TABLE {}".format, st.sampled_from(TABLES)),
    st.builds(
        "ALTER TABLE {} RENAME TO {}".format, st.sampled_from(TABLES), st.sampled_from(TABLES)
    ),
    # Not with defaults: one that takes its numbers from another table's sequence keeps that from going.
    st.builds(
        "CREATE TABLE {} (LIKE a INCLUDING ALL EXCLUDING DEFAULTS)".format, st.sampled_from(TABLES)
    ),
    st.builds("CREATE TABLE {} AS SELECT * FROM b".format, st.sampled_from(TABLES)),
    st.sampled_from((
        *("DROP INDEX on_n", "CREATE UNIQUE INDEX again ON b (w)", "CREATE INDEX on_n ON a (v)"),
        *("DROP VIEW va", "CREATE OR REPLACE VIEW va AS SELECT id, v, n FROM a"),
        *("ALTER TABLE a DROP CONSTRAINT a_pkey CASCADE", "ALTER TABLE b ADD PRIMARY KEY (k)"),
        *("ALTER TABLE a ADD CONSTRAINT few CHECK (n < 50)", "ALTER TABLE b ADD FOREIGN KEY (k)"
          " REFERENCES a"),
        *("COMMENT ON TABLE a IS 'said'", "GRANT SELECT ON a TO app", "REVOKE ALL ON a FROM app"),
        *("ALTER SCHEMA m RENAME TO m2", "DROP SCHEMA m CASCADE", "ALTER SCHEMA m2 RENAME TO m"),
        *("ALTER TABLE a ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON a USING (true)"),
    )),
)  # fmt: skip
DML = st.one_of(
    st.builds(
        "UPDATE {} SET {} = {}".format,
        *(st.sampled_from(TABLES), st.sampled_from(COLUMNS)),
        st.sampled_from(("'8'", "NULL", "DEFAULT")),
    ),
    st.builds(
        "UPDATE {} SET {} = '9' WHERE id = 1".format,
        *(st.sampled_from(TABLES), st.sampled_from(COLUMNS)),
    ),
    st.builds("DELETE FROM {} WHERE id = 2".format, st.sampled_from(TABLES)),
    st.builds(
        "INSERT INTO {} ({}) VALUES ('{}')".format,
        *(st.sampled_from(TABLES), st.sampled_from(COLUMNS), st.integers(1, 9)),
    ),
    st.builds("TRUNCATE {}".format, st.sampled_from(TABLES)),
)
TRANSACTIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.lists(st.one_of(DDL, DML), min_size=1, max_size=4),
        st.sampled_from(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module", params=[18, 15], ids=["pg18", "pg15"])
def made(request: pytest.FixtureRequest, servers) -> Iterator[Database]:
    with servers[request.param].database(logged=True) as database:
        yield database


@pytest.mark.timeout(7200)
@settings(EXPLORED, suppress_health_check=list(HealthCheck))
@given(transactions=TRANSACTIONS)
def test_a_migration_is_taken_back_or_nothing_is(made: Database, transactions: list) -> None:
    asyncio.run(check(made, transactions))


async def check(made: Database, transactions: list) -> None:
    db = await made.connect()
    settings_ = {"hotrollback.tag": "bad", "search_path": "m,m2", "client_min_messages": "error"}
    clients = [await made.connect(server_settings=settings_) for _ in range(2)]
    try:
        await db.execute(MADE + FORGET)
        before = await content(db)
        for who, statements, end in transactions:
            await transaction(clients[who], statements, end)
        await compare(db, before)
    finally:
        for each in (*clients, db):
            await each.close()


async def transaction(client: asyncpg.Connection, statements: list[str], end: str) -> None:
    """A statement that fails is taken back by itself."""
    await client.execute("BEGIN")
    for statement in statements:
        text = statement
        if statement.startswith(("DROP", "ALTER")):
            text = "CALL hotrollback.run_ddl_v1('" + statement.replace("'", "''") + "')"
        await client.execute("SAVEPOINT s")
        try:
            await client.execute(text)
            note(statement)
        except asyncpg.PostgresError:
            await client.execute("ROLLBACK TO s")
    note(end)
    await client.execute(end)


async def compare(db: asyncpg.Connection, before: list[str]) -> None:
    after = await content(db)
    request = UndoRequest(Selection(tag="bad"), by="test")
    gaps = await db.fetch("SELECT reason, statement FROM hotrollback.gap")
    assert not gaps
    try:
        report = await run(db, request)
    except UnknownTag:
        assert after == before
        return
    except NotReversible as error:
        note(str(error))
        event("not reversible")
        raise
    assert report.outcome in {Outcome.DONE, Outcome.NOTHING}, report.conflicts
    assert await content(db) == before
    if report.outcome is Outcome.DONE and report.undo_id is not None:
        again = await redo(db, None, by="test")
        assert again.outcome is Outcome.DONE, again.conflicts
        assert await content(db) == after


async def content(db: asyncpg.Connection) -> list[str]:
    """Components and rows of the schema, without what tells the order of columns."""
    rows = await db.fetch(
        "SELECT relid::regclass::text, image - '{columns,local,inherited}'::text[]"
        "  FROM hotrollback.images_v1(NULL) WHERE image::text ~ '\\mm2?\\M'"
        "    OR relid IN (SELECT oid FROM pg_class WHERE relnamespace::regnamespace::text ~ '^m2?$')"
    )
    found = [f"{on} {json.dumps(json.loads(image), sort_keys=True)}" for on, image in rows]
    tables = await db.fetch(
        "SELECT oid::regclass::text FROM pg_class"
        " WHERE relnamespace::regnamespace::text ~ '^m2?$' AND relkind = 'r'"
    )
    for (table,) in tables:
        for (row_,) in await db.fetch(f"SELECT to_jsonb(t) FROM {table} t"):
            found.append(f"{table}: {json.dumps(json.loads(row_), sort_keys=True)}")
    return sorted(found)
