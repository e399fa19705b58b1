"""Undo in batches: the same as in one transaction, whatever rows need of one another, and whoever
cuts it off."""

import asyncio
import random
import sys
from contextlib import suppress

import pytest
from fix_undo import BAD, Ground
from test_engine import CASES

from undo import batches
from undo.errors import AlreadyRedone
from undo.model import Outcome
from undo.report import Report
from undo.request import Selection, UndoRequest

# Rows of these need one another.
NEEDY = (
    "rebirth of keys",
    "keys that swap",
    "a parent replaced under the same unique name",
    "a tree that restricts",
    "odd names",
    "values that swap in indexes over expressions",
    "foreign keys of several columns, to unique values, of partitions",
)


async def undo(ground: Ground, batch: int | None, policy: str = "abort", **more) -> Report:
    request = UndoRequest(Selection(tag=BAD), policy=policy, batch=batch, by="test")
    return await batches.run(ground.db, request, **more)


async def redo(ground: Ground, undo_id: int | None, **more) -> Report:
    return await batches.redo(ground.db, undo_id, by="test", **more)


async def contents(ground: Ground) -> dict[str, list[str]]:
    tables = await ground.rows(
        "SELECT format('%I.%I', n.nspname, c.relname)"
        "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
        "   AND n.nspname !~ '^(pg_|information|hotrollback)'"
    )
    return {
        name: [row[0] for row in await ground.rows(f"SELECT t::text FROM {name} t ORDER BY 1")]
        for (name,) in sorted(tables)
    }


async def one_by_one(ground: Ground) -> bool:
    """Whether no change was taken back twice."""
    ((all_, different),) = await ground.rows(
        "SELECT count(*), count(DISTINCT (d.xid, d.lsn)) FROM hotrollback.undone d"
        " JOIN hotrollback.undo u ON u.id = d.undo WHERE u.redone_by IS NULL"
    )
    return all_ == different > 0


@pytest.mark.parametrize("name", NEEDY)
async def test_batches_of_one_row_and_what_it_needs(ground: Ground, name: str) -> None:
    before_sql, write = CASES[name]
    await ground.given(before_sql)
    before = await contents(ground)
    await ground.write(write)
    after = await contents(ground)
    preview = await batches.run(
        ground.db, UndoRequest(Selection(tag=BAD), batch=1, dry_run=True, by="test")
    )
    assert await contents(ground) == after

    report = await undo(ground, 1)
    assert (report.outcome, report.conflicts, report.gaps) == (Outcome.DONE, (), ())
    assert await contents(ground) == before
    assert (preview.outcome, preview.tables) == (Outcome.PREVIEW, report.tables)
    assert preview.batches >= report.batches
    assert await one_by_one(ground)

    redone = await redo(ground, None)
    assert (redone.outcome, redone.conflicts) == (Outcome.DONE, ())
    assert redone.batches == report.batches
    assert await contents(ground) == after
    with pytest.raises(AlreadyRedone):
        await redo(ground, report.undo_id)


ORDERS = (
    "CREATE TABLE t (id int PRIMARY KEY, v int, w int);"
    "CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t);"
    "INSERT INTO t SELECT g, 0, 0 FROM generate_series(1, 9) g"
)
BAD_ORDERS = (
    "UPDATE t SET v = 1; UPDATE t SET v = 2 WHERE id < 5; DELETE FROM t WHERE id = 9;"
    "INSERT INTO t VALUES (20, 1, 1), (21, 1, 1)"
)
LATER = (
    "UPDATE t SET w = 7 WHERE id IN (2, 7); UPDATE t SET v = 8 WHERE id = 3;"
    "DELETE FROM t WHERE id = 4; UPDATE t SET w = 1 WHERE id = 8; INSERT INTO t VALUES (9, 9, 9)"
)


@pytest.mark.parametrize("server", [18], indirect=True)
@pytest.mark.parametrize("policy", ["abort", "skip", "merge", "cascade", "force"])
async def test_policies_are_those_of_one_transaction(ground: Ground, policy: str) -> None:
    """And conflicts of all rows are found before any is written."""
    await ground.given(ORDERS)
    await ground.write(BAD_ORDERS)
    await ground.write(LATER.rpartition(";")[0] if policy == "merge" else LATER, tag="later")
    after = await contents(ground)
    whole = ground.db.transaction(isolation="read_committed")
    await whole.start()
    expected = await undo(ground, None, policy)
    content = await contents(ground)
    await whole.rollback()

    found = await undo(ground, 2, policy)
    assert found.outcome is expected.outcome
    assert found.tables == expected.tables
    assert {(c.key, c.kind) for c in found.conflicts} == {
        (c.key, c.kind) for c in expected.conflicts
    }
    assert found.along == expected.along
    assert await contents(ground) == content
    if policy == "abort":
        assert (found.undo_id, content) == (None, after)
    else:
        assert found.batches > 1


@pytest.mark.parametrize("server", [18], indirect=True)
@pytest.mark.parametrize("policy", ["abort", "cascade"])
async def test_others_write_between_two_batches(ground: Ground, policy: str) -> None:
    """Which is met where it matters; the same undo then goes on under its number."""
    await ground.given(ORDERS)
    before = await contents(ground)
    await ground.write(BAD_ORDERS)
    after = await contents(ground)
    passed = 0

    async def write() -> None:
        nonlocal passed
        passed += 1
        if passed == 4:
            await ground.write("UPDATE t SET v = 5, w = 5 WHERE id IN (1, 20)", tag="meanwhile")

    report = await undo(ground, 2, policy, between=write)
    if policy == "cascade":
        assert report.outcome is Outcome.DONE
        assert len(report.along) == 1
        assert (await contents(ground))["public.t"] == before["public.t"]
        return
    assert (report.outcome, report.batches > 0) == (Outcome.CONFLICTS, True)
    assert "stay done" in report.message
    assert [c.tag for c in report.conflicts] == ["meanwhile"]
    goes_on = await undo(ground, 2, "skip")
    assert (goes_on.outcome, goes_on.undo_id) == (Outcome.DONE, report.undo_id)
    assert await one_by_one(ground)
    redone = await redo(ground, report.undo_id)
    assert (redone.outcome, redone.batches) == (Outcome.DONE, report.batches + goes_on.batches)
    assert (
        sum(
            a != b
            for a, b in zip(after["public.t"], (await contents(ground))["public.t"], strict=True)
        )
        == 1
    )


async def test_tables_that_were_made_go_first(ground: Ground) -> None:
    await ground.given(ORDERS)
    before = await contents(ground)
    await ground.write(
        BAD_ORDERS + "; CREATE TABLE made (id int PRIMARY KEY, t int REFERENCES t);"
        " INSERT INTO made VALUES (1, 20)"
    )
    after = await contents(ground)
    report = await undo(ground, 3)
    assert (report.outcome, await contents(ground)) == (Outcome.DONE, before)
    assert {t.relation: t.moved for t in report.tables} == {
        "public.made": "taken away", "public.t": "",
    }  # fmt: skip
    trial = await redo(ground, report.undo_id, dry_run=True)
    assert (trial.outcome, await contents(ground)) == (Outcome.PREVIEW, before)
    assert (await redo(ground, report.undo_id)).tables == trial.tables
    assert await contents(ground) == after


RUN = """
import asyncio, sys, asyncpg
from undo import batches
from undo.request import Selection, UndoRequest

async def main():
    db = await asyncpg.connect(sys.argv[1])
    request = UndoRequest(Selection(tag="bad"), batch=2, by="test")
    await batches.run(db, request, lambda *told: print(*told, flush=True))

asyncio.run(main())
"""


async def test_killed_at_any_point_it_goes_on(ground: Ground) -> None:
    """And nothing is done twice."""
    await ground.given(ORDERS + "; INSERT INTO c SELECT g, g FROM generate_series(1, 9) g")
    before = await contents(ground)
    await ground.write(BAD_ORDERS.replace("DELETE", "DELETE FROM c; UPDATE t SET w = 5; DELETE", 1))
    after = await contents(ground)
    chance = random.Random(ground.database.name)
    for kill_after in [*(chance.randint(8, 40) for _ in range(3)), None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RUN, ground.database.url(), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        if kill_after is None:
            assert (await process.communicate(), process.returncode)[1] == 0
            break
        for _ in range(kill_after):
            await process.stdout.readline()
        with suppress(ProcessLookupError):  # it has ended
            process.kill()
        await process.wait()
    assert await contents(ground) == before
    assert await one_by_one(ground)
    ((groups, numbers),) = await ground.rows(
        "SELECT count(DISTINCT batch_of), count(*) FROM hotrollback.undo"
    )
    assert groups == 1 < numbers
    assert (await redo(ground, None)).batches == numbers
    assert await contents(ground) == after


async def test_a_redo_that_meets_others_half_way_goes_on_later(ground: Ground) -> None:
    await ground.given(ORDERS)
    await ground.write("UPDATE t SET v = 1")
    undone = await undo(ground, 2)
    await ground.write("UPDATE t SET v = 7 WHERE id = 5", tag="later")
    stopped = await redo(ground, undone.undo_id)
    assert (stopped.outcome, stopped.batches) == (Outcome.CONFLICTS, 2)
    assert "2 batches were redone before and stay so" in stopped.message
    await ground.write("UPDATE t SET v = 0 WHERE id = 5", tag="later")
    rest = await batches.redo(ground.db, undone.undo_id, by="test", policy="force")
    assert (rest.outcome, rest.batches) == (Outcome.DONE, undone.batches - 2)
    assert await ground.rows("SELECT DISTINCT v FROM t") == [(1,)]
