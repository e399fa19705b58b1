"""A question of ours that is ended from outside: the client is answered as if it were its own message
that was ended, in the form that this message is answered in."""

import time

import psycopg
import pytest
from raw import FLUSH, SYNC, Raw, copy_data, describe, extended, message, parse, query

from proxy.catalog.cache import Knowledge, Known
from proxy.catalog.identity import Identity
from proxy.session.repair import told
from proxy.wire import encode

SLEEPY = """
CREATE TABLE t (a int PRIMARY KEY); GRANT ALL ON t TO app;
CREATE OR REPLACE FUNCTION hotrollback.relations_v1(asked_names json) RETURNS {} LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_catalog.pg_sleep(60); RETURN NULL; END $$
"""
RETURNS = "SELECT pg_get_function_result('hotrollback.relations_v1(json)'::regprocedure)"
ASLEEP = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
)


class Forgetful(Knowledge):
    """Grows old as fast as anybody can ask."""

    def view(self, identity: Identity, version: int) -> Known:
        found = super().view(identity, version)
        self.forget()
        return found


NAME = parse("SELECT 1", "named") + describe("named", "S") + FLUSH
CANCELLED = "57014"


@pytest.fixture
def sleepy(between):
    """A question about a relation goes on until it is cancelled."""
    ((returned,),) = between.database.psql(RETURNS)
    between.database.psql(SLEEPY.format(returned))
    return between


def cancel(sleepy) -> None:
    deadline = time.monotonic() + 30
    while not (found := sleepy.database.psql(ASLEEP)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sleepy.database.psql(f"SELECT pg_cancel_backend({found[0][0]})")


def check_error(found) -> None:
    assert found.kind == "E"
    assert found.fields["C"] == CANCELLED
    assert not any("hotrollback" in value for value in found.fields.values()), found.fields


WAITING = """
CREATE TABLE t (a int PRIMARY KEY); GRANT ALL ON t TO app;
CREATE OR REPLACE FUNCTION hotrollback.relations_v1(asked_names json) RETURNS {} LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(7); RETURN NULL; END $$
"""
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"


@pytest.mark.parametrize("asked", [query("INSERT INTO t VALUES (1)"), extended("INSERT INTO t VALUES (1)")],
                         ids=["simple", "extended"])  # fmt: skip
def test_what_comes_meanwhile_is_told(between, asked):
    """A notification that reaches the session while a question of ours runs."""
    ((returned,),) = between.database.psql(RETURNS)
    between.database.psql(WAITING.format(returned))
    with (
        psycopg.connect(between.database.url(), autocommit=True) as holder,
        Raw(between.port).log_in("app", between.database.name) as client,
    ):
        client.ask("LISTEN a")
        holder.execute("SELECT pg_advisory_lock(7)")
        client.send(asked)
        deadline = time.monotonic() + 30
        while between.database.psql(WAITS) == [(0,)]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        holder.execute("NOTIFY a, 'news'")
        holder.execute("SELECT pg_advisory_unlock(7)")
        came = client.until("Z")
        (told,) = [found for found in came if found.kind == "A"]
        assert told.body[4:] == b"a\0news\0"
        kinds = [found.kind for found in came if found.kind != "A"]
        assert kinds == (["C", "Z"] if asked[:1] == b"Q" else list("12nCZ"))
    assert not between.faults, between.faults[0]


@pytest.mark.parametrize("block", [True, False], ids=["block", "alone"])
@pytest.mark.parametrize(
    "asked",
    [query("INSERT INTO t VALUES (1)"), query("COPY t FROM STDIN") + copy_data("1\n") + message("f", b"no\0")],
    ids=["insert", "copy"],
)  # fmt: skip
def test_a_simple_query_behind_a_flush(sleepy, block, asked):
    """It ends with ReadyForQuery; and so does the next."""
    with Raw(sleepy.port).log_in("app", sleepy.database.name) as client:
        client.ask("BEGIN" if block else "SELECT 1")
        client.send(NAME)
        client.until("1tT")
        client.send(asked)
        cancel(sleepy)
        error, ready = client.until("Z")[-2:]
        check_error(error)
        assert ready.body == (b"E" if block else b"I")
        assert client.ask("ROLLBACK")[-1].body == b"I"
        assert [found.kind for found in client.ask("SELECT 1")] == list("TDCZ")
    assert sleepy.database.psql("SELECT count(*) FROM t") == [(0,)]
    assert not sleepy.faults, sleepy.faults[0]


def test_a_pipeline_waits_for_its_sync(sleepy):
    with Raw(sleepy.port).log_in("app", sleepy.database.name) as client:
        client.ask("BEGIN")
        client.send(NAME)
        client.until("1tT")
        client.send(extended("INSERT INTO t VALUES (1)"))
        cancel(sleepy)
        found = client.until("Z")
        check_error(next(one for one in found if one.kind == "E"))
        assert [one.kind for one in found].count("Z") == 1
        client.send(SYNC)
        assert client.until("Z")[-1].body == b"E"
        assert client.ask("ROLLBACK")[-1].body == b"I"
    assert not sleepy.faults, sleepy.faults[0]


def test_where_a_question_was_ended_is_not_told():
    """The server names functions in SQL without their schema."""
    ended = [
        (b"C", b"57014"),
        (b"M", b"timeout"),
        (b"W", b'SQL function "volatile_v1" statement 1'),
    ]
    assert told(ended) == encode.fields(b"E", ended[:2])
    theirs = [*ended[:2], (b"W", b'SQL function "mine" statement 1')]
    assert told(theirs) == encode.fields(b"E", theirs)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("prepare", [False, True])
def test_knowledge_may_last_shorter_than_a_question(between, prepare):
    """As with a slow server, or one with very many relations: a statement that needs several answers
    is planned with what was asked for it, and asked for the next one again."""
    between.known[between.database.name] = Forgetful()
    between.database.psql(
        "CREATE TABLE t (a int PRIMARY KEY, v text);"
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1'"
    )
    with between.connect("postgres") as client:
        client.execute("INSERT INTO t VALUES (f(1), 'x') RETURNING *", prepare=prepare)
        client.execute("ALTER TABLE t ADD COLUMN w int DEFAULT 3")
        client.execute("UPDATE t SET v = 'y', w = f(4) RETURNING t.*", prepare=prepare)
        client.execute("WITH d AS (DELETE FROM t RETURNING *) SELECT f(a) FROM d", prepare=prepare)
    assert [(op, before, after) for op, _, before, after in between.changes()] == [
        ("I", None, {"a": 1, "v": "x"}),
        ("U", {"a": 1, "v": "x", "w": 3}, {"a": 1, "v": "y", "w": 4}),
        ("D", {"a": 1, "v": "y", "w": 4}, None),
    ]
    assert between.gaps() == []


def test_of_sessions_that_would_be_told_the_same_one_asks(between):
    """Until it does something by which it could know better, or somebody is told something else."""
    between.database.psql(
        "CREATE TABLE t (a int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )

    def asked(client: psycopg.Connection, *texts: str) -> bool:
        """Whether it asked who it is before the last of them, with knowledge that has grown old and
        that another session has asked for anew."""
        for text in texts[:-1]:
            client.execute(text.encode())
        between.known[between.database.name].forget()
        one.execute("INSERT INTO t VALUES (1)")
        before = len(between.seen)
        client.execute(texts[-1].encode())
        return len(between.seen) > before

    write = "INSERT INTO t VALUES (2)"
    with (
        between.connect("postgres") as one,
        between.connect("postgres") as other,
        between.connect("app") as app,
    ):
        for client in (one, other):
            client.execute(write)
        assert [asked(other, write) for _ in range(11)] == [False] * 10 + [True]
        assert not asked(other, "SELECT 1", write)
        for changing in (
            "SET search_path = public",
            "CREATE TEMP TABLE temporary (a int)",
            "SELECT f()",
            "BEGIN; CREATE SCHEMA s; INSERT INTO t VALUES (3); ROLLBACK",
        ):
            assert asked(other, changing, write), changing
        between.database.psql("GRANT INSERT ON t TO app")
        app.execute(write)
        assert asked(app, write)
        between.database.psql("ALTER EVENT TRIGGER hotrollback_drop DISABLE")
        assert asked(other, write)
        assert asked(other, write)
    assert between.gaps() == []
