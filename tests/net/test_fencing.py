"""`hotrollback fence`, `unfence` and `undo --fence`: whose writes are refused, and until when."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from fix_postgres import Database, install_into
from fix_proxy import Proxy, Serve
from watch import eventually

from proxy.demo.command import environment, program

SCHEMA = """
CREATE TABLE products (id int PRIMARY KEY, price int);
INSERT INTO products SELECT n, n FROM generate_series(1, 9) n;
GRANT ALL ON products TO app;
"""
PRICES = "SELECT id, price FROM products ORDER BY id"
BEFORE = [(n, n) for n in range(1, 10)]
WORSE = "UPDATE products SET price = price + 1 WHERE id < 9"
# Of a row that no undo here is about.
OTHER = "UPDATE products SET price = 0 WHERE id = 9"
# What depends on the console and the proxy alone.
ON_ONE = pytest.mark.parametrize("server", [18], ids=["pg18"], indirect=True)


@pytest.fixture
def shop(database: Database) -> Database:
    database.psql(SCHEMA)
    install_into(database)
    return database


def session(proxy: Proxy, tag: str = "", **given: str) -> psycopg.Connection:
    options = f"-c hotrollback.tag={tag}" if tag else ""
    return psycopg.connect(proxy.url(), autocommit=True, options=options, **given)


def refused(connection: psycopg.Connection, sql: str = WORSE) -> psycopg.errors.Diagnostic:
    with pytest.raises(psycopg.Error) as told:
        connection.execute(sql)
    assert told.value.diag.sqlstate == "RB004", told.value
    return told.value.diag


def test_from_fence_to_unfence(shop: Database, serve: Serve) -> None:
    """For sessions of all workers that are open, and for those of the next proxy."""
    proxy = serve("--workers", "2")
    with ExitStack() as stack:
        bad = [stack.enter_context(session(proxy, "bad")) for _ in range(6)]
        good = stack.enter_context(session(proxy))
        for connection in bad:
            connection.execute(WORSE)
        done = proxy.cli("fence", "--tag", "bad", "--reason", "wrong prices")
        assert done.stdout == "further writes of tag bad are refused\n"
        prices = shop.psql(PRICES)
        for connection in bad:
            assert refused(connection).message_primary == "writes of TAG 'bad' are fenced"
            assert connection.execute(PRICES).fetchall() == prices
        good.execute("UPDATE products SET price = 90 WHERE id = 9")
    proxy.serving.stop()
    later = serve()
    with session(later, "bad") as connection:
        told = refused(connection)
        assert told.message_detail is not None
        assert told.message_detail.endswith("UTC: wrong prices.")
        (shown,) = json.loads(later.cli("show", "fences", "--json").stdout)
        assert (shown["tag"], shown["role"], shown["reason"]) == ("bad", None, "wrong prices")
        assert shown["until"] == "it is lifted"
        assert shown["by"] in told.message_detail
        assert later.cli("unfence", "--tag", "bad").stdout == "tag bad may write again\n"
        connection.execute(WORSE)
    assert json.loads(later.cli("show", "fences", "--json").stdout) == []


@ON_ONE
def test_roles_and_applications(shop: Database, serve: Serve) -> None:
    proxy = serve()
    with session(proxy, application_name="till") as till, session(proxy) as other:
        proxy.cli("fence", "--role", "app", "--application", "till")
        refused(till)
        other.execute(WORSE)
        proxy.cli("fence", "--role", "app")
        refused(other)
        proxy.cli("unfence", "--role", "app")
        other.execute(WORSE)
        wrong = proxy.cli("unfence", "--application", "till", check=False)
        assert "no fence was set with these selectors" in wrong.stderr
        assert "none is named" in proxy.cli("fence", check=False).stderr
        refused(till)


@contextmanager
def writing(proxy: Proxy, tag: str) -> Iterator[list[str]]:
    """Somebody who writes until he is refused: with what."""
    ends: list[str] = []

    def write() -> None:
        with session(proxy, tag) as connection:
            while True:
                try:
                    connection.execute(WORSE)
                except psycopg.errors.DeadlockDetected:
                    continue  # with the undo
                except psycopg.Error as error:
                    ends.append(str(error.diag.sqlstate))
                    return

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield ends
    for thread in threads:
        thread.join()


def test_an_undo_behind_a_fence_converges(shop: Database, serve: Serve) -> None:
    proxy = serve()
    with writing(proxy, "bad") as ends, session(proxy, "bad") as opened, session(proxy) as good:
        eventually(lambda: shop.psql("SELECT 1 FROM hotrollback.change WHERE tag = 'bad' LIMIT 1"))
        opened.execute("BEGIN")
        opened.execute("INSERT INTO products VALUES (10, 0)")
        done: list[str] = []
        undo = threading.Thread(
            target=lambda: done.append(
                proxy.cli("undo", "--tag", "bad", "--fence", "--yes", "--json", check=False).stdout
            )
        )
        undo.start()
        eventually(lambda: len(ends) == 2)
        good.execute("UPDATE products SET price = 90 WHERE id = 9")
        # What he wrote before may still be committed: the undo waits for that.
        assert not done
        opened.execute("COMMIT")
        undo.join()
        report = json.loads(done[0])
        assert (report["outcome"], report["conflicts"], report["open"]) == ("done", [], [])
        assert ends == ["RB004", "RB004"]
        assert shop.psql(PRICES) == [*BEFORE[:8], (9, 90)]
        opened.execute(WORSE)
    assert json.loads(proxy.cli("show", "fences", "--json").stdout) == []


@ON_ONE
def test_a_fence_of_an_undo_needs_a_selector(shop: Database, serve: Serve) -> None:
    proxy = serve()
    proxy.psql(WORSE, tag="bad")
    for more in ((), ("--dry-run",)):
        done = proxy.cli("undo", "--table", "products", "--fence", "--yes", *more, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "a fence holds back a TAG, a ROLE or an APPLICATION" in done.stderr
    proxy.cli("undo", "--tag", "bad", "--fence", "--dry-run")
    assert shop.psql("SELECT is_called FROM hotrollback.fences") == [(False,)]


@ON_ONE
@pytest.mark.parametrize("end", ["console", "proxy"])
def test_a_fence_of_an_undo_ends_with_whoever_asked(shop: Database, serve: Serve, end: str) -> None:
    """What is left of it after a crash of the proxy holds nobody back."""
    proxy = serve()
    proxy.psql(WORSE, tag="bad")
    command = [program(), "undo", "--tag", "bad", "--fence", "--yes", "--admin", str(proxy.admin)]
    with psycopg.connect(shop.url()) as other, session(proxy, "bad") as bad:
        other.execute("SELECT FROM products WHERE id = 2 FOR UPDATE")
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment()) as undo:
            eventually(
                lambda: shop.psql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            )
            assert "while an undo runs" in str(refused(bad, OTHER).message_detail)
            (shown,) = json.loads(proxy.cli("show", "fences", "--json").stdout)
            assert shown["until"] == "its undo ends"
            victim = undo if end == "console" else proxy.serving.process
            assert victim is not None
            victim.kill()
            undo.communicate(timeout=20)
    if end == "proxy":
        proxy.serving.stop()
        proxy = serve()
    with session(proxy, "bad") as bad:
        eventually(lambda: not told(bad))
    left = json.loads(proxy.cli("show", "fences", "--json").stdout)
    over = "over: left behind, and holds nobody back"
    assert [row["until"] for row in left] == ([over] if end == "proxy" else [])
    proxy.cli("fence", "--role", "app")
    (shown,) = json.loads(proxy.cli("show", "fences", "--json").stdout)
    assert shown["role"] == "app"


def told(connection: psycopg.Connection) -> str | None:
    """The SQLSTATE of a write, if it fails."""
    try:
        connection.execute(OTHER)
    except psycopg.Error as error:
        return error.sqlstate
    return None
