"""Where secrets of roles come from: real servers, and what becomes of a login while one does not
answer."""

import asyncio
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
from guarded_server import PASSWORD, UMLAUTS, Guarded
from scram_ends import verifier
from structlog.testing import capture_logs

from config import ConfigError, Settings
from proxy.auth import scram, users
from proxy.auth.dialogue import Derivation
from proxy.auth.secret import Lack, Password, Verifier
from proxy.demo.cluster import free_port
from proxy.demo.command import call
from proxy.net import operator, secrets
from proxy.net.secrets import Secrets, read_list

QUERY = Settings().auth_query

Make = Callable[..., Secrets]


@pytest.fixture
async def asked(guarded: Guarded) -> AsyncIterator[Make]:
    made = []

    def make(query: str | None = QUERY, listed: str = "", user: str = "postgres") -> Secrets:
        async def connecting() -> asyncpg.Connection:
            return await operator.connect(guarded.url(user), None)

        made.append(Secrets(connecting, query, users.read(listed)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def kept(guarded: Guarded, role: str) -> tuple[bytes, int]:
    (text,) = guarded.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")[0]
    iterations, salt = text.split("$")[1].split(":")
    return b64decode(salt), int(iterations)


# -- the query -------------------------------------------------------------------------------------


async def test_a_verifier_is_the_servers_own(guarded: Guarded, asked: Make) -> None:
    for role in ("scram", "May I", "no_login", "expired"):
        found = await asked().of(role)
        assert isinstance(found, Verifier)
        assert (found.salt, found.iterations) == kept(guarded, role)
        assert found.keys == scram.derive(PASSWORD.encode(), found.salt, found.iterations)


@pytest.mark.parametrize("role", ["ghost", "no_password", "only_hashed", "", "'", "\u00fc" * 100])
async def test_nobody_logs_in_so(asked: Make, role: str) -> None:
    assert await asked().of(role) is Lack.NONE


async def test_names_are_cut_as_the_server_cuts_them(guarded: Guarded, asked: Make) -> None:
    name = "n" * 63
    guarded.psql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    try:
        assert isinstance(await asked().of(name + "more"), Verifier)
    finally:
        guarded.psql(f"DROP ROLE {name}")


PAGE = (Path(__file__).parents[2] / "docs" / "authentication.md").read_text()
GRANT, FUNCTION = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
(FUNCTION_QUERY,) = re.findall(r'auth_query = "(.*)"', PAGE)


async def test_without_the_right_it_is_not_known(guarded: Guarded, asked: Make) -> None:
    """It is said once, with what to do, and again when something was changed."""
    one = asked(user="operator")
    with capture_logs() as logs:
        assert await one.of("scram") is Lack.UNKNOWN
        assert await one.of("ghost") is Lack.UNKNOWN
    assert [line["event"] for line in logs] == ["no_secret"]
    assert "pg_authid" in logs[0]["reason"]
    assert "auth_file" in logs[0]["hint"]
    guarded.psql(GRANT)
    try:
        assert isinstance(await one.of("scram"), Verifier)
        assert await one.of("ghost") is Lack.NONE
    finally:
        guarded.psql("REVOKE SELECT (rolname, rolpassword) ON pg_authid FROM operator")
    with capture_logs() as logs:
        assert await one.of("scram") is Lack.UNKNOWN
    assert len(logs) == 1


async def test_a_function_may_be_asked(guarded: Guarded, asked: Make) -> None:
    guarded.psql(FUNCTION)
    try:
        one = asked(FUNCTION_QUERY, user="operator")
        assert isinstance(await one.of("scram"), Verifier)
        assert await one.of("postgres") is Lack.NONE
        # What others may have put in the operator's way is not in it.
        guarded.psql("ALTER ROLE operator SET search_path = hotrollback_auth")
        with capture_logs() as logs:
            one = asked("SELECT * FROM verifier($1)", user="operator")
            assert await one.of("scram") is Lack.UNKNOWN
        assert "verifier" in logs[0]["reason"]
    finally:
        guarded.psql("ALTER ROLE operator RESET search_path; DROP SCHEMA hotrollback_auth CASCADE")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT $1::text",
        "SELECT 1, 2, $1::text",
        "SELECT $1::text, 1",
        "SELECT $1::text, 'SCRAM-SHA-256$secret'",
        "SELECT r.rolname, r.rolpassword FROM pg_catalog.pg_authid r WHERE $1::text IS NOT NULL",
        "SELEC $1",
        "SELECT $1::text, $2::text",
        "SELECT $1::text, (1/0)::text",
    ],
)
async def test_a_query_that_cannot_be_meant_is_told(asked: Make, query: str) -> None:
    one = asked(query)
    with capture_logs() as logs:
        assert await one.of("scram") is Lack.UNKNOWN
        assert await one.of("scram") is Lack.UNKNOWN
    assert [line["event"] for line in logs] == ["no_secret"]
    assert "SCRAM-SHA-256$secret" not in str(logs)


async def test_the_query_may_be_off(asked: Make) -> None:
    one = asked(None)
    with capture_logs() as logs:
        assert await one.of("scram") is Lack.UNKNOWN
        assert await one.of("ghost") is Lack.UNKNOWN
    assert len(logs) == 1
    assert "auth_file" in logs[0]["hint"]


async def test_a_name_that_is_no_text_is_not_asked_for(asked: Make) -> None:
    assert await asked().of("a\ufffdb") is Lack.UNKNOWN


# -- the list --------------------------------------------------------------------------------------


async def test_the_list_comes_first(asked: Make) -> None:
    listed = f'"scram" "{verifier("other")}"\n"umlauts" "{UMLAUTS}"\n"hashed" "md5{"0" * 32}"'
    one = asked(listed=listed)
    found = await one.of("scram")
    assert isinstance(found, Verifier)
    assert found.iterations == 10
    assert await one.of("umlauts") == Password(UMLAUTS)
    assert await one.of("hashed") is Lack.NONE  # which the query knows
    assert isinstance(await one.of("May I"), Verifier)
    one.configure(None, users.read('"May I" "x"'))
    assert await one.of("scram") is Lack.UNKNOWN
    assert await one.of("May I") == Password("x")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "users"
    assert read_list(None).secrets == {}
    for content, why in (
        (None, "No such file"),
        (b'"a" "b"\n"c" pencil', "line 2 is not"),
        (b'"a" "b"\n\n"c" "\xffpencil"', "line 3 is not UTF-8"),
    ):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError) as refused:
            read_list(file)
        assert str(file) in str(refused.value)
        assert why in str(refused.value)
        assert "pencil" not in str(refused.value)
    file.write_bytes(b'"a" "b"')
    assert read_list(file).secret("a") == Password("b")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_list(tmp_path)


def test_a_proxy_does_not_start_with_a_file_that_it_cannot_read(
    guarded: Guarded, tmp_path: Path
) -> None:
    file, config = tmp_path / "users", tmp_path / "conf.toml"
    file.write_text('"app" pencil\n')
    config.write_text(f'auth_file = "{file}"\nlisten = "127.0.0.1:{free_port()}"\n')
    done = call("serve", "--upstream", guarded.url(), "--config", str(config), check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"hotrollback: auth_file {file}: line 1 is not")
    assert "pencil" not in done.stderr


def test_a_file_that_everybody_may_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("")
    file.chmod(0o640)
    with capture_logs() as logs:
        secrets.warn_of_readers(file)
        file.chmod(0o644)
        secrets.warn_of_readers(file)
        secrets.warn_of_readers(None)
    assert [line["event"] for line in logs] == ["auth_file_exposed"]


# -- the keys --------------------------------------------------------------------------------------


async def test_keys_of_a_password_are_the_servers(guarded: Guarded, asked: Make) -> None:
    one = asked(listed=f'"umlauts" "{UMLAUTS}"')
    salt, iterations = kept(guarded, "umlauts")
    wanted = Derivation("umlauts", await one.of("umlauts"), salt, iterations)
    found = await asked().of("umlauts")
    assert isinstance(found, Verifier)
    assert await one.keys(wanted) == found.keys


async def test_a_server_does_not_set_us_to_endless_work(asked: Make) -> None:
    wanted = Derivation("scram", Password("x"), b"salt", secrets.ITERATION_LIMIT + 1)
    with capture_logs() as logs:
        assert await asked().keys(wanted) is None
    assert [line["event"] for line in logs] == ["too_many_iterations"]


async def test_a_password_changed_meanwhile_is_asked_for_again(
    guarded: Guarded, asked: Make
) -> None:
    one = asked()
    before = await one.of("scram")
    guarded.psql(f"ALTER ROLE scram PASSWORD '{PASSWORD}'")  # another salt
    salt, iterations = kept(guarded, "scram")
    after = await one.of("scram")
    assert isinstance(after, Verifier)
    assert await one.keys(Derivation("scram", before, salt, iterations)) == after.keys
    outdated = asked(None, f'"scram" "{verifier("x")}"')
    with capture_logs() as logs:
        wanted = Derivation("scram", await outdated.of("scram"), salt, iterations)
        assert await outdated.keys(wanted) is None
        # An expired role gets a salt that is nobody's.
        assert await one.keys(Derivation("scram", after, b"mock", iterations)) is None
    assert [line["event"] for line in logs] == ["secret_outdated"] * 2


# -- many, and nobody there ------------------------------------------------------------------------


def connections(guarded: Guarded) -> int:
    return guarded.psql(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hotrollback'"
    )[0][0]


async def test_a_storm_takes_one_connection_and_leaves_none(
    guarded: Guarded, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "_LINGER", 0.2)
    one = asked()
    waiting = [asyncio.ensure_future(one.of(f"ghost{n % 50}")) for n in range(500)]
    scram_found = asyncio.ensure_future(one.of("scram"))
    await asyncio.sleep(0)  # all of them wait
    for gone in waiting[::7]:
        gone.cancel()
    assert isinstance(await scram_found, Verifier)
    assert connections(guarded) == 1
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(type(one)) if isinstance(one, BaseException) else one for one in done} == {
        Lack.NONE,
        str(asyncio.CancelledError),
    }
    while connections(guarded):
        await asyncio.sleep(0.05)
    assert isinstance(await one.of("scram"), Verifier)


async def test_a_connection_that_was_cut_is_made_again(guarded: Guarded, asked: Make) -> None:
    one = asked()
    assert isinstance(await one.of("scram"), Verifier)
    guarded.psql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'hotrollback'"
    )
    await asyncio.sleep(0.1)
    assert isinstance(await one.of("scram"), Verifier)


async def test_nobody_waits_for_a_server_that_does_not_answer(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def connecting() -> asyncpg.Connection:
        tried.append(1)
        await asyncio.sleep(0.1)
        if len(tried) < 2:
            raise ConnectionRefusedError("nobody listens")
        return await operator.connect(guarded.url(), None)

    one = Secrets(connecting, QUERY, users.read(""))
    with capture_logs() as logs:
        found = await asyncio.gather(*(one.of(f"role{n}") for n in range(50)))
        assert set(found) == {Lack.UNKNOWN}
        assert await one.of("scram") is Lack.UNKNOWN
    assert len(tried) == 1
    assert [line["event"] for line in logs] == ["no_secret"]
    monkeypatch.setattr(one, "_not_before", 0)
    assert isinstance(await one.of("scram"), Verifier)
    await one.close()


async def test_a_slow_query_is_not_waited_for(asked: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_PATIENCE", 0.2)
    one = asked("SELECT $1::text, pg_catalog.pg_sleep(3)::text")
    with capture_logs() as logs:
        assert await one.of("scram") is Lack.UNKNOWN
    assert len(logs) == 1
