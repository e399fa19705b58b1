"""Much data, slow readers, both directions full, what is passed through raw."""

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fix_postgres import Database, Server
from fix_proxy import Proxy
from raw import COPY_DONE, SYNC, Raw, bind, copy_data, execute, extended, parse, query
from watch import memory

from proxy.demo.command import Serving

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def proxy(server18: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    server18.psql("ALTER ROLE app REPLICATION")
    with server18.database(logged=True) as database:
        database.psql("CREATE TABLE t (id int PRIMARY KEY, v bytea); GRANT ALL ON t TO app")
        with Serving(database.url(), Path(tmp_path_factory.mktemp("flow"))) as serving:
            yield Proxy(database, serving)
    server18.psql("ALTER ROLE app NOREPLICATION")


def test_long_values_pass_without_being_held(proxy: Proxy) -> None:
    before = memory(proxy.serving)
    value = random.Random(1).randbytes(24 * MEGABYTE)
    with psycopg.connect(proxy.url(), autocommit=True) as connection:
        connection.execute("INSERT INTO t VALUES (1, %b)", (value,))
        got = connection.execute("SELECT v FROM t WHERE id = 1", binary=True).fetchone()
        assert got == (value,)
    assert memory(proxy.serving) - before < 16 * MEGABYTE
    logged = "SELECT count(*) FROM hotrollback.change WHERE length(after ->> 'v') = 2 + 2 * 24 * 1024 * 1024"
    assert proxy.database.psql(logged) == [(1,)]


def test_who_does_not_read_holds_up_nobody_else(proxy: Proxy) -> None:
    before = memory(proxy.serving)
    with Raw(proxy.port) as slow:
        slow.log_in("app", proxy.database.name)
        slow.send(query("SELECT repeat('x', 10000) FROM generate_series(1, 20000)"))
        time.sleep(0.3)
        started = time.monotonic()
        for _ in range(3):
            assert proxy.psql("SELECT 1") == [(1,)]
        assert time.monotonic() - started < 2
        assert memory(proxy.serving) - before < 16 * MEGABYTE
        came = slow.until("Z")
        assert len(came) == 20_003
        assert sum(len(m.body) for m in came) > 190 * MEGABYTE


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "proxied"])
def test_what_is_done_is_told_when_it_is_asked_for_and_an_error_at_once(
    proxy: Proxy, *, direct: bool
) -> None:
    """ParseComplete and what follows it wait for a Flush or a Sync, of the client's."""
    database = proxy.database
    database.psql("INSERT INTO t VALUES (5) ON CONFLICT DO NOTHING")
    with Raw(database.port if direct else proxy.port) as raw:
        raw.log_in("app", database.name)
        (pid,) = (int.from_bytes(one.body[:4], "big") for one in raw.trace if one.kind == "K")
        raw.send(parse("DELETE FROM t WHERE id = 5") + bind() + execute())
        done = f"SELECT backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = {pid}"
        while database.psql(done) != [(True,)]:
            time.sleep(0.01)
        assert not raw.told(0.2)
        raw.send(parse("DELETE FROM"))
        assert "".join(one.kind for one in raw.until("E")) == "12CE"
        raw.send(SYNC)
        raw.until("Z")


def test_a_server_that_does_not_read_is_waited_for(proxy: Proxy) -> None:
    """COPY data that the server cannot take stays with the client."""
    before = memory(proxy.serving)
    proxy.database.psql("CREATE TABLE IF NOT EXISTS c (v text); GRANT ALL ON c TO app")
    with Raw(proxy.port) as raw, psycopg.connect(proxy.database.url()) as blocking:
        blocking.execute("LOCK TABLE c IN ACCESS EXCLUSIVE MODE")
        raw.log_in("app", proxy.database.name)
        chunk = copy_data("x" * 65_000 + "\n") * 16
        raw.send(query("COPY c FROM STDIN"))

        def stream() -> None:
            for _ in range(40):
                raw.send(chunk)
            raw.send(COPY_DONE)

        sender = threading.Thread(target=stream)
        sender.start()
        time.sleep(0.5)
        assert sender.is_alive()
        assert memory(proxy.serving) - before < 16 * MEGABYTE
        blocking.rollback()
        sender.join(20)
        assert [m.body for m in raw.until("Z") if m.kind == "C"] == [b"COPY 640\0"]


def test_both_directions_full(proxy: Proxy) -> None:
    """A client that sends and reads at once gets through, however much is under way."""
    count = 400
    step = (
        parse("SELECT repeat('y', $1::int), $2::text")
        + bind("60000", "x" * 60_000)
        + execute()
        + SYNC
    )
    with Raw(proxy.port) as raw:
        raw.log_in("app", proxy.database.name)
        sender = threading.Thread(target=lambda: [raw.send(step) for _ in range(count)])
        sender.start()
        rows = [m for m in raw.until("Z" * count) if m.kind == "D"]
        sender.join(20)
    assert len(rows) == count


def test_held_messages_are_not_gathered_without_end(proxy: Proxy) -> None:
    """While a write waits for the catalog, its client is not read beyond a limit."""
    before = memory(proxy.serving)
    proxy.database.psql("CREATE TABLE IF NOT EXISTS h (id int, v text); GRANT ALL ON h TO app")
    step = extended("INSERT INTO h VALUES (1, $1)", "x" * 60_000)
    with Raw(proxy.port) as raw:
        raw.log_in("app", proxy.database.name)
        sender = threading.Thread(target=lambda: [raw.send(step) for _ in range(400)])
        sender.start()
        tags = [m.body for m in raw.until("Z" * 400) if m.kind == "C"]
        sender.join(20)
    assert tags == [b"INSERT 0 1\0"] * 400
    assert memory(proxy.serving) - before < 24 * MEGABYTE


def test_notifications_reach_who_is_idle(proxy: Proxy) -> None:
    with psycopg.connect(proxy.url(), autocommit=True) as listener:
        listener.execute("LISTEN news")
        proxy.psql("NOTIFY news, 'one'")
        (one,) = listener.notifies(timeout=5, stop_after=1)
        assert (one.channel, one.payload) == ("news", "one")
        proxy.database.psql("NOTIFY news, 'two'")
        (two,) = listener.notifies(timeout=5, stop_after=1)
        assert two.payload == "two"


def test_settings_that_the_server_reloads_are_told(proxy: Proxy) -> None:
    with Raw(proxy.port) as raw:
        raw.log_in("app", proxy.database.name)
        proxy.database.psql("ALTER SYSTEM SET DateStyle = 'German'")
        try:
            proxy.database.psql("SELECT pg_reload_conf()")
            told: list[bytes] = []
            deadline = time.monotonic() + 5
            while not told and time.monotonic() < deadline:
                told = [m.body for m in raw.ask("SELECT 1") if m.kind == "S"]
            assert told == [b"DateStyle\0German, DMY\0"]
        finally:
            proxy.database.psql("ALTER SYSTEM RESET DateStyle")
            proxy.database.psql("SELECT pg_reload_conf()")


def test_many_roles_and_databases_at_once(proxy: Proxy, server18: Server) -> None:
    with server18.database() as second:
        found = []

        def ask(user: str, database: Database) -> None:
            with psycopg.connect(proxy.url(user, database.name)) as connection:
                for _ in range(5):
                    found.append(  # noqa: PERF401
                        connection.execute("SELECT session_user, current_database()").fetchone()
                    )

        pairs = [(u, d) for u in ("app", "operator", "postgres") for d in (proxy.database, second)]
        threads = [threading.Thread(target=ask, args=pair) for pair in pairs * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == sorted((u, d.name) for u, d in pairs for _ in range(15))


def test_a_base_backup_is_taken_through_the_proxy(proxy: Proxy, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(str(proxy.database.server.bin / "pg_basebackup"), "-D", str(tmp_path / "backup")),
            *("-d", proxy.url(), "-X", "none", "--no-sync", "-c", "fast"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "backup" / "PG_VERSION").exists()


def test_changes_are_decoded_through_the_proxy(proxy: Proxy) -> None:
    tool = str(proxy.database.server.bin / "pg_recvlogical")
    base = [tool, "-d", proxy.url(), "-S", "through_the_proxy"]
    subprocess.run([*base, "--create-slot", "-P", "test_decoding"], check=True)
    try:
        proxy.psql("INSERT INTO t VALUES (77, 'decoded')")
        ((end,),) = proxy.database.psql("SELECT pg_current_wal_insert_lsn()::text")
        proxy.psql("INSERT INTO t VALUES (78, 'more')")
        done = subprocess.run(
            [*base, "--start", "-f", "-", "-E", end], check=True, capture_output=True, timeout=20
        )
        assert b"table public.t: INSERT: id[integer]:77" in done.stdout
    finally:
        subprocess.run([*base, "--drop-slot"], check=True)
