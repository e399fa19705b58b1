"""A proxy in front of a standby, where nothing can be written: it adds nothing to what fails there."""

from pathlib import Path

import pytest
from fix_postgres import Database, Server, install_into
from raw import SYNC, Raw, bind, compared, describe, execute, extended, parse, query

from proxy.demo.command import Serving

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'); GRANT ALL ON t TO app"
SAID = (
    "SELECT * FROM t",
    "UPDATE t SET v = 'x' RETURNING *",
    "INSERT INTO t VALUES (2, 'two')",
    "DELETE FROM t; SELECT 1",
    "WITH d AS (DELETE FROM t RETURNING id) SELECT * FROM d",
    "TRUNCATE t",
    "DO $$ BEGIN UPDATE t SET v = 'x'; END $$",
    "EXPLAIN ANALYZE DELETE FROM t",
    "CREATE TABLE made ()",
    "CREATE TEMP TABLE made ()",
    "SELECT * FROM t FOR UPDATE",
    "LISTEN a",
    "BEGIN; SELECT 1",
    "UPDATE t SET v = 'x'",
    "ROLLBACK",
    "SELECT pg_is_in_recovery()",
)


@pytest.fixture
def written(database18: Database) -> Database:
    """With the log, before there is a standby."""
    install_into(database18)
    database18.psql(TABLE)
    return database18


def conversed(port: int, database: str) -> list[object]:
    with Raw(port).log_in("app", database) as raw:
        for text in SAID:
            raw.ask(text)
        for text in SAID:
            if ";" not in text:
                raw.send(extended(text))
                raw.until("Z")
        raw.send(parse("DELETE FROM t WHERE id = $1", "s") + describe("s", "S") + SYNC)
        raw.until("Z")
        raw.send((bind("1", name="s") + execute() + SYNC) * 2 + query("SELECT 1"))
        raw.until("ZZZ")
        return compared(raw.trace)


def test_a_standby_is_read_through_it(written: Database, standby18: Server, tmp_path: Path) -> None:
    with Serving(standby18.url(database=written.name), tmp_path) as serving:
        direct = conversed(standby18.port, written.name)
        assert conversed(serving.port, written.name) == direct
