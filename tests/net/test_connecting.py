"""How clients come in: requests for encryption, authentication, what is refused, and by whom."""

import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fix_postgres import Database, Server, cluster_of, install_into
from fix_proxy import Proxy, Serve
from raw import GSSENC_REQUEST, SSL_REQUEST, Raw, cancel_request, message, startup

from proxy.demo.cluster import free_port
from proxy.demo.command import Serving

SECRET = "se'cr et"


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One for all: nobody here changes anything that others would notice."""
    folder = Path(tmp_path_factory.mktemp("standing"))
    with (
        server.database(logged=True) as database,
        Serving(database.url(), folder) as serving,
    ):
        yield Proxy(database, serving)


@pytest.mark.parametrize("requests", [(SSL_REQUEST,), (GSSENC_REQUEST,)], ids=["ssl", "gss"])
def test_encryption_is_refused(proxy: Proxy, requests: tuple[bytes, ...]) -> None:
    with Raw(proxy.port) as raw:
        for request in requests:
            raw.send(request)
            assert raw.byte() == b"N"
        raw.log_in("app", proxy.database.name)
        assert raw.trace[-1].kind == "Z"


@pytest.mark.parametrize("first", [SSL_REQUEST, GSSENC_REQUEST], ids=["ssl", "gss"])
def test_encryption_is_refused_in_any_order_once(proxy: Proxy, first: bytes) -> None:
    second = GSSENC_REQUEST if first == SSL_REQUEST else SSL_REQUEST
    with Raw(proxy.port) as raw:
        for request in (first, second):
            raw.send(request)
            assert raw.byte() == b"N"
        raw.send(first)
        (refused,) = raw.rest()
        assert (refused.kind, refused.fields["S"], refused.fields["C"]) == ("E", "FATAL", "0A000")


def test_startup_may_come_byte_by_byte(proxy: Proxy) -> None:
    with Raw(proxy.port) as raw:
        for byte in SSL_REQUEST:
            raw.send(bytes((byte,)))
        assert raw.byte() == b"N"
        for byte in startup(user="app", database=proxy.database.name):
            raw.send(bytes((byte,)))
        assert raw.until("Z")[-1].body == b"I"


@pytest.mark.parametrize(
    ("low", "high"), [("3.0", "3.0"), ("3.2", "3.2"), ("3.0", "3.2"), ("3.0", "latest")]
)
def test_psql_negotiates_the_protocol(server18: Server, proxy: Proxy, low: str, high: str) -> None:
    expected = 2 if proxy.database.server.version < 18 and low == "3.2" else 0
    bounds = f"min_protocol_version={low} max_protocol_version={high}"
    done = subprocess.run(
        [
            str(server18.bin / "psql"),
            "-XAtc",
            "SELECT 42",
            f"{proxy.url()}?{bounds.replace(' ', '&')}",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == expected, done.stderr
    assert done.stdout == ("42\n" if not expected else "")


# -- authentication --------------------------------------------------------------------------------

METHODS = ("trust", "password", "md5", "scram-sha-256")


@pytest.fixture(scope="module", params=[18, 15], ids=lambda version: f"pg{version}")
def guarded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """A proxy in front of a server where each method has a role of its name."""
    with cluster_of(request.param) as cluster:
        server = Server(request.param, cluster.host, cluster.port, cluster.binaries)
        for method in METHODS:
            kind = "md5" if method == "md5" else "scram-sha-256"
            server.psql(f"SET password_encryption = '{kind}'; SET client_min_messages = error;"
                        f"CREATE ROLE \"{method}\" LOGIN PASSWORD 'se''cr et'")  # fmt: skip
        lines = [f'host all "{method}" 127.0.0.1/32 {method}' for method in METHODS]
        hba = cluster.data / "pg_hba.conf"
        hba.write_text("\n".join((*lines, "host all postgres 127.0.0.1/32 trust", "")))
        server.psql("SELECT pg_reload_conf()")
        folder = Path(tmp_path_factory.mktemp("guarded"))
        with Serving(server.url(), folder) as serving:
            yield serving


def reach(serving: Serving, user: str, password: str | None) -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1", port=serving.port, user=user, dbname="postgres", password=password
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_server_authenticates(guarded: Serving, method: str) -> None:
    with reach(guarded, method, SECRET) as connection:
        assert connection.execute("SELECT session_user").fetchone() == (method,)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_wrong_password_is_refused_in_the_servers_words(guarded: Serving, method: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="FATAL:  password authentication failed"):
        reach(guarded, method, "wrong")


def test_a_role_without_an_entry_is_refused_in_the_servers_words(guarded: Serving) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"FATAL:  no pg_hba\.conf entry"):
        reach(guarded, "nobody", None)


def test_a_long_password_passes(guarded: Serving) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        reach(guarded, "password", "x" * 60_000)


def test_a_startup_packet_instead_of_a_password(guarded: Serving) -> None:
    """Nobody becomes another user in the middle of logging in."""
    with Raw(guarded.port) as raw:
        raw.send(startup(user="scram-sha-256", database="postgres"))
        raw.until("R")
        raw.send(startup(user="trust", database="postgres"))
        (refused,) = raw.rest()
        assert (refused.kind, refused.fields["S"], refused.fields["C"]) == ("E", "FATAL", "08P01")


def test_a_password_of_a_gigabyte_is_not_waited_for(guarded: Serving) -> None:
    with Raw(guarded.port) as raw:
        raw.send(startup(user="password", database="postgres"))
        raw.until("R")
        raw.send(b"p\x3f\xff\xff\xff")
        raw.rest()
        assert raw.ended


# -- what is refused, and by whom ------------------------------------------------------------------


def test_a_server_that_is_down_is_told(tmp_path: Path) -> None:
    with Serving(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres", tmp_path) as serving:
        for _ in range(2):
            with Raw(serving.port) as raw:
                raw.send(startup(user="app", database="postgres"))
                (told,) = raw.rest()
            assert (told.kind, told.fields["S"], told.fields["C"]) == ("E", "FATAL", "08001")
            assert "could not connect to the server at 127.0.0.1" in told.fields["M"]


def test_what_answers_there_is_no_postgresql(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as wrong:

        def answer() -> None:
            client, _ = wrong.accept()
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()

        port = wrong.getsockname()[1]
        with Serving(
            f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable", tmp_path
        ) as serving:
            # The proxy's own operator has tried it by then, or will.
            threads = [threading.Thread(target=answer, daemon=True) for _ in range(20)]
            for thread in threads:
                thread.start()
            with Raw(serving.port) as raw:
                raw.send(startup(user="app", database="postgres"))
                (told,) = raw.rest()
            assert (told.kind, told.fields["C"]) == ("E", "08P01")


def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    config = tmp_path / "conf.toml"
    config.write_text('login_timeout = "500ms"')
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        # Whoever comes when the queue is full hears nothing at all.
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(("127.0.0.1", port))
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        with Serving(url, tmp_path, ("--config", str(config))) as serving, Raw(serving.port) as raw:
            raw.send(startup(user="app", database="postgres"))
            (told,) = raw.rest()
            assert told.fields["C"] == "08001"
            assert "did not answer in time" in told.fields["M"]
        for one in waiting:
            one.close()


def test_too_many_connections_are_refused_in_the_servers_words(proxy: Proxy) -> None:
    role = f"limited_{os.getpid()}"
    proxy.database.psql(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    try:
        with Raw(proxy.port) as raw:
            raw.send(startup(user=role, database=proxy.database.name))
            *_, told = raw.rest()
            assert (told.kind, told.fields["S"], told.fields["C"]) == ("E", "FATAL", "53300")
    finally:
        proxy.database.psql(f"DROP ROLE {role}")


def test_a_client_that_says_nothing_is_closed(serve: Serve, tmp_path: Path) -> None:
    config = tmp_path / "impatient.toml"
    config.write_text('login_timeout = "300ms"\n')
    proxy = serve("--config", str(config))
    started = time.monotonic()
    with Raw(proxy.port) as silent, Raw(proxy.port) as slow:
        slow.send(b"\0\0")
        assert silent.rest() == []
        assert slow.rest() == [] or slow.trace[-1].kind == ""
    assert time.monotonic() - started < 5
    assert proxy.psql("SELECT 1") == [(1,)]
    assert [e["event"] for e in proxy.serving.events()].count("login_timeout") == 2


def test_nothing_big_is_kept_for_a_client_that_is_not_logged_in(guarded: Serving) -> None:
    """What comes before its time is not read without end."""
    with Raw(guarded.port) as raw:
        raw.send(startup(user="scram-sha-256", database="postgres"))
        raw.until("R")
        raw.socket.settimeout(1)
        flood = b"p\0\1\0\0".ljust(1 << 16, b"x") * 256
        with pytest.raises((TimeoutError, ConnectionError)):
            for _ in range(64):
                raw.send(flood)


def test_a_database_without_the_log_is_passed_through_with_one_warning(
    database: Database, serve: Serve
) -> None:
    proxy = serve()
    database.psql("CREATE TABLE t (id int); GRANT ALL ON t TO app")
    for _ in range(3):
        proxy.psql("INSERT INTO t VALUES (1); UPDATE t SET id = 2")
    assert database.psql("SELECT id FROM t") == [(2,)] * 3
    warned = [e for e in proxy.serving.events() if e["event"] == "log_not_installed"]
    assert [e["database"] for e in warned] == [database.name]


# -- cancel requests -------------------------------------------------------------------------------


def test_a_wrong_cancel_key_is_answered_by_silence(proxy: Proxy) -> None:
    for key in (b"\0\0\0\1\0\0\0\2", b"\0" * 260, b"\0" * 261, b""):
        with Raw(proxy.port) as raw:
            raw.send(cancel_request(key))
            assert raw.rest() == []


LONGEST = b"\0\0\1\1" + bytes(range(256))


def stand_in(server: socket.socket, cancelled: "queue.SimpleQueue[bytes]") -> None:
    """A server that lets "app" in and hands out the longest key that the protocol allows, which
    no PostgreSQL does yet; and listens to cancel requests."""

    def talk(client: socket.socket) -> None:
        with client, client.makefile("rb") as came:
            while size := came.read(4):
                body = came.read(int.from_bytes(size, "big") - 4)
                if size + body == cancel_request(body[4:]):
                    cancelled.put(body[4:])
                    return
                if size + body in {SSL_REQUEST, GSSENC_REQUEST}:
                    client.sendall(b"N")
                    continue
                if b"\0app\0" not in body:
                    return  # the proxy's operator
                client.sendall(message("R", b"\0\0\0\0") + message("S", b"server_version\x0018.6\0")
                               + message("K", LONGEST) + message("Z", b"I"))  # fmt: skip
                came.read()
                return

    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=talk, args=(client,), daemon=True).start()


def test_the_longest_cancel_key_comes_back_whole(tmp_path: Path) -> None:
    cancelled: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=stand_in, args=(server, cancelled), daemon=True).start()
        url = f"postgresql://postgres@127.0.0.1:{server.getsockname()[1]}/postgres"
        with (
            Serving(url, tmp_path) as serving,
            Raw(serving.port) as raw,
            Raw(serving.port) as other,
        ):
            raw.send(startup((3, 2), user="app", database="postgres"))
            (key,) = (found.body for found in raw.until("Z") if found.kind == "K")
            assert key == LONGEST
            other.send(cancel_request(key))
            assert other.rest() == []
            assert cancelled.get(timeout=10) == LONGEST
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_rewritten_statement_is_cancelled(database: Database, serve: Serve, workers: str) -> None:
    install_into(database)
    database.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');"
                  "GRANT ALL ON t TO app")  # fmt: skip
    with psycopg.connect(serve("--workers", workers).url(), autocommit=True) as connection:
        for _ in range(3):
            timer = threading.Timer(0.3, connection.cancel)
            timer.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute("UPDATE t SET v = 'b' FROM pg_sleep(20)")
            timer.join()
        assert connection.execute("SELECT v FROM t").fetchall() == [("a",)]
    assert database.psql("SELECT count(*) FROM hotrollback.change WHERE op = 'U'") == [(0,)]
