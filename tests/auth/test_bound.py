"""TLS between client, proxy and server: logins that are bound, through the real proxy."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest
from fix_postgres import binaries
from guarded_server import PASSWORD, UMLAUTS
from sealed_server import LOGINS, Sealed

from proxy.demo.command import Serving

Through = Callable[..., Serving]


def outcome(sealed: Sealed, port: int, user: str, password: str, **options: str) -> str:
    """Who one is, or what psycopg says."""
    given = {"sslmode": "verify-full", "sslrootcert": f"{sealed.folder}/ca.pem", **options}
    url = f"postgresql://127.0.0.1:{port}/postgres"
    try:
        with psycopg.connect(url, user=user, password=password, **given) as connection:
            return str(connection.execute("SELECT session_user::text").fetchone())
    except psycopg.OperationalError as error:
        return str(error).replace(str(port), "PORT")


@pytest.mark.parametrize("binding", ["require", "prefer", "disable"])
@pytest.mark.parametrize(("user", "password"), LOGINS)
def test_psycopg_gets_what_the_server_says(
    sealed: Sealed, through: Through, user: str, password: str, binding: str
) -> None:
    direct, proxied = (
        outcome(sealed, port, user, password, channel_binding=binding)
        for port in (sealed.server.port, through().port)
    )
    assert proxied == direct


def test_bound_logins_succeed(sealed: Sealed, through: Through) -> None:
    """What is compared above is not two failures."""
    for user, password in (("scram", PASSWORD), ("umlauts", UMLAUTS), ("hashed_scram", PASSWORD)):
        found = outcome(sealed, through().port, user, password, channel_binding="require")
        assert found == f"('{user}',)"
        assert "password authentication failed" in outcome(sealed, through().port, user, "wrong")


def test_psql_is_bound(sealed: Sealed, through: Through) -> None:
    where = f"host=127.0.0.1 port={through().port} user=scram dbname=postgres sslmode=verify-full"
    command = [str(binaries(15) / "psql"), "-XAtc", "SELECT session_user", "-d"]
    done = subprocess.run(
        [*command, f"{where} sslrootcert={sealed.folder}/ca.pem channel_binding=require"],
        env={"PGPASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "scram\n"


@pytest.mark.parametrize(
    ("user", "password"), [("scram", PASSWORD), ("umlauts", UMLAUTS), ("scram", "wrong")]
)
async def test_asyncpg_is_let_in_unbound(
    sealed: Sealed, through: Through, user: str, password: str
) -> None:
    roots = ssl.create_default_context(cafile=str(sealed.folder / "ca.pem"))
    url = f"postgresql://{user}@127.0.0.1:{through().port}/postgres"
    if password == "wrong":
        with pytest.raises(asyncpg.InvalidPasswordError, match='failed for user "scram"'):
            await asyncpg.connect(url, password=password, ssl=roots)
    else:
        connection = await asyncpg.connect(url, password=password, ssl=roots)
        assert await connection.fetchval("SELECT session_user") == user
        await connection.close()


# -- secrets from elsewhere, or from nowhere -------------------------------------------------------


def listed(sealed: Sealed, tmp_path: Path, secret: Callable[[str, str], str]) -> str:
    """Lines of a config; `secret` is made of a role and its verifier."""
    rows = sealed.server.psql(
        "SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL"
    )
    file = tmp_path / "users"
    file.touch(0o600)
    file.write_text("".join(f'"{role}" "{secret(role, kept)}"\n' for role, kept in rows))
    return f'auth_file = "{file}"\nauth_query = "off"'


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(lambda _role, kept: kept, id="verifiers"),
        pytest.param(lambda role, _: UMLAUTS if role == "umlauts" else PASSWORD, id="passwords"),
    ],
)
def test_a_list_does_as_well(
    sealed: Sealed, through: Through, tmp_path: Path, secret: Callable[[str, str], str]
) -> None:
    serving = through(listed(sealed, tmp_path, secret))
    for user, password in (*LOGINS[:6], ("expired", PASSWORD), ("crowded", PASSWORD)):
        direct, proxied = (
            outcome(sealed, port, user, password, channel_binding="require")
            for port in (sealed.server.port, serving.port)
        )
        assert proxied == direct
    hidden = (PASSWORD, UMLAUTS, "SCRAM-SHA-256$")
    shown = serving.said() + serving.call("show", "config").stdout
    assert [secret for secret in hidden if secret in shown] == []


def test_an_old_list_refuses(sealed: Sealed, through: Through, tmp_path: Path) -> None:
    old = {"scram": "old password", "umlauts": UMLAUTS}
    serving = through(listed(sealed, tmp_path, lambda role, _: old.get(role, "old")))
    refused = outcome(sealed, serving.port, "scram", PASSWORD)
    assert 'password authentication failed for user "scram"' in refused
    # Whoever does not bind needs nothing from it.
    assert (
        outcome(sealed, serving.port, "scram", PASSWORD, channel_binding="disable") == "('scram',)"
    )


def test_a_list_is_read_again(sealed: Sealed, through: Through, tmp_path: Path) -> None:
    lines = listed(sealed, tmp_path, lambda *_: "once")
    serving, file = through(lines), tmp_path / "users"
    for wrong in (True, False):
        file.write_text(f'"scram" {PASSWORD}' if wrong else f'"scram" "{PASSWORD}"')
        done = serving.call("reload", check=False)
        assert done.returncode == int(wrong)
        if wrong:
            assert f"{file}: line 1 is not" in done.stderr
            assert PASSWORD not in done.stderr
        found = outcome(sealed, serving.port, "scram", PASSWORD, channel_binding="require")
        assert ("authentication failed" in found) is wrong
    assert found == "('scram',)"


def test_without_verifiers_who_does_not_bind_gets_in(sealed: Sealed, through: Through) -> None:
    serving = through('auth_query = "off"')
    found = {
        binding: outcome(sealed, serving.port, "scram", PASSWORD, channel_binding=binding)
        for binding in ("require", "prefer", "disable")
    }
    assert "channel binding is required, but server did not offer" in found["require"]
    assert "SCRAM channel binding negotiation error" in found["prefer"]
    assert found["disable"] == "('scram',)"
    told = [event for event in serving.events() if event["event"] == "no_secret"]
    assert len(told) == 1
    assert "auth_query" in told[0]["hint"]


def test_a_changed_password_is_the_one_that_counts(sealed: Sealed, through: Through) -> None:
    server, port = sealed.server, through().port
    server.psql(f"CREATE ROLE changing LOGIN PASSWORD '{PASSWORD}' IN ROLE scrams")
    try:
        for password in (PASSWORD, "first", "second", "third"):
            server.psql(f"ALTER ROLE changing PASSWORD '{password}'")
            now = outcome(sealed, port, "changing", password, channel_binding="require")
            assert now == "('changing',)"
            assert "authentication failed" in outcome(sealed, port, "changing", "zeroth")
        server.psql("ALTER ROLE changing VALID UNTIL '2020-01-01'")
        assert "authentication failed" in outcome(sealed, port, "changing", "third")
        server.psql("ALTER ROLE changing VALID UNTIL 'infinity' NOLOGIN")
        assert "is not permitted to log in" in outcome(sealed, port, "changing", "third")
    finally:
        server.psql("DROP ROLE changing")


async def test_many_log_in_at_once(sealed: Sealed, through: Through) -> None:
    """One connection asks for all of them."""
    url = f"postgresql://scram@127.0.0.1:{through().port}/postgres"
    given = {"sslmode": "verify-full", "sslrootcert": f"{sealed.folder}/ca.pem"}

    async def log_in(password: str) -> str:
        try:
            connection = await psycopg.AsyncConnection.connect(
                url, password=password, channel_binding="require", **given
            )
        except psycopg.OperationalError as error:
            return str(error)
        row = await (await connection.execute("SELECT session_user::text")).fetchone()
        await connection.close()
        return str(row)

    done = await asyncio.gather(*(log_in((PASSWORD, "wrong")[n % 2]) for n in range(60)))
    assert set(done[::2]) == {"('scram',)"}
    assert all("password authentication failed" in refused for refused in done[1::2])


# -- one leg in clear ------------------------------------------------------------------------------


@pytest.mark.parametrize("binding", ["require", "prefer", "disable"])
@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_in_clear_to_the_client(
    sealed: Sealed, through: Through, binding: str, password: str
) -> None:
    """As the server in clear does it, though the server is spoken to by TLS."""
    options = {"sslmode": "disable", "channel_binding": binding}
    direct, proxied = (
        outcome(sealed, port, "scram", password, **options)
        for port in (sealed.server.port, through().port)
    )
    assert proxied == direct
    assert (
        outcome(sealed, through().port, "only_tls", PASSWORD, sslmode="disable") == "('only_tls',)"
    )


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_in_clear_to_the_server(sealed: Sealed, through: Through, password: str) -> None:
    serving = through(sslmode="disable")
    for binding in ("prefer", "disable"):
        direct, proxied = (
            outcome(sealed, port, "scram", password, channel_binding=binding)
            for port in (sealed.server.port, serving.port)
        )
        assert proxied == direct
    refused = outcome(sealed, serving.port, "scram", password, channel_binding="require")
    assert "channel binding is required, but server did not offer" in refused


# -- certificates ----------------------------------------------------------------------------------


def test_the_server_sees_the_proxys_certificate(sealed: Sealed, through: Through) -> None:
    serving = through(shown="certified")
    for user, password in (("certified", ""), ("twofold", PASSWORD), ("twofold", "wrong")):
        direct = outcome(
            *(sealed, sealed.server.port, user, password),
            sslcert=f"{sealed.folder}/certified.pem",
            sslkey=f"{sealed.folder}/certified.pem",
        )
        assert outcome(sealed, serving.port, user, password) == direct
    assert outcome(sealed, serving.port, "certified", "") == "('certified',)"
    assert (
        outcome(sealed, serving.port, "twofold", PASSWORD, channel_binding="require")
        == "('twofold',)"
    )


def test_without_a_certificate_the_server_says_so(sealed: Sealed, through: Through) -> None:
    for user in ("certified", "twofold"):
        direct, proxied = (
            outcome(sealed, port, user, PASSWORD) for port in (sealed.server.port, through().port)
        )
        assert "certificate" in direct
        assert proxied == direct
