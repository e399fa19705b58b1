"""What is done with a statement, from its text and what is known of its relation: pure."""

from dataclasses import replace

import pytest

from proxy.capture.case import Need
from proxy.capture.choose import choose, may_write
from proxy.capture.plan import PASS, How, Plan, Reason
from proxy.catalog.cache import Known
from proxy.catalog.relation import Relation
from proxy.sql.analyse import analyse
from proxy.sql.splice import apply
from undo.image import Column, ColumnKind

PLAIN = Relation(
    oid=1, schema="public", name="t", kind="r", shape=42, temporary=False, row_security=False, rules=False,
    foreign=False, inherited=False, triggers=False, deferred=False, query_seen=False,
    volatile=False, implicit=False, heaps=(1,), uncaptured=1, cascades=(), referrers=(9,),
    cascades_uncaptured=0, selectable=True, key=("id",),
)  # fmt: skip
COLUMNS = (
    Column("id", ColumnKind.PLAIN, "integer", "integer", not_null=True, hashable=True),
    Column("v", ColumnKind.PLAIN, "text", "text"),
)
UPDATE, INSERT, DELETE = "update t set v = 'x'", "insert into t values (1)", "delete from t"
MERGE = "merge into t using u on true when matched then delete"
RETURNING = "update t set v = 'x' returning id"


def plan(
    text: str, relation: Relation | None = PLAIN, *, version: int = 180000, safe: bool = True,
    in_block: bool = False, spares: bool = True, calls: dict[str, bool] | None = None,
    complete: bool | None = False,
) -> Plan | Need:  # fmt: skip
    known = Known(version, safe_settings=True, epoch=7, spares=spares)
    known.relations = dict.fromkeys([(None, "t"), (None, "u"), ("public", "t")], relation)
    known.columns = {1: COLUMNS}
    known.calls = {"now": False, "writes": True, **(calls or {})}
    known.commits = {"commits": True, "stays": False}
    known.complete = complete
    known.returning = {RETURNING.encode(): (b"id",)}
    (statement,) = analyse(text.encode()).statements
    return choose(statement, text.encode(), known, safe_encoding=safe, in_block=in_block)


@pytest.mark.parametrize("text", [UPDATE, INSERT, DELETE, RETURNING])
def test_plain_writes_are_rewritten(text):
    chosen = plan(text)
    assert (chosen.how, chosen.watch) == (How.REWRITE, False)


# Facts of the relation, and what is then said of an INSERT, an UPDATE and a DELETE of it.
FACTS = [
    ({"kind": "v"}, Reason.VIEW),
    ({"kind": "m"}, Reason.RELATION),
    ({"rules": True}, Reason.RULES),
    ({"row_security": True}, Reason.ROW_SECURITY),
    ({"query_seen": True}, Reason.CURRENT_QUERY),
    ({"selectable": False}, Reason.NO_SELECT),
]


@pytest.mark.parametrize("text", [UPDATE, INSERT, DELETE])
@pytest.mark.parametrize(("facts", "reason"), FACTS, ids=[str(facts) for facts, _ in FACTS])
def test_what_would_be_seen_or_inexact_is_watched(text, facts, reason):
    chosen = plan(text, replace(PLAIN, **facts))
    assert (chosen.how, chosen.reason) == (How.WATCH, reason)


@pytest.mark.parametrize(
    "text",
    [
        UPDATE,
        INSERT,
        DELETE,
        "copy t from stdin",
        "with u as (delete from t returning id) select 1",
    ],
)
@pytest.mark.parametrize("kind", ["f", "p"])
def test_what_another_server_is_to_write_cannot_be_compared(text, kind):
    chosen = plan(text, replace(PLAIN, kind=kind, foreign=True))
    assert (chosen.how, chosen.reason) == (How.NOTE, Reason.FOREIGN_TABLE)


CAPTURED = replace(PLAIN, uncaptured=0)
LONG = " where v <> '" + "x" * 10_000 + "'"


@pytest.mark.parametrize("facts", [{}, {"triggers": True}, {"cascades_uncaptured": 1}])
@pytest.mark.parametrize("text", [UPDATE, INSERT, DELETE])
def test_what_can_be_rewritten_is_also_where_a_trigger_stands(text, facts):
    """It lets pass what records itself; beside what does not, it has to record it."""
    chosen = plan(text, replace(CAPTURED, **facts))
    assert (chosen.how, chosen.watch) == (How.REWRITE, bool(facts))
    beside = chosen.beside(rewritten=False)
    assert (beside.how, beside.edits, beside.relation) == (How.WATCH, (), chosen.relation)


def test_what_no_trigger_records_stays_rewritten_beside_others():
    assert plan(UPDATE).beside(rewritten=True).how is How.REWRITE


def test_what_a_trigger_records_is_compared_beside_others():
    """They may record themselves, and the trigger lets pass what stands in one message with them."""
    copied = plan("copy t from stdin", CAPTURED)
    assert (copied.beside(rewritten=True).watch, copied.beside(rewritten=True).doubted) == (
        True,
        True,
    )
    assert copied.beside(rewritten=False) == copied
    assert not plan("truncate t", CAPTURED).beside(rewritten=True).watch


@pytest.mark.parametrize(
    ("text", "facts", "watch"),
    [
        (UPDATE, {"rules": True}, True),
        (INSERT, {"row_security": True}, False),
        (DELETE, {"volatile": True}, True),
        (INSERT, {"implicit": True}, False),
        (UPDATE + " where writes()", {}, True),
        (UPDATE + LONG, {}, False),
        (UPDATE + LONG + " /* hotrollback_w */", {}, True),
        ("copy t from stdin", {}, False),
        ("copy t from '/hotrollback_w'", {}, True),
        ("copy t from stdin", {"triggers": True}, True),
        ("truncate t", {}, False),
    ],
)
def test_what_a_trigger_records(text, facts, watch):
    chosen = plan(text, replace(CAPTURED, **facts))
    assert (chosen.how, chosen.watch, chosen.edits) == (How.TRIGGER, watch, ())


def test_what_a_text_may_call_unseen_is_compared_where_no_trigger_records_it():
    assert plan(INSERT, replace(PLAIN, implicit=True)).watch


@pytest.mark.parametrize("more", [", writes()", ", (select '" + "x" * 10_000 + "')"])
def test_items_of_a_with_are_left_to_triggers_that_would_let_others_pass(more):
    text = "with d as (delete from t returning id) select *{} from d"
    assert plan(text.format(""), CAPTURED).how is How.REWRITE
    assert plan(text.format(more), CAPTURED).how is How.WATCH
    assert plan(text.format(more)).how is How.REWRITE


@pytest.mark.parametrize(
    ("text", "how"),
    [(INSERT, How.REWRITE), (DELETE, How.REWRITE), (UPDATE, How.WATCH),
     ("insert into t values (1) on conflict do nothing", How.REWRITE),
     ("insert into t values (1) on conflict (id) do update set v = ''", How.WATCH),
     (MERGE, How.WATCH)],
)  # fmt: skip
def test_before_18_the_old_row_cannot_be_had(text, how):
    chosen = plan(text, version=150000)
    assert chosen.how is how
    assert how is How.REWRITE or chosen.reason is Reason.NO_OLD


OTHERS = [
    ("select 1", How.PASS, None),
    ("select now()", How.PASS, None),
    ("select writes()", How.WATCH, Reason.FUNCTION),
    ("select lo_create(1)", How.WATCH, Reason.LARGE_OBJECT),
    ("with d as (delete from t returning *) select * from d", How.REWRITE, Reason.WRITABLE_CTE),
    ("with d as (delete from t returning *) insert into u select * from d", How.REWRITE, Reason.WRITABLE_CTE),
    ("with d as (delete from t using u returning *) select * from d", How.WATCH, Reason.WRITABLE_CTE),
    ("with d as (delete from t returning v || 'x') select * from d", How.WATCH, Reason.WRITABLE_CTE),
    ("with d as (delete from t) select * from d", How.WATCH, Reason.WRITABLE_CTE),
    ("copy (with d as (delete from t returning id) select * from d) to stdout", How.WATCH, Reason.WRITABLE_CTE),
    (MERGE, How.REWRITE, Reason.FUNCTION),
    ("with recursive r as (select 1) " + MERGE, How.WATCH, Reason.SYNTAX),
    ("copy t from stdin", How.WATCH, Reason.COPY),
    ("copy t to stdout", How.PASS, None),
    ("truncate t", How.NOTE, Reason.TRUNCATE),
    ("create table x(a int)", How.WATCH, Reason.DDL),
    ("create index on x(a)", How.WATCH, Reason.DDL),
    ("create view x as select 1", How.WATCH, Reason.DDL),
    ("create role x", How.WATCH, Reason.DDL),
    ("refresh materialized view x", How.NOTE, Reason.DDL),
    ("grant usage on schema hotrollback to x", How.NOTE, Reason.DDL),
    ("create temp table x(a int)", How.PASS, None),
    ("create index concurrently on t(v)", How.ANNOUNCE, Reason.DDL),
    ("create database x", How.ANNOUNCE, Reason.DDL),
    ("alter table t add a int", How.WATCH, Reason.DDL),
    ("drop table t", How.SPARE, Reason.DDL),
    ("drop schema x", How.SPARE, Reason.DDL),
    ("drop sequence x", How.SPARE, Reason.DDL),
    ("drop type x", How.SPARE, Reason.DDL),
    ("drop owned by x", How.SPARE, Reason.DDL),
    ("reassign owned by x to y", How.SPARE, Reason.DDL),
    ("drop extension x", How.SPARE, Reason.DDL),
    ("drop view x", How.WATCH, Reason.DDL),
    ("drop view x cascade", How.SPARE, Reason.DDL),
    ("drop function x", How.SPARE, Reason.DDL),
    ("drop index x", How.WATCH, Reason.DDL),
    ("drop index concurrently x", How.ANNOUNCE, Reason.DDL),
    ("drop role x", How.WATCH, Reason.DDL),
    ("alter table t drop v", How.SPARE, Reason.DDL),
    ("alter table t alter v type int", How.SPARE, Reason.DDL),
    ("alter foreign table x drop v", How.SPARE, Reason.DDL),
    ("alter table x detach partition y concurrently", How.ANNOUNCE, Reason.DDL),
    ("alter type x add value 'y'", How.WATCH, Reason.DDL),
    ("alter type x drop attribute y", How.SPARE, Reason.DDL),
    ("alter table t alter v type text using current_query()", How.WATCH, Reason.DDL),
    ("vacuum t", How.PASS, None),
    ("call commits()", How.ANNOUNCE, Reason.PROCEDURE),
    ("call stays()", How.WATCH, Reason.PROCEDURE),
    ("do 'begin commit; end'", How.ANNOUNCE, Reason.PROCEDURE),
    ("do 'begin perform 1; end'", How.WATCH, Reason.PROCEDURE),
    ("prepare p as delete from t", How.PASS, None),
    ("execute p", How.WATCH, Reason.EXECUTE),
    ("explain delete from t", How.PASS, None),
    ("explain analyze delete from t", How.WATCH, Reason.EXPLAIN),
    ("frobnicate t", How.WATCH, Reason.SYNTAX),
    ("set search_path = x", How.PASS, None),
    ("begin", How.PASS, None),
]  # fmt: skip


def test_what_is_destroyed_is_spared_where_that_can_be_done():
    text = "drop table t"
    assert plan(text).edits[0].text == b"CALL hotrollback.run_ddl_v1(E'drop table t')"
    assert plan(text, spares=False).how is How.WATCH  # no event triggers of ours, or others
    assert plan(text, safe=False).how is How.WATCH  # bytes that may look like quotes
    assert plan(text, replace(PLAIN, temporary=True)) == PASS


def test_texts_travel_in_constants():
    (edit,) = plan(r"alter table t alter v type text using 'a''b' || E'\\'").edits
    assert edit.text.decode() == (
        r"CALL hotrollback.run_ddl_v1(E'alter table t alter v type text using ''a''''b''"
        r" || E''\\\\''')"
    )


@pytest.mark.parametrize(("text", "how", "reason"), OTHERS, ids=[text for text, *_ in OTHERS])
def test_other_statements(text, how, reason):
    chosen = plan(text)
    assert (chosen.how, chosen.reason) == (how, reason)
    (statement,) = analyse(text.encode()).statements
    assert how is How.PASS or may_write(statement)


def test_in_a_block_a_procedure_cannot_commit():
    assert plan("call commits()", in_block=True).how is How.WATCH


COMMITS = ("call commits()", "do 'begin commit; end'")


@pytest.mark.parametrize("text", COMMITS)
def test_where_triggers_record_whatever_is_written_it_may_commit(text):
    need = plan(text, complete=None)
    assert isinstance(need, Need)
    assert need.complete
    assert plan(text, complete=True) == PASS


@pytest.mark.parametrize(
    "text",
    ["call commits('lo_create')", "do 'begin perform LoWrite(1, $1); commit; end'",
     "call commits('hotrollback_w')"],
)  # fmt: skip
def test_what_no_trigger_records_is_noted_before(text):
    assert plan(text, complete=True).how is How.ANNOUNCE


@pytest.mark.parametrize(
    "text", [UPDATE, INSERT, DELETE, "truncate t", "copy t from stdin", "drop table t"]
)
def test_temporary_tables_are_nobodys_concern(text):
    assert plan(text, replace(PLAIN, temporary=True)).how is How.PASS


def test_a_dangerous_encoding_is_not_looked_into():
    assert plan(UPDATE, safe=False).reason is Reason.ENCODING


def test_inheritance_matters_unless_only_is_said():
    parent = replace(PLAIN, inherited=True)
    assert plan(UPDATE, parent).reason is Reason.INHERITANCE
    assert plan(INSERT, parent).how is How.REWRITE
    assert plan("update only t set v = 'x'", parent).how is How.REWRITE


@pytest.mark.parametrize(
    ("facts", "reason"),
    [({"triggers": True}, Reason.TRIGGERS), ({"volatile": True}, Reason.FUNCTION),
     ({"cascades_uncaptured": 1}, Reason.CASCADE), ({"deferred": True, "triggers": True}, Reason.DEFERRED)],
)  # fmt: skip
def test_what_may_write_elsewhere_is_compared(facts, reason):
    chosen = plan(UPDATE, replace(PLAIN, **facts))
    assert (chosen.how, chosen.watch, chosen.reason) == (How.REWRITE, True, reason)
    assert chosen.late is bool(facts.get("deferred"))


def test_truncate_names_what_goes_with_it():
    assert plan("truncate t").relids == (1,)
    assert plan("truncate t cascade").relids == (1, 9)


def test_what_is_not_known_is_asked():
    (statement,) = analyse(UPDATE.encode()).statements
    known = Known(180000, safe_settings=True, epoch=None)
    asked = choose(statement, UPDATE.encode(), known, safe_encoding=True, in_block=False)
    assert asked.relations == ((None, "t"),)
    known.relations[None, "t"] = PLAIN
    asked = choose(statement, UPDATE.encode(), known, safe_encoding=True, in_block=False)
    assert asked.columns == (1,)


ROWS = [
    ("update t set v = 'x' returning id", b"WITH (OLD AS hotrollback_o"),
    ("update t set v = 'x' returning old.v", b"old.ctid"),
    ("update t set v = 'x' returning \"new\".v", b"hotrollback_o.ctid"),
    ("update t set v = new.v from u new returning id", b"WITH (OLD AS hotrollback_o"),
    ("update t set v = 'x' returning with (old as was) was.v", b'"was".ctid'),
    ("update t set v = 'x' returning old.v", b"hotrollback_n.ctid"),
    ("update t set v = new.v from u new returning old.v, new.v", b"WITH (NEW AS hotrollback_n) "),
    ("update t set v = new.v from u new returning old.v", b"old.ctid"),
    ("update t set v = new.v from (u join u new on true) returning new.v", None),
    ("update t set v = 'x' from u b join u c on b.x = new returning new.v", None),
    ("update t set v = 1 from u b join u c on b.x is distinct from new returning new.v", None),
    ("update t as old set v = 'x' returning old.v", b"hotrollback_o.ctid"),
    ("insert into t as old values (1) on conflict (id) do update set v = 'x' returning old.v, new.v",
     b"WITH (OLD AS hotrollback_o) "),
    ("delete from t using u as old where old.id = t.id returning old.v", b'"t".ctid'),
    ("merge into t using u new on true when matched then delete returning new.v, old.v", b"old.ctid, hotrollback_n.ctid"),
    ("merge into t using u on true when matched then delete returning new.v", b"hotrollback_o.ctid, new.ctid"),
    ("merge into t using (select 1) new on true when matched then delete returning new.v", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "piece"), ROWS, ids=[text for text, _ in ROWS])
def test_rows_have_names_that_the_client_does_not_mean(text, piece):
    (statement,) = analyse(text.encode()).statements
    known = Known(180000, safe_settings=True, epoch=None)
    known.relations[None, "t"], known.columns[1] = PLAIN, COLUMNS
    known.returning[text.encode()] = (b"id",)
    chosen = choose(statement, text.encode(), known, safe_encoding=True, in_block=False)
    if piece is None:
        assert (chosen.how, chosen.reason) == (How.WATCH, Reason.SYNTAX)
    else:
        assert piece in apply(text.encode(), chosen.edits)[0]


def test_a_table_is_meant_before_a_row_even_if_a_column_has_its_name():
    text = b'update old set v = 1 returning old.v, "new".old'
    (statement,) = analyse(text).statements
    known = Known(180000, safe_settings=True, epoch=None)
    known.relations[None, "old"] = replace(PLAIN, name="old")
    known.columns[1] = (*COLUMNS, Column("old", ColumnKind.PLAIN, "text", "text"))
    known.returning[text] = (b"v", b"old")
    chosen = choose(statement, text, known, safe_encoding=True, in_block=False)
    edited = apply(text, chosen.edits)[0]
    assert b"WITH (OLD AS hotrollback_o) " in edited
    assert b"hotrollback_o.ctid" in edited


def test_the_clients_text_stays_as_it_is():
    text = b"/* hint */ update t /* c */ set v = 'x' where id = 1 returning id -- end"
    (statement,) = analyse(text).statements
    known = Known(180000, safe_settings=True, epoch=None)
    known.relations[None, "t"], known.columns[1] = PLAIN, COLUMNS
    known.returning[statement.slice(text)] = (b'a "b"',)
    chosen = choose(statement, text, known, safe_encoding=True, in_block=False)
    edited, back = apply(text, chosen.edits)
    assert edited.startswith(b"/* hint */ WITH hotrollback_w (")
    assert edited.endswith(b'SELECT hotrollback_w."a ""b""" FROM hotrollback_w -- end')
    at = edited.index(b"set v")
    assert back.back(at + 1) == text.index(b"set v") + 1
    assert all(edit.start == edit.end for edit in chosen.edits)
