"""DDL and rows of a small schema, statements that most of the time know nothing of one another, and
what is there afterwards.
"""

import json

import asyncpg
from hypothesis import note
from hypothesis import strategies as st

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
# Columns that are there in the beginning.
THERE = {"a": ("id", "v", "n"), "b": ("k", "w"), "c": ("id", "a")}


def likely(table: str) -> st.SearchStrategy[str]:
    """What works as long as nobody else has been there."""
    first = THERE[table][0]
    column = st.sampled_from((*THERE[table], "more"))
    value = st.sampled_from(("'8'", "NULL", "DEFAULT", "'1'", "'2'"))
    number = st.integers(1, 4)
    return st.one_of(
        st.builds(f"UPDATE {table} SET {{}} = {{}}".format, column, value),
        st.builds(
            f"UPDATE {table} SET {{}} = {{}} WHERE {first} = {{}}".format, column, value, number
        ),
        st.builds(f"INSERT INTO {table} VALUES ({{}}, '2')".format, st.integers(2, 6)),
        st.builds(f"DELETE FROM {table} WHERE {first} = {{}}".format, number),
        st.builds(
            f"ALTER TABLE {table} ADD COLUMN {{}}".format,
            st.sampled_from(("more int", "more text DEFAULT 'q'", "also int NOT NULL DEFAULT 7")),
        ),
        st.builds(
            lambda column, what: f"ALTER TABLE {table} {what.format(column)}",
            column,
            st.sampled_from((
                *("DROP COLUMN {} CASCADE", "DROP COLUMN {}", "RENAME COLUMN {} TO more"),
                *("ALTER COLUMN {} SET NOT NULL", "ALTER COLUMN {} SET DEFAULT '5'"),
                *("ADD UNIQUE ({})", "ALTER COLUMN {} TYPE text", "ADD CHECK ({} IS NOT NULL)"),
            )),
        ),
        st.builds(f"CREATE INDEX ON {table} ({{}})".format, column),
    )  # fmt: skip


async def attempt(client: asyncpg.Connection, statement: str) -> str | None:
    """In a transaction, as the proxy sends it: its command tag, or None where it failed, which is taken
    back by itself."""
    text = statement
    if statement.startswith(("DROP", "ALTER")):
        text = "CALL hotrollback.run_ddl_v1('" + statement.replace("'", "''") + "')"
    await client.execute("SAVEPOINT s")
    try:
        done = await client.execute(text)
    except asyncpg.PostgresError:
        await client.execute("ROLLBACK TO s")
        return None
    note(statement)
    return done


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
