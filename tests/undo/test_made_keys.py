"""Unique indexes and exclusion constraints that have expressions or a predicate: what others have
taken meanwhile is a conflict of one row, as with plain columns."""

import pytest
from fix_undo import Ground

from undo.errors import Refused
from undo.model import Kind, Outcome

THEIRS = "good"
# What there is, what is undone, what others did meanwhile; the keys of the rows in conflict.
CASES = {
    "an expression": (
        "CREATE UNIQUE INDEX ON t (lower(v))",
        "UPDATE t SET v = 'bad' || id WHERE id IN (1, 2)",
        "INSERT INTO t VALUES (9, 'A')",
        ["id=1"],
    ),
    "a predicate": (
        "CREATE UNIQUE INDEX ON t (v) WHERE gone IS NULL",
        "UPDATE t SET gone = now() WHERE id IN (1, 2)",
        "INSERT INTO t VALUES (9, 'a')",
        ["id=1"],
    ),
    "a predicate, and rows that it leaves out": (
        "CREATE UNIQUE INDEX ON t (v) WHERE gone IS NULL",
        "UPDATE t SET gone = now() WHERE id IN (1, 2)",
        "INSERT INTO t VALUES (9, 'a', 'yesterday')",
        [],
    ),
    "a row that comes back": (
        "CREATE UNIQUE INDEX ON t (v) INCLUDE (n) WHERE gone IS NULL",
        "DELETE FROM t WHERE id IN (1, 3)",
        "INSERT INTO t VALUES (9, 'a')",
        ["id=1"],
    ),
    "an expression of what the predicate lets in": (
        "UPDATE t SET v = '00' || id WHERE id < 3;"
        "CREATE UNIQUE INDEX ON t ((v::int)) WHERE v ~ '^[0-9]+$'",
        "UPDATE t SET v = 'bad' || id WHERE id IN (1, 2)",
        "INSERT INTO t VALUES (9, '1')",
        ["id=1"],
    ),
    "at most one": (
        "CREATE UNIQUE INDEX ON t ((true)) WHERE n = 1",
        "UPDATE t SET n = 2 WHERE id = 1",
        "INSERT INTO t VALUES (9, 'x', NULL, 1)",
        ["id=1"],
    ),
    "at most one row": (
        "DELETE FROM t WHERE id > 1; CREATE UNIQUE INDEX ON t ((true))",
        "DELETE FROM t",
        "INSERT INTO t VALUES (9, 'x', NULL, 1)",
        ["id=1"],
    ),
    "nothing twice": (
        "CREATE UNIQUE INDEX ON t (n, lower(v)) NULLS NOT DISTINCT;"
        "UPDATE t SET v = NULL WHERE id = 1",
        "UPDATE t SET v = 'bad' || id WHERE id = 1",
        "INSERT INTO t VALUES (9, NULL, NULL, 1)",
        ["id=1"],
    ),
    "a collation": (
        """CREATE UNIQUE INDEX ON t (v COLLATE "C", lower(v) COLLATE "C") WHERE id > 0""",
        "UPDATE t SET v = 'bad' || id WHERE id IN (1, 2)",
        "INSERT INTO t VALUES (9, 'a')",
        ["id=1"],
    ),
    "an exclusion": (
        "ALTER TABLE t ADD EXCLUDE USING gist (int4range(n, n + 5) WITH &&) WHERE (gone IS NULL)",
        "UPDATE t SET gone = now() WHERE id = 1",
        "INSERT INTO t VALUES (9, 'x', NULL, -2)",
        ["id=1"],
    ),
    "an exclusion at the commit": (
        "ALTER TABLE t ADD EXCLUDE USING gist (int4range(n, n + 5) WITH &&) WHERE (gone IS NULL)"
        " DEFERRABLE INITIALLY DEFERRED",
        "UPDATE t SET gone = now() WHERE id = 1",
        "INSERT INTO t VALUES (9, 'x', NULL, -2)",
        ["id=1"],
    ),
}
TABLE = """
CREATE TABLE t (id int PRIMARY KEY, v text, gone timestamptz, n int);
INSERT INTO t VALUES (1, 'a', NULL, 1), (2, 'b', NULL, 10), (3, 'c', NULL, 20);
CREATE TABLE beside (id int PRIMARY KEY); INSERT INTO beside VALUES (1);
"""


@pytest.mark.parametrize("name", CASES)
async def test_what_others_have_taken(ground: Ground, name: str) -> None:
    given, bad, theirs, conflicts = CASES[name]
    await ground.given(TABLE + given)
    before = await ground.rows("SELECT * FROM t ORDER BY id")
    await ground.write(bad + "; UPDATE beside SET id = 2")
    await ground.write(theirs, tag=THEIRS)
    now = await ground.dump()

    report = await ground.undo()
    assert [(c.key, c.kind) for c in report.conflicts] == [(key, Kind.UNIQUE) for key in conflicts]
    if conflicts:
        assert report.outcome == Outcome.CONFLICTS
        assert await ground.dump() == now
        assert (await ground.undo(policy="skip")).outcome == Outcome.DONE
    after = await ground.rows("SELECT * FROM t ORDER BY id")
    held = [row for row in before if f"id={row[0]}" not in conflicts]
    assert [row for row in after if row in before] == held
    assert (await ground.redo()).outcome == Outcome.DONE
    assert await ground.dump() == now
    report = await ground.undo(policy="cascade")
    assert report.outcome == Outcome.DONE
    assert await ground.rows("SELECT * FROM t ORDER BY id") == (
        before if conflicts else sorted([*before, after[-1]])
    )


async def test_what_is_made_of_a_whole_row(ground: Ground) -> None:
    """Nobody foresees it but the server."""
    await ground.given(
        TABLE
        + "CREATE FUNCTION told(t) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1.v)';"
        "CREATE UNIQUE INDEX ON t (told(t.*))"
    )
    await ground.write("UPDATE t SET v = 'bad' || id WHERE id = 1")
    await ground.write("INSERT INTO t VALUES (9, 'A')", tag=THEIRS)
    now = await ground.dump()
    with pytest.raises(Refused, match="told"):
        await ground.undo()
    assert await ground.dump() == now
