"""What --on-conflict force does not do: it makes rows what they were, and nobody else's become others."""

import pytest
from fix_undo import Ground

from undo.model import Kind, Outcome

P = "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE, v int);"
C = "CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ON UPDATE CASCADE ON DELETE CASCADE);"
CASES = {  # before, bad, what others did since, what is in the way besides
    "a row refers to the value of now": (
        P + C + "INSERT INTO p VALUES (1, 'a', 0)",
        "UPDATE p SET v = 1",
        "UPDATE p SET code = 'b'; INSERT INTO c VALUES (1, 'b')",
        Kind.REFERENCED,
    ),
    "a row refers to the value of now, and what was made is to go": (
        P + C,
        "INSERT INTO p VALUES (1, 'a', 0)",
        "UPDATE p SET code = 'b'; INSERT INTO c VALUES (1, 'b')",
        Kind.REFERENCED,
    ),
    "a row refers to what has the key now": (
        P + C + "INSERT INTO p VALUES (1, 'a', 0)",
        "DELETE FROM p",
        "INSERT INTO p VALUES (1, 'b', 0); INSERT INTO c VALUES (1, 'b')",
        Kind.REFERENCED,
    ),
    "another has the value that it had": (
        P + "INSERT INTO p VALUES (1, 'a', 0)",
        "UPDATE p SET v = 1",
        "UPDATE p SET code = 'b'; INSERT INTO p VALUES (2, 'a', 0)",
        Kind.UNIQUE,
    ),
    "another has the key that it had": (
        P + "INSERT INTO p VALUES (1, 'a', 0)",
        "UPDATE p SET v = 1",
        "UPDATE p SET id = 2; INSERT INTO p VALUES (1, 'b', 0)",
        Kind.UNIQUE,
    ),
    "what it referred to is gone": (
        P + C + "INSERT INTO p VALUES (1, 'a', 0), (2, 'b', 0); INSERT INTO c VALUES (1, 'a')",
        "UPDATE c SET id = 7",
        "UPDATE c SET code = 'b'; DELETE FROM p WHERE code = 'a'",
        Kind.PARENT_MISSING,
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_it_stops_at_rows_of_others(ground: Ground, name: str) -> None:
    before, bad, later, kind = CASES[name]
    await ground.given(before)
    await ground.write(bad)
    await ground.write(later, tag="later")
    now = await ground.dump()
    report = await ground.undo(policy="force")
    assert report.outcome is Outcome.CONFLICTS
    assert kind in {conflict.kind for conflict in report.conflicts}
    assert await ground.dump() == now


@pytest.mark.parametrize(
    ("bad", "later"),
    [
        ("UPDATE t SET v = 1", "UPDATE t SET n = DEFAULT"),
        ("DELETE FROM t", "INSERT INTO t VALUES (1, DEFAULT, 7)"),
    ],
)
async def test_an_identity_that_only_insert_gives_comes_back(
    ground: Ground, bad: str, later: str
) -> None:
    await ground.given(
        "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v int);"
        "INSERT INTO t VALUES (1, DEFAULT, 0)"
    )
    before = await ground.rows("SELECT * FROM t")
    await ground.write(bad)
    await ground.write(later, tag="later")
    script = await ground.script("force")
    assert (await ground.undo(policy="force")).outcome is Outcome.DONE
    assert await ground.rows("SELECT * FROM t") == before
    await ground.redo()
    assert await ground.psql(script) == (0, "")
    assert await ground.rows("SELECT * FROM t") == before
