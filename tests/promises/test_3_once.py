"""Where a capture trigger stands, too, a row is recorded once: by the statement that was rewritten, or
by the trigger, never by both and never by none."""

import pytest
from fix_proxy import Proxy

SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE log_of_t (id int, v text);
CREATE TABLE child (id int REFERENCES t ON DELETE CASCADE);
CREATE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log_of_t VALUES (new.id, new.v); RETURN new; END $$;
CREATE TRIGGER also AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION also();
CREATE FUNCTION beside(int) RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log_of_t VALUES ($1, 'beside'); RETURN $1; END $$;
INSERT INTO t VALUES (1, 'one'), (2, 'two'); INSERT INTO child VALUES (1), (2); DELETE FROM log_of_t;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
"""
LONG = "x" * 10_000

# Texts, and how many rows each writes.
WRITES = {
    "INSERT INTO t VALUES (3, 'three')": 2,
    "UPDATE t SET v = v || '!'": 2,
    "DELETE FROM t": 4,
    "INSERT INTO t VALUES (beside(3), 'three')": 3,
    "UPDATE t SET v = 'x' WHERE beside(id) > 0": 4,
    f"INSERT INTO t VALUES (3, '{LONG}')": 2,
    "UPDATE t SET v = 'a' WHERE id = 1; SELECT beside(9); UPDATE t SET v = 'b' WHERE id = 2": 3,
    "INSERT INTO t VALUES (3, 'x'); DO $$ BEGIN UPDATE t SET v = 'done' WHERE id = 3; END $$": 3,
    "WITH gone AS (DELETE FROM child RETURNING id) INSERT INTO log_of_t SELECT id, 'gone' FROM gone": 4,
    "PREPARE p AS DELETE FROM child; EXECUTE p; DEALLOCATE p": 2,
    "EXPLAIN (ANALYZE, TIMING OFF) DELETE FROM child": 2,
    "TRUNCATE t CASCADE": 4,
    "BEGIN; INSERT INTO t VALUES (3, 'x'); TRUNCATE child; COMMIT": 4,
    "BEGIN; TRUNCATE child; DO $$ BEGIN INSERT INTO t VALUES (3); END $$; COMMIT": 4,
    "BEGIN; TRUNCATE child; INSERT INTO child VALUES (1); DELETE FROM child; COMMIT": 4,
}


@pytest.fixture
def proxy(proxy_of_all: Proxy) -> Proxy:
    return proxy_of_all


@pytest.mark.parametrize("text", WRITES, ids=[text[:60] for text in WRITES])
def test_every_row_is_recorded_once(proxy, text):
    database = proxy.database
    database.psql(SCHEMA)
    before = database.dump()
    proxy.psql(text, tag="once")
    after = database.dump()
    told = database.psql("SELECT count(*) FROM hotrollback.change WHERE tag = 'once'")
    assert told == [(WRITES[text],)]
    assert database.psql("SELECT reason FROM hotrollback.gap WHERE tag = 'once'") == []
    here = ("--database", database.name)
    proxy.cli("undo", *here, "--tag", "once", "--yes")
    assert database.dump() == before
    proxy.cli("redo", "last", *here, "--yes")
    assert database.dump() == after
