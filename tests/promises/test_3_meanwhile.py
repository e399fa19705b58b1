"""The schema changes between the look at a table and the write that rests on it: what was recorded
says whether it is exact, and what has nothing to do with the table makes it no less so."""

import pytest

ELSEWHERE = "create table elsewhere (a int)"
OF_ITS_OWN = [
    "alter table t add w int",
    "alter table t drop v",
    "alter table t rename v to w",
    "alter table t alter id type bigint",
    "alter table t drop constraint t_pkey",
    "alter table t alter v set default random()::text",
    "alter table t add check (id > 0)",
    "alter table t enable row level security",
    "create rule r as on delete to t do also select 1",
    "create trigger x before update on t for each row execute function pg_catalog.suppress_redundant_updates_trigger()",
    "create table heir () inherits (t)",
]


@pytest.mark.parametrize(
    ("level", "do", "stale"),
    [
        ("read committed", ELSEWHERE, None),
        ("repeatable read", ELSEWHERE, True),
        *(("read committed", do, True) for do in OF_ITS_OWN),
    ],
)
def test_what_was_made_for_another_schema_says_so(between18, level, do, stale):
    """Under an older snapshot it cannot be told what has changed."""
    database = between18.database
    database.psql("create table t (id int primary key, v text)")
    write = "insert into t (id) values (%s)"
    with between18.connect("postgres") as client:
        client.execute(write, (1,), prepare=True)
        client.execute(f"begin isolation level {level}")
        client.execute("select 1")
        database.psql(do)
        client.execute(write, (2,), prepare=True)
        client.execute("commit")
    found = database.psql("select stale from hotrollback.change where op = 'I' order by lsn")
    assert found == [(None,), (stale,)]


def test_a_table_that_has_another_name_since_is_not_found(between18):
    database = between18.database
    database.psql("create table t (id int primary key)")
    with between18.connect("postgres") as client:
        client.execute("insert into t values (%s)", (1,), prepare=True)
        database.psql("alter table t rename to u; create table t (id int, v text default 'x')")
        client.execute("insert into t values (%s)", (2,), prepare=True)
    found = database.psql("select stale from hotrollback.change where op = 'I' order by lsn")
    assert found == [(None,), (True,)]
