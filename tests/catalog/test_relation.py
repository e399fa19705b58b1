"""What the server says of relations to the role that asks."""

import pytest

from proxy.catalog import relation
from proxy.catalog.identity import IDENTITY_SQL, read

SETUP = """
create table plain(id int primary key, v text);
create table parent(a int); create table child(b int) inherits (parent);
create table part(k int) partition by list (k); create table part1 partition of part for values in (1);
create view vw as select * from plain; create schema hidden; create table hidden.t(a int);
create table rls(a int); alter table rls enable row level security; grant all on rls to app;
create table ruled(a int); create rule r as on insert to ruled do also select 1;
create table log(q text default current_query());
create table word(q text default 'current_query');
create table refers(id int primary key, p int references plain on delete cascade);
create table columns(a int, b int); grant select (a), insert on columns to app;
create function f() returns trigger language plpgsql as $$ begin return new; end $$;
create table trig(a int); create constraint trigger z after insert on trig deferrable for each row execute function f();
create function w() returns int language sql volatile as 'select 1'; create function st() returns int language sql stable as 'select 1';
create table vol(a int default w());
create procedure ends() language plpgsql as $$ begin commit; end $$; create procedure stays() language sql as 'select 1';
"""
TRUE = {
    "parent": {"inherited"}, "rls": {"row_security"}, "ruled": {"rules"}, "log": {"query_seen"}, "word": set(),
    "trig": {"triggers", "deferred"}, "vol": {"volatile"}, "plain": set(), "part": set(),
}  # fmt: skip
FLAGS = (
    "inherited",
    "row_security",
    "rules",
    "query_seen",
    "triggers",
    "deferred",
    "volatile",
    "foreign",
    "temporary",
)


@pytest.fixture
def asked(database, with_log):
    database.psql(SETUP)
    database.psql("drop trigger if exists hotrollback_capture on plain")

    def ask(*names, user="app"):
        question = relation.question(
            [name if isinstance(name, tuple) else (None, name) for name in names]
        )
        sql = relation.RELATIONS_SQL.decode().replace("$1", "'" + question.decode() + "'")
        ((answer,),) = database.psql(sql.replace("SELECT", "SELECT (", 1) + ")::text", user)
        return relation.read(answer.encode())

    return ask


@pytest.mark.parametrize(
    "made",
    [
        "create view calls as select w()",
        "create operator !+ (function = text_of, rightarg = plain)",
        "create cast (plain as text) with function text_of (plain)",
        "create aggregate ag (int) (sfunc = int4pl, stype = int, finalfunc = same)",
        "create domain d as int check (same(value) > 0)",
    ],
)
def test_what_texts_call_without_naming_it(asked, database, made):
    database.psql(
        "create function text_of(plain) returns text language sql volatile as 'select null::text';"
        "create function same(int) returns int language sql volatile as 'select $1'"
    )
    assert not asked("plain")[0].implicit
    database.psql(made)
    assert asked("plain")[0].implicit


def test_facts(asked):
    for name, found in zip(TRUE, asked(*TRUE), strict=True):
        assert {flag for flag in FLAGS if getattr(found, flag)} == TRUE[name], name
    (plain, nothing, view, hidden) = asked("plain", "nosuch", "vw", ("hidden", "t"))
    assert (plain.key, plain.schema, plain.kind, nothing, view.kind) == (
        ("id",),
        "public",
        "r",
        None,
        "v",
    )
    assert plain.cascades == plain.referrers
    assert len(plain.cascades) == 1
    assert hidden.selectable is False  # asked without a right to its schema, and no error


def test_what_sees_the_text_is_the_same_to_install(asked, database):
    database.psql("update hotrollback.meta set all_tables = false")
    needs = "select relid::regclass::text from hotrollback.needs_v1(null) where 'current_query' = any (reasons)"
    seen = [found.name for found in asked("log", "word", "plain") if found.query_seen]
    assert seen == ["log"]
    assert database.psql(needs) == [("log",)]


def test_privileges_are_the_asking_roles(asked):
    assert [each.selectable for each in asked("columns", "rls")] == [False, True]
    assert [each.selectable for each in asked("columns", "rls", user="postgres")] == [True, True]
    assert asked("rls", user="postgres")[0].row_security is False


def test_captured_means_every_heap(asked, database):
    assert asked("plain")[0].captured is False
    database.psql(
        "select hotrollback.attach_v1('plain'::regclass), hotrollback.attach_v1('part1'::regclass)"
    )
    assert [each.captured for each in asked("plain", "part")] == [True, True]
    database.psql("alter event trigger hotrollback_ddl disable")
    database.psql("alter table plain disable trigger all; alter table plain enable trigger all")
    assert asked("plain")[0].captured is False


def test_temporary_tables_hide_others(asked, database):
    question = relation.RELATIONS_SQL.decode().replace("$1", "'[[null, \"plain\"]]'")
    ((answer,),) = database.psql(f"create temp table plain(a int); select ({question})::text")
    assert relation.read(answer.encode())[0].temporary is True


def test_functions_that_may_write_or_commit(asked, database):
    volatile = "select hotrollback.volatile_v1(array['w', 'st', 'now', 'random', 'nosuch'])"
    assert database.psql(volatile, "app") == [(["w"],)]
    assert database.psql("select hotrollback.commits_v1(array['ends', 'stays'])", "app") == [
        (["ends"],)
    ]


def test_identity(asked, database):
    def who(before: str = ""):
        (row,) = database.psql(before + IDENTITY_SQL.decode(), "app")
        text = {True: b"t", False: b"f", None: None}
        return read([text[v] if v is None or isinstance(v, bool) else str(v).encode() for v in row])

    found = who()
    assert (found.installed, found.writable, found.in_recovery, found.safe_settings) == (
        True,
        True,
        False,
        True,
    )
    assert found.epoch is not None
    for setting in ("extra_float_digits = 0", "IntervalStyle = sql_standard", "DateStyle = German"):
        assert who(f"set {setting};").safe_settings is False
    database.psql("revoke usage on schema hotrollback from public")
    assert who().writable is False
    database.psql("drop schema hotrollback cascade")
    assert (who().installed, who().writable) == (False, False)
