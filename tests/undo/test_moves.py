"""Tables that the selection made: what stands in the way of moving them, and what each policy does."""

import asyncio

import pytest
from fix_undo import BAD, Ground

from undo.bin.purge import purge
from undo.engine import run
from undo.errors import BinHolds
from undo.install import uninstall
from undo.model import Kind, Outcome
from undo.request import Selection, UndoRequest

MAKE = "CREATE TABLE made (id serial PRIMARY KEY, v text); INSERT INTO made (v) VALUES ('a'), ('b')"
THEIRS = "theirs"
THERE = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = 'made'"

# what others did since, the conflict, whether --on-conflict force goes on
CASES = {
    "rows written": ("UPDATE made SET v = 'x' WHERE id = 1", Kind.LATER_CHANGE, True),
    "a foreign key": ("CREATE TABLE o (m int REFERENCES made)", Kind.REFERENCED, False),
    "a parent": (
        "CREATE TABLE o (id int, v text) PARTITION BY RANGE (id);"
        "ALTER TABLE o ATTACH PARTITION made DEFAULT",
        Kind.SCHEMA,
        False,
    ),
    "a view": ("CREATE VIEW o AS SELECT v FROM made", Kind.REFERENCED, False),
    "a function": (
        "CREATE FUNCTION o() RETURNS SETOF made LANGUAGE sql BEGIN ATOMIC TABLE made; END",
        Kind.REFERENCED,
        False,
    ),
    "an heir": ("CREATE TABLE o () INHERITS (made)", Kind.REFERENCED, False),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_others_have_to_do_with_it(ground: Ground, case: str) -> None:
    since, kind, forced = CASES[case]
    await ground.given("CREATE TABLE z (id int)")
    await ground.write(MAKE + "; INSERT INTO z VALUES (1)")
    await ground.write(since, tag=THEIRS)
    before = await ground.dump()
    report = await ground.undo()
    assert [(c.relation, c.kind) for c in report.conflicts] == [("public.made", kind)]
    assert (report.outcome, await ground.dump()) == (Outcome.CONFLICTS, before)
    if kind is Kind.LATER_CHANGE:
        assert (report.conflicts[0].tag, report.conflicts[0].session is None) == (THEIRS, True)
    forcing = await ground.preview(policy="force")
    assert forcing.outcome == (Outcome.PREVIEW if forced else Outcome.CONFLICTS)
    skipped = await ground.undo(policy="skip")
    assert skipped.outcome == Outcome.DONE
    assert await ground.rows("SELECT * FROM z") == []
    assert await ground.rows(THERE) == [(1,)]


async def test_rows_of_others_go_along_when_forced_and_come_back(ground: Ground) -> None:
    await ground.given("CREATE TABLE z (id int)")
    await ground.write(MAKE)
    await ground.write(
        "INSERT INTO made (v) VALUES ('theirs'); INSERT INTO z VALUES (1)", tag=THEIRS
    )
    before = await ground.dump()
    assert (await ground.undo(policy="force")).outcome == Outcome.DONE
    theirs = await ground.undo(tag=THEIRS)
    assert [(c.relation, c.kind) for c in theirs.conflicts] == [("public.made", Kind.GONE)]
    assert (await ground.redo()).outcome == Outcome.DONE
    assert await ground.dump() == before


async def test_a_preview_says_so_and_moves_nothing(ground: Ground) -> None:
    await ground.given("CREATE TABLE z (id int)")
    await ground.write(MAKE)
    before = await ground.dump()
    report = await ground.preview()
    assert [(t.relation, t.moved) for t in report.tables] == [("public.made", "taken away")]
    assert report.statements == ("ALTER TABLE public.made SET SCHEMA hotrollback_bin",)
    assert await ground.dump() == before


@pytest.mark.parametrize(
    ("since", "kind"),
    [
        (MAKE, Kind.UNIQUE),
        ("DROP SCHEMA hotrollback_bin CASCADE", Kind.GONE),
        ("DROP SCHEMA s CASCADE", Kind.SCHEMA),
    ],
)
async def test_what_cannot_come_back(ground: Ground, since: str, kind: Kind) -> None:
    await ground.given(
        "CREATE SCHEMA s; ALTER DATABASE " + ground.database.name + " SET search_path = s"
    )
    await ground.write(MAKE)
    assert (await ground.undo()).outcome == Outcome.DONE
    await ground.write(since, tag=THEIRS)
    report = await ground.redo()
    assert (report.outcome, [c.kind for c in report.conflicts]) == (Outcome.CONFLICTS, [kind])


async def test_its_names_are_free_again(ground: Ground) -> None:
    await ground.given("CREATE TABLE z (id int)")
    before = await ground.dump()
    for number in range(3):
        await ground.write(MAKE, tag=f"{BAD} {number}")
        assert (await ground.undo(tag=f"{BAD} {number}")).outcome == Outcome.DONE
        assert await ground.dump() == before


async def test_nobody_makes_others_tables_go_by_forging(ground: Ground) -> None:
    await ground.given("CREATE TABLE z (id int); GRANT ALL ON z TO app")
    relid = await ground.db.fetchval("SELECT 'z'::regclass::oid::int8")
    await ground.write(
        f"INSERT INTO hotrollback.change (relid, op) VALUES ({relid}, 'C')", user="app"
    )
    reader = await ground.connect()
    await reader.execute("BEGIN; LOCK TABLE z IN ACCESS SHARE MODE")
    report = await asyncio.wait_for(ground.undo(policy="force"), 10)
    assert [c.kind for c in report.conflicts] == [Kind.PRIVILEGE]
    await reader.execute("COMMIT")
    request = UndoRequest(Selection(tag=BAD), trust_log=True)
    assert (await run(ground.db, request)).outcome == Outcome.DONE


async def test_uninstall_is_refused_while_the_bin_holds_something(ground: Ground) -> None:
    await ground.given("CREATE TABLE z (id int, v text)")
    await ground.write(MAKE)
    await ground.undo()
    await ground.write("CALL hotrollback.run_ddl_v1('ALTER TABLE z DROP COLUMN v')")
    held = r"still holds tables public\.made and values of columns public\.z\.v, which"
    with pytest.raises(BinHolds, match=held):
        await uninstall(ground.db)
    await ground.db.execute("ALTER TABLE hotrollback.kept RENAME TO later")
    with pytest.raises(BinHolds, match=r"still holds tables [0-9]+_made, kept_[0-9_]+, which"):
        await uninstall(ground.db)
    await ground.db.execute("ALTER TABLE hotrollback.later RENAME TO kept")
    # Nothing was changed: what is written is recorded.
    await ground.write("INSERT INTO z VALUES (1)", tag="later")
    assert (await ground.undo(tag="later")).outcome == Outcome.DONE
    await purge(ground.db, "made")
    with pytest.raises(BinHolds, match=r"still holds values of columns public\.z\.v"):
        await uninstall(ground.db)
    await purge(ground.db)
    assert (await uninstall(ground.db))[-1] == "dropped schema hotrollback"
    assert await ground.db.fetchval("SELECT to_regnamespace('hotrollback_bin') IS NULL")


@pytest.mark.parametrize(("policy", "left"), [("skip", [(1,)]), ("force", [(0,)])])
async def test_a_policy_of_the_table_alone(ground: Ground, policy: str, left: list[tuple]) -> None:
    await ground.given("CREATE TABLE z (id int)")
    await ground.write(MAKE)
    await ground.write("UPDATE made SET v = 'x'", tag=THEIRS)
    request = UndoRequest(Selection(tag=BAD), policies=(("made", policy),), by="test")
    assert (await run(ground.db, request)).outcome is Outcome.DONE
    assert await ground.rows(THERE) == left


SELECTORS = [{"restore_point": "r"}, {"role": "postgres"}]


@pytest.mark.parametrize("selectors", SELECTORS, ids=lambda selectors: next(iter(selectors)))
async def test_its_own_records_are_not_selected(ground: Ground, selectors: dict) -> None:
    """What it moves it records before rows are looked at: that fits what has no end, too."""
    await ground.given(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');"
        "CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone VALUES (1)"
    )
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('r')")
    before = await ground.dump()
    await ground.write("UPDATE t SET v = 'x'; CALL hotrollback.run_ddl_v1('DROP TABLE gone')")
    after = await ground.dump()
    await ground.there_and_back(before, after, **selectors)
