"""What is selected, by what, and what is not: selectors, their combination, gaps, what was undone."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest
from fix_undo import BAD, TWO_TABLES, Ground, changed

from undo import errors
from undo.model import Outcome


async def xid_of(ground: Ground, table: str, key: int) -> int:
    found = await ground.db.fetchval(
        "SELECT xid FROM hotrollback.change WHERE relid = $1::regclass"
        " AND after ->> 'id' = $2 ORDER BY lsn DESC LIMIT 1",
        table,
        str(key),
    )
    return int(found)


async def test_by_tag(ground: Ground) -> None:
    """Rows that were written under the tag, not whole transactions."""
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id = 1", tag="other")
    await ground.write("UPDATE t SET v = 1 WHERE id = 9", tag="")
    await ground.write(
        "BEGIN; UPDATE t SET v = 1 WHERE id = 2; SET LOCAL hotrollback.tag = 'inner';"
        "UPDATE t SET v = 1 WHERE id = 3; COMMIT; UPDATE s SET v = 1 WHERE id = 4"
    )
    report = await ground.undo(tag=BAD)
    assert report.selected_transactions == 2
    assert await changed(ground) == ([1, 3, 9], [])
    await ground.undo(tag="inner")
    assert await changed(ground) == ([1, 9], [])


async def test_by_transactions(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write(
        "BEGIN; UPDATE t SET v = 1 WHERE id = 1; UPDATE s SET v = 1 WHERE id = 1; COMMIT"
    )
    await ground.write("UPDATE t SET v = 1 WHERE id = 2")
    await ground.write("UPDATE t SET v = 1 WHERE id = 3")
    xids = (await xid_of(ground, "t", 1), await xid_of(ground, "t", 3))
    await ground.undo(xids=xids)
    assert await changed(ground) == ([2], [])


async def test_by_time(ground: Ground) -> None:
    """A transaction is inside when its last record is."""
    await ground.given(TWO_TABLES)
    slow = await ground.connect()
    await slow.execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1")
    await ground.write("UPDATE t SET v = 1 WHERE id = 2")
    since = await ground.db.fetchval("SELECT clock_timestamp()")
    await ground.write("UPDATE t SET v = 1 WHERE id = 3")
    await slow.execute("UPDATE t SET v = 1 WHERE id = 4; COMMIT")
    until = await ground.db.fetchval("SELECT clock_timestamp()")
    await ground.write("UPDATE t SET v = 1 WHERE id = 5")
    await ground.undo(since=since, until=until)
    assert await changed(ground) == ([2, 5], [])
    await ground.undo(since=until)
    assert await changed(ground) == ([2], [])


async def test_by_restore_point(ground: Ground) -> None:
    """What was not committed when it was made came after it, also what was begun before."""
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id = 1")
    slow = await ground.connect()
    await slow.execute("BEGIN; UPDATE t SET v = 1 WHERE id = 2")
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('before')")
    await slow.execute("COMMIT")
    await ground.write("UPDATE t SET v = 1 WHERE id = 3")
    await ground.undo(restore_point="before")
    assert await changed(ground) == ([1], [])


async def test_by_session_and_application(ground: Ground) -> None:
    """A pid that is used again is another session."""
    await ground.given(TWO_TABLES)
    one = await ground.connect()
    two = await ground.connect()
    for name, connection in (("one", one), ("two", two)):
        await ground.db.execute(
            "INSERT INTO hotrollback.session (pid, started, role, application_name, proxy)"
            " SELECT pid, backend_start, usename, $2, 'test' FROM pg_stat_activity WHERE pid = $1",
            connection.get_server_pid(),
            name,
        )
    # An earlier session that had the same pid.
    await ground.db.execute(
        "INSERT INTO hotrollback.session (pid, started, ended, role, application_name, proxy)"
        " SELECT pid, started - interval '1 hour', started - interval '1 minute', role, 'three', 'x'"
        " FROM hotrollback.session WHERE application_name = 'one'"
    )
    await one.execute("UPDATE t SET v = 1 WHERE id = 1")
    await two.execute("UPDATE t SET v = 1 WHERE id = 2")
    await one.execute("UPDATE s SET v = 1 WHERE id = 3")
    sessions = {
        row["application_name"]: row["id"]
        for row in await ground.db.fetch(
            "SELECT application_name, pid || '.' || (extract(epoch FROM started) * 1000000)::int8 AS id"
            " FROM hotrollback.session"
        )
    }
    report = await ground.preview(session=sessions["three"])
    assert (report.outcome, report.selected_transactions) == (Outcome.NOTHING, 0)
    await ground.undo(session=sessions["one"])
    assert await changed(ground) == ([2], [])
    report = await ground.preview(application="one")
    assert report.outcome == Outcome.NOTHING
    await ground.undo(application="two")
    assert await changed(ground) == ([], [])


async def test_role_and_table_combine_with_the_rest(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id = 1; UPDATE s SET v = 1 WHERE id = 1")
    await ground.write(
        "UPDATE t SET v = 1 WHERE id = 2; UPDATE s SET v = 1 WHERE id = 2", user="app"
    )
    await ground.undo(tag=BAD, role="app", tables=("t",))
    assert await changed(ground) == ([1], [1, 2])
    await ground.undo(tables=("public.s",))
    assert await changed(ground) == ([1], [])
    await ground.undo(role="postgres")
    assert await changed(ground) == ([], [])


async def test_ddl_that_touched_several_tables_is_of_each(ground: Ground) -> None:
    await ground.given(TWO_TABLES + "; CREATE TABLE u (id int)")
    before = await ground.content()
    await ground.write("GRANT SELECT ON t, s TO operator")
    after = await ground.content()
    await ground.write("GRANT SELECT ON u TO operator; UPDATE t SET v = 1")
    await ground.write("UPDATE t SET v = 0")
    for table in ("t", "s"):
        report = await ground.undo(tag=BAD, tables=(table,))
        assert (report.outcome, len(report.statements) > 0) == (Outcome.DONE, True)
        assert [line for line in await ground.content() if "operator" in line] == [
            "GRANT SELECT ON TABLE public.u TO operator;"
        ]
        assert (await ground.redo()).outcome is Outcome.DONE
    for selectors in ({"tables": ("u",)}, {"tag": BAD, "except_tables": ("s", "t")}):
        report = await ground.undo(**selectors)
        assert report.outcome is Outcome.DONE
        assert await ground.content() == after
        assert (await ground.redo()).outcome is Outcome.DONE
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await ground.content() == before


async def test_what_a_statement_set_off_follows_it(ground: Ground) -> None:
    """Cascades and triggers of a table that is named; not the reverse."""
    await ground.given(
        "CREATE TABLE p (id int PRIMARY KEY);"
        "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);"
        "CREATE TABLE g (id int PRIMARY KEY, c int REFERENCES c ON DELETE SET NULL);"
        "CREATE TABLE audit (k int);"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO audit VALUES (OLD.id); RETURN NULL; END $$;"
        "INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 2);"
        "INSERT INTO g VALUES (1, 1), (2, 2);"
        "GRANT ALL ON p, c, g TO app"
    )

    async def state() -> list[list[tuple]]:
        return [await ground.rows(f"SELECT * FROM {t} ORDER BY 1") for t in "pcg"]

    before = await state()
    await ground.write(
        "SET hotrollback.statement = '41'; DELETE FROM p WHERE id = 1;"
        "SET hotrollback.statement = '42'; DELETE FROM g WHERE id = 2"
    )
    await ground.undo(policy="skip", tables=("g",))
    assert await state() == [[(2,)], [(2, 2)], [(1, None), (2, 2)]]
    await ground.undo(tables=("p",))
    assert await state() == before

    await ground.db.execute("CREATE TRIGGER t AFTER DELETE ON p FOR EACH ROW EXECUTE FUNCTION f()")
    await ground.write("SET hotrollback.statement = '43'; DELETE FROM p WHERE id = 2", user="app")
    assert await ground.rows("SELECT k FROM audit") == [(2,)]
    preview = await ground.preview(tables=("audit",))
    assert [table.relation for table in preview.tables] == ["public.audit"]
    await ground.undo(role="app")
    assert await state() == before
    assert await ground.rows("SELECT k FROM audit") == []
    await ground.redo()
    await ground.undo(tables=("p",))
    assert await state() == before
    assert await ground.rows("SELECT k FROM audit") == []


async def test_tables_by_name(ground: Ground) -> None:
    """With partitions; and a bare name that means several tables is asked back."""
    await ground.given(
        TWO_TABLES + '; CREATE SCHEMA "O dd"; CREATE TABLE "O dd"."s" (id int PRIMARY KEY, v int);'
        'INSERT INTO "O dd".s VALUES (1, 0); CREATE TABLE "O dd"."P q" (k int) PARTITION BY LIST (k);'
        'CREATE TABLE "O dd".p1 PARTITION OF "O dd"."P q" DEFAULT'
    )
    await ground.write('UPDATE "O dd".s SET v = 1; UPDATE s SET v = 1 WHERE id = 1;'
                       'INSERT INTO "O dd"."P q" VALUES (5)')  # fmt: skip
    with pytest.raises(errors.BadFilter, match="several schemas"):
        await ground.undo(tables=("s",))
    await ground.undo(tables=('"O dd".s',))
    assert await ground.rows('SELECT v FROM "O dd".s') == [(0,)]
    await ground.undo(tables=('"P q"',))
    assert await ground.rows('SELECT k FROM "O dd".p1') == []
    assert await changed(ground) == ([], [1])


@pytest.mark.parametrize(
    ("selectors", "error"),
    [
        ({"tag": "nobody's"}, errors.UnknownTag),
        ({"session": "1.2"}, errors.UnknownSession),
        ({"session": "1"}, errors.UnknownSession),
        ({"session": "x.y"}, errors.UnknownSession),
        ({"xids": (4_000_000_000,)}, errors.UnknownTransaction),
        ({"tables": ("nothing",)}, errors.UnknownRelation),
        ({"tables": ("a.b.c",)}, errors.UnknownRelation),
        ({"tables": ('"half',)}, errors.UnknownRelation),
        ({"role": "nobody"}, errors.UnknownRole),
        ({"application": "nothing"}, errors.UnknownApplication),
        ({"restore_point": "none"}, errors.UnknownRestorePoint),
        ({"undo_id": 77}, errors.UnknownUndo),
        ({"tag": None}, errors.NothingSelected),
        (
            {
                "since": datetime(2026, 1, 2, tzinfo=UTC),
                "until": datetime(2026, 1, 1, tzinfo=UTC),
            },
            errors.BadFilter,
        ),
    ],
)
async def test_unknown_names_are_said(ground: Ground, selectors: dict, error: type) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1")
    now = await ground.dump()
    with pytest.raises(error):
        await ground.undo(**selectors)
    assert await ground.dump() == now


async def test_an_unknown_policy(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    with pytest.raises(errors.UnknownPolicy, match="abort, skip, merge, cascade, force"):
        await ground.undo(policy="hope")


async def test_what_was_undone_is_out_of_every_selection(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id = 1")
    first = await ground.undo()
    again = await ground.undo()
    assert (again.outcome, again.exit_code) == (Outcome.NOTHING, 0)
    assert f"undo {first.undo_id} did it" in again.message
    await ground.write("UPDATE t SET v = 1 WHERE id = 2")
    report = await ground.undo()
    assert report.selected_transactions == 1
    assert await changed(ground) == ([], [])


async def test_the_rows_of_an_undo_are_selected_only_by_its_id(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    start = await ground.db.fetchval("SELECT clock_timestamp()")
    await ground.write("UPDATE t SET v = 1 WHERE id = 1")
    undo = await ground.undo()
    assert (await ground.undo(since=start)).outcome == Outcome.NOTHING
    assert undo.xid is not None
    with pytest.raises(errors.UndoAmongOthers):
        await ground.undo(xids=(undo.xid,), role="postgres")
    report = await ground.undo(xids=(undo.xid,))
    assert report.outcome == Outcome.DONE
    assert await changed(ground) == ([1], [])
    with pytest.raises(errors.AlreadyRedone):
        await ground.redo(undo.undo_id)
    with pytest.raises(errors.UsageError, match="no undo"):
        await ground.redo()
    with pytest.raises(errors.UsageError, match="itself a redo"):
        await ground.redo(report.undo_id)


async def test_an_undo_that_had_nothing_to_change_can_be_redone(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 0 WHERE id = 1")
    undo = await ground.undo()
    assert (undo.outcome, undo.tables) == (Outcome.DONE, ())
    assert (await ground.undo()).outcome == Outcome.NOTHING
    assert (await ground.redo()).outcome == Outcome.DONE
    assert (await ground.undo()).outcome == Outcome.DONE


async def test_later_changes_that_were_undone_are_not_in_the_way(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1 WHERE id = 1")
    await ground.write("UPDATE t SET v = 2 WHERE id = 1", tag="later")
    assert (await ground.undo()).outcome == Outcome.CONFLICTS
    await ground.undo(tag="later")
    assert (await ground.undo()).outcome == Outcome.DONE
    assert await changed(ground) == ([], [])


async def test_nothing_recorded_is_said(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    report = await ground.undo(tables=("t",))
    assert (report.outcome, report.message) == (
        Outcome.NOTHING,
        "nothing was recorded that could be undone",
    )


async def test_a_log_from_elsewhere_is_refused(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1")
    await ground.db.execute("UPDATE hotrollback.meta SET system_identifier = 42")
    with pytest.raises(errors.ForeignLog, match="42"):
        await ground.undo()


async def test_a_database_without_the_log(bare: Ground) -> None:
    with pytest.raises(errors.NotInstalled, match="hotrollback install"):
        await bare.undo()


async def test_an_undo_that_is_cut_off_leaves_nothing(ground: Ground) -> None:
    await ground.given(TWO_TABLES)
    await ground.write("UPDATE t SET v = 1")
    holder = await ground.connect()
    await holder.execute("BEGIN; SELECT * FROM t WHERE id = 9 FOR UPDATE")
    undo = asyncio.create_task(ground.undo())
    while not await holder.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ):
        await asyncio.sleep(0.05)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await undo
    await holder.execute("ROLLBACK")
    rows = await holder.fetch("SELECT (SELECT count(*) FROM hotrollback.undo), min(v) FROM t")
    assert tuple(rows[0]) == (0, 1)
