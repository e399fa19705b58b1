"""TLS with clients and with the server: who gets it, who is refused, and what passes through it."""

import asyncio
import contextlib
import signal
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest
import trustme
from fix_postgres import Server
from pki import Pki, url, verified
from raw import GSSENC_REQUEST, SSL_REQUEST, Raw, query, startup

from proxy.demo.cluster import free_port
from proxy.demo.command import Serving, call

Through = Callable[..., Serving]


@pytest.fixture
def secured(through: Through, server18: Server, pki: Pki) -> Serving:
    return through(server18.url(), f'tls_cert = "{pki.folder}/shown.pem"')


# -- clients ---------------------------------------------------------------------------------------


def test_a_client_verifies_the_proxy_in_full(secured: Serving, pki: Pki) -> None:
    with psycopg.connect(verified(secured, pki), autocommit=True) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with psycopg.connect(verified(secured, pki, sslnegotiation="direct")) as connection:
        assert connection.execute("SELECT 2").fetchone() == (2,)
    with psycopg.connect(url(secured, sslmode="disable")) as connection:
        assert not connection.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(url(secured, sslmode="verify-ca", sslrootcert=pki.folder / "shown.pem"))


async def test_asyncpg_by_tls(secured: Serving, pki: Pki) -> None:
    for direct in (False, True):
        connection = await asyncpg.connect(
            url(secured), ssl=pki.context(), direct_tls=direct, timeout=10
        )
        assert await connection.fetchval("SELECT session_user") == "app"
        await connection.close()


def test_a_client_that_has_tls_cannot_ask_again(secured: Serving, pki: Pki) -> None:
    for request in (SSL_REQUEST, GSSENC_REQUEST):
        with Raw(secured.port) as raw:
            raw.send(GSSENC_REQUEST)
            assert raw.byte() == b"N"
            raw.send(SSL_REQUEST)
            assert raw.byte() == b"S"
            raw.socket = pki.context().wrap_socket(raw.socket, server_hostname="127.0.0.1")
            raw.send(request)
            (told,) = raw.rest()
            assert told.fields["C"] == "0A000"


@pytest.mark.parametrize("pieces", [1, 2])
def test_what_comes_before_the_handshake_is_not_taken_for_encrypted(
    secured: Serving, pki: Pki, pieces: int
) -> None:
    with Raw(secured.port) as raw:
        stuffed = startup(user="app", database="postgres") + query("SELECT 1")
        if pieces == 1:
            raw.send(SSL_REQUEST + stuffed)
            assert raw.byte() == b"S"
            (told,) = raw.rest()
            assert told.fields["C"] == "08P01"
        else:
            raw.send(SSL_REQUEST)
            assert raw.byte() == b"S"
            raw.send(stuffed)
            assert b"SELECT" not in b"".join(found.body for found in raw.rest())
    told = [event for event in secured.events() if event["event"] == "session_fault"]
    assert told == []


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
def test_direct_tls_without_its_protocol_is_closed(
    secured: Serving, pki: Pki, protocols: list[str]
) -> None:
    context = ssl.create_default_context(cafile=str(pki.roots))
    if protocols:
        context.set_alpn_protocols(protocols)
    with Raw(secured.port) as raw, contextlib.suppress(ssl.SSLError, ConnectionError):
        raw.socket = context.wrap_socket(raw.socket, server_hostname="127.0.0.1")
        raw.send(startup(user="app", database="postgres"))
        assert raw.rest() == []


def test_without_a_certificate_there_is_no_tls(through: Through, server18: Server) -> None:
    for line in ("", 'tls = "off"'):
        with Raw(through(server18.url(), line).port) as raw:
            raw.send(SSL_REQUEST)
            assert raw.byte() == b"N"
            assert raw.log_in("app", "postgres").trace[-1].kind == "Z"


def test_tls_may_be_needed(through: Through, server18: Server, pki: Pki) -> None:
    serving = through(server18.url(), 'tls = "require"', f'tls_cert = "{pki.folder}/shown.pem"')
    with pytest.raises(psycopg.OperationalError, match="only be logged in to by TLS"):
        psycopg.connect(url(serving, sslmode="disable"))
    psycopg.connect(url(serving, sslmode="prefer")).close()
    psycopg.connect(verified(serving, pki)).close()


def test_a_certificate_of_the_client_may_be_needed(
    through: Through, server18: Server, pki: Pki
) -> None:
    serving = through(
        server18.url(),
        'tls = "verify-ca"',
        f'tls_cert = "{pki.folder}/shown.pem"',
        f'tls_client_ca = "{pki.roots}"',
    )
    own = {"sslcert": pki.folder / "client.pem", "sslkey": pki.folder / "client.pem"}
    psycopg.connect(verified(serving, pki, **own)).close()
    with pytest.raises(psycopg.OperationalError, match="requires a valid client certificate"):
        psycopg.connect(verified(serving, pki))
    foreign = pki.issue("foreign", "127.0.0.1", by=trustme.CA())
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(verified(serving, pki, sslcert=foreign, sslkey=foreign))


def test_a_new_certificate_is_shown_after_a_signal(
    through: Through, server18: Server, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    shown = pki.issue("shown", "127.0.0.1")
    serving = through(server18.url(), f'tls_cert = "{shown}"')
    assert serving.process is not None
    with psycopg.connect(verified(serving, pki), autocommit=True) as old:
        pki.ca = trustme.CA()
        pki.issue("shown", "127.0.0.1")
        serving.process.send_signal(signal.SIGHUP)
        _until(serving, "reloaded")
        psycopg.connect(verified(serving, pki)).close()
        # Whoever is there already stays.
        assert old.execute("SELECT 1").fetchone() == (1,)
    shown.write_text("no certificate")
    serving.process.send_signal(signal.SIGHUP)
    told = _until(serving, "not_reloaded")
    assert str(shown) in told["error"]
    psycopg.connect(verified(serving, pki)).close()


def _until(serving: Serving, event: str) -> dict:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for told in serving.events():
            if told["event"] == event:
                return told
        time.sleep(0.02)
    raise AssertionError(serving.said())


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ('tls_cert = "/nowhere"', "tls_cert: /nowhere: No such file"),
        ('tls_cert = "{folder}/ca.pem"', "tls_cert: {folder}/ca.pem"),
        ('tls_cert = "{folder}/ca.pem"\ntls_key = "{folder}/client.pem"', "is not the key of"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    server18: Server, pki: Pki, tmp_path: Path, lines: str, why: str
) -> None:
    pki.roots.chmod(0o600)
    config = tmp_path / "conf.toml"
    config.write_text(lines.format(folder=pki.folder) + f'\nlisten = "127.0.0.1:{free_port()}"')
    done = call("serve", "--upstream", server18.url(), "--config", str(config), check=False)
    assert done.returncode == 2
    assert why.format(folder=pki.folder) in done.stderr
    assert "Traceback" not in done.stderr


# -- what passes -----------------------------------------------------------------------------------


def test_much_passes_both_ways(secured: Serving, pki: Pki) -> None:
    with psycopg.connect(verified(secured, pki), autocommit=True) as connection:
        for size in (0, 1, 8191, 8192, 8193, 16384, 16385, 300_000, 20_000_000):
            text = "x" * size
            row = connection.execute("SELECT %s::text", (text,)).fetchone()
            assert row == (text,)
        rows = connection.execute("SELECT repeat('y', 1000) FROM generate_series(1, 20000)")
        assert sum(len(text) for (text,) in rows) == 20_000_000


async def test_a_slow_reader_gets_everything(secured: Serving, pki: Pki) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", secured.port, limit=1 << 12)
    writer.write(SSL_REQUEST)
    assert await reader.readexactly(1) == b"S"
    await writer.start_tls(pki.context(), server_hostname="127.0.0.1")
    writer.write(startup(user="app", database="postgres"))
    writer.write(query("SELECT repeat('z', 1000) FROM generate_series(1, 30000)"))
    rows = 0
    while True:
        head = await reader.readexactly(5)
        body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
        rows += head[:1] == b"D"
        if rows % 5000 == 0:
            await asyncio.sleep(0.005)
        if head[:1] == b"Z" and rows:
            break
    assert (rows, body) == (30000, b"I")
    writer.close()


def test_a_cancel_request_goes_by_tls(secured: Serving, pki: Pki) -> None:
    with psycopg.connect(verified(secured, pki), autocommit=True) as connection:
        timer = threading.Timer(0.5, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_error_that_ends_the_connection_is_heard(secured: Serving, pki: Pki) -> None:
    with psycopg.connect(verified(secured, pki), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert connection.broken
