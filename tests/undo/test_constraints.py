"""What constraints say of the rows that an undo would make, asked before the server says it."""

import pytest
from fix_undo import Ground

from undo.errors import Refused
from undo.model import Kind, Outcome

T = "CREATE TABLE t (id int PRIMARY KEY, a int, b int, {}); INSERT INTO t VALUES (1, 1, 1);"
SUM = T.format("g int GENERATED ALWAYS AS (a * 10 + b) STORED UNIQUE")
NULLS = T.format("u int, UNIQUE NULLS NOT DISTINCT (u)")

# before, bad, what others did since, policy, what is in the way; or the rows of t (id, a, b) then
CASES = {
    "a row refers to what was generated": (
        SUM + "CREATE TABLE c (g int REFERENCES t (g) ON UPDATE CASCADE)",
        "UPDATE t SET a = 2",
        "INSERT INTO c VALUES (21)",
        "abort",
        {Kind.REFERENCED},
    ),
    "another has what is generated": (
        SUM,
        "UPDATE t SET a = 2",
        "INSERT INTO t VALUES (2, 1, 1)",
        "abort",
        {Kind.UNIQUE},
    ),
    "another has what is generated of a merged row": (
        SUM,
        "UPDATE t SET a = 2",
        "UPDATE t SET b = 5; INSERT INTO t VALUES (2, 1, 5)",
        "merge",
        {Kind.LATER_CHANGE, Kind.UNIQUE},
    ),
    "another has what would be generated without the merge": (
        SUM,
        "UPDATE t SET a = 2",
        "UPDATE t SET b = 5; INSERT INTO t VALUES (2, 1, 1)",
        "merge",
        [(1, 1, 5), (2, 1, 1)],
    ),
    "a row refers to what was generated of a merged row": (
        SUM + "CREATE TABLE c (g int REFERENCES t (g) ON UPDATE CASCADE)",
        "UPDATE t SET a = 2",
        "UPDATE t SET b = 5; INSERT INTO c VALUES (25)",
        "merge",
        {Kind.LATER_CHANGE, Kind.REFERENCED},
    ),
    "nulls that are not distinct": (
        NULLS,
        "UPDATE t SET u = 7",
        "INSERT INTO t VALUES (2, 2, 2, NULL)",
        "skip",
        [(1, 1, 1), (2, 2, 2)],
    ),
    "rules of columns that are newer": (
        T.format("CHECK (a > 0)"),
        "UPDATE t SET a = 2, b = 2",
        "UPDATE t SET b = 3; ALTER TABLE t ADD c int DEFAULT 4 CHECK (c > 3), ADD CHECK (a < c)",
        "merge",
        [(1, 1, 3)],
    ),
    "a merged row breaks a newer rule": (
        T.format("CHECK (a > 0)"),
        "UPDATE t SET a = 2, b = 2",
        "UPDATE t SET b = 3; ALTER TABLE t ADD c int DEFAULT 2, ADD CHECK (a >= c)",
        "merge",
        {Kind.CHECK},
    ),
    "a newer rule, skipped": (
        T.format("CHECK (a > 0)") + "INSERT INTO t VALUES (2, 8, 2)",
        "UPDATE t SET a = a + 4",
        "ALTER TABLE t ADD CHECK (a > 4)",
        "skip",
        [(1, 5, 1), (2, 8, 2)],
    ),
    "a newer NOT NULL": (
        T.format("v int"),
        "UPDATE t SET v = 1",
        "ALTER TABLE t ALTER v SET NOT NULL",
        "abort",
        {Kind.CHECK},
    ),
    "nothing is there for NULL": (
        T.format("v int"),
        "UPDATE t SET a = 2, v = 1",
        "UPDATE t SET a = 3; ALTER TABLE t ALTER v SET NOT NULL",
        "merge",
        {Kind.CHECK},
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_before_anything_is_written(ground: Ground, name: str) -> None:
    before, bad, later, policy, expected = CASES[name]
    await ground.given(before)
    await ground.write(bad)
    await ground.write(later, tag="later")
    now = await ground.dump()
    report = await ground.undo(policy)
    if isinstance(expected, set):
        assert report.outcome is Outcome.CONFLICTS
        assert {conflict.kind for conflict in report.conflicts} == expected
        assert await ground.dump() == now
    else:
        assert report.outcome is Outcome.DONE, report.conflicts
        assert await ground.rows("SELECT id, a, b FROM t ORDER BY id") == expected


@pytest.mark.parametrize("server", [18], indirect=True)
@pytest.mark.parametrize("policy", ["abort", "merge"])
async def test_what_is_not_enforced_is_in_nobodys_way(ground: Ground, policy: str) -> None:
    await ground.given(
        T.format("CHECK (a + b > 0) NOT ENFORCED")
        + "CREATE TABLE c (id int PRIMARY KEY, t int, FOREIGN KEY (t) REFERENCES t NOT ENFORCED);"
        "INSERT INTO c VALUES (1, 7), (2, 8)"
    )
    await ground.write(
        "UPDATE t SET a = 5, b = 5; INSERT INTO t VALUES (7, 7, 7); DELETE FROM c WHERE id = 2"
    )
    if policy == "merge":
        await ground.write("UPDATE t SET b = -9 WHERE id = 1", tag="later")
    assert (await ground.undo(policy)).outcome is Outcome.DONE
    assert await ground.rows("SELECT a FROM t") == [(1,)]
    assert await ground.rows("SELECT * FROM c ORDER BY id") == [(1, 7), (2, 8)]


async def test_a_value_that_is_too_long_by_now(ground: Ground) -> None:
    await ground.given(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(9)); INSERT INTO t VALUES (1, 'long')"
    )
    await ground.write("UPDATE t SET v = 'x'")
    await ground.db.execute("ALTER TABLE t ALTER v TYPE varchar(2)")
    with pytest.raises(Refused, match="too long"):
        await ground.undo()


@pytest.mark.parametrize(
    ("parent", "child", "value"),
    [
        ("timestamptz", "timestamptz", "'2026-01-01'"),
        ("numeric", "int", "1"),
        ("bool", "bool", "true"),
    ],
)
async def test_who_deleted_what_a_row_refers_to(
    ground: Ground, parent: str, child: str, value: str
) -> None:
    """Whatever its value looks like in the log."""
    await ground.given(
        f"CREATE TABLE p (k {parent} PRIMARY KEY);"
        f"CREATE TABLE c (id int PRIMARY KEY, k {child} REFERENCES p);"
        f"INSERT INTO p VALUES ({value}); INSERT INTO c VALUES (1, {value})"
    )
    before = await ground.content()
    await ground.write("DELETE FROM c")
    await ground.write("DELETE FROM p", tag="later")
    assert (await ground.undo("cascade")).outcome is Outcome.DONE
    assert await ground.content() == before


@pytest.mark.parametrize("server", [15], indirect=True)  # the 18 is built without ICU
async def test_what_a_row_refers_to_under_a_collation(ground: Ground) -> None:
    """Rows are laid out without it."""
    await ground.given(
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        "CREATE TABLE p (k text COLLATE ci PRIMARY KEY);"
        "CREATE TABLE c (id int PRIMARY KEY, k text REFERENCES p ON DELETE CASCADE);"
        "INSERT INTO p VALUES ('Foo'); INSERT INTO c VALUES (1, 'fOO')"
    )
    before = await ground.content()
    await ground.write("DELETE FROM p")
    await ground.there_and_back(before, await ground.content())
