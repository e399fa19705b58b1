"""A change is in the log if and only if it was committed, and so is a gap."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest

TABLES = """
create table t(id int primary key, v text); insert into t select g, 'v' || g from generate_series(1, 6) g;
create table u(id int, x int unique deferrable initially deferred); insert into u values (1, 1), (2, 2);
grant all on all tables in schema public to app;
"""
# Each text is one message; what is recorded afterwards, and how many gaps there are.
CASES = {
    "autocommit": (["delete from t where id = 1"], ["D"]),
    "one message": (["delete from t where id = 1; insert into t values (9, 'x')"], ["D", "I"]),
    "one message fails": (["delete from t where id = 1; insert into t values (2, 'x')"], []),
    "rollback": (["begin", "delete from t", "rollback"], []),
    "commit": (["begin", "delete from t where id = 1", "update t set v = 'x' where id = 2", "commit"], ["D", "U"]),
    "error in a block": (["begin", "delete from t", "select 1/0", "commit"], []),
    "savepoint": (
        ["begin", "delete from t where id = 1", "savepoint s", "delete from t", "rollback to s",
         "insert into t values (9, 'x')", "release s", "commit"],
        ["D", "I"],
    ),
    "savepoints nested": (
        ["begin", "savepoint a", "delete from t where id = 1", "savepoint b", "delete from t where id = 2",
         "rollback to b", "release a", "commit"],
        ["D"],
    ),
    "at the commit": (["update u set x = 3"], []),
    "at the commit of a block": (["begin", "update u set x = 3", "insert into t values (9, 'x')", "commit"], []),
    "prepared and committed": (
        ["begin", "delete from t where id = 1", "prepare transaction 'a'", "commit prepared 'a'"],
        ["D"],
    ),
    "prepared with a function": (
        ["begin", "delete from t where id = 1; select nosuch() where false", "rollback"],
        [],
    ),
    "prepared and rolled back": (
        ["begin", "delete from t where id = 1", "prepare transaction 'b'", "rollback prepared 'b'"],
        [],
    ),
    "watched and prepared": (
        ["begin", "explain analyze select 1", "do $$ begin perform 1; end $$", "insert into t values (9, 'x')",
         "prepare transaction 'c'", "commit prepared 'c'"],
        ["I"],
    ),
    "no row": (["update t set v = 'x' where false", "delete from t where id = 99"], []),
    "suppressed by a conflict": (["insert into t values (1, 'x') on conflict do nothing"], []),
}  # fmt: skip


@pytest.fixture
def tables(between, reinstall):
    between.database.psql(TABLES)
    reinstall(between.database)
    between.database.psql("truncate hotrollback.change, hotrollback.gap")
    return between


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("case", CASES)
def test_recorded_if_and_only_if_committed(tables, case, prepare):
    texts, recorded = CASES[case]
    if prepare and any(";" in text.replace("; end", "") for text in texts):
        prepare = False
    with tables.connect() as client:
        for text in texts:
            with suppress(psycopg.Error):
                client.execute(text, prepare=prepare or None)
    assert [op for op, *_ in tables.changes()] == recorded
    assert tables.gaps() == []
    assert not tables.unrecorded


def test_a_client_that_vanishes_leaves_nothing(tables):
    client = tables.connect()
    client.execute("begin")
    client.execute("delete from t")
    client.close()
    assert tables.database.psql("select count(*) from t") == [(6,)]
    assert tables.changes() == []


def test_a_server_that_ends_the_session_leaves_nothing(tables):
    with tables.connect() as client:
        client.execute("begin")
        client.execute("delete from t")
        tables.database.psql(f"select pg_terminate_backend({client.info.backend_pid})")
        with pytest.raises(psycopg.OperationalError):
            client.execute("commit")
    assert tables.changes() == []


def test_the_before_image_is_of_the_row_that_was_changed(tables):
    """Although the statement had to wait for another that changed it."""
    with tables.connect() as one, tables.connect(tag="two") as two, ThreadPoolExecutor() as threads:
        two.execute("begin")
        two.execute("update t set v = 'two' where id = 1")
        waiting = threads.submit(one.execute, "update t set v = v || '!' where id = 1 returning v")
        blocked = "select count(*) from pg_locks where not granted"
        while tables.database.psql(blocked) == [(0,)]:
            time.sleep(0.01)
        two.execute("commit")
        assert waiting.result(10).fetchone() == ("two!",)
    changes = tables.changes("tag = 'case'")
    assert [row[2:] for row in changes] == [({"id": 1, "v": "two"}, {"id": 1, "v": "two!"})]
