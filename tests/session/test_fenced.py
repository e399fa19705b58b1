"""A write before a fence: through the proxy it does to a session what the server's own error does."""

import asyncio
import struct
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest
from fix_postgres import Database, install_into
from fix_session import Inside, inside
from raw import (
    COPY_DONE,
    FLUSH,
    SYNC,
    Message,
    Raw,
    bind,
    copy_data,
    describe,
    execute,
    extended,
    masked,
    message,
    parse,
    query,
)

from undo import fences
from undo.fences import Fence

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
CREATE TABLE mine (id int); ALTER TABLE mine OWNER TO app;
CREATE VIEW view_of_t AS SELECT id, v FROM t;
CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS $$ UPDATE t SET v = 'f'; SELECT 1 $$;
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET v = 'p'; COMMIT; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON SCHEMA public TO app;
"""
UPDATE = "UPDATE t SET v = 'x' WHERE id = 1"
MERGE = "MERGE INTO t USING (VALUES (1)) s(id) ON s.id = t.id WHEN MATCHED THEN DELETE"
COPY = "COPY t FROM STDIN (FORMAT csv)"
COMMITS = "DO $$ BEGIN UPDATE t SET v = 'x'; COMMIT; END $$"
DO = "DO $$ BEGIN UPDATE t SET v = 'x'; END $$"
NAMED = parse("UPDATE t SET v = $1 WHERE id = 1", "s") + SYNC


def function(number: int, value: int) -> bytes:
    """A FunctionCall with one int4, in binary."""
    return message("F", struct.pack("!IHHHiiH", number, 1, 1, 1, 4, value, 1))


def again(value: str) -> bytes:
    return bind(value, name="s") + execute() + SYNC


# What a client sends, each up to a ReadyForQuery.
SENT: dict[str, list[bytes]] = {
    "simple": [query(UPDATE), query("SELECT v FROM t ORDER BY id")],
    "several stop": [query(f"SELECT 1; {UPDATE}; SELECT 2"), query("SELECT 3")],
    "transaction": [
        *(query("BEGIN"), query("SELECT 1"), query(UPDATE), query("SELECT 2"), query(UPDATE)),
        *(query("COMMIT"), query("SELECT 3")),
    ],
    "savepoint": [
        *(query("BEGIN; SAVEPOINT s"), query(UPDATE), query("ROLLBACK TO s"), query("SELECT 1")),
        query("COMMIT"),
    ],
    "returning": [query("INSERT INTO t VALUES (3, 'c') RETURNING id")],
    "delete": [query("DELETE FROM t")],
    "merge": [query(MERGE), extended(MERGE)],
    "view": [query("UPDATE view_of_t SET v = 'x'"), extended("DELETE FROM view_of_t")],
    "function": [query("SELECT writes()"), extended("SELECT writes()"), query("BEGIN"),
                 extended("SELECT writes()"), query("ROLLBACK")],
    "do": [query(DO), query(f"BEGIN; {DO}"), query("ROLLBACK"), extended(DO)],
    "call": [query("CALL commits()"), query("SELECT 1")],
    "execute": [query("PREPARE p AS DELETE FROM t"), query("EXECUTE p"), extended("EXECUTE p")],
    "with": [query("WITH d AS (DELETE FROM t RETURNING id) SELECT * FROM d")],
    "text": [query("INSERT INTO t VALUES (4, current_query())")],
    "truncate": [query("TRUNCATE t"), extended("TRUNCATE t"), query("BEGIN; TRUNCATE t")],
    "ddl": [query("ALTER TABLE mine ADD COLUMN a int"), query("CREATE TABLE made (a int)"),
            extended("DROP TABLE mine"), query("SELECT 1; DROP TABLE mine"),
            query("BEGIN; DROP TABLE mine"), query("ROLLBACK")],
    "settings": [query("SET hotrollback.tag = 'good'"), query("DELETE FROM t WHERE id = 9"),
                 query("BEGIN; SET LOCAL hotrollback.tag = 'bad'"), query(UPDATE),
                 query("ROLLBACK"), query(f"BEGIN; {UPDATE}"), query("ROLLBACK")],
    "copy": [query(COPY) + copy_data("8,x\n") + COPY_DONE, query("SELECT 1")],
    "extended copy": [
        parse(COPY) + bind() + execute() + copy_data("8,x\n") + COPY_DONE + SYNC, extended("SELECT 1"),
    ],
    "extended": [extended(UPDATE), extended("SELECT v FROM t ORDER BY id"), extended(UPDATE)],
    "prepared": [NAMED, again("x"), again("y"), query("BEGIN"), again("z"), again("z"),
                 query("ROLLBACK"), again("x"), extended("SELECT 1")],
    "pipeline": [
        extended("SELECT 1")[:-5] + extended(UPDATE)[:-5] + extended("SELECT 2"),
        extended("SELECT 3"),
        parse("SELECT 4") + bind() + describe() + execute() + FLUSH + extended(DO)[:-5]
        + extended(UPDATE),
        extended("SELECT 5"),
    ],
    "cursor": [query("BEGIN; DECLARE c CURSOR FOR SELECT writes()"), query("FETCH c"),
               query("ROLLBACK")],
}  # fmt: skip


async def fence(database: Database) -> None:
    connection = await asyncpg.connect(database.url())
    try:
        await fences.put_up(
            connection, Fence(tag="bad"), by="hotrollback", reason="see hotrollback.change"
        )
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def fenced(server) -> Iterator[Inside]:
    with server.database() as database:
        database.psql(TABLES)
        install_into(database)
        asyncio.run(fence(database))
        with inside(database) as state:
            yield state


# What the server alone would let through, or knows nothing of: no gap is left of what is refused.
ALONE = {
    "procedure": [query("CALL commits()"), extended("CALL commits()")],
    "do": [query(COMMITS), extended(COMMITS), query("SELECT 1")],
    "large object": [function(715, 1), query("SELECT 1")],
    "large object in a block": [query("BEGIN"), function(715, 1), query("SELECT 1")],
    "ddl": [query("CREATE INDEX CONCURRENTLY made ON mine (id)"), query("SELECT 1"),
            extended("CREATE INDEX CONCURRENTLY made ON mine (id)"), extended("SELECT 1")],
}  # fmt: skip
ANSWERS = {
    "procedure": ["EZ", "1EZ"],
    "do": ["EZ", "1EZ", "TDCZ"],
    "large object": ["EZ", "TDCZ"],
    "large object in a block": ["CZ", "EZ", "EZ"],
    "ddl": ["EZ", "TDCZ", "1EZ", "12TDCZ"],
}


@pytest.mark.parametrize("name", ALONE)
def test_what_stands_alone_is_refused_before_it_runs(fenced: Inside, name: str) -> None:
    database = fenced.database
    answers = conversation(fenced.port, database.name, ALONE[name])
    assert ["".join(str(kind) for kind, _ in answer) for answer in answers] == ANSWERS[name]
    assert "RB004" in str(answers)
    assert fenced.gaps() == []
    assert database.psql("SELECT 1 FROM pg_largeobject_metadata UNION ALL"
                         " SELECT 1 FROM pg_class WHERE relname = 'made'") == []  # fmt: skip


def told(found: Message) -> object:
    """Where the server was when it said so is not the same."""
    if found.kind == "E":
        return found.kind, [found.fields.get(name, "") for name in "SVCMDHsctdn"]
    return masked(found, ours=False)


def conversation(port: int, database: str, sent: list[bytes]) -> list[list[object]]:
    with Raw(port) as raw:
        raw.log_in("app", database, options="-c hotrollback.tag=bad")
        answers = []
        for data in sent:
            raw.send(data)
            answers.append([told(found) for found in raw.until("Z")])
        return answers


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_as_the_servers_own_error(fenced: Inside, sent: list[bytes]) -> None:
    database = fenced.database
    before = database.dump()
    direct = conversation(database.port, database.name, sent)
    assert "RB004" in str(direct)
    assert conversation(fenced.port, database.name, sent) == direct
    assert not fenced.faults
    assert not fenced.unrecorded
    assert database.dump() == before
    fenced.psql("UPDATE t SET v = v", tag="good")
    assert database.psql("SELECT DISTINCT tag FROM hotrollback.change") == [("good",)]


# What the proxy alone records where no table has a trigger of ours.
UNTRIGGERED = (UPDATE, MERGE, "SELECT writes()", "COPY t FROM PROGRAM 'echo 9,x' (FORMAT csv)",
               "TRUNCATE t", DO, "CALL commits()", "PREPARE p AS DELETE FROM t; EXECUTE p",
               "ALTER TABLE mine ADD COLUMN a int", "WITH d AS (DELETE FROM t RETURNING 1) SELECT 1",
               "INSERT INTO t VALUES (4, current_query())")  # fmt: skip


def test_without_triggers_what_the_proxy_records_is_refused(database18: Database) -> None:
    database18.psql(TABLES + "DROP VIEW view_of_t; GRANT pg_execute_server_program TO app")
    install_into(database18, all_tables=False)
    for trigger in ("hotrollback_capture", "hotrollback_truncate"):
        database18.psql(f"DROP TRIGGER IF EXISTS {trigger} ON t")
    before = database18.dump()
    asyncio.run(fence(database18))
    with inside(database18) as state, state.connect(tag="bad") as connection:
        for sql in UNTRIGGERED:
            with pytest.raises(psycopg.Error, match="writes of TAG 'bad' are fenced"):
                connection.execute(sql)
        assert state.gaps() == []
    assert database18.dump() == before
