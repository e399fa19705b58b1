"""A chain of Alembic's revisions through the proxy, regretted."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psycopg
from fix_proxy import Proxy
from fix_undo import columns_sorted

HERE = Path(__file__).parent / "alembic"
TAG = "migration-42"
# Which no dump takes along.
UNFINISHED = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"


def alembic(proxy: Proxy, revision: str, tag: str = "") -> subprocess.CompletedProcess[str]:
    url = proxy.url("postgres").replace("postgresql:", "postgresql+psycopg:")
    program = (
        "import sys; from alembic.command import upgrade; from alembic.config import Config;"
        " from argparse import Namespace; config = Config(cmd_opts=Namespace(x=[sys.argv[2]]));"
        " config.set_main_option('script_location', sys.argv[1]); upgrade(config, sys.argv[3])"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", program, str(HERE), f"url={url}", revision],
        env={"PGOPTIONS": f"-c hotrollback.tag={tag}"},
        capture_output=True,
        text=True,
        check=False,
    )


def undo(proxy: Proxy, *args: str) -> subprocess.CompletedProcess[str]:
    return proxy.cli(*args, "--yes", "--database", proxy.database.name, check=False)


@contextmanager
def visitors(proxy: Proxy) -> Iterator[list[int]]:
    """A client that writes to a table that no revision touches; what it has written."""
    done, written = Event(), list[int]()

    def visit() -> None:
        with psycopg.connect(proxy.url("postgres"), autocommit=True) as connection:
            while not done.is_set():
                row = connection.execute(
                    "INSERT INTO visits (page) VALUES ('/') RETURNING id"
                ).fetchone()
                assert row is not None
                written.append(row[0])

    thread = Thread(target=visit)
    thread.start()
    try:
        yield written
    finally:
        done.set()
        thread.join()


def without(dump: list[str], table: str) -> list[str]:
    """A dump without a table's rows, and where its sequence stands."""
    return columns_sorted([line for line in dump if table not in line])


def test_a_chain_is_taken_back(proxy_of_all: Proxy) -> None:
    """Revisions 3 to 11, and 12, which fails half-way and has committed a part."""
    assert alembic(proxy_of_all, "002").returncode == 0
    database = proxy_of_all.database
    before = database.dump()
    with visitors(proxy_of_all) as written:
        failed = alembic(proxy_of_all, "head", TAG)
        assert failed.returncode != 0
        assert "could not create unique index" in failed.stderr
        assert database.psql("SELECT version_num FROM alembic_version") == [("011",)]
        assert database.psql(UNFINISHED) == [("addresses_city",)]
        damaged = database.dump()
        done = undo(proxy_of_all, "undo", "--tag", TAG)
        assert done.returncode == 0, done.stdout + done.stderr
    assert database.psql(UNFINISHED) == []
    assert without(database.dump(), "visits") == without(before, "visits")
    assert database.psql("SELECT id FROM visits ORDER BY id") == [(v,) for v in written]
    (undone,) = database.psql("SELECT max(id) FROM hotrollback.undo")
    again = undo(proxy_of_all, "redo", str(undone[0]))
    assert again.returncode == 0, again.stdout + again.stderr
    assert without(database.dump(), "visits") == without(damaged, "visits")


def test_to_an_empty_database(proxy_of_all: Proxy) -> None:
    before = proxy_of_all.database.dump()
    assert alembic(proxy_of_all, "011", TAG).returncode == 0
    done = undo(proxy_of_all, "undo", "--tag", TAG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert proxy_of_all.database.dump() == before
