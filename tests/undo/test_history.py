"""The history of one row: all of it and nothing else, also under other keys."""

import pytest
from fix_undo import Ground

from undo import errors
from undo.past.history import history
from undo.past.rows import as_of

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, v int, "a b" text);
CREATE TABLE parted (k text, id int, v int, PRIMARY KEY (k, id)) PARTITION BY LIST (k);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a');
CREATE TABLE parted_b PARTITION OF parted FOR VALUES IN ('b');
CREATE TABLE unhashed (p point, r int4range, v int, PRIMARY KEY (r));
INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0), (7, 0);
"""


async def told(ground: Ground, table: str, key: str | tuple) -> list[tuple]:
    wanted = key if isinstance(key, tuple) else (("", key),)
    rows = await history(ground.db, table, wanted)
    return [(row["op"], row["changed"], row["tag"]) for row in rows]


async def test_one_row_and_no_other(ground: Ground) -> None:
    await ground.given(TABLES)
    await ground.write(
        "UPDATE t SET v = 1, \"a b\" = 'x'; UPDATE t SET v = 2 WHERE id = 1", tag="one"
    )
    await ground.db.execute(
        "INSERT INTO hotrollback.statement (fingerprint, text) VALUES (9, 'DELETE ..')"
    )
    await ground.write("SET hotrollback.statement = '9'; DELETE FROM t WHERE id = 1", tag="two")
    first = await ground.undo(tag="two")
    rows = await history(ground.db, "t", (("id", "1"),))
    assert [(r["op"], r["changed"], r["tag"], r["undone"]) for r in rows] == [
        ("insert", None, None, None),
        ("delete", None, "two", first.undo_id),
        ("update", "v: 1 -> 2", "one", None),
        ("update", 'v: 0 -> 1, a b: null -> "x"', "one", None),
    ]
    deleted = rows[1]
    assert (deleted["statement"], deleted["role"], deleted["relation"]) == (
        "DELETE ..",
        "postgres",
        "public.t",
    )
    assert '"v":2' in deleted["before"]
    assert await told(ground, "t", "2") == [("update", 'v: 0 -> 1, a b: null -> "x"', "one")]
    assert await told(ground, "t", "99") == []
    with pytest.raises(errors.BadFilter, match="id = integer"):
        await told(ground, "t", (("v", "1"),))


async def test_through_changes_of_the_key(ground: Ground) -> None:
    """Also where the log does not have how the row came to its first key, and where another row has
    that key before or since."""
    await ground.given(TABLES)
    await ground.write("UPDATE t SET id = 10 WHERE id = 1", tag="move")
    await ground.write("INSERT INTO t VALUES (1, 5)", tag="other")
    await ground.write("UPDATE t SET v = 6 WHERE id = 1", tag="other")
    await ground.write("UPDATE t SET id = 20 WHERE id = 10", tag="again")
    await ground.write("UPDATE t SET v = 9 WHERE id = 20", tag="last")
    one = [
        ("update", "v: 0 -> 9", "last"),
        ("update", "id: 10 -> 20", "again"),
        ("update", "id: 1 -> 10", "move"),
    ]
    assert await told(ground, "t", "20") == one
    assert await told(ground, "t", "10") == one
    assert await told(ground, "t", "1") == [
        ("update", "v: 5 -> 6", "other"),
        ("insert", None, "other"),
    ]
    await ground.write("DELETE FROM t WHERE id = 1", tag="gone")
    await ground.write("UPDATE t SET id = 1 WHERE id = 2", tag="second")
    await ground.write("UPDATE t SET id = 30 WHERE id = 1", tag="second")
    second = [("update", "id: 1 -> 30", "second"), ("update", "id: 2 -> 1", "second")]
    assert await told(ground, "t", "30") == second
    assert await told(ground, "t", "2") == second
    assert (await told(ground, "t", "1"))[:3] == [*second, ("delete", None, "gone")]
    await ground.write("INSERT INTO t VALUES (5)", tag="a")
    await ground.write("UPDATE t SET id = 50 WHERE id = 5", tag="b")
    await ground.write("INSERT INTO t VALUES (5)", tag="c")
    assert await told(ground, "t", "5") == [
        ("insert", None, "c"),
        ("update", "id: 5 -> 50", "b"),
        ("insert", None, "a"),
    ]
    await ground.write("UPDATE t SET id = 40 WHERE id = 7", tag="first")
    assert await told(ground, "t", "7") == [("update", "id: 7 -> 40", "first")]


async def test_through_partitions_and_without_a_hash(ground: Ground) -> None:
    await ground.given(TABLES)
    await ground.write("INSERT INTO parted VALUES ('a', 1, 0), ('a', 2, 0); INSERT INTO unhashed VALUES (NULL, '[1,3)')",
                       tag="made")  # fmt: skip
    await ground.write("UPDATE parted SET v = 1 WHERE id = 1", tag="value")
    await ground.write("UPDATE unhashed SET v = 4", tag="value")
    for table in ("parted", "parted_a"):
        assert await told(ground, table, (("id", "1"), ("k", "a"))) == [
            ("update", "v: 0 -> 1", "value"),
            ("insert", None, "made"),
        ]
    assert await told(ground, "unhashed", "[1,2]") == [
        ("update", "v: null -> 4", "value"),
        ("insert", None, "made"),
    ]


async def test_a_database_without_the_log(bare: Ground) -> None:
    await bare.db.execute(TABLES)
    with pytest.raises(errors.NotInstalled):
        await history(bare.db, "t", (("", "1"),))
    with pytest.raises(errors.NotInstalled):
        await as_of(bare.db, "t", None, restore_point="r", json=False)
