"""What an undo's rows pass through on their way: code of users that names what it needs without a
schema, as it may where they write."""

import pytest
from forms_bed import Bed, Case

CODE = """
CREATE TABLE allowed (v text); INSERT INTO allowed VALUES ('a'), ('b'), ('c');
CREATE FUNCTION folded(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE FUNCTION is_allowed(text) RETURNS boolean LANGUAGE plpgsql AS $$
  BEGIN RETURN EXISTS (SELECT FROM allowed WHERE v = folded($1)); END $$;
CREATE FUNCTION twice(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN folded($1) || $1; END $$;
CREATE DOMAIN word AS text CHECK (is_allowed(VALUE));
"""
WRITES = (
    "UPDATE t SET v = 'C' WHERE id = 1",
    "DELETE FROM t WHERE id = 2",
    "INSERT INTO t (id, v) VALUES (3, 'c')",
)


def table(columns: str) -> Case:
    rows = "INSERT INTO t (id, v) VALUES (1, 'A'), (2, 'b')"
    return Case(WRITES, f"{CODE} CREATE TABLE t (id int PRIMARY KEY, {columns}); {rows}")


TABLE = {
    "check": table("v text CHECK (is_allowed(v))"),
    "generated": table("v text, w text GENERATED ALWAYS AS (twice(v)) STORED"),
    "index": table("v text, EXCLUDE (twice(v) WITH =)"),
    "domain": table("v word"),
    "array of a domain": Case(
        ("UPDATE t SET v = '{c,b}'", "DELETE FROM t"),
        f"{CODE} CREATE TABLE t (v word[]); INSERT INTO t VALUES ('{{a}}'), ('{{B,a}}')",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_names_without_a_schema(bed: Bed, name: str) -> None:
    bed.prove(TABLE[name])


def test_no_operator_of_others_is_taken_for_the_servers(bed_apart: Bed) -> None:
    """It would run with the rights of who undoes."""
    lure = (
        "CREATE FUNCTION lured(oid, int) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'lured'; END $$;"
        "CREATE OPERATOR = (FUNCTION = lured, LEFTARG = oid, RIGHTARG = int);"
    )
    case = TABLE["check"]
    bed_apart.prove(Case(case.writes, lure + case.setup))
