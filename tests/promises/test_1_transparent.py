"""A client can tell the proxy from PostgreSQL by latency only: rows, tags, descriptions, errors with
all their fields, notices; whatever the statement is made of.

Each case is sent to two databases with the same oids, with and without the proxy.
"""

from collections.abc import Iterator

import pytest
from fix_postgres import Database, Server, install_into
from fix_session import Inside, inside
from raw import FLUSH, SYNC, Raw, bind, compared, describe, execute, extended, message, parse, query

SETUP = """
create table t(id int primary key, v text default 'd', "old" text, n numeric);
insert into t select g, 'v' || g, 'o', g from generate_series(1, 6) g;
create table staging(id int, v text); insert into staging values (1, 'staged');
create table gen(id int generated always as identity, a int, b int generated always as (a * 2) stored);
create schema s; create table s.t(x int); insert into s.t values (1);
create table par(a int); create table chi(b int) inherits (par); insert into chi values (1, 2);
create table part(id int, k int) partition by list (k);
create table part1 partition of part for values in (1);
create table part2 (k int, id int); alter table part attach partition part2 for values in (2);
insert into part values (1, 1), (2, 2);
create table base(id int primary key, v text); insert into base select g, 'b' from generate_series(1, 4) g;
create view vw as select id, v from base where id > 1 with check option;
create table ruled(a int); create rule r as on insert to ruled do also select 1;
create table secret(a int, b int); insert into secret values (1, 1);
create table rls(a int); alter table rls enable row level security;
create policy p on rls for all using (a > 0) with check (true); insert into rls values (1);
create table blind(a int, b int); alter table blind enable row level security; insert into blind values (1, 1);
create policy i on blind for insert with check (b > 0); create policy u on blind for update using (true);
create policy d on blind for delete using (true);
create table cols(a int, b int, c int); insert into cols values (1, 1, 1), (2, 2, 2);
create table only_in(a int primary key, b int);
create domain positive as int check (value > 0); create table dom(a positive);
create table quiet();
create function noisy() returns trigger language plpgsql as
  $$ begin raise notice 'row %', new.a; raise warning 'ü'; return new; end $$;
create table loud(a int); create trigger n before insert or update on loud for each row execute function noisy();
grant usage on schema s to app; grant all on all tables in schema public, s to app;
revoke select on secret from app; revoke all on cols, only_in from app; grant insert on only_in to app;
grant select (a, b), insert (a, b), update (b), delete on cols to app; alter table quiet owner to app; alter table staging owner to app;
grant all on all sequences in schema public to app;
"""
# Texts of one session; every one is sent as a simple query and then, rolled back, as a pipeline.
SESSIONS = {
    "own rows": [
        "update t set v = 'x' where id = 1 returning old.v, new.v, id",
        "update t set v = 'y' from staging new where new.id = t.id returning t.v, new.v as theirs",
        "update t set v = 'y' from staging as new where new.id = t.id returning old.v, new.v, t.*",
        "update t set v = 'z' where id = 2 returning \"old\", t.old",
        "update t as old set v = 'w' where old.id = 3 returning old.v",
        "update t set v = 'a' where id = 1 returning with (old as before) before.v, new.v, v",
        "insert into t values (1, 'up') on conflict (id) do update set v = 'u' returning old.v, new.v",
    ],
    "writing with": [
        "with d as (delete from t where id = 1 returning *) select * from d",
        "with d(a, b) as not materialized (delete from t x where id < 3 returning x.id, v as w, x.*) select b, a, d.old from d order by a",
        "with i as (insert into gen(a) values (1), (2) returning *) insert into t(id, v) select 90 + a, 'w' from i returning *, old.id",
        "with /* c */ u as (update t set v = 'u' where id = 3 returning t.old, v, id /* end */ -- more\n) update t set v = u.v from u where t.id = u.id + 1 returning t.id, u.*",
        "with d as (delete from t where id = 1 /* none */), i as (insert into loud values (1)) select count(*) from t",
        "with d as (delete from t where id = 1) select * from d",
        "with d as (delete from t where id = 1 returning 1/0 as x) select * from d",
        "with d as (delete from t returning id), d as (select 1) select 1", "with d(a, b) as (delete from t returning id) select 1",
        "with d(a, b) as (delete from t returning id) select a, ü from d", "with d as (delete from t returning id) select nothing from d",
        "with d as (delete from t returning nothing) select 1", "with d(a) as (delete from t) select 1",
        "with recursive d as (delete from t where id in (select id from r) returning id), r as (select 1 as id) select * from d",
        "with q as (select id from t order by id limit 1 for update skip locked), d as (delete from t using q where q.id = t.id returning t.id) select * from d",
        "with a as (with b as (select 2 as x) delete from t using b where x = id returning t.v) table a",
        "with a as (insert into t values (1, 'up') on conflict (id) do update set v = 'w' returning id, v) select v, id from a",
        "with a as (insert into t values (1, 'up') returning id) select 1", "select 1; with a as (delete from t returning id) select * from a",
        "with a as (insert into gen(b) values (1)) select 1", "with a as (delete from t where id = 3 returning id) delete from t where id = 3",
        "with a as (delete from secret returning a) select 1", "with a as (insert into ruled values (1)) select 1",
        "with a as (update part set k = 3 - k where id = 1 returning *) select tableoid::regclass, * from part, a",
    ],
    "merge": [
        "merge into t using staging s on s.id = t.id when matched then update set v = s.v when not matched then insert (id) values (s.id)",
        "merge into t as x using (values (1), (2), (90)) s(id) on s.id = x.id when matched and x.id = 1 then delete"
        " when matched then update set v = 'm' when not matched then insert (id, v) values (s.id, default) returning merge_action(), old.v, new.v, x.*, s.id",
        "merge into t using staging new on new.id = t.id when matched then update set v = 'n' returning new.v, t.v, old.v",
        "merge into t using staging s on s.id = t.id when not matched by source then delete returning old.id",
        "merge into t using (values (1)) s(id) on true when matched then do nothing",
        "merge into part p using (values (1)) s(id) on s.id = p.id when matched then update set k = 3 - k returning *, tableoid::regclass",
        "merge into only par using (values (1)) s(id) on true when matched then delete",
        "merge into loud using (values (1)) s(id) on false when not matched then insert values (s.id)",
        "merge into gen using (values (1)) s(id) on false when not matched then insert (a) overriding user value values (3) returning *",
        "merge into t using (values (3), (3)) s(id) on s.id = t.id when matched then update set v = 'twice'",
        "merge into t using staging s on s.id = t.id when matched then update set nothing = 1",
        "merge into t using staging s on s.id = t.id when not matched then insert (id) values (2)",
        "merge into secret using staging s on true when matched then delete", "merge into t using staging s on",
        "merge into vw using staging s on s.id = vw.id when not matched then do nothing",
    ],
    "returning": [
        "insert into gen(a) values (1), (2) returning *, a as a, 'x', null, 1 + 1 as \"Sum\", tableoid::regclass",
        "insert into gen default values returning b",
        "insert into quiet default values returning *",
        "delete from t where id = 1 returning t.*, t",
        "update part set k = 2 where id = 1 returning *",
        "update part set k = 1 returning tableoid::regclass, *",
        "select lastval()",
    ],
    "errors": [
        "insert into t values (1)", "insert into t(id, nothing) values (1, 2)", "update t set v=",
        "delete from", "insert into t", "update t set v = 'ü', nothing = 1", "delete from t where ü = 1",
        "/* ü */ insert into nowhere values (1)", "insert into t values ('x')", "update t set n = 1/0",
        "insert into dom values (-1)", "insert into t(id) values (1, 2)", "select 1; update t set v = nothing",
        "update t set v = 'x' returning nothing", "insert into gen(b) values (1)", "update gen set id = 1",
        "delete from t where id = (select 1 from nowhere)", "insert into t values (null)", "delete from t;;",
    ],
    "blocks": [
        "begin", "update t set v = nothing", "select 1", "rollback", "begin read only", "update t set v = 'x'",
        "rollback", "begin read only", "delete from t returning id", "rollback", "begin",
        "insert into t values (1)", "savepoint s", "rollback", "begin", "savepoint s", "delete from t where 1/0 = 1",
        "rollback to s", "delete from t where id = 1", "commit", "set default_transaction_read_only = on",
        "insert into t values (70)", "truncate t", "set default_transaction_read_only = off",
    ],
    "rights to columns": [
        "update cols set b = 3 where a = 1", "update cols set b = 3 where a = 1 returning a, b", "update cols set b = 3 returning c",
        "update cols set c = 3", "update cols set b = 4 where c = 1", "insert into cols (a, b) values (5, 5)", "insert into cols (a) values (6) returning a",
        "insert into cols values (7, 7, 7)", "insert into cols (a) values (8) returning *", "delete from cols where a = 2", "delete from cols where c = 1", "delete from cols returning b",
        "insert into only_in values (1, 1)", "insert into only_in values (2, 2) returning a", "insert into only_in values (1, 1)", "insert into only_in values (1, 1) on conflict do nothing",
        "insert into only_in values (1, 1) on conflict (a) do nothing", "insert into only_in values (1, 1) on conflict (a) do update set b = 2", "update only_in set b = 1", "delete from only_in",
        "insert into blind values (2, 2)", "insert into blind values (3, 3) returning a", "insert into blind values (3, -3)", "update blind set b = 5", "update blind set b = 5 returning a",
        "update blind set b = 6 where a = 1", "delete from blind where a = 1", "delete from blind returning a", "delete from blind",
        "update rls set a = a + 1 returning a", "update rls set a = -1", "delete from rls where a > 5",
    ],
    "far away": [
        "begin", "update far set v = 'x' where id = 1", "update far set v = v || '!' where id < 3 returning *", "insert into far values (99, 'far') returning id",
        "delete from far where id = 2 returning v", "insert into far values (1, 'again')", "rollback", "update far set nothing = 1", "select * from far order by id",
        "with d as (delete from far where id = 99 returning id) select * from d", "begin", "insert into far values (98, 'x') on conflict do nothing", "rollback",
    ],
    "not rewritten": [
        "update vw set v = 'v' where id = 2 returning *", "insert into vw values (1, 'check')", "delete from vw where id = 3",
        "insert into ruled values (1)", "insert into secret values (2, 2)", "update secret set a = 1", "delete from secret",
        "insert into rls values (-1)", "insert into rls values (-1) returning a", "update rls set a = 5",
        "update par set a = 2", "delete from par", "update only par set a = 3",
        "with recursive r as (select 1) merge into t using r on false when not matched then do nothing",
    ],
    "backslashes": ["set standard_conforming_strings = off", "update t set v = 'back\\\\slash' where id = 1 returning v"],
    "notices": ["insert into loud values (1), (2)", "update loud set a = 3 returning a", "insert into loud values (1, 2)"],
    "names": [
        "set search_path = s, public", "insert into t values (2) returning *", "set search_path = public; delete from t where id = 2",
        "update t set v = $$ dollar $$ where id = 3", "update t set v = E'\\'' , n = - -1 where id = 4",
        "create temp table t(id int, v text)", "insert into t values (5, 'temp') returning *", "drop table t",
        "insert into public.t values (77)",
    ],
    "odd texts": [";", "", "-- only", "update t set v = 'a' where id = 1; ; delete from t where id = 2 -- end",
                  "/* lead */ with w as (select 3 as i) update t set v = 'w' from w where w.i = t.id /* end */;"],
}  # fmt: skip
FAR = """
create extension postgres_fdw; create server here foreign data wrapper postgres_fdw
  options (host '{host}', port '{port}', dbname '{name}');
create user mapping for app server here options (user 'app', password_required 'false');
create foreign table far(id int, v text) server here options (table_name 'base'); grant all on far to app;
"""
EIGHTEEN = {"own rows", "merge", "not rewritten", "writing with"}


@pytest.fixture(scope="module")
def both(server: Server) -> Iterator[tuple[Database, Inside]]:
    with server.database() as base:
        base.psql(SETUP + FAR.format(host=server.host, port=server.port, name=base.name))
        plain, logged = base.name + "_p", base.name + "_l"
        try:
            for name in (plain, logged):
                server.psql(f"create database {name} template {base.name}")
            install_into(Database(server, logged))
            with inside(Database(server, logged)) as proxy:
                yield Database(server, plain), proxy
        finally:
            for name in (plain, logged):
                server.psql(f"drop database if exists {name} with (force)")


def same(both, messages: list[bytes]) -> Inside:
    plain, proxy = both
    seen = []
    for port, name in ((plain.port, plain.name), (proxy.port, proxy.database.name)):
        with Raw(port).log_in("app", name, application_name="same") as client:
            answers = []
            for sent in messages:
                client.send(sent)
                answers.append(compared(client.until("Z")))
        seen.append(answers)
    for sent, alone, through in zip(messages, *seen, strict=True):
        assert through == alone, sent
    assert not proxy.faults
    return proxy


@pytest.mark.parametrize("name", SESSIONS)
def test_simple(both, name):
    if name in EIGHTEEN and both[0].server.version < 18:
        return
    same(both, [query(text) for text in SESSIONS[name]])


@pytest.mark.parametrize("name", [name for name in SESSIONS if name != "odd texts"])
def test_extended(both, name):
    if name in EIGHTEEN and both[0].server.version < 18:
        return
    same(both, [extended(text) for text in SESSIONS[name] if text.count(";") == 0])


def test_nothing_in_these_cases_was_lost_in_silence(both):
    plain, proxy = both
    same(
        both,
        [query("update t set n = 0 where id = 1 returning *"), query("update par set a = 2")],
    )
    assert not proxy.unrecorded
    assert proxy.counted["trigger"] > 0
    assert plain.server.version < 18 or proxy.counted["rewrite"] > 0


INSERT = "insert into t(id, v) values ($1, $2) returning id, v"


def test_formats_and_limits(both):
    named = parse(INSERT, "ins", (23,)) + describe("ins", "S") + SYNC
    binary = bind(b"\0\0\1\0", "ü", name="ins", formats=(1, 0), results=(1, 0))
    each = bind(b"\0\0\1\1", b"x", name="ins", formats=(1, 1), results=(1,))
    limited = (
        parse("update t set n = 1 where id < 5 returning id") + bind() + execute("", 2) + FLUSH
    )
    same(both, [named, binary + describe() + execute() + SYNC, each + execute() + SYNC,
                limited + execute("", 1) + execute() + execute() + SYNC,
                bind("nan", "x", name="ins") + execute() + SYNC])  # fmt: skip


@pytest.mark.parametrize("ddl", ["add column c int", "drop column if exists c"])
@pytest.mark.parametrize(
    "text", ["update staging set v = 'p' returning *", "delete from staging where id = 9"]
)
def test_prepared_statements_live_across_ddl(both, ddl, text):
    run = bind(name="p") + describe() + execute() + SYNC
    own = [parse(text, "p") + SYNC, run, query(f"alter table staging {ddl}"), run, run,
           query("begin"), run, query("rollback"), query(f"alter table staging {ddl}")]  # fmt: skip
    same(both, own)


def test_names_of_statements(both):
    run = bind(name="p") + execute() + SYNC
    text = "update t set v = 'n' where id = 5"
    same(both, [parse(text, "p") + SYNC, run, parse(text, "p") + SYNC, query("deallocate p"), run,
                parse(text, "p") + SYNC, run, query("discard all"), run, parse(text, "p") + SYNC, run,
                query("deallocate all"), run, parse("select $1::int", "p") + SYNC, bind("1", name="p") + SYNC,
                bind("1", name="p") + execute() + SYNC, query("prepare p as delete from t"),
                query("select name, statement from pg_prepared_statements where name !~ 'hotroll'")])  # fmt: skip


def test_an_error_ends_a_pipeline(both):
    parts = [extended("delete from t where id = 4")[:-5] for _ in range(40)]
    parts[20] = extended("update t set v = 1/0")[:-5]
    same(
        both,
        [
            b"".join(parts) + SYNC,
            b"".join(parts) + SYNC + SYNC,
            message("F", b"\0\0\0\1\0\0\0\0\0\0"),
        ],
    )


def test_notifications_come_behind_what_was_committed(both):
    same(both, [query("listen here"), query("update vw set v = 'n'; notify here, 'x'")])


def test_cancel_of_what_is_rewritten(both):
    plain, proxy = both
    for port, name in ((plain.port, plain.name), (proxy.port, proxy.database.name)):
        with Raw(port).log_in("app", name) as client:
            client.ask("set statement_timeout = 100")
            (error,) = [
                m for m in client.ask("update t set v = pg_sleep(5)::text") if m.kind == "E"
            ]
            assert error.fields["C"] == "57014"
            assert "canceling" in error.fields["M"]
