"""What was recorded is exact, and what was not is said: with its reason, its relation, its statement;
refused where gaps are refused; passed or refused where the log cannot be written."""

import time

import psycopg
import pytest
from fix_postgres import install_into
from fix_session import TAG, inside

TABLES = """
create table t(id int primary key, v text); insert into t select g, 'v' || g from generate_series(1, 5) g;
create table other(a int); create type mood as enum ('a');
create view view_of_t as select id, v from t;
create function writes() returns int language plpgsql as
  $$ begin insert into other values (1); return 1; end $$;
create function reads() returns bigint language plpgsql as $$ begin return (select count(*) from t); end $$;
create procedure stays() language plpgsql as $$ begin insert into other values (2); end $$;
create procedure commits() language plpgsql as $$ begin insert into other values (3); commit; end $$;
grant all on all tables in schema public to app; grant all on schema public to app;
"""
# What a client sends on PostgreSQL 18 where no capture trigger is, and the gaps that it leaves.
SAID = [
    ("copy t from program 'echo 9,x' (format csv)", {("copy", "t")}),
    ("truncate t", {("truncate", "t")}),
    ("merge into t using other on false when not matched then do nothing", set()),
    (
        "merge into t using (values (1)) s(id) on s.id = t.id when matched then delete",
        set(),
    ),
    ("with d as (delete from t returning id) select * from d", set()),
    ("with d as (delete from t returning v || 'x') select * from d", {("writable_cte", "t")}),
    ("create table made(a int)", set()),
    ("create materialized view made as select 1 as a", set()),
    ("alter table t add column more int", set()),
    ("drop view view_of_t", set()),
    ("alter table t drop column v cascade", set()),
    ("drop table other", set()),
    ("create role created_here; drop role created_here", {("ddl", None)}),
    ("alter type mood add value 'b'", {("lost", None)}),
    ("select writes()", {("function", "other")}),
    ("select reads()", set()),
    ("insert into t select 100 + writes()", {("function", "other")}),
    ("call stays()", {("procedure", "other")}),
    ("call commits()", {("procedure", None)}),
    ("do $$ begin delete from t where id = 1; end $$", {("procedure", "t")}),
    ("do $$ begin perform 1; end $$", set()),
    ("prepare p as delete from t", set()),
    ("prepare p as delete from t; execute p", {("execute", "t")}),
    ("explain delete from t", set()),
    ("explain analyze delete from t", {("explain", "t")}),
    ("update view_of_t set v = 'view'", {("view", "t")}),
    ("select lo_create(0)", {("large_object", "pg_largeobject_metadata")}),
    (
        "select lo_from_bytea(0, 'x')",
        {("large_object", "pg_largeobject"), ("large_object", "pg_largeobject_metadata")},
    ),
    ("begin; declare c cursor for select writes(); fetch c; commit", {("cursor", "other")}),
    ("begin; declare c cursor for select writes(); commit", set()),
    ("begin; truncate t; rollback", set()),
    ("begin; select writes(); rollback", set()),
    ("begin; savepoint s; truncate t; rollback to s; delete from t; commit", set()),
    ("create temp table mine(a int); insert into mine values (1); update mine set a = 2", set()),
    ("set search_path = pg_temp, public; delete from t where id = 1", {("same_message", "t")}),
    ("set search_path = pg_catalog; delete from public.t where id > 9", set()),
    ("select pg_notify('a', 'b'), now(), random()", set()),
    ("select * from t for update", set()),
    ("vacuum t", set()),
    ("listen a; notify a; unlisten a", set()),
    ("begin; lock table t; commit", set()),
]


def detach(database):
    for table in ("t", "other"):
        for trigger in ("hotrollback_capture", "hotrollback_truncate"):
            database.psql(f"drop trigger if exists {trigger} on {table}")


@pytest.fixture
def bare(database18, with_log):
    """No capture trigger is attached but where a view needs it."""
    install_into(database18, all_tables=False)
    database18.psql(TABLES)
    database18.psql("alter table t owner to app; alter table other owner to app")
    detach(database18)
    database18.psql("truncate hotrollback.change")
    with inside(database18) as between:
        yield between


@pytest.mark.parametrize(("sql", "said"), SAID, ids=[sql for sql, _ in SAID])
def test_what_is_not_recorded_is_said(bare, sql, said):
    user = "postgres" if any(word in sql for word in ("program", "drop", "mood")) else "app"
    try:
        bare.psql(sql, user)
    except psycopg.errors.ActiveSqlTransaction:
        pytest.fail(f"{sql} could not run")
    assert set(bare.gaps()) == said
    assert len(bare.gaps()) == (2 if "role" in sql else len(said))
    assert not bare.unrecorded


RECORDED = [
    (
        "merge into t using (values (1), (2), (9)) s(id) on s.id = t.id when matched and s.id = 1 then delete"
        " when matched then update set v = 'm' when not matched then insert values (s.id, 'n')",
        [("D", 1, None), ("I", None, 9), ("U", 2, 2)],
    ),
    (
        "with d as (delete from t where id = 1 returning *), i as (insert into other select id from d returning a)"
        " update t set id = a + 9 from i where id = 2",
        [("D", 1, None), ("I", None, None), ("U", 2, 10)],
    ),
    (
        "with u as (update t set v = 'u' where id in (4, 5) returning v, t.id as key) select count(*) from u",
        [("U", 4, 4), ("U", 5, 5)],
    ),
]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"prepare": True}], ids=["simple", "extended"])
@pytest.mark.parametrize(("sql", "recorded"), RECORDED)
def test_each_row_is_recorded_once(bare, sql, recorded, options):
    with bare.connect() as client:
        client.execute(sql, **options)
    rows = [(op, (b or {}).get("id"), (a or {}).get("id")) for op, _, b, a in bare.changes()]
    assert sorted(rows, key=str) == sorted(recorded, key=str)
    assert bare.counted == {"rewrite": 1}
    assert not bare.gaps()


def test_a_gap_names_who_and_with_what(bare):
    bare.psql("truncate t")
    ((fingerprint, tag, role),) = bare.database.psql(
        "select fingerprint, tag, role::regrole::text from hotrollback.gap"
    )
    assert (bare.statements[fingerprint], tag, role) == (b"truncate t", TAG, "app")


@pytest.mark.parametrize("options", [{}, {"prepare": True}], ids=["simple", "extended"])
@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("truncate t", 5),
        ("copy t from program 'echo 9,x' (format csv)", 5),
        ("with d as (delete from t returning id + 1) select count(*) from d", 5),
        ("select writes()", 5),
        ("call commits()", 5),
        ("create role created_here", 5),
        ("alter type mood add value 'b'", 5),
    ],
)
def test_gaps_can_be_refused(bare, sql, rows, options):
    with inside(bare.database, reject=True) as strict, strict.connect("postgres") as client:
        with pytest.raises(psycopg.Error) as refused:
            client.execute(sql, **options)
        assert refused.value.diag.sqlstate == "RB002"
        assert client.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        client.execute("update t set v = 'plain' where id = 1", **options)
        client.execute("begin")
        with pytest.raises(psycopg.Error, match=r"could not be recorded|invalid transaction"):
            client.execute(sql, **options)
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            client.execute("select 1")
        client.execute("rollback")
        assert client.execute("select count(*) from t").fetchone() == (rows,)
        assert client.execute("select count(*) from other").fetchone() == (0,)
    assert bare.gaps() == []
    assert len(bare.changes()) == 1


BROKEN = {
    "dropped": "drop schema hotrollback cascade",
    "closed": "revoke usage on schema hotrollback from public",
    "revoked": "revoke insert on hotrollback.change from public;"
    " revoke insert (old_tid, new_tid, relid, new_relid, key, fingerprint, op, stale, before, after)"
    " on hotrollback.change from public",
    "no partition": "do $$ declare p text; begin for p in select inhrelid::regclass from pg_inherits"
    " where inhparent = 'hotrollback.change'::regclass loop execute 'drop table ' || p; end loop; end $$",
    "no function": "drop function hotrollback.relations_v1(json)",
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("options", [{}, {"prepare": True}], ids=["simple", "extended"])
def test_a_log_that_cannot_be_written_lets_writes_through(bare, how, options):
    write = "update t set v = v || '!' where id = %s returning v"
    with bare.connect() as client:
        client.execute(write, (1,), **options)
        bare.database.psql(BROKEN[how])
        forget(bare)
        assert client.execute(write, (1,), **options).fetchone() == ("v1!!",)
        client.execute("begin")
        client.execute("delete from t where id = 2", **options)
        client.execute("commit")
    assert bare.database.psql("select count(*) from t") == [(4,)]
    reasons = {str(plan.reason) for plan in bare.unrecorded}
    assert reasons == ({"log_unavailable"} if how != "dropped" else set())


@pytest.mark.parametrize("how", ["closed", "revoked"])
@pytest.mark.parametrize("options", [{}, {"prepare": True}], ids=["simple", "extended"])
def test_nor_does_a_capture_trigger_stand_in_the_way(bare, how, options):
    bare.database.psql(f"select hotrollback.attach_v1('t'::regclass); {BROKEN[how]}")
    with bare.connect() as client:
        client.execute("update t set v = 'x' where id = 1", **options)
    assert bare.database.psql("select v from t where id = 1") == [("x",)]
    assert [str(plan.reason) for plan in bare.unrecorded] == ["log_unavailable"]


@pytest.mark.parametrize("how", [how for how in BROKEN if how != "dropped"])
@pytest.mark.parametrize("options", [{}, {"prepare": True}], ids=["simple", "extended"])
def test_or_refuses_them_clearly(bare, how, options):
    with inside(bare.database, fail=True) as strict, strict.connect() as client:
        client.execute("update t set v = 'x' where id = 1", **options)
        bare.database.psql(BROKEN[how])
        forget(strict)
        with pytest.raises(psycopg.Error, match="undo log of this database cannot be written") as e:
            client.execute("delete from t", **options)
        assert e.value.diag.sqlstate == "RB003"
        assert client.execute("select count(*) from t").fetchone() == (5,)


def forget(between):
    """As age does every second."""
    for known in between.known.values():
        known.forget()


def test_simple_queries_find_out_at_once(bare):
    with bare.connect() as client:
        client.execute("update t set v = 'x' where id = 1")
        bare.database.psql(BROKEN["no partition"])
        assert client.execute("delete from t where id > 1").statusmessage == "DELETE 4"
    assert [str(plan.reason) for plan in bare.unrecorded] == ["log_unavailable"]


def test_capture_off_acts_on_open_sessions_and_prepared_statements(bare):
    write = "update t set v = v || '!' where id = 1"
    with bare.connect() as client:
        client.execute(write, prepare=True)
        bare.capturing = False
        client.execute(write, prepare=True)
        with client.transaction():
            client.execute(write)
            client.execute(write, prepare=True)
        client.execute("select 1")
        bare.capturing = True
        client.execute(write, prepare=True)
    assert [op for op, *_ in bare.changes()] == ["U", "U"]
    assert bare.gaps() == [("capture_off", None)] * 2


def test_a_trigger_attached_meanwhile_is_noticed(bare):
    write = "update t set v = v || '!' where id = 1"
    with bare.connect() as client:
        client.execute(write, prepare=True)
        bare.database.psql("select hotrollback.attach_v1('t'::regclass)")
        client.execute(write, prepare=True)
        forget(bare)
        client.execute(write, prepare=True)
    found = bare.database.psql(
        "select stale, count(*) from hotrollback.change group by xid, stale order by min(lsn)"
    )
    assert found == [(None, 1)] * 3  # it lets pass what records itself
    assert bare.gaps() == []


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("do", ["disable trigger all", "disable trigger all, enable trigger all"])
def test_a_trigger_that_does_not_fire_is_noticed(bare, level, do):
    """By the statement itself: nothing tells the session, whose snapshot may be older, too."""
    bare.database.psql("select hotrollback.attach_v1('t'::regclass)")
    bare.database.psql("alter event trigger hotrollback_ddl disable")
    replica = "set session_replication_role = replica"
    delete = "delete from t where v = '" + "x" * 9000 + "' or id = "  # not rewritten: too long
    with bare.connect("postgres") as client:
        client.execute(replica if "enable" in do else "select 1")
        client.execute(delete + "1", prepare=True)
        client.execute(f"begin isolation level {level}")
        client.execute("select 1 from other")
        bare.database.psql(f"alter table t {do}")
        client.execute(delete + "2", prepare=True)
        client.execute("delete from t where id = 3", prepare=True)
        client.execute("commit")
    assert [row[2]["id"] for row in bare.changes()] == [1, 3]
    assert bare.gaps() == [("trigger_missing", "t")]


def test_deferred_triggers_are_looked_at_when_they_have_run(bare):
    bare.database.psql("""
        create function late() returns trigger language plpgsql as
          $$ begin insert into other values (new.id); return null; end $$;
        create constraint trigger late after insert on t deferrable initially deferred
          for each row execute function late()""")
    detach(bare.database)
    with bare.connect() as client, client.transaction():
        client.execute("insert into t values (50, 'x')")
    assert bare.gaps() == [("deferred_trigger", "other")]
    assert [row[:2] for row in bare.changes()] == [("I", "t")]
    assert bare.database.psql("select count(*) from hotrollback.late") == [(0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "create table hotrollback.mine (a int)",
        "drop schema hotrollback cascade",
        "insert into t select 'hotrollback.'::int, ''",
        "do $$ begin raise 'permission denied for table change' using schema = 'hotrollback'; end $$",
    ],
)
@pytest.mark.parametrize("fail", [False, True], ids=["pass", "fail"])
def test_nobody_makes_others_mistrust_the_log(bare, sql, fail):
    with inside(bare.database, fail=fail) as between, between.connect() as other:
        other.execute("update t set v = 'before' where id = 1")
        with pytest.raises(psycopg.Error):
            between.psql(sql)
        other.execute("update t set v = 'after' where id = 1")
        assert between.unrecorded == []
    assert len(bare.changes()) == 2


def test_the_log_is_nobodys_to_read_or_forge(bare):
    for sql in (
        "select * from hotrollback.change",
        "select * from hotrollback.gap",
        "insert into hotrollback.change (relid, op, pid) values (1, 'I', 1)",
        "insert into hotrollback.change (relid, op, tag) values (1, 'I', 'theirs')",
        "insert into hotrollback.change (relid, op, xid) values (1, 'I', 1)",
        "insert into hotrollback.change (relid, op, role) values (1, 'I', 10)",
        "insert into hotrollback.change (relid, op, login) values (1, 'I', 10)",
        "insert into hotrollback.change (relid, op, at) values (1, 'I', now())",
        "insert into hotrollback.change (relid, op, lsn) values (1, 'I', '0/0')",
        "insert into hotrollback.gap (reason, tag) values ('x', 'theirs')",
        "update hotrollback.change set op = 'I'",
        "delete from hotrollback.change",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bare.psql(sql)


def test_tags(bare):
    write = "update t set v = v || '!' where id = 1"
    with bare.connect(tag="start") as client:
        client.execute(write)
        client.execute("set hotrollback.tag = 'other one'")
        client.execute(write)
        with client.transaction():
            client.execute("set local hotrollback.tag = 'local'")
            client.execute(write)
        client.execute(write)
        client.execute("set hotrollback.tag = ''")
        client.execute(write)
        client.execute("reset all")
        client.execute(write)
        client.execute("discard all")
        client.execute(write)
    with bare.connect(tag="") as client:
        with client.transaction():
            client.execute("set local hotrollback.tag = 'local'")
        client.execute(write)
    found = bare.database.psql("select tag from hotrollback.change order by lsn")
    assert [tag for (tag,) in found] == [
        *("start", "other one", "local", "other one", None, "start", "start", None)
    ]


def test_a_session_is_its_backend(bare):
    with bare.connect() as client:
        client.execute("delete from t where id = 1")
        pid = client.info.backend_pid
        time.sleep(0.01)
    assert bare.database.psql("select pid from hotrollback.change") == [(pid,)]
    (session,) = bare.seen
    assert (session.login.pid, session.identity.started > 0) == (pid, True)


def test_a_long_message_leaves_a_gap(bare):
    with inside(bare.database, statement_limit=2000) as short:
        short.psql("update t set v = '" + "x" * 3000 + "' where id = 1")
        assert short.gaps() == [("too_long", None)]
        with short.connect() as client:
            client.execute("update t set v = %s where id = 2", ("y" * 3000,), prepare=True)
            text = "update t set v = '" + "z" * 3000 + "' where id = %s"
            client.execute(text, (3,), prepare=True)
    assert short.gaps() == [("too_long", None), ("too_long", "t")]
    assert [row[2]["id"] for row in short.changes()] == [2]
