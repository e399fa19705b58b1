"""What a dry run tells of an undo, and any undo of what it leaves alone."""

import json

import pytest
from fix_undo import Ground

from undo.engine import run
from undo.errors import PlanMoved
from undo.model import Lock, Outcome, Trigger
from undo.request import Selection, UndoRequest

SHOP = """
CREATE SEQUENCE numbers;
CREATE TABLE shelf (id int PRIMARY KEY);
CREATE TABLE p (id serial PRIMARY KEY, no int DEFAULT nextval('numbers'), v text, photo oid,
                shelf int REFERENCES shelf);
CREATE TABLE quiet (id serial PRIMARY KEY, v text);
CREATE VIEW pv AS SELECT v FROM p;
CREATE MATERIALIZED VIEW pm AS SELECT count(*) FROM pv;
CREATE MATERIALIZED VIEW other AS SELECT 1;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_notify('p', 'x'); RETURN NEW; END $$;
CREATE TRIGGER told AFTER INSERT OR UPDATE ON p FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER gone AFTER DELETE ON p FOR EACH ROW EXECUTE FUNCTION tell();
CREATE RULE r AS ON DELETE TO quiet DO NOTHING;
CREATE FUNCTION ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER watches ON ddl_command_end EXECUTE FUNCTION ddl();
INSERT INTO shelf VALUES (1); INSERT INTO quiet (v) VALUES ('q');
INSERT INTO p (v, shelf) SELECT 'v' || g, 1 FROM generate_series(1, 3) g;
SELECT lo_create(0)
"""
BAD = (
    "UPDATE p SET v = 'x' WHERE id = 1; DELETE FROM p WHERE id = 2; INSERT INTO p (v) VALUES ('n');"
    "UPDATE quiet SET v = NULL"
)


async def test_triggers_locks_and_what_stays(ground: Ground) -> None:
    await ground.given(SHOP)
    await ground.write(BAD)
    report = await ground.preview()
    assert report.outcome is Outcome.PREVIEW
    assert report.triggers == (
        Trigger("public.p", "gone", "trigger", fires=False),
        Trigger("public.p", "told", "trigger", fires=False),
        Trigger("public.p", "p_shelf_fkey", "foreign key", fires=False),
        Trigger(None, "watches", "event trigger", fires=True),
    )
    assert report.locks == (
        Lock("public.p", "RowExclusiveLock", 2),
        Lock("public.quiet", "RowExclusiveLock", 1),
        Lock("public.shelf", "RowShareLock", 0),
    )
    assert report.seconds > 0
    assert report.diff == ()
    done = await ground.undo()
    assert (done.triggers, done.locks) == ((), ())
    assert [(u.kind, u.name) for u in done.untouched] == [
        ("sequence", "public.numbers"),
        ("sequence", "public.p_id_seq"),
        ("materialized view", "public.pm"),
        ("notify", "public.tell"),
        ("large object", "public.p.photo"),
        ("outside", None),
    ]
    kept = json.loads(await ground.db.fetchval("SELECT report FROM hotrollback.undo"))
    assert kept["untouched"] == done.as_dict()["untouched"] == report.as_dict()["untouched"]


async def test_rows_as_they_are_and_as_they_will_be(ground: Ground) -> None:
    """What a forced undo overwrites is told as it is now, not as the selection left it."""
    await ground.given(
        "CREATE TABLE t (a int, b text, n numeric, g int GENERATED ALWAYS AS (a * 2) STORED,"
        " PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, 'x', 1.0), (2, 'y', NULL), (3, 'z', 3);"
        "CREATE TABLE k (v text); INSERT INTO k VALUES ('old')"
    )
    await ground.write(
        "UPDATE t SET n = 1.00 WHERE a = 1; UPDATE t SET a = 20 WHERE a = 2; DELETE FROM t WHERE a = 3;"
        "INSERT INTO t VALUES (4, '', 4); UPDATE k SET v = NULL"
    )
    await ground.write("UPDATE t SET n = 7 WHERE a = 1", tag="good")
    request = UndoRequest(Selection(tag="bad"), policy="force", dry_run=True, diff=True, by="test")
    report = await run(ground.db, request)
    assert [(d.relation, d.op, d.key) for d in report.diff] == [
        ("public.k", "update", None),
        ("public.t", "update", "a=1, b=x"),
        ("public.t", "update", "a=20, b=y"),
        ("public.t", "insert", "a=3, b=z"),
        ("public.t", "delete", "a=4, b="),
    ]
    assert [str(d) for d in report.diff] == [
        "~ v NULL -> old",
        "~ a=1, b=x: n 7 -> 1.0",
        "~ a=20, b=y: a 20 -> 2",
        "+ a=3, b=z: a 3, b z, n 3",
        "- a=4, b=: a 4, b , n 4",
    ]
    done = await run(
        ground.db, UndoRequest(request.selection, policy="force", diff=True, by="test")
    )
    assert done.diff == report.diff


PLANNED = (
    "CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');"
    "CREATE TABLE k (v text); INSERT INTO k VALUES ('old'), ('same'), ('same')"
)
DAMAGE = "UPDATE t SET v = 'x' WHERE id < 3; DELETE FROM k"


@pytest.mark.parametrize("policy", ["abort", "skip", "merge", "cascade", "force"])
async def test_a_plan_is_done_as_it_was_or_not_at_all(ground: Ground, policy: str) -> None:
    """Whatever has come in between: to a row of the plan, in whose way it is or not."""
    await ground.given(PLANNED)
    await ground.write(DAMAGE)

    def asked(digest: str | None, *, dry_run: bool) -> UndoRequest:
        return UndoRequest(Selection(tag="bad"), policy=policy, dry_run=dry_run, plan=digest)

    plan = (await run(ground.db, asked(None, dry_run=True))).digest
    for between in (
        "UPDATE t SET n = 5 WHERE id = 2",
        "UPDATE t SET n = n WHERE id = 2",
        "DELETE FROM t WHERE id = 1",
    ):
        await ground.write(between, tag="others")
        before = await ground.dump()
        with pytest.raises(PlanMoved):
            await run(ground.db, asked(plan, dry_run=False))
        assert await ground.dump() == before
        looked = await run(ground.db, asked(None, dry_run=True))
        if looked.outcome is not Outcome.PREVIEW:
            return
        assert looked.digest != plan
        plan = looked.digest
    await ground.write("UPDATE t SET n = 1 WHERE id = 3; INSERT INTO k VALUES ('new')", "others")
    assert (await run(ground.db, asked(plan, dry_run=True))).digest == plan
    assert (await run(ground.db, asked(plan, dry_run=False))).outcome is Outcome.DONE


async def test_a_plan_of_another_policy_or_selection_is_another(ground: Ground) -> None:
    await ground.given(PLANNED)
    await ground.write(DAMAGE)
    found = {
        (await run(ground.db, UndoRequest(selection, policy=policy, dry_run=True))).digest
        for policy in ("abort", "force")
        for selection in (Selection(tag="bad"), Selection(tables=("t",)), Selection(tables=("k",)))
    }
    assert len(found) == 6
