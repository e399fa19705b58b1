"""Of a transaction that is taken back whole one row is kept, whatever its size; it means the same."""

import pytest
from fix_undo import BAD, TWO_TABLES, Ground, changed

from undo import listing
from undo.listing import Filter
from undo.model import Outcome
from undo.stages import record

KEPT = "SELECT lsn IS NULL, count(*)::int FROM hotrollback.undone GROUP BY 1 ORDER BY 1"
ROWS = list(range(1, 10))


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_MANY", 1)


async def test_a_whole_transaction(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1; UPDATE s SET v = 1")
    await ground.write("UPDATE t SET v = 0 WHERE false; INSERT INTO t VALUES (10, 0)", "theirs")
    done = await ground.undo()
    assert (done.outcome, await changed(ground)) == (Outcome.DONE, ([], []))
    assert await ground.rows(KEPT) == [(True, 1)]
    again = await ground.undo()
    assert again.outcome is Outcome.NOTHING
    assert f"undo {done.undo_id} did it" in again.message
    rows = await listing.changes(ground.db, Filter(limit=100, tag=BAD))
    assert [row["undone"] for row in rows] == [done.undo_id] * 18
    (tag,) = await listing.tags(ground.db, Filter(limit=100, tag=BAD))
    assert tag["undone"] == 18
    await ground.redo(done.undo_id)
    assert await changed(ground) == (ROWS, ROWS)
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await changed(ground) == ([], [])


async def test_a_part_of_one(ground: Ground) -> None:
    """What is left of it can be undone after that."""
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1; UPDATE s SET v = 1")
    await ground.undo(tag=BAD, tables=("t",))
    assert await ground.rows(KEPT) == [(False, 9)]
    assert await changed(ground) == ([], ROWS)
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await changed(ground) == ([], [])
