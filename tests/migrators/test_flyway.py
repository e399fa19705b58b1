"""A chain of plain SQL files, each in a transaction with the row that remembers it, as Flyway runs
them; regretted."""

import os
import subprocess
from pathlib import Path

import psycopg
import pytest
from fix_proxy import Proxy
from fix_undo import columns_sorted

HERE = Path(__file__).parent / "flyway"
TAG = "release-7"
HISTORY = """
CREATE TABLE flyway_schema_history (
    installed_rank int PRIMARY KEY, version text, script text NOT NULL, success boolean NOT NULL
);
CREATE INDEX flyway_schema_history_s_idx ON flyway_schema_history (success)
"""


def files() -> list[Path]:
    return sorted(HERE.glob("V*.sql"))


def by_psql(proxy: Proxy, file: Path, history: str) -> int:
    """Statement by statement."""
    command = [
        str(proxy.database.server.bin / "psql"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1",
        "-d", proxy.url("postgres"), "-f", str(file), "-c", history,
    ]  # fmt: skip
    environment = {**os.environ, "PGOPTIONS": f"-c hotrollback.tag={TAG}"}
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


def at_once(proxy: Proxy, file: Path, history: str) -> int:
    """A file as one message."""
    options = f"-c hotrollback.tag={TAG}"
    try:
        with psycopg.connect(proxy.url("postgres"), options=options) as connection:
            connection.execute(file.read_text())
            connection.execute(history)
    except psycopg.Error:
        return 1
    return 0


@pytest.mark.parametrize("run", [by_psql, at_once])
def test_a_chain_is_taken_back(proxy_of_all: Proxy, run) -> None:
    database = proxy_of_all.database
    proxy_of_all.psql(HISTORY, user="postgres")
    dumps, statuses = [], []
    for rank, file in enumerate(files(), 1):
        dumps.append(database.dump())
        version = file.name.split("__")[0][1:]
        history = (
            f"INSERT INTO flyway_schema_history VALUES ({rank}, '{version}', '{file.name}', true)"
        )
        statuses.append(run(proxy_of_all, file, history))
        if rank == 1:
            proxy_of_all.cli("restore-point", "after-the-first", "--database", database.name)
    assert [status != 0 for status in statuses] == [False] * 7 + [True]
    after = database.dump()
    assert after == dumps[-1]
    for selection, then in ((["--restore-point", "after-the-first"], 1), (["--tag", TAG], 0)):
        done = proxy_of_all.cli(
            "undo", *selection, "--yes", "--database", database.name, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert columns_sorted(database.dump()) == columns_sorted(dumps[then])
