"""What the proxy writes down on the operator's connections, and the locks and the upkeep that go
with it: for every database that is served, not only the one of --upstream.
"""

import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from fix_postgres import Database, Server, install_into
from fix_proxy import Proxy, Serve
from raw import Raw, query

from proxy.demo.command import call

PATIENCE = 10.0
TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); GRANT ALL ON t TO app"
HOLDERS = (
    "SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.mode = 'ShareLock' AND a.application_name = 'hotrollback'"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def eventually(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@pytest.fixture
def database(database18: Database) -> Database:
    """Nothing here depends on the version."""
    return database18


@pytest.fixture
def other(server18: Server) -> Iterator[Database]:
    """A second database with the log; the proxy's --upstream names another one."""
    with server18.database(logged=True) as fresh:
        fresh.psql(TABLE)
        yield fresh


LAST = "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'hotrollback.change'::regclass"


def drop_last_partition(database: Database) -> str:
    """So that there is something for upkeep to do, and to tell when it is over. It would refuse an
    uninstall, too, for another reason."""
    ((partition,),) = database.psql(LAST)
    database.psql(f"DROP TABLE {partition}")
    return partition


def did(proxy: Proxy) -> set[str]:
    return {event["database"] for event in proxy.serving.events() if event["event"] == "upkeep"}


@pytest.mark.usefixtures("with_log")
def test_uninstall_is_refused_while_a_proxy_serves(database: Database, serve: Serve) -> None:
    drop_last_partition(database)
    proxy = serve()
    eventually(lambda: proxy.database.psql(HOLDERS))
    eventually(lambda: database.name in did(proxy))
    refused = call("uninstall", "--yes", "--upstream", proxy.database.url(), check=False)
    assert (refused.returncode, "a proxy serves this database" in refused.stderr) == (1, True)
    proxy.serving.stop()
    call("uninstall", "--yes", "--upstream", proxy.database.url())
    assert proxy.database.psql("SELECT to_regnamespace('hotrollback')") == [(None,)]


def test_it_is_refused_for_any_database_with_a_writer(proxy: Proxy, other: Database) -> None:
    drop_last_partition(other)
    with psycopg.connect(proxy.url(database=other.name), autocommit=True) as writer:
        writer.execute("UPDATE t SET v = 'b'")
        eventually(lambda: other.psql(HOLDERS))
        eventually(lambda: other.name in did(proxy))
        refused = call("uninstall", "--yes", "--upstream", other.url(), check=False)
        assert "a proxy serves this database" in refused.stderr
    eventually(lambda: not other.psql(HOLDERS))
    call("uninstall", "--yes", "--upstream", other.url())
    with psycopg.connect(proxy.url(database=other.name), autocommit=True) as writer:
        writer.execute("UPDATE t SET v = 'unrecorded'")


def test_the_lock_is_taken_again(proxy: Proxy, other: Database) -> None:
    with psycopg.connect(proxy.url(database=other.name), autocommit=True) as writer:
        writer.execute("UPDATE t SET v = 'b'")
        for database in (proxy.database, other):
            eventually(lambda database=database: database.psql(HOLDERS))
            held = {pid for (pid,) in database.psql(HOLDERS)}
            database.psql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE"
                          " application_name = 'hotrollback' AND datname = current_database()")  # fmt: skip
            eventually(lambda database=database: database.psql(HOLDERS))
            assert not held & {pid for (pid,) in database.psql(HOLDERS)}


def test_a_database_can_be_dropped_when_its_clients_are_gone(
    server18: Server, proxy: Proxy
) -> None:
    """The server waits five seconds for others to go; the proxy is gone by then."""
    name = f"{proxy.database.name}_dropped"
    server18.psql(f"CREATE DATABASE {name}")
    database = Database(server18, name)
    install_into(database)
    database.psql(TABLE)
    with psycopg.connect(proxy.url(database=name), autocommit=True) as writer:
        writer.execute("UPDATE t SET v = 'b'")
    server18.psql(f"DROP DATABASE {name}")


def test_sessions_begin_and_end_by_the_servers_clock(proxy: Proxy) -> None:
    proxy.database.psql(TABLE)
    with psycopg.connect(proxy.url(), autocommit=True, application_name="shop") as writer:
        writer.execute("UPDATE t SET v = 'b'")
        (pid,) = writer.execute("SELECT pg_backend_pid()").fetchone() or ()
        writer.execute("UPDATE t SET v = 'c'")
    ended = f"SELECT ended FROM hotrollback.session WHERE pid = {pid}"
    eventually(lambda: proxy.database.psql(ended) not in ([], [(None,)]))
    told = proxy.database.psql(
        "SELECT role, application_name, client_addr, started < ended, ended <= clock_timestamp(),"
        " (SELECT bool_and(at BETWEEN started AND ended) FROM hotrollback.change c"
        "   WHERE c.pid = s.pid AND op = 'U') FROM hotrollback.session s"
    )
    assert told == [("app", "shop", "127.0.0.1", True, True, True)]


def test_a_session_ends_with_its_backend_not_with_its_client(proxy: Proxy) -> None:
    """Its last statement may still write after the client is gone."""
    proxy.database.psql(TABLE)
    with Raw(proxy.port) as raw:
        raw.log_in("app", proxy.database.name)
        raw.ask("UPDATE t SET v = 'b'")
        raw.send(query("UPDATE t SET v = 'late' FROM pg_sleep(1)"))
        time.sleep(0.3)
        raw.reset()
    time.sleep(0.4)
    assert proxy.database.psql("SELECT ended FROM hotrollback.session") == [(None,)]
    eventually(lambda: proxy.database.psql("SELECT ended FROM hotrollback.session") != [(None,)])
    assert proxy.database.psql("SELECT v FROM t") == [("late",)]
    inside = (
        "SELECT bool_and(c.at BETWEEN s.started AND s.ended) FROM hotrollback.change c"
        " JOIN hotrollback.session s USING (pid) WHERE c.op = 'U'"
    )
    assert proxy.database.psql(inside) == [(True,)]


def test_a_session_that_a_crash_left_open_is_ended(proxy: Proxy, serve: Serve) -> None:
    proxy.database.psql(TABLE)
    with psycopg.connect(proxy.url(), autocommit=True) as writer:
        writer.execute("UPDATE t SET v = 'b'")
        eventually(lambda: proxy.database.psql("SELECT 1 FROM hotrollback.session"))
        assert proxy.serving.process is not None
        proxy.serving.process.kill()
        proxy.serving.process.wait()
    serve()
    eventually(lambda: proxy.database.psql("SELECT ended FROM hotrollback.session") != [(None,)])


def test_upkeep_covers_every_served_database(proxy: Proxy, other: Database) -> None:
    partition = drop_last_partition(other)
    with psycopg.connect(proxy.url(database=other.name), autocommit=True) as writer:
        writer.execute("UPDATE t SET v = 'b'")
        eventually(lambda: other.psql(LAST) == [(partition,)])
    eventually(lambda: other.name in did(proxy))


def test_texts_are_kept_once(proxy: Proxy) -> None:
    proxy.database.psql(TABLE)
    for value in ("a", "b", "c"):
        proxy.psql(f"UPDATE t SET v = '{value}' WHERE id = 1")
    texts = "SELECT text FROM hotrollback.statement s WHERE EXISTS (SELECT FROM hotrollback.change c WHERE c.fingerprint = s.fingerprint)"
    eventually(lambda: len(proxy.database.psql(texts)) == 1)
    assert proxy.database.psql(texts)[0][0].startswith("UPDATE t SET v = '")


def test_two_proxies_serve_one_database(proxy: Proxy, serve: Serve) -> None:
    proxy.database.psql(TABLE)
    second = serve()

    def work(via: Proxy, tag: str) -> None:
        for number in range(20):
            via.psql(f"UPDATE t SET v = '{tag} {number}' WHERE id = 1", tag=tag)

    threads = [
        threading.Thread(target=work, args=each) for each in ((proxy, "one"), (second, "two"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tags = "SELECT tag, count(*) FROM hotrollback.change WHERE op = 'U' GROUP BY tag ORDER BY tag"
    assert proxy.database.psql(tags) == [("one", 20), ("two", 20)]
    chained = (
        "SELECT count(*) FROM (SELECT before::text AS b, lag(after::text) OVER (ORDER BY lsn) AS a"
        " FROM hotrollback.change WHERE op = 'U') x WHERE a <> b"
    )
    assert proxy.database.psql(chained) == [(0,)]
    proxies = "SELECT count(DISTINCT proxy) FROM hotrollback.session"
    eventually(lambda: proxy.database.psql(proxies) == [(2,)])


def test_the_log_of_a_template_is_written_and_said_to_be_foreign(
    server18: Server, database: Database, other: Database, serve: Serve
) -> None:
    name = f"{other.name}_copy"
    server18.psql(f"CREATE DATABASE {name} TEMPLATE {other.name}")
    try:
        proxy = serve()
        with psycopg.connect(proxy.url(database=name), autocommit=True) as writer:
            assert writer.execute("UPDATE t SET v = 'b'").rowcount == 1
            eventually(lambda: "log_of_another_database" in str(proxy.serving.events()))
        refused = proxy.cli("undo", "--database", name, "--from", "00:00", "--yes", check=False)
        assert (refused.returncode, "another cluster or database" in refused.stderr) == (1, True)
    finally:
        server18.psql(f"DROP DATABASE {name} WITH (FORCE)")
