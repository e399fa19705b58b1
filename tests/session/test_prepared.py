"""The client's view of the session's prepared statements: its own, and none of ours."""

import asyncio
import struct
import time

import asyncpg
import psycopg
import pytest
from raw import SYNC, Raw, parse

from proxy.capture.plan import How, Reason
from proxy.wire.length import LARGE_LIMIT

SHOWN = "SELECT name FROM pg_prepared_statements ORDER BY name"
FOLDED = "SELECT count(*) FROM PG_CATALOG.Pg_Prepared_Statement()"
WRITE = "INSERT INTO t VALUES (%s)"


@pytest.fixture
def table(between):
    between.database.psql("CREATE TABLE t (a int PRIMARY KEY); GRANT ALL ON t TO app")
    return between


def test_no_statement_of_ours_is_shown(table):
    """Neither by a simple query nor by a prepared one; and capture goes on behind it."""
    with table.connect() as connection:
        for turn in range(3):
            connection.execute(WRITE, [turn], prepare=False)
            assert connection.execute(SHOWN, prepare=False).fetchall() == []
            with connection.cursor(binary=True) as cursor:
                assert cursor.execute(FOLDED, binary=True).fetchall() == [(0,)]
            with psycopg.ClientCursor(connection) as cursor:
                assert cursor.execute(SHOWN).fetchall() == []
    assert [change[3]["a"] for change in table.changes()] == [0, 1, 2]
    assert table.gaps() == []
    assert not table.faults, table.faults[0]


def test_in_a_transaction_and_after_its_failure(table):
    with table.connect() as connection:
        with connection.transaction():
            connection.execute(WRITE, [1], prepare=True)
            assert len(connection.execute(SHOWN, prepare=False).fetchall()) == 1
            connection.execute(WRITE, [2], prepare=True)
        with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
            connection.execute(WRITE, [1], prepare=True)
        # psycopg has deallocated its own.
        assert connection.execute(SHOWN, prepare=False).fetchall() == []
        connection.execute(WRITE, [3], prepare=True)
    assert [change[3]["a"] for change in table.changes()] == [1, 2, 3]
    assert not table.faults, table.faults[0]


def test_in_a_pipeline_that_fails_before_it(table):
    """What was not closed after all is closed when it is looked at the next time."""
    with table.connect() as connection:
        connection.execute(WRITE, [1], prepare=False)
        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline():
            connection.execute("SELECT 1/0", prepare=False)
            connection.execute(SHOWN, prepare=False)
        with connection.pipeline():
            connection.execute(WRITE, [2], prepare=False)
            shown = connection.execute(SHOWN, prepare=False)
            connection.execute(WRITE, [3], prepare=False)
            assert shown.fetchall() == []
        assert connection.execute(SHOWN, prepare=False).fetchall() == []
    assert [change[3]["a"] for change in table.changes()] == [1, 2, 3]
    assert not table.faults, table.faults[0]


def test_an_open_portal_of_ours_lives_on(table):
    """The rows of a captured write are still being read when ours are closed."""

    async def read() -> list[int]:
        connection = await asyncpg.connect(table.url())
        async with connection.transaction():
            cursor = await connection.cursor(
                "INSERT INTO t SELECT generate_series(1, 10) RETURNING a"
            )
            first = await cursor.fetch(3)
            await connection.fetch(SHOWN)
            rest = await cursor.fetch(20)
        await connection.close()
        return [row["a"] for row in (*first, *rest)]

    assert asyncio.run(read()) == list(range(1, 11))
    assert len(table.changes()) == 10
    assert not table.faults, table.faults[0]


@pytest.mark.parametrize("text", ["DO $$ BEGIN END $$", "DISCARD PLANS", "CALL p()"])
def test_what_is_forgotten_is_closed(table, text):
    """What may have deallocated ours mostly has not: they do not pile up on the server."""
    table.database.psql(
        "CREATE PROCEDURE p() LANGUAGE sql AS ''; "
        "CREATE VIEW v AS SELECT name FROM pg_prepared_statements; GRANT SELECT ON v TO app"
    )
    with table.connect() as connection, psycopg.ClientCursor(connection) as simple:
        for turn in range(5):
            simple.execute(text)
            connection.execute(WRITE, [turn], prepare=False)
            assert connection.execute(SHOWN, prepare=False).fetchall() == []
        for turn in range(5, 10):
            simple.execute(text)
            connection.execute(WRITE, [turn], prepare=False)
        assert len(connection.execute("TABLE v", prepare=False).fetchall()) < 10
    assert [change[3]["a"] for change in table.changes()] == list(range(10))
    assert not table.faults, table.faults[0]


@pytest.mark.parametrize(
    ("length", "how"),
    [(LARGE_LIMIT, How.WATCH), (LARGE_LIMIT - 64, How.REWRITE)],
    ids=["as long as may be", "with room"],
)
def test_no_bind_becomes_longer_than_the_server_takes(between18, length, how):
    """Our names are longer than the client's."""
    between18.database.psql("CREATE TABLE t (a text); GRANT ALL ON t TO app")
    with Raw(between18.port).log_in("app", between18.database.name) as client:
        client.send(parse("DELETE FROM t WHERE a = $1", "s") + SYNC)
        client.until("Z")
        client.send(
            b"B" + struct.pack("!i", length) + b"p\0s\0\0\0\0\1\x3f\0\0\0" + b"x" * (1 << 20)
        )
        (session,) = between18.sessions
        deadline = time.monotonic() + 30
        while b"p" not in session.names.portals:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        chosen = session.names.portals[b"p"].plan
        assert chosen.how is how
        assert how is How.REWRITE or chosen.reason is Reason.TOO_LONG
    assert not between18.faults
