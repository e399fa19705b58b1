"""Functions that write and that a statement's text does not name: behind views, operators, casts,
aggregates and domains."""

import pytest
from forms_bed import TWO_WAYS, Bed, Case

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 9) g;
CREATE TABLE other (id int, v text); INSERT INTO other VALUES (7, 'o'), (8, 'o');
CREATE FUNCTION bump(i int) RETURNS text LANGUAGE plpgsql AS $$
  DECLARE r text; BEGIN UPDATE t SET v = v || '+' WHERE id = i RETURNING v INTO r; RETURN r; END $$;
"""
SETUP = f"""{TABLES}
CREATE OPERATOR !+ (FUNCTION = bump, RIGHTARG = int);
CREATE VIEW calls AS SELECT id, bump(id) AS r FROM t;
CREATE TYPE numbered AS (id int);
CREATE FUNCTION as_text(n numbered) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT bump(n.id)';
CREATE CAST (numbered AS text) WITH FUNCTION as_text (numbered);
CREATE FUNCTION writes_state(s int, i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO other VALUES (i, 'aggregate'); RETURN s + i; END $$;
CREATE AGGREGATE writing_sum (int) (SFUNC = writes_state, STYPE = int, INITCOND = 0);
CREATE DOMAIN checked AS int CHECK (bump(VALUE) IS NOT NULL);
"""

# Not volatile, and each calls what is.
NESTED = """
CREATE FUNCTION stable_one(i int) RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN bump(i); END $$;
CREATE FUNCTION stable_two(i int) RETURNS text STABLE LANGUAGE sql AS 'SELECT STABLE_ONE(i)';
CREATE FUNCTION immutable_one(i int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN bump(i); END $$;
CREATE FUNCTION atomic_one(i int) RETURNS text STABLE LANGUAGE sql BEGIN ATOMIC SELECT stable_two(i); END;
"""


def sent(*writes: str) -> Case:
    return Case(writes, SETUP, TWO_WAYS)


TABLE = {
    "operator": sent("SELECT !+ 4", "UPDATE other SET v = !+ id", "INSERT INTO other SELECT 1, !+ 2"),
    "cast": sent("INSERT INTO other SELECT 1, (ROW (5)::numbered)::text", "DELETE FROM other WHERE v = (ROW (6)::numbered)::text"),
    "view": sent("SELECT * FROM calls WHERE id = 5", "INSERT INTO other SELECT * FROM calls"),
    "aggregate": sent("SELECT writing_sum(id) FROM t", "INSERT INTO t SELECT 10 + writing_sum(id), 'x' FROM t"),
    "domain": sent("SELECT 3::checked", "INSERT INTO other VALUES (4::checked, 'x')"),
    "inside of a with": sent("WITH d AS (DELETE FROM other RETURNING !+ id AS r) INSERT INTO t SELECT 77, r FROM d LIMIT 1"),
    "merge": sent("MERGE INTO other USING calls ON calls.id = other.id WHEN MATCHED THEN UPDATE SET v = r"),
}  # fmt: skip

TABLE["by functions that are not volatile"] = Case(
    (
        "SELECT stable_one(1)",
        "UPDATE other SET v = stable_one(2) WHERE id = 7",
        "INSERT INTO other VALUES (1, stable_two(3))",
        "DELETE FROM other WHERE id = 8 AND immutable_one(4) IS NOT NULL",
        "UPDATE other SET v = atomic_one(5) WHERE id = 7",
    ),
    TABLES + NESTED,
    TWO_WAYS,
)


@pytest.mark.parametrize("name", TABLE)
def test_unseen_calls(bed_apart: Bed, name: str) -> None:
    bed_apart.prove(TABLE[name])
