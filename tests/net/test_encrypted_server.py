"""TLS with the server: by whom it is wanted, whom it keeps away, and what is believed before it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from fix_postgres import Server, cluster_of
from pki import Pki, url
from raw import Raw, message, startup

from proxy.demo.cluster import Cluster
from proxy.demo.command import Serving, call

Through = Callable[..., Serving]


@pytest.fixture(scope="module")
def encrypted(pki: Pki) -> Iterator[Cluster]:
    """PostgreSQL 15: the 18 of these tests is built without TLS."""
    with cluster_of(15) as cluster:
        (cluster.data / "server.pem").write_bytes(
            pki.issue("server", "localhost", "127.0.0.1").read_bytes()
        )
        (cluster.data / "server.pem").chmod(0o600)
        cluster.account.own(cluster.data / "server.pem")
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute("CREATE ROLE app LOGIN")
            for name, value in (
                ("ssl_cert_file", "server.pem"),
                ("ssl_key_file", "server.pem"),
                ("ssl", "on"),
            ):
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            (cluster.data / "pg_hba.conf").write_text("hostssl all all all trust\n")
            connection.execute("SELECT pg_reload_conf()")
        yield cluster


MODES = ("prefer", "require", "verify-ca&sslrootcert={roots}", "verify-full&sslrootcert={roots}")


@pytest.mark.parametrize("mode", MODES)
def test_the_server_is_spoken_to_by_tls(
    through: Through, encrypted: Cluster, pki: Pki, mode: str
) -> None:
    """By clients' connections, by the operator's, and by cancel requests."""
    upstream = f"{encrypted.url()}?sslmode={mode.format(roots=pki.roots)}"
    call("install", "--upstream", upstream)
    serving = through(upstream)
    with psycopg.connect(url(serving), autocommit=True) as connection:
        row = connection.execute(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
        assert row == (True,)
        timer = threading.Timer(0.5, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        timer.join()
        text = "x" * 5_000_000
        assert connection.execute("SELECT %s::text", (text,)).fetchone() == (text,)
    assert serving.call("show", "stats").returncode == 0


def spoken(serving: Serving) -> bool:
    """Whether by TLS."""
    with psycopg.connect(url(serving), autocommit=True) as connection:
        row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return row.fetchone() == (True,)


@contextlib.contextmanager
def entries(cluster: Cluster, *lines: str) -> Iterator[None]:
    """Of its pg_hba.conf."""
    file = cluster.data / "pg_hba.conf"
    before = file.read_text()

    def asked(text: LiteralString) -> object:
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            return connection.execute(text).fetchone()

    def written(text: str) -> None:
        file.write_text(text)
        loaded = asked("SELECT pg_conf_load_time()")
        asked("SELECT pg_reload_conf()")
        while asked("SELECT pg_conf_load_time()") == loaded:
            pass

    written("\n".join((*lines, "local all all trust", before)))
    try:
        yield
    finally:
        written(before)


IN_CLEAR, BY_TLS = "hostnossl all app all trust", "hostssl all app all trust"
NEITHER = "host all app all reject"


@pytest.mark.parametrize(
    ("mode", "lines", "by_tls"),
    [
        ("allow", (IN_CLEAR, BY_TLS), False),
        ("allow", (BY_TLS, NEITHER), True),
        ("prefer", (IN_CLEAR, BY_TLS), True),
        ("prefer", (IN_CLEAR, NEITHER), False),
    ],
)
def test_the_other_way_is_tried_where_the_server_refuses_one(
    through: Through, encrypted: Cluster, mode: str, lines: tuple[str, ...], *, by_tls: bool
) -> None:
    """As libpq does it."""
    upstream = f"{encrypted.url()}?sslmode={mode}"
    with entries(encrypted, *lines):
        direct = f"postgresql://app@127.0.0.1:{encrypted.port}/postgres?sslmode={mode}"
        with psycopg.connect(direct) as connection:
            assert connection.pgconn.ssl_in_use is by_tls
        assert spoken(through(upstream)) is by_tls


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_who_is_refused_both_ways_is_told_by_the_server(
    through: Through, encrypted: Cluster, mode: str
) -> None:
    with entries(encrypted, NEITHER):
        serving = through(f"{encrypted.url()}?sslmode={mode}")
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"):
            psycopg.connect(url(serving))


def test_what_was_preferred_and_does_not_come_about_is_done_without(
    through: Through, encrypted: Cluster, tmp_path: Path
) -> None:
    roots = Pki(tmp_path).roots
    with entries(encrypted, IN_CLEAR):
        assert not spoken(through(f"{encrypted.url()}?sslmode=prefer&sslrootcert={roots}"))


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("disable", "no encryption"),
        ("verify-ca&sslrootcert={other}", "certificate verify failed"),
        ("verify-full&sslrootcert={other}", "certificate verify failed"),
    ],
)
def test_a_server_that_is_not_the_right_one_is_refused(
    through: Through, encrypted: Cluster, tmp_path: Path, mode: str, why: str
) -> None:
    other = Pki(tmp_path)
    serving = through(f"{encrypted.url()}?sslmode={mode.format(other=other.roots)}")
    with pytest.raises(psycopg.OperationalError, match=why):
        psycopg.connect(url(serving))


def test_a_name_that_the_certificate_does_not_have_is_refused(
    through: Through, encrypted: Cluster, pki: Pki
) -> None:
    upstream = f"postgresql://postgres@127.0.0.2:{encrypted.port}/postgres"
    serving = through(f"{upstream}?sslmode=verify-full&sslrootcert={pki.roots}")
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(url(serving))
    assert "127.0.0.2" in str(refused.value)


def test_a_server_without_tls_will_do_unless_it_is_needed(
    through: Through, server18: Server
) -> None:
    psycopg.connect(url(through(f"{server18.url()}?sslmode=prefer"))).close()
    serving = through(f"{server18.url()}?sslmode=require")
    with pytest.raises(psycopg.OperationalError, match="it has no TLS, and sslmode=require"):
        psycopg.connect(url(serving))


@contextlib.contextmanager
def pretender(answer: bytes) -> Iterator[int]:
    """Whatever is asked for, it says this."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link, _ = listener.accept()
                    link.recv(100)
                    link.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "answer", [b"Strust me", message("E", b"Mgive me your password\0\0"), b"HTTP/1.1", b"SN", b""]
)
@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_what_is_said_before_tls_is_neither_believed_nor_shown(
    through: Through, answer: bytes, mode: str
) -> None:
    with pretender(answer) as port:
        serving = through(
            f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode={mode}",
            'login_timeout = "2s"',
        )
        with Raw(serving.port) as raw:
            raw.send(startup(user="app", database="postgres"))
            (told,) = raw.rest()
            assert told.fields["C"] == "08001"
            assert "trust" not in str(told)
            assert "password" not in str(told)
