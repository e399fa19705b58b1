"""TLS with clients and with the server: who gets it, who is refused, and what passes through it."""

import asyncio
import contextlib
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psycopg
import pytest
import trustme
from fix_postgres import SETTINGS, Server, binaries
from raw import GSSENC_REQUEST, SSL_REQUEST, Raw, message, query, startup

from proxy.demo.cluster import Cluster, free_port
from proxy.demo.command import Serving, call


@dataclass(slots=True)
class Pki:
    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def issue(self, name: str, *hosts: str, by: trustme.CA | None = None) -> Path:
        """A file of key and certificate."""
        file = self.folder / f"{name}.pem"
        file.touch(0o600)
        issued = (by or self.ca).issue_cert(*hosts, common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(str(file))
        return file

    @property
    def roots(self) -> Path:
        file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(file))
        return file

    def context(self) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.roots))
        made.set_alpn_protocols(["postgresql"])
        return made


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(Path(tmp_path_factory.mktemp("pki")))
    made.issue("shown", "127.0.0.1", "localhost")
    made.issue("client", "127.0.0.1")
    return made


Through = Callable[..., Serving]


@pytest.fixture
def through(tmp_path: Path) -> Iterator[Through]:
    """through(url, line of the config, ...) is a running proxy."""
    with contextlib.ExitStack() as stack:

        def start(url: str, *lines: str) -> Serving:
            config = tmp_path / "conf.toml"
            config.write_text("\n".join(lines))
            return stack.enter_context(Serving(url, tmp_path, ("--config", str(config))))

        yield start


@pytest.fixture
def secured(through: Through, server18: Server, pki: Pki) -> Serving:
    return through(server18.url(), f'tls_cert = "{pki.folder}/shown.pem"')


def url(serving: Serving, **options: object) -> str:
    given = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://app@127.0.0.1:{serving.port}/postgres?{given}"


def verified(serving: Serving, pki: Pki, **options: object) -> str:
    return url(serving, sslmode="verify-full", sslrootcert=pki.roots, **options)


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


# -- the server ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encrypted(pki: Pki) -> Iterator[Cluster]:
    """PostgreSQL 15: the 18 of these tests is built without TLS."""
    with Cluster(binaries(15), SETTINGS) as cluster:
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
