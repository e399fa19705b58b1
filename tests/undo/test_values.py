"""What goes with a column or a type: its values, who may see it, and whose code is called for that."""

import pytest
from fix_session import inside
from fix_undo import Ground
from test_owned import back_and_again, send

CASES = {
    "an expression": (
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO t VALUES (1), (2)",
        "ALTER TABLE t ALTER b DROP EXPRESSION; UPDATE t SET b = 7 WHERE a = 1",
    ),
    "granted by another": (
        "CREATE TABLE t (a int, b int); GRANT SELECT (a) ON t TO pg_monitor WITH GRANT OPTION;"
        "GRANT USAGE ON SCHEMA public TO pg_monitor; SET ROLE pg_monitor; GRANT SELECT (a) ON t TO app; RESET ROLE",
        "ALTER TABLE t DROP a",
    ),
    "a range": (
        "CREATE TYPE \"A b\" AS RANGE (subtype = float8); CREATE TYPE e AS ENUM ('a')",
        'DROP TYPE "A b", e',
    ),
    "all columns": (
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (2, 'y')",
        "ALTER TABLE t DROP a; ALTER TABLE t DROP b",
    ),
    "an attribute that is stored nowhere": (
        "CREATE TYPE pair AS (a int, b int)",
        "ALTER TYPE pair DROP ATTRIBUTE b",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_it_comes_back(ground: Ground, name: str) -> None:
    given, text = CASES[name]
    await ground.given(given)
    before = await ground.content()
    with inside(ground.database) as through:
        await send(through, text)
        assert through.gaps() == []
    await back_and_again(ground, before)


@pytest.mark.parametrize("text", [
    "ALTER TYPE pair DROP ATTRIBUTE b", "ALTER TABLE t DROP p; ALTER TYPE pair DROP ATTRIBUTE a",
])  # fmt: skip
async def test_values_without_an_attribute_are_said_to_be_lost(ground: Ground, text: str) -> None:
    await ground.given(
        "CREATE TYPE pair AS (a text, b text); CREATE TABLE t (id int, p pair);"
        "INSERT INTO t VALUES (1, ROW('x', 'y'))"
    )
    with inside(ground.database) as through:
        await send(through, text)
        assert through.gaps() == [("lost", "pair")]


async def test_values_that_others_gave_an_attribute_are_a_conflict(ground: Ground) -> None:
    await ground.given(
        "CREATE TYPE pair AS (a text); CREATE TABLE t (id int PRIMARY KEY, p pair, q pair[]);"
        "INSERT INTO t VALUES (1, ROW('x')), (2, NULL)"
    )
    await ground.write("ALTER TYPE pair ADD ATTRIBUTE b int")
    await ground.write("UPDATE t SET p = ROW('y', 3) WHERE id = 2", tag="good")
    report = await ground.undo()
    assert [(c.relation, c.tag, c.detail) for c in report.conflicts] == [
        (
            "attribute public.pair.b",
            "good",
            "values that may hold attribute public.pair.b were written since, in 1 row",
        )
    ]
    assert await ground.rows("SELECT (p).b FROM t WHERE id = 2") == [(3,)]


CASTS = """
CREATE TABLE called (by name); GRANT INSERT ON called TO PUBLIC; GRANT CREATE ON SCHEMA public TO app; SET ROLE app;
CREATE TYPE e AS ENUM ('a');
CREATE FUNCTION as_json(e) RETURNS json LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO called VALUES (current_user); RETURN '1'; END $$;
CREATE CAST (e AS json) WITH FUNCTION as_json(e);
CREATE TABLE t (id int, e e); INSERT INTO t VALUES (1, 'a'), (2, 'a'); RESET ROLE
"""


async def test_nobodys_cast_is_called(ground: Ground) -> None:
    await ground.given(CASTS)
    before = await ground.content()
    with inside(ground.database) as through:
        await send(through, "ALTER TABLE t DROP id", "app")
        assert through.gaps() == []
    await back_and_again(ground, before)
    assert await ground.rows("SELECT * FROM called") == []
