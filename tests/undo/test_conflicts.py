"""What stands in the way of an undo, for each kind of conflict, and what each policy does about it."""

import asyncio

import pytest
from fix_undo import Ground

from undo import engine, trial
from undo.engine import run
from undo.errors import AlwaysTrigger, NeedsReplicaRole, RowsLocked
from undo.model import Kind, Outcome
from undo.request import Selection, UndoRequest

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, v text, u int UNIQUE);"
    "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)"
)
FAMILY = (
    "CREATE TABLE p (id int PRIMARY KEY, v text);"
    "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p {action});"
    "INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (1, 1)"
)
THEIRS = "theirs"

# name: (before, bad write, later write of others, kind, rows of t after skip, after force or None)
CASES = {
    "changed since": (
        ROWS,
        "UPDATE t SET v = 'bad' WHERE id < 3",
        "UPDATE t SET v = 'later' WHERE id = 1",
        Kind.LATER_CHANGE,
        [(1, "later", 1), (2, "b", 2), (3, "c", 3)],
        [(1, "a", 1), (2, "b", 2), (3, "c", 3)],
    ),
    "changed since, to the same value": (
        ROWS,
        "UPDATE t SET v = 'bad' WHERE id < 3",
        "UPDATE t SET v = 'x' WHERE id = 1; UPDATE t SET v = 'bad' WHERE id = 1",
        Kind.LATER_CHANGE,
        [(1, "bad", 1), (2, "b", 2), (3, "c", 3)],
        [(1, "a", 1), (2, "b", 2), (3, "c", 3)],
    ),
    "deleted since": (
        ROWS,
        "UPDATE t SET v = 'bad'",
        "DELETE FROM t WHERE id = 1",
        Kind.LATER_CHANGE,
        [(2, "b", 2), (3, "c", 3)],
        [(1, "a", 1), (2, "b", 2), (3, "c", 3)],
    ),
    "given another key since": (
        ROWS,
        "UPDATE t SET v = 'bad' WHERE id < 3",
        "UPDATE t SET id = 10 WHERE id = 1",
        Kind.LATER_CHANGE,
        [(2, "b", 2), (3, "c", 3), (10, "bad", 1)],
        [(1, "a", 1), (2, "b", 2), (3, "c", 3)],
    ),
    "an inserted row was changed since": (
        ROWS,
        "INSERT INTO t VALUES (7, 'bad', 7), (8, 'bad', 8)",
        "UPDATE t SET v = 'mine' WHERE id = 7",
        Kind.LATER_CHANGE,
        [(1, "a", 1), (2, "b", 2), (3, "c", 3), (7, "mine", 7)],
        [(1, "a", 1), (2, "b", 2), (3, "c", 3)],
    ),
    "the key of a deleted row was taken": (
        ROWS,
        "DELETE FROM t WHERE id < 3",
        "INSERT INTO t VALUES (1, 'new', 9)",
        Kind.OCCUPIED,
        [(1, "new", 9), (2, "b", 2), (3, "c", 3)],
        [(1, "a", 1), (2, "b", 2), (3, "c", 3)],
    ),
    "a unique value of a deleted row was taken": (
        ROWS,
        "DELETE FROM t WHERE id < 3",
        "INSERT INTO t VALUES (9, 'new', 1)",
        Kind.UNIQUE,
        [(2, "b", 2), (3, "c", 3), (9, "new", 1)],
        None,
    ),
    "a unique value that was given up was taken": (
        ROWS,
        "UPDATE t SET u = u + 100 WHERE id < 3",
        "INSERT INTO t VALUES (9, 'new', 1)",
        Kind.UNIQUE,
        [(1, "a", 101), (2, "b", 2), (3, "c", 3), (9, "new", 1)],
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_rows_in_the_way(ground: Ground, name: str) -> None:
    before, bad, later, kind, skipped, forced = CASES[name]
    await ground.given(before)
    await ground.write(bad)
    await ground.write(later, tag=THEIRS)
    now = await ground.dump()

    report = await ground.undo()
    assert report.outcome == Outcome.CONFLICTS
    assert [c.kind for c in report.conflicts] == [kind]
    conflict = report.conflicts[0]
    assert conflict.relation == "public.t"
    if kind is Kind.LATER_CHANGE:
        assert (conflict.tag, conflict.xid is not None, conflict.at is not None) == (
            THEIRS,
            True,
            True,
        )
    assert await ground.dump() == now
    assert await ground.rows("SELECT count(*) FROM hotrollback.undo") == [(0,)]

    force = await ground.preview(policy="force")
    assert force.outcome == (Outcome.CONFLICTS if forced is None else Outcome.PREVIEW)
    report = await ground.undo(policy="skip")
    assert report.outcome == Outcome.DONE
    assert sum(table.skipped for table in report.tables) == 1
    assert await ground.rows("SELECT id, v, u FROM t ORDER BY id") == skipped
    if forced is not None:
        redone = await ground.redo()
        assert redone.outcome == Outcome.DONE
        assert await ground.dump() == now
        report = await ground.undo(policy="force")
        assert (report.outcome, len(report.conflicts)) == (Outcome.DONE, 1)
        assert await ground.rows("SELECT id, v, u FROM t ORDER BY id") == forced


async def test_what_others_have_deleted_already(ground: Ground) -> None:
    """A row that the selection made is gone, as it is to be."""
    await ground.given(ROWS)
    await ground.write("INSERT INTO t VALUES (7, 'bad', 7), (8, 'bad', 8)")
    await ground.write("UPDATE t SET v = 'x' WHERE id = 7; DELETE FROM t WHERE id = 7", tag=THEIRS)
    report = await ground.undo()
    assert (report.outcome, report.conflicts) == (Outcome.DONE, ())
    assert await ground.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,)]


async def test_rows_that_stay_locked(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    monkeypatch.setattr(trial, "_LOCK_TIMEOUT", "100ms")
    holder = await ground.connect()
    await holder.execute("BEGIN; SELECT FROM t WHERE id = 2 FOR UPDATE")
    with pytest.raises(RowsLocked, match="did not end within 100ms"):
        await ground.undo()
    monkeypatch.setattr(engine, "BACK_OFF", 0.01)
    request = UndoRequest(Selection(tag="bad"), lock_timeout=0.02, by="test")
    with pytest.raises(RowsLocked, match="did not end within 20ms, in 5 attempts"):
        await engine.run(ground.db, request)
    await holder.execute("ROLLBACK")
    assert (await engine.run(ground.db, request)).outcome == Outcome.DONE


async def test_all_conflicts_are_told_at_once(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    await ground.write("UPDATE t SET v = v || '!' WHERE id < 3", tag=THEIRS)
    report = await ground.undo()
    assert [(c.key, c.kind) for c in report.conflicts] == [
        ("id=1", Kind.LATER_CHANGE),
        ("id=2", Kind.LATER_CHANGE),
    ]
    first = report.conflicts[0]
    assert (first.before, first.ours, first.now) == (
        '{"id":1,"v":"a","u":1}',
        '{"id":1,"v":"bad","u":1}',
        '{"id":1,"v":"bad!","u":1}',
    )


async def test_changes_in_between(ground: Ground) -> None:
    """Selected, not selected, selected: the row cannot be taken apart."""
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    await ground.write("UPDATE t SET v = 'theirs' WHERE id = 1", tag=THEIRS)
    await ground.write("UPDATE t SET v = 'bad again'")
    report = await ground.undo()
    assert [(c.key, c.kind, c.tag) for c in report.conflicts] == [
        ("id=1", Kind.LATER_CHANGE, THEIRS)
    ]
    await ground.undo(policy="skip")
    assert await ground.rows("SELECT v FROM t ORDER BY id") == [("bad again",), ("b",), ("c",)]


async def test_changes_that_nobody_recorded(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    await ground.db.execute(
        "ALTER EVENT TRIGGER hotrollback_ddl DISABLE;"
        "ALTER TABLE t DISABLE TRIGGER hotrollback_capture;"
        "UPDATE t SET v = 'unseen' WHERE id = 1; DELETE FROM t WHERE id = 2;"
        "ALTER TABLE t ENABLE ALWAYS TRIGGER hotrollback_capture"
    )
    report = await ground.undo()
    assert [(c.key, c.kind, c.xid) for c in report.conflicts] == [
        ("id=1", Kind.CHANGED, None),
        ("id=2", Kind.MISSING, None),
    ]
    await ground.undo(policy="skip")
    assert await ground.rows("SELECT id, v FROM t ORDER BY id") == [(1, "unseen"), (3, "c")]


@pytest.mark.parametrize(
    "action", ["", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE RESTRICT"]
)
async def test_rows_of_others_that_refer_to_what_would_go(ground: Ground, action: str) -> None:
    """Whatever the foreign key would do about it, nobody's rows go unseen."""
    await ground.given(FAMILY.format(action=action))
    await ground.write("INSERT INTO p VALUES (2, 'bad'), (3, 'bad'); INSERT INTO c VALUES (3, 3)")
    await ground.write("INSERT INTO c VALUES (9, 2)", tag=THEIRS)
    for policy in ("abort", "force"):
        report = await ground.undo(policy=policy)
        assert [(c.relation, c.key, c.kind) for c in report.conflicts] == [
            ("public.p", "id=2", Kind.REFERENCED)
        ]
        assert report.outcome == Outcome.CONFLICTS
    await ground.undo(policy="skip")
    assert await ground.rows("SELECT id FROM p ORDER BY id") == [(1,), (2,)]
    assert await ground.rows("SELECT id, p FROM c ORDER BY id") == [(1, 1), (9, 2)]


async def test_a_child_that_is_skipped_keeps_its_parent(ground: Ground) -> None:
    await ground.given(FAMILY.format(action="ON DELETE CASCADE"))
    await ground.write("INSERT INTO p VALUES (2, 'bad'); INSERT INTO c VALUES (2, 2)")
    await ground.write("UPDATE c SET id = 20 WHERE id = 2", tag=THEIRS)
    report = await ground.undo(policy="skip")
    assert {(c.relation, c.kind) for c in report.conflicts} == {
        ("public.c", Kind.LATER_CHANGE),
        ("public.p", Kind.REFERENCED),
    }
    assert await ground.rows("SELECT id, p FROM c ORDER BY id") == [(1, 1), (20, 2)]
    assert await ground.rows("SELECT id FROM p ORDER BY id") == [(1,), (2,)]


async def test_parents_that_are_gone(ground: Ground) -> None:
    await ground.given(FAMILY.format(action=""))
    await ground.write("DELETE FROM c")
    await ground.write("DELETE FROM p", tag=THEIRS)
    report = await ground.undo()
    assert [(c.relation, c.kind) for c in report.conflicts] == [("public.c", Kind.PARENT_MISSING)]
    await ground.undo(policy="skip")
    assert await ground.rows("SELECT * FROM c") == []
    # With the parent's own deletion taken back first it works.
    assert (await ground.undo(tag=THEIRS)).outcome == Outcome.DONE
    assert (await ground.undo()).outcome == Outcome.DONE
    assert await ground.rows("SELECT * FROM c") == [(1, 1)]


async def test_tables_that_are_gone(ground: Ground) -> None:
    await ground.given(ROWS + "; CREATE TABLE s (id int PRIMARY KEY); INSERT INTO s VALUES (1)")
    await ground.write("UPDATE t SET v = 'bad'; DELETE FROM s")
    await ground.db.execute("DROP TABLE s")
    report = await ground.undo()
    assert [(c.relation, c.kind) for c in report.conflicts] == [("public.s", Kind.GONE)]
    await ground.undo(policy="skip")
    assert await ground.rows("SELECT v FROM t ORDER BY id") == [("a",), ("b",), ("c",)]


async def test_columns_that_are_gone_and_columns_that_came(ground: Ground) -> None:
    await ground.given(ROWS + "; CREATE TABLE s (id int PRIMARY KEY, a int, b int);"
                       " INSERT INTO s VALUES (1, 1, 1), (2, 2, 2)")  # fmt: skip
    await ground.write("UPDATE t SET v = 'bad' WHERE id = 1; DELETE FROM t WHERE id = 2;"
                       "UPDATE s SET a = 0; INSERT INTO s VALUES (3, 3, 3)")  # fmt: skip
    await ground.db.execute(
        "ALTER TABLE t ADD COLUMN more int DEFAULT 5; ALTER TABLE s DROP COLUMN b;"
        "UPDATE t SET more = 6 WHERE id = 3"
    )
    report = await ground.undo()
    assert [(c.relation, c.key, c.kind) for c in report.conflicts] == [
        ("public.s", "id=1", Kind.SCHEMA),
        ("public.s", "id=2", Kind.SCHEMA),
    ]
    report = await ground.undo(policy="skip")
    assert await ground.rows("SELECT id, v, u, more FROM t ORDER BY id") == [
        (1, "a", 1, 5),
        (2, "b", 2, 5),
        (3, "c", 3, 6),
    ]
    assert await ground.rows("SELECT id, a FROM s ORDER BY id") == [(1, 0), (2, 0)]


async def test_a_role_that_may_not_do_what_was_recorded(ground: Ground) -> None:
    await ground.given(ROWS + "; GRANT ALL ON t TO app")
    await ground.write(
        "UPDATE t SET v = 'bad' WHERE id = 1; DELETE FROM t WHERE id = 2", user="app"
    )
    await ground.db.execute("REVOKE DELETE, TRUNCATE ON t FROM app")
    report = await ground.undo()
    assert [(c.key, c.kind) for c in report.conflicts] == [("id=2", Kind.PRIVILEGE)]
    request = UndoRequest(Selection(tag="bad"), trust_log=True)
    assert (await run(ground.db, request)).outcome == Outcome.DONE
    assert await ground.rows("SELECT v FROM t ORDER BY id") == [("a",), ("b",), ("c",)]


async def test_forged_records(ground: Ground) -> None:
    """Whoever writes the log by hand gets nothing that he could not have had."""
    await ground.given(ROWS)
    relid = await ground.db.fetchval("SELECT 't'::regclass::oid::int8")
    await ground.write(
        "INSERT INTO hotrollback.change (relid, op, old_tid, new_tid, before, after) VALUES"
        f" ({relid}, 'U', '(0,1)', '(0,1)', '{{\"id\":1,\"v\":\"forged\",\"u\":1}}',"
        ' \'{"id":1,"v":"a","u":1}\')',
        user="app",
    )
    report = await ground.undo()
    assert [c.kind for c in report.conflicts] == [Kind.PRIVILEGE]
    assert await ground.rows("SELECT v FROM t ORDER BY id") == [("a",), ("b",), ("c",)]


async def test_rights_through_a_view_count(ground: Ground) -> None:
    await ground.given(
        ROWS + "; CREATE VIEW v AS SELECT * FROM t; GRANT UPDATE, SELECT ON v TO app"
    )
    await ground.write("UPDATE v SET v = 'bad'", user="app")
    assert (await ground.undo()).outcome == Outcome.DONE


async def test_without_the_right_to_silence_triggers(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.db.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
        "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();"
        "ALTER TABLE t OWNER TO operator;"
        "GRANT ALL ON ALL TABLES IN SCHEMA hotrollback TO operator;"
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA hotrollback TO operator"
    )
    await ground.write("UPDATE t SET v = 'bad'", user="operator")
    operator = await ground.connect("operator")
    with pytest.raises(NeedsReplicaRole, match="GRANT SET ON PARAMETER session_replication_role"):
        await run(operator, UndoRequest(Selection(tag="bad")))
    assert await ground.rows("SELECT DISTINCT v FROM t") == [("bad",)]
    await ground.db.execute("ALTER TABLE t ENABLE ALWAYS TRIGGER g")
    with pytest.raises(AlwaysTrigger, match="enabled ALWAYS"):
        await ground.undo()


async def test_an_undo_waits_for_a_writer_and_sees_what_he_did(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    writer = await ground.connect(server_settings={"hotrollback.tag": THEIRS})
    await writer.execute("BEGIN; UPDATE t SET v = 'meanwhile' WHERE id = 2")
    undo = asyncio.create_task(ground.undo())
    await asyncio.sleep(0.3)
    assert not undo.done()
    await writer.execute("COMMIT")
    report = await undo
    assert [(c.key, c.kind, c.tag) for c in report.conflicts] == [
        ("id=2", Kind.LATER_CHANGE, THEIRS)
    ]


async def test_others_write_on_meanwhile(ground: Ground) -> None:
    """Rows that the undo does not touch are not locked."""
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad' WHERE id < 3")
    slow = await ground.connect()
    await slow.execute("BEGIN; UPDATE t SET v = 'bad' WHERE id = 1")  # the undo waits for this row
    undo = asyncio.create_task(ground.undo())
    await asyncio.sleep(0.3)
    other = await ground.connect()
    await asyncio.wait_for(other.execute("UPDATE t SET v = 'fast' WHERE id = 3"), 1)
    await slow.execute("ROLLBACK")
    assert (await undo).outcome == Outcome.DONE
    assert await ground.rows("SELECT v FROM t ORDER BY id") == [("a",), ("b",), ("fast",)]


async def test_two_undos_at_once(ground: Ground) -> None:
    await ground.given(ROWS)
    await ground.write("UPDATE t SET v = 'bad'")
    connections = [await ground.connect() for _ in range(2)]
    request = UndoRequest(Selection(tag="bad"))
    reports = await asyncio.gather(*(run(c, request) for c in connections))
    assert sorted(r.outcome for r in reports) == [Outcome.DONE, Outcome.NOTHING]
    nothing = next(r for r in reports if r.outcome == Outcome.NOTHING)
    done = next(r for r in reports if r.outcome == Outcome.DONE)
    assert f"undo {done.undo_id} did it" in nothing.message
