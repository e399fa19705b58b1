"""Gaps inside of a selection, and records that count as such."""

from fix_undo import BAD, TWO_TABLES, Ground, changed

from undo.engine import run
from undo.model import Kind, Outcome
from undo.request import Selection, UndoRequest


async def test_gaps_stop_an_undo_unless_they_are_accepted(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write(
        "BEGIN; UPDATE t SET v = 1 WHERE id = 1;"
        "INSERT INTO hotrollback.gap (relid, reason, statement)"
        " VALUES ('s'::regclass, 'copy', 'COPY s FROM STDIN'); COMMIT"
    )
    await ground.write("INSERT INTO hotrollback.gap (reason) VALUES ('function')", tag="gap only")
    report = await ground.undo()
    assert report.outcome == Outcome.GAPS
    (gap,) = report.gaps
    assert (gap.reason, gap.relation, gap.tag, gap.role, gap.statement) == (
        *("copy", "public.s", BAD, "postgres", "COPY s FROM STDIN"),
    )
    assert await changed(ground) == ([1], [])
    # Another table's gap is not in the way; one of unknown table is.
    assert (await ground.preview(tag=BAD, tables=("t",))).outcome == Outcome.PREVIEW
    assert (await ground.undo(tag="gap only")).outcome == Outcome.GAPS
    assert (await ground.preview(tag="gap only", tables=("t",))).outcome == Outcome.GAPS


async def test_records_of_a_table_that_had_just_changed_are_gaps(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id < 3")
    await ground.db.execute("UPDATE hotrollback.change SET stale = true WHERE after ->> 'id' = '1'")
    report = await ground.undo()
    assert report.outcome == Outcome.GAPS
    assert [(g.reason, g.relation) for g in report.gaps] == [("stale_catalog", "public.t")]


async def test_a_stale_record_beside_an_exact_one_is_no_gap(ground: Ground) -> None:
    """The trigger was attached between the look at the table and the write."""
    await ground.given(TWO_TABLES)
    await ground.write(
        "BEGIN; UPDATE t SET v = 1 WHERE id = 1; INSERT INTO hotrollback.change"
        " (relid, op, old_tid, new_tid, stale, before, after)"
        " SELECT tableoid, 'U', '(0,1)', ctid, true, '{}', '{}' FROM t WHERE id = 1; COMMIT"
    )
    report = await ground.undo()
    assert (report.outcome, report.gaps) == (Outcome.DONE, ())
    assert await changed(ground) == ([], [])


async def test_gaps_that_their_transaction_could_not_hold(ground: Ground) -> None:
    """They have no tag, and count for every tag of their session."""
    await ground.given(TWO_TABLES)
    one = await ground.connect(server_settings={"hotrollback.tag": BAD})
    await one.execute("UPDATE t SET v = 1 WHERE id = 1")
    await ground.write("UPDATE t SET v = 1 WHERE id = 2", tag="other")
    await ground.db.execute(
        "INSERT INTO hotrollback.session (pid, started, role, proxy) SELECT pid, backend_start,"
        " 'postgres', 'test' FROM pg_stat_activity WHERE pid = $1",
        one.get_server_pid(),
    )
    await ground.db.execute(
        "INSERT INTO hotrollback.gap (pid, reason, apart) VALUES ($1, 'log_unavailable', true)",
        one.get_server_pid(),
    )
    assert (await ground.preview(tag="other")).outcome == Outcome.PREVIEW
    report = await ground.undo()
    assert [gap.reason for gap in report.gaps] == ["log_unavailable"]
    assert report.outcome == Outcome.GAPS


async def test_rows_that_were_written_when_the_log_was_full(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id < 3")
    await ground.write("UPDATE t SET v = 2 WHERE id IN (2, 3)")
    await ground.db.execute(
        "UPDATE hotrollback.change SET op = '-', key = NULL, before = NULL, after = NULL"
        " WHERE after ->> 'v' = '2';"
        "INSERT INTO hotrollback.gap (relid, reason, tag) VALUES ('t'::regclass, 'log_full', 'bad')"
    )
    assert (await ground.undo()).outcome == Outcome.GAPS
    request = UndoRequest(Selection(tag=BAD), policy="skip", accept_gaps=True)
    report = await run(ground.db, request)
    assert (report.outcome, len(report.gaps)) == (Outcome.DONE, 1)
    assert [(c.key, c.kind) for c in report.conflicts] == [("id=2", Kind.CHANGED)]
    assert await changed(ground) == ([2, 3], [])
