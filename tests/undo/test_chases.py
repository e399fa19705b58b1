"""Cascade, and somebody who goes on writing: it ends."""

import psycopg
import pytest
from fix_undo import BAD, Ground

from undo.engine import run
from undo.errors import TooBusy
from undo.model import Outcome
from undo.request import Selection, UndoRequest


@pytest.mark.parametrize("often", [5, 60])
async def test_whoever_writes_on_is_not_run_after_for_ever(ground: Ground, often: int) -> None:
    await ground.given("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)")
    await ground.write("UPDATE t SET v = 1")
    written = 0
    with psycopg.connect(ground.database.url(), autocommit=True) as other:

        def write(stage: str, _done: int, _total: int) -> None:
            nonlocal written
            if stage == "load" and written < often:
                written += 1
                other.execute("UPDATE t SET v = v + 1")

        request = UndoRequest(Selection(tag=BAD), policy="cascade", by="test")
        if often == 5:
            report = await run(ground.db, request, write)
            assert (report.outcome, len(report.along)) == (Outcome.DONE, often)
            assert await ground.rows("SELECT v FROM t") == [(0,)]
            return
        with pytest.raises(TooBusy):
            await run(ground.db, request, write)
        assert await ground.rows("SELECT v FROM t") == [(1 + written,)]
