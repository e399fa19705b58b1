"""What clients say in the conversations that are held twice, with and without the proxy: statements,
and messages about them in any order. As hypothesis strategies, so that a difference shrinks."""

from hypothesis import strategies as st
from raw import (
    COPY_DONE,
    FLUSH,
    SYNC,
    bind,
    close,
    copy_data,
    describe,
    execute,
    message,
    parse,
    query,
)

SETUP = """
create table t(id int primary key, v text default 'd', n numeric);
create table k(a int, b text);
create table kid(id int primary key, t int references t on delete cascade deferrable);
create table u(id int generated always as identity, x int unique deferrable initially deferred);
create function noisy() returns trigger language plpgsql as
  $$ begin raise notice 'row %', new.id; new.n := coalesce(new.n, 0) + 1; return new; end $$;
create table loud(id int, n int);
create trigger noisy before insert or update on loud for each row execute function noisy();
create function writes(i int) returns int language plpgsql as
  $$ begin insert into k values (i, 'f'); return i; end $$;
create view seen as select id, v from t where id < 5;
create procedure commits() language plpgsql as
  $$ begin insert into k values (1, 'p'); commit; insert into k values (2, 'p'); end $$;
create procedure stays() language plpgsql as
  $$ begin insert into k values (3, 'p'); end $$;
"""
ROWS = """
truncate t, k, kid, u, loud restart identity;
insert into t select g, 'v' || g, g from generate_series(1, 6) g;
insert into k values (1, 'a'), (1, 'a'), (2, null);
insert into kid values (1, 1), (2, 2);
insert into u(x) values (1), (2);
insert into loud values (1, 1);
"""
TABLES = ("t", "k", "kid", "u", "loud")

PLAIN = [
    "insert into t values (7, 'x')",
    "insert into t(id) values (8) returning *",
    "insert into t values (1, 'dup')",
    "insert into t values (1, 'up') on conflict (id) do update set v = excluded.v || t.v returning v",
    "insert into t values (2, 'no') on conflict do nothing",
    "update t set v = v || '!' where id < 3",
    'update t set n = n + 1 returning id, v as "V", n * 2',
    "/* first */ update t as x set v = 'ü' where x.id = 2 -- behind",
    "update t set nothing = 'ü'",
    "update t set v = 'ü', n = 1/0 where id = 1",
    "delete from t where id = 5 returning id",
    "delete from t where id = 6",
    "with w as (select 3 as i) update t set v = 'w' from w where w.i = t.id",
    "delete from t where id = 1",
    "insert into k select a + 1, b from k",
    "update k set b = 'all'",
    "delete from k where b is null returning *, a as again",
    "insert into u(x) values (3) returning id",
    "insert into u(x) values (1)",
    "update u set x = x + 1",
    "insert into u(id, x) values (9, 9)",
    "insert into loud values (2, null), (3, 5) returning n",
    "update loud set n = 0",
    "delete from kid where t = 1; insert into k values (5, 'five'); update k set a = 6 where a = 5",
    "insert into k values (7, 'seven'); insert into t values (1, 'dup'); insert into k values (8, 'x')",
    "select * from t order by id limit 2",
    "select lastval()",
    "insert into nowhere values (1)",
    "update t set v=",
    "delete from",
    "",
    "begin",
    "commit",
    "rollback",
    "begin; update t set v = 'in' where id = 1",
    "insert into k values (9, 'nine'); commit",
    "savepoint s",
    "rollback to s",
    "release s",
    "begin read only",
    "begin isolation level serializable",
    "set constraints all immediate",
    "set hotrollback.tag = 'mine'",
    "discard all",
    "deallocate all",
    "set search_path = pg_catalog",
    "reset search_path",
    "show search_path",
    "set standard_conforming_strings = off",
    "reset all",
    "set datestyle = 'German'",
    "set local extra_float_digits = 0",
    r"update t set v = 'a\\b' where id = 1 returning v",
    r"update k set b = E'\'' || U&'\0061' where a = 1",
    "select set_config('search_path', 'public', true)",
    "begin; insert into k values (10, 'ten'); rollback; delete from k where a = 2",
    "rollback; insert into k values (12, 'twelve')",
    "commit and chain",
    "savepoint s; update k set a = a + 1; rollback to s",
    "select a, 1 / (a - 2) from k order by a",
    "explain (costs off) delete from t",
    "select id from t for update",
]
OTHER = [
    "select writes(4)",
    "select writes(1) from generate_series(1, 2)",
    "call commits()",
    "call stays()",
    "do $$ begin insert into k values (6, 'do'); end $$",
    "truncate kid",
    "merge into k using t on t.id = k.a when matched then delete",
    "with d as (delete from k returning *) insert into t(id) select a + 100 from d on conflict do nothing",
    "create temp table tmp(a int); insert into tmp values (1); drop table tmp",
    "alter table k add column if not exists c int",
    "alter table k drop column if exists c",
    "create table made(a int)",
    "drop table made",
    "vacuum k",
    "prepare q(int) as insert into k values ($1, 'q')",
    "execute q(11)",
    "deallocate q",
    "declare c cursor for select * from t for update",
    "fetch 2 from c",
    "update t set v = 'cursor' where current of c",
    "listen here",
    "notify here, 'news'",
    "update seen set v = 'seen' where id = 3 returning *",
    "insert into seen values (10, 'ten')",
    "explain (analyze, costs off, timing off, summary off, buffers off) select writes(9)",
    "copy k to stdout",
    "declare h cursor with hold for select writes(5)",
    "fetch all from h",
    "move 1 from c",
    "close all",
    "create temp table t(id int primary key, v text, n numeric)",
    "drop table if exists pg_temp.t",
    "set role none",
    "set session characteristics as transaction read only",
    "do $$ begin perform 1/0; exception when others then insert into k values (13, 'caught'); end $$",
    "vacuum k; delete from k",
    "create index concurrently if not exists made_i on k(a)",
    "drop index if exists made_i",
    "select lo_unlink(lo_create(0))",
    "execute s1",
    "deallocate s1",
]
VALUES = [
    ("insert into t(id, v) values ($1, $2) returning id", ("20", "é")),
    ("insert into t(id, v) values ($1, $2)", ("1", None)),
    ("update t set v = $1 where id = $2", ("set", "2")),
    ("update t set v = $1 || v where id = any($2) returning *", ("p", "{1,2}")),
    ("delete from t where id = $1", ("3",)),
    ("select $1::int + 1", ("41",)),
]

# lo_close by its number, of what is not open; it behaves as a simple query does.
CALL = SYNC + message("F", b"\0\0\3\xb9\0\1\0\1\0\1\0\0\0\4\0\0\0\7\0\1")
GIVEN_UP = message("f", b"no\0")

names = st.sampled_from(["", "s1", "s2"])
portals = st.sampled_from(["", "p1"])


def conversations(texts: list[str]) -> st.SearchStrategy[list[list[bytes]]]:
    """Turns of messages; behind each comes a Sync."""
    text = st.sampled_from(texts)
    # A simple query behind an Execute without a Sync brings the server into a state of its own.
    simple = text.map(lambda each: SYNC + query(each))
    pipeline = st.builds(pipelined, text, names, portals, st.sampled_from([0, 0, 1]))
    valued = st.builds(_valued, st.sampled_from(VALUES), names, st.sampled_from([(), (0,), (1,)]))
    copied = st.builds(_copied, st.lists(st.sampled_from(["30\tx\n", "bad\n"]), max_size=2))
    pieces = st.one_of(
        st.builds(parse, text, names),
        st.builds(lambda name, portal: bind(name=name, portal=portal), names, portals),
        st.builds(describe, names, st.just("S")),
        st.builds(describe, portals, st.just("P")),
        st.builds(execute, portals, st.sampled_from([0, 1, 2])),
        st.builds(close, names, st.just("S")),
        st.builds(close, portals, st.just("P")),
        st.sampled_from([SYNC, FLUSH, CALL, COPY_DONE, GIVEN_UP, copy_data("31\tx\n")]),
    )
    turn = st.one_of(simple, pipeline, valued, copied, pieces)
    return st.lists(st.lists(turn, min_size=1, max_size=4), min_size=1, max_size=6)


def pipelined(text: str, name: str, portal: str, limit: int) -> bytes:
    parts = [close(name, "S"), parse(text, name), bind(name=name, portal=portal)]
    return b"".join([*parts, describe(portal), execute(portal, limit)])


def _valued(case: tuple[str, tuple[str | None, ...]], name: str, results: tuple[int, ...]) -> bytes:
    text, values = case
    parts = [close(name, "S"), parse(text, name), describe(name, "S")]
    return b"".join([*parts, bind(*values, name=name, results=results), execute()])


def _copied(lines: list[str]) -> bytes:
    head = parse("copy k(a, b) from stdin") + bind() + describe() + execute()
    data = b"".join(copy_data(line) for line in lines)
    return head + SYNC + data + (COPY_DONE if len(lines) < 2 else GIVEN_UP)
