"""Policies of single tables, columns that do not count, and what merge and cascade do to rows that
the model in test_policies has none of: partitions, rules of a table, foreign keys, whole tables."""

import pytest
from fix_undo import BAD, Ground

from undo import ignored
from undo.engine import run
from undo.errors import (
    BadFilter,
    NotIgnored,
    PlanMoved,
    UnknownColumn,
    UnknownPolicy,
    UnknownRelation,
    UsageError,
)
from undo.model import Kind, Outcome
from undo.report import Report
from undo.request import Selection, UndoRequest

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, v text, n int, at timestamptz DEFAULT now(), CHECK (n < 10));"
    "INSERT INTO t SELECT i, 'a', i FROM generate_series(1, 3) i; CREATE TABLE s (LIKE t INCLUDING ALL);"
    "INSERT INTO s TABLE t"
)
UNSEEN = (
    "ALTER EVENT TRIGGER hotrollback_ddl DISABLE; ALTER TABLE t DISABLE TRIGGER hotrollback_capture;"
    "{}; ALTER TABLE t ENABLE ALWAYS TRIGGER hotrollback_capture;"
    "ALTER EVENT TRIGGER hotrollback_ddl ENABLE ALWAYS"
)
VALUES = "SELECT id, v, n FROM {} ORDER BY id"


async def undo(ground: Ground, **given) -> Report:
    return await run(ground.db, UndoRequest(Selection(tag=BAD), by="test", **given))


async def test_a_policy_of_one_table(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'; UPDATE s SET v = 'bad'")
    await ground.write("UPDATE t SET v = 'later' WHERE id = 1", "theirs")
    await ground.write("UPDATE s SET v = 'later' WHERE id = 1", "theirs")
    report = await undo(ground, policies=(("t", "skip"),))
    assert report.outcome is Outcome.CONFLICTS
    assert [c.relation for c in report.conflicts] == ["public.t", "public.s"]
    report = await undo(ground, policies=(("public.t", "skip"), ("s", "force")))
    assert report.outcome is Outcome.DONE
    assert await ground.rows(VALUES.format("t")) == [(1, "later", 1), (2, "a", 2), (3, "a", 3)]
    assert await ground.rows(VALUES.format("s")) == [(1, "a", 1), (2, "a", 2), (3, "a", 3)]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"policies": (("t", "mend"),)}, UnknownPolicy),
        ({"policies": (("nix", "skip"),)}, UnknownRelation),
        ({"policies": (("t", "skip"), ("public.t", "skip"))}, BadFilter),
        ({"ignore": ("t.nix",)}, UnknownColumn),
        ({"ignore": ("at",)}, UnknownColumn),
        ({"ignore": ("nix.at",)}, UnknownRelation),
    ],
)
async def test_names_that_are_not_known(ground: Ground, given, error) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    with pytest.raises(error) as raised:
        await undo(ground, **given)
    assert '""' not in str(raised.value)


async def test_ignored_columns(ground: Ground) -> None:
    """Whoever changes them is in nobody's way, recorded or not, and they stay; anything else is."""
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad', at = 'epoch'")
    await ground.write("UPDATE t SET at = '2030-01-01' WHERE id = 1", "theirs")
    await ground.db.execute(UNSEEN.format("UPDATE t SET at = '2031-01-01' WHERE id = 2"))
    await ground.write("UPDATE t SET n = 9, at = '2032-01-01' WHERE id = 3", "theirs")
    assert (await undo(ground)).outcome is Outcome.CONFLICTS
    report = await undo(ground, ignore=("t.at",))
    assert [(c.key, c.kind) for c in report.conflicts] == [("id=3", Kind.LATER_CHANGE)]
    report = await undo(ground, ignore=("public.t.at",), policy="skip")
    assert report.outcome is Outcome.DONE
    rows = "SELECT id, v, n, extract(year FROM at)::int FROM t ORDER BY id"
    assert await ground.rows(rows) == [(1, "a", 1, 2030), (2, "a", 2, 2031), (3, "bad", 9, 2032)]
    await ground.redo(report.undo_id)
    assert await ground.rows(rows) == [
        (1, "bad", 1, 2030),
        (2, "bad", 2, 2031),
        (3, "bad", 9, 2032),
    ]


async def test_the_list_is_for_every_undo(ground: Ground) -> None:
    """With partitions, after it was put there in other words, and until it is taken off it."""
    await ground.given(
        'CREATE SCHEMA "S"; CREATE TABLE "S"."T" (id int PRIMARY KEY, v text, "At" int)'
        ' PARTITION BY RANGE (id); CREATE TABLE "S".p PARTITION OF "S"."T" DEFAULT;'
        """INSERT INTO "S"."T" VALUES (1, 'a', 0), (2, 'a', 0)"""
    )
    await ground.write("""UPDATE "S"."T" SET v = 'bad', "At" = 1""")
    await ground.write("""UPDATE "S"."T" SET "At" = 2 WHERE id = 1""", "theirs")
    assert (await undo(ground)).outcome is Outcome.CONFLICTS
    await ignored.put(ground.db, '"T"."At"', by="one")
    await ignored.put(ground.db, '"S"."T"."At"', by="other", reason="ticks")
    ((relation, column, by, _, reason),) = await ignored.listed(ground.db)
    assert (relation, column, by, reason) == ('"S"."T"', "At", "other", "ticks")
    report = await undo(ground)
    assert (report.outcome, report.conflicts) == (Outcome.DONE, ())
    rows = 'SELECT id, v, "At" FROM "S"."T" ORDER BY id'
    assert await ground.rows(rows) == [(1, "a", 2), (2, "a", 1)]
    await ground.redo()
    await ignored.take(ground.db, '"T"."At"')
    assert await ignored.listed(ground.db) == []
    assert (await undo(ground)).outcome is Outcome.CONFLICTS
    with pytest.raises(NotIgnored):
        await ignored.take(ground.db, '"T"."At"')
    for unknown in ('"T"."at"', "nix", '"T".', "a.b.c.d"):
        with pytest.raises(UnknownColumn):
            await ignored.put(ground.db, unknown, by="one")


async def test_a_plan_holds_as_long_as_the_list(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad', at = 'epoch'")
    plan = (await undo(ground, dry_run=True)).digest
    await ignored.put(ground.db, "t.at", by="one")
    with pytest.raises(PlanMoved):
        await undo(ground, plan=plan)
    await ignored.take(ground.db, "t.at")
    assert (await undo(ground, plan=plan)).outcome is Outcome.DONE


async def test_what_is_on_the_list_may_come_and_go(ground: Ground) -> None:
    """With a migration that is taken back, and again with its redo."""
    await ground.given(ROWS)
    await ground.write("ALTER TABLE t ADD COLUMN w int; UPDATE t SET w = 1, v = 'bad'")
    await ground.write("CREATE TABLE made AS SELECT 1 AS x; UPDATE made SET x = 2")
    for name in ("t.w", "made.x"):
        await ignored.put(ground.db, name, by="one")
    before = await ground.dump()
    report = await undo(ground)
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
    assert (await ground.redo()).outcome is Outcome.DONE
    assert await ground.dump() == before


async def test_what_only_ignored_columns_tell_is_nothing(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET at = 'epoch'")
    report = await undo(ground, ignore=("t.at",))
    assert (report.outcome, report.tables) == (Outcome.DONE, ())
    assert await ground.rows("SELECT count(*) FROM t WHERE at = 'epoch'") == [(3,)]


async def test_a_merged_row_that_breaks_a_rule_is_a_conflict(ground: Ground) -> None:
    await ground.given(
        "CREATE TABLE t (id int PRIMARY KEY, low int, high int, v text, CHECK (low <= high));"
        "INSERT INTO t VALUES (1, 5, 9, 'a'), (2, 5, 9, 'a')"
    )
    await ground.write("UPDATE t SET low = 1, v = 'bad'")
    await ground.write("UPDATE t SET high = 3 WHERE id = 1", "theirs")
    before = await ground.dump()
    report = await undo(ground, policy="merge")
    assert report.outcome is Outcome.CONFLICTS
    assert [(c.kind, c.key) for c in report.conflicts] == [(Kind.CHECK, "id=1")]
    assert await ground.dump() == before


async def test_merged_rows_of_partitions(ground: Ground) -> None:
    """Their columns may come in another order."""
    await ground.given(
        "CREATE TABLE t (id int, p int, v text, w text, PRIMARY KEY (id, p)) PARTITION BY LIST (p);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);"
        "CREATE TABLE t2 (w text, v text, p int NOT NULL, id int NOT NULL);"
        "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2);"
        "INSERT INTO t VALUES (1, 1, 'a', 'a'), (2, 2, 'a', 'a')"
    )
    await ground.write("UPDATE t SET v = 'bad'")
    await ground.write("UPDATE t SET w = 'theirs'", "theirs")
    report = await undo(ground, policy="merge")
    assert report.outcome is Outcome.DONE
    rows = "SELECT tableoid::regclass::text, id, p, v, w FROM t ORDER BY id"
    assert await ground.rows(rows) == [("t1", 1, 1, "a", "theirs"), ("t2", 2, 2, "a", "theirs")]
    await ground.redo(report.undo_id)
    assert await ground.rows(rows) == [("t1", 1, 1, "bad", "theirs"), ("t2", 2, 2, "bad", "theirs")]


async def test_what_both_changed_stays_and_is_told(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad', n = 0")
    await ground.write("UPDATE t SET v = 'theirs' WHERE id = 1", "theirs")
    report = await undo(ground, policy="merge")
    assert report.outcome is Outcome.DONE
    assert await ground.rows(VALUES.format("t")) == [(1, "theirs", 1), (2, "a", 2), (3, "a", 3)]
    assert [c.detail for c in report.conflicts] == ["the row was changed since: v stays as it is"]


async def test_cascade_goes_along_foreign_keys(ground: Ground) -> None:
    """To whoever refers to what would go, and to whoever took away what comes back refers to."""
    await ground.given(
        "CREATE TABLE p (id int PRIMARY KEY, v text); CREATE TABLE c (id int PRIMARY KEY, p int"
        " REFERENCES p); INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (1, 1)"
    )
    before = await ground.dump()
    await ground.write("INSERT INTO p VALUES (2, 'bad'); DELETE FROM c WHERE id = 1")
    await ground.write("INSERT INTO c VALUES (2, 2)", "second")
    await ground.write("DELETE FROM p WHERE id = 1", "third")
    await ground.write("UPDATE c SET id = 3 WHERE id = 2", "fourth")
    after = await ground.dump()
    report = await undo(ground, policy="cascade", dry_run=True)
    assert report.outcome is Outcome.PREVIEW
    assert sorted(along.tag or "" for along in report.along) == ["fourth", "second", "third"]
    assert await ground.dump() == after
    report = await undo(ground, policy="cascade")
    assert (report.outcome, report.selected_transactions) == (Outcome.DONE, 4)
    assert await ground.dump() == before
    await ground.redo(report.undo_id)
    assert await ground.dump() == after


async def test_cascade_stops_at_what_nobody_recorded(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    await ground.db.execute(UNSEEN.format("UPDATE t SET v = 'unseen' WHERE id = 2"))
    before = await ground.dump()
    report = await undo(ground, policy="cascade")
    assert report.outcome is Outcome.CONFLICTS
    assert [(c.key, c.kind) for c in report.conflicts] == [("id=2", Kind.CHANGED)]
    assert await ground.dump() == before


@pytest.mark.parametrize("policy", ["merge", "cascade"])
async def test_whole_tables(ground: Ground, policy: str) -> None:
    """Are not taken from others by a merge, and go with what others wrote into them by a cascade."""
    await ground.given(ROWS)
    before = await ground.dump()
    await ground.write("CREATE TABLE made (id int PRIMARY KEY); INSERT INTO made VALUES (1)")
    await ground.write("INSERT INTO made VALUES (2); UPDATE t SET v = 'x' WHERE id = 1", "theirs")
    after = await ground.dump()
    report = await undo(ground, policy=policy)
    if policy == "merge":
        assert report.outcome is Outcome.CONFLICTS
        assert await ground.dump() == after
    else:
        assert report.outcome is Outcome.DONE
        assert await ground.dump() == before


async def test_a_redo_takes_nobody_along(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    done = await undo(ground)
    with pytest.raises(UsageError):
        await run(
            ground.db, UndoRequest(Selection(undo_id=done.undo_id), policy="cascade", by="test")
        )


async def test_what_an_exclusion_constraint_holds_apart(ground: Ground) -> None:
    """Somebody else's row in the way is a conflict of one row; rows of the undo make way."""
    await ground.given(
        "CREATE TABLE t (id int PRIMARY KEY, room int4range, during int4range,"
        " EXCLUDE USING gist (room WITH =, during WITH &&));"
        "INSERT INTO t VALUES (1, '[1,1]', '[1,5)'), (2, '[1,1]', '[5,9)'), (3, '[1,1]', '[9,12)')"
    )
    await ground.write(
        "DELETE FROM t WHERE id = 1; UPDATE t SET during = '[1,4)' WHERE id = 2;"
        " UPDATE t SET during = '[5,9)' WHERE id = 3"
    )
    await ground.write("INSERT INTO t VALUES (7, '[1,1]', '[11,20)')", "theirs")
    report = await undo(ground)
    assert report.outcome is Outcome.CONFLICTS
    assert [(c.key, c.kind) for c in report.conflicts] == [("id=3", Kind.UNIQUE)]
    before = await ground.dump()
    assert (await undo(ground, policy="force")).outcome is Outcome.CONFLICTS
    assert await ground.dump() == before
    report = await undo(ground, policy="cascade")
    assert [along.tag for along in report.along] == ["theirs"]
    rows = "SELECT id, during::text FROM t ORDER BY id"
    assert await ground.rows(rows) == [(1, "[1,5)"), (2, "[5,9)"), (3, "[9,12)")]


@pytest.mark.parametrize("policy", ["merge", "force"])
async def test_more_columns_than_a_function_takes_arguments(ground: Ground, policy: str) -> None:
    columns = ", ".join(f"c{i} int DEFAULT {i}" for i in range(150))
    await ground.given(
        f"CREATE TABLE t (id int PRIMARY KEY, {columns}); INSERT INTO t VALUES (1), (2)"
    )
    before = await ground.dump()
    await ground.write("UPDATE t SET c7 = 0 WHERE id = 1; DELETE FROM t WHERE id = 2")
    await ground.write("UPDATE t SET c149 = 0 WHERE id = 1", "theirs")
    await ground.write("INSERT INTO t VALUES (3)")
    preview = await undo(ground, policy=policy, dry_run=True)
    assert preview.outcome is Outcome.PREVIEW
    assert [text.split(" ", 1)[0] for text in preview.statements] == ["UPDATE", "INSERT", "DELETE"]
    assert (await undo(ground, policy=policy)).outcome is Outcome.DONE
    assert await ground.rows("SELECT c7, c149 FROM t WHERE id = 1") == [
        (7, 0 if policy == "merge" else 149)
    ]
    await ground.write("UPDATE t SET c149 = 149")
    assert await ground.dump() == before
