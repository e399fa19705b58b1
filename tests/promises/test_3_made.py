"""A table that is made under a tag is gone when the tag is undone, with all that was written into it,
and is there again, as it was, when that is redone."""

import psycopg
import pytest
from fix_proxy import Proxy

SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
CREATE FUNCTION makes() RETURNS bigint LANGUAGE plpgsql AS
  $$ BEGIN CREATE TABLE made AS SELECT * FROM t; RETURN (SELECT count(*) FROM made); END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON SCHEMA public TO app;
"""
MADE = {
    "create table as": ["CREATE TABLE made AS SELECT * FROM t"],
    "select into": ["SELECT id INTO made FROM t", "UPDATE made SET id = 3", "UPDATE t SET v = 'x'"],
    "into, in a message of several": ["SELECT 1 AS a INTO made; INSERT INTO made VALUES (2)"],
    "with a with": ["CREATE UNLOGGED TABLE made AS WITH w AS (TABLE t) SELECT * FROM w WITH NO DATA"],
    "with keys, a sequence, an index": [
        "CREATE TABLE made (id serial PRIMARY KEY, t int REFERENCES t, m int REFERENCES made,"
        " u int UNIQUE DEFERRABLE, g int GENERATED ALWAYS AS IDENTITY, CHECK (id > 0 AND t > 0))",
        "INSERT INTO made (t) VALUES (1), (2)",
        "CREATE INDEX ON made (t) WHERE m IS NULL",
        "INSERT INTO t VALUES (3, 'three'); INSERT INTO made (t, m) VALUES (3, 1)",
    ],
    "two that refer to each other": [
        "BEGIN", "CREATE TABLE made (id int PRIMARY KEY)",
        "CREATE TABLE second (id int REFERENCES made); INSERT INTO made VALUES (1)",
        "INSERT INTO second VALUES (1)", "COMMIT", "INSERT INTO made VALUES (2)",
    ],
    "by code": ["DO $$ BEGIN CREATE TABLE made (a int); INSERT INTO made VALUES (1); END $$"],
    "by a function": ["SELECT makes()"],
    "and dropped again": ["CREATE TABLE made (a int)", "INSERT INTO made VALUES (1)", "DROP TABLE made"],
    "that is there already": ["CREATE TABLE IF NOT EXISTS t (id int)", "DELETE FROM t"],
    "serializable": [
        "BEGIN ISOLATION LEVEL SERIALIZABLE", "CREATE TABLE made AS TABLE t",
        "INSERT INTO made VALUES (3)", "UPDATE t SET v = 'x'", "COMMIT",
    ],
}  # fmt: skip


@pytest.fixture
def proxy(proxy_of_all: Proxy) -> Proxy:
    return proxy_of_all


# What the two versions may do differently.
ON_BOTH = ("create table as", "with keys, a sequence, an index", "by code", "serializable")


@pytest.mark.parametrize(
    ("server", "how", "prepare"),
    [
        *((18, how, False) for how in MADE),
        *((18, how, True) for how in ("create table as", "by a function", "serializable")),
        *((15, how, False) for how in ON_BOTH),
    ],
    indirect=["server"],
)
def test_a_table_that_was_made(proxy, how, prepare):
    database = proxy.database
    database.psql(SCHEMA)
    before = database.dump()
    tag = "-c hotrollback.tag=made"
    with psycopg.connect(proxy.url("app"), autocommit=True, options=tag) as client:
        for text in MADE[how]:
            client.execute(text, prepare=prepare)
    after = database.dump()
    here = ("--database", database.name)
    assert (after == before) is (how == "and dropped again")
    for _ in range(2 if how == "with keys, a sequence, an index" else 1):
        proxy.cli("undo", *here, "--tag", "made", "--yes")
        assert database.dump() == before
        proxy.cli("redo", "last", *here, "--yes")
        assert database.dump() == after


def test_what_else_is_made_is_taken_back(proxy):
    database = proxy.database
    database.psql(
        SCHEMA + "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE u ();"
        " ALTER TABLE p OWNER TO app; ALTER TABLE u OWNER TO app"
    )
    before = database.dump()
    for number, text in enumerate(
        (
            "CREATE TABLE made (a int) PARTITION BY LIST (a)",
            "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)",
            "CREATE TABLE heir () INHERITS (u)",
            "CREATE MATERIALIZED VIEW seen AS TABLE t",
            "CREATE INDEX ON p (a)",
        )
    ):
        proxy.psql(text, tag=f"made{number}")
        assert database.dump() != before
        proxy.cli("undo", "--database", database.name, "--tag", f"made{number}", "--yes")
        assert database.dump() == before
    proxy.psql("CREATE TEMPORARY TABLE mine AS TABLE t; CREATE INDEX ON mine (id)", tag="temporary")
    assert database.psql("SELECT reason FROM hotrollback.gap WHERE tag = 'temporary'") == []


SEEN = """
CREATE TABLE seen (q text);
CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO public.seen VALUES (current_query()); END $$;
CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION audit();
"""


def test_event_triggers_see_the_clients_text(proxy):
    text = "CREATE TABLE made AS TABLE t -- a copy"
    proxy.database.psql(SCHEMA + SEEN + "GRANT ALL ON seen TO app; DELETE FROM seen")
    proxy.psql(text, tag="made")
    assert proxy.database.psql("SELECT DISTINCT q FROM seen") == [(text,)]
    proxy.database.psql("DELETE FROM seen")
    text = "DROP TABLE made"
    proxy.psql(text, tag="dropped")
    assert proxy.database.psql("SELECT DISTINCT q FROM seen") == [(text,)]
    assert proxy.database.psql("SELECT reason FROM hotrollback.gap") == [("lost",)]
    proxy.database.psql("DROP EVENT TRIGGER audit")
