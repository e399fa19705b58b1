"""The undo as a script: what it refuses. What it does, test_engine shows for every case."""

import pytest
from fix_undo import Ground

BEFORE = (
    "CREATE TABLE p (id int PRIMARY KEY, v text);"
    "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);"
    "CREATE TABLE k (v text); INSERT INTO k VALUES ('a'), ('a'), ('b');"
    "CREATE TABLE s (id int PRIMARY KEY, p int REFERENCES p, v text,"
    " EXCLUDE USING gist (int4range(p, p + 1) WITH &&) WHERE (v IS NULL) DEFERRABLE);"
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
    "CREATE TRIGGER quiet BEFORE INSERT ON s FOR EACH ROW EXECUTE FUNCTION f();"
    "INSERT INTO p VALUES (1, 'one'), (2, 'two'), (3, 'three'); INSERT INTO s VALUES (1, 3)"
)
BAD = (
    "UPDATE p SET v = 'x' WHERE id = 1; INSERT INTO p VALUES (9, 'new'); UPDATE k SET v = 'z';"
    "DELETE FROM s"
)


@pytest.mark.parametrize(
    "between",
    [
        "UPDATE p SET v = 'y' WHERE id = 1",
        "DELETE FROM p WHERE id = 1",
        "INSERT INTO c VALUES (1, 9)",  # that the server would delete along
        "DELETE FROM k WHERE ctid = (SELECT max(ctid) FROM k)",
        "INSERT INTO s VALUES (1, 1)",
        "INSERT INTO s VALUES (7, 3)",  # what nobody may have beside the one that comes back
        "DELETE FROM p WHERE id = 3",  # that a row refers to which no trigger looks after
    ],
)
async def test_it_does_all_or_nothing(ground: Ground, between: str) -> None:
    await ground.given(BEFORE)
    await ground.write(BAD)
    script = await ground.script()
    await ground.write(between, tag="others")
    changed = await ground.dump()
    status, said = await ground.psql(script)
    assert (status, "ERROR" in said) == (3, True)
    assert await ground.dump() == changed


async def test_it_wants_one_transaction(ground: Ground) -> None:
    await ground.given(BEFORE)
    before = await ground.dump()
    await ground.write(BAD)
    damaged = await ground.dump()
    script = await ground.script()
    status, said = await ground.psql(script, "-q")
    assert (status, "run it in one transaction, by psql -1" in said) == (3, True)
    assert await ground.dump() == damaged
    assert await ground.psql(script) == (0, "")
    assert await ground.dump() == before


async def test_it_is_recorded_whatever_the_values_are(ground: Ground) -> None:
    """A statement with the word in it by which ours are known would not be."""
    await ground.given(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'hotrollback_w')"
    )
    before = await ground.dump()
    await ground.write("UPDATE t SET v = E'\\\\hotro' || 'llback_w:x' WHERE id = 1")
    assert await ground.psql(await ground.script()) == (0, "")
    assert await ground.dump() == before
    assert len(await ground.rows("SELECT FROM hotrollback.change")) == 2
