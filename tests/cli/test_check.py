"""check: of each statement of a migration, whether it could be undone, and what it takes."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from fix_proxy import Proxy

from proxy import cli

TABLES = """
CREATE TYPE mood AS ENUM ('sad');
CREATE TABLE t (id int PRIMARY KEY, v text, m mood);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 5) g;
CREATE TABLE gone (id int REFERENCES t)
"""
CAN = """
BEGIN;
ALTER TABLE t ADD COLUMN c int DEFAULT 1; -- with ; in a comment
UPDATE t SET c = id;
ALTER TABLE t DROP COLUMN v;
DROP TABLE gone CASCADE;
COMMIT;
"""
CANNOT = """
ALTER TYPE mood ADD VALUE 'glad';
SELECT nothing;
CREATE INDEX CONCURRENTLY i ON t (v);
UPDATE t SET v = 'still'
"""


def check(proxy: Proxy, *args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    given = ["check", *args, "--admin", str(proxy.admin), "--database", proxy.database.name]
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main(given)
    return status, out.getvalue(), err.getvalue()


def checked(proxy: Proxy, script: str, folder: Path) -> tuple[int, list[dict[str, Any]]]:
    file = folder / "migration.sql"
    file.write_text(script)
    status, out, err = check(proxy, str(file), "--json")
    assert not err
    return status, json.loads(out)


def test_what_can_be_undone(proxy_of_all: Proxy, tmp_path: Path) -> None:
    database = proxy_of_all.database
    database.psql(TABLES)
    before = database.dump()
    status, found = checked(proxy_of_all, CAN, tmp_path)
    assert status == 0
    assert [each["exact"] for each in found] == [True] * 6
    begin, add, update, drop, table, _ = found
    assert begin["why"].startswith("left out")
    assert add["locks"] == "t: AccessExclusiveLock"
    assert update["rows"] == 5
    assert update["bytes"] > 0
    assert (drop["rows"], drop["why"]) == (5, "values are kept")
    assert table["why"] == "1 table would go to the bin"
    assert database.dump() == before
    assert database.psql("SELECT count(*) FROM hotrollback.command WHERE tag IS NOT NULL") == [(0,)]


def test_what_cannot(proxy_of_all: Proxy, tmp_path: Path) -> None:
    proxy_of_all.database.psql(TABLES)
    status, found = checked(proxy_of_all, CANNOT, tmp_path)
    assert status == 4
    assert [each["exact"] for each in found] == [False, False, False, True]
    value, wrong, apart, update = found
    assert value["why"] == "lost: ALTER TYPE: enum mood"
    assert wrong["why"].startswith('it fails: column "nothing" does not exist')
    assert "cannot run in a transaction" in apart["why"]
    assert update["rows"] == 5


def test_a_table_for_people(
    proxy_of_all: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1"))
    status, out, _ = check(proxy_of_all, "-")
    assert status == 0
    assert "SELECT 1" in out
    status, _, err = check(proxy_of_all, str(tmp_path / "nothing.sql"))
    assert (status, "cannot read" in err) == (2, True)
