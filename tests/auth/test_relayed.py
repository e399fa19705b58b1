"""Whoever may log in, and how, the server says: the same messages as without the proxy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest
from guarded_server import LONG, PASSWORD, UMLAUTS, Guarded
from raw import Raw, compared, message, startup
from raw_login import Answers, log_in
from scram_ends import initial

from proxy.demo.command import Serving


@pytest.fixture(scope="module")
def serving(guarded: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = Path(tmp_path_factory.mktemp("relayed"))
    with Serving(guarded.url("operator"), folder) as running:
        yield running


LOGINS = {
    "trust": ("trusting", ""),
    "password": ("plain", PASSWORD),
    "password, wrong": ("plain", "wrong"),
    "password, empty": ("plain", ""),
    "password, no text": ("plain", b"\xff\xfe"),
    "password, long": ("long", LONG),
    "password, too long": ("long", "x" * 70_000),
    "md5": ("hashed", PASSWORD),
    "md5, wrong": ("hashed", "wrong"),
    "md5 is scram": ("hashed_scram", PASSWORD),
    "md5 is scram, wrong": ("hashed_scram", "wrong"),
    "scram": ("scram", PASSWORD),
    "scram, wrong": ("scram", "wrong"),
    "scram, empty": ("scram", ""),
    "scram, name": ("May I", PASSWORD),
    "scram, password prepared": ("umlauts", "Gr\u00fc\u00dfe fi"),
    "scram, password not prepared": ("umlauts", UMLAUTS),
    "scram, unknown role": ("nobody", PASSWORD),
    "scram, expired": ("expired", PASSWORD),
    "scram, too many": ("crowded", PASSWORD),
    "scram, no login": ("no_login", PASSWORD),
    "scram, no password": ("no_password", PASSWORD),
    "scram, only md5": ("only_hashed", PASSWORD),
    "reject": ("rejected", PASSWORD),
    "no line": ("stranger", PASSWORD),
    "no such role": ("ghost", PASSWORD),
}


@pytest.mark.parametrize("name", LOGINS)
def test_login_is_the_servers_to_decide(guarded: Guarded, serving: Serving, name: str) -> None:
    user, password = LOGINS[name]
    direct = log_in(guarded.port, user, Answers(user, password))
    assert log_in(serving.port, user, Answers(user, password)) == direct


def test_some_of_these_get_in_and_some_do_not(guarded: Guarded) -> None:
    ended = {
        name: log_in(guarded.port, user, Answers(user, password))[-1]
        for name, (user, password) in LOGINS.items()
    }
    assert [name for name, refused in ended.items() if not refused] == [
        *("trust", "password", "password, long", "md5", "md5 is scram", "scram", "scram, name"),
        "scram, password prepared",
    ]


def test_no_such_database(guarded: Guarded, serving: Serving) -> None:
    direct, proxied = (
        log_in(port, "scram", Answers("scram", PASSWORD), database="nix")
        for port in (guarded.port, serving.port)
    )
    assert direct == proxied


@pytest.mark.parametrize(
    "header", [b"y,,", b"p=tls-server-end-point,,", b"p=x,,", b"n,a=b,", b"z,,"]
)
def test_header_of_a_first_message(guarded: Guarded, serving: Serving, header: bytes) -> None:
    """In clear nothing can be bound, and a client may say that it could."""
    direct, proxied = (
        log_in(port, "scram", Answers("scram", PASSWORD, header))
        for port in (guarded.port, serving.port)
    )
    assert direct == proxied


FIRST = b"n,,n=,r=abcdefghijklmnop"
ANSWERS = {
    "no mechanism": message("p", b""),
    "another mechanism": initial(b"SCRAM-SHA-1", FIRST),
    "plus in clear": initial(b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc"),
    "a wrong length": message("p", b"SCRAM-SHA-256\0\0\0\0\x09" + FIRST),
    "a nul": initial(b"SCRAM-SHA-256", FIRST + b"\0"),
    "too long": initial(b"SCRAM-SHA-256", FIRST + b"x" * 70_000),
    "no nonce": initial(b"SCRAM-SHA-256", b"n,,n="),
    "a mandatory extension": initial(b"SCRAM-SHA-256", b"n,,m=x,n=,r=abc"),
    "a password": message("p", b"pencil\0"),
    "a query": message("Q", b"SELECT 1\0"),
    "a startup packet": b"\0\0\0\x09\0\3\0\0\0",
    "a length that cannot be": b"p\0\0\0\2",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_first_answer_is_wrong(guarded: Guarded, serving: Serving, name: str) -> None:
    def answer(code: int, _: bytes) -> bytes | None:
        return ANSWERS[name] if code == 10 else None

    direct, proxied = (log_in(port, "scram", answer) for port in (guarded.port, serving.port))
    assert direct[-1] is True
    assert direct == proxied


LAST: dict[str, Callable[[bytes], bytes]] = {
    "no binding": lambda text: text[text.index(b",") + 1 :],
    "another binding": lambda text: text.replace(b"c=biws", b"c=eSws"),
    "another nonce": lambda text: text.replace(b",p=", b"x,p="),
    "a short proof": lambda text: text[:-8],
    "no proof": lambda text: text[: text.index(b",p=")],
    "more behind the proof": lambda text: text + b",x=y",
    "nothing": lambda _: b"",
    "a nul": lambda text: text + b"\0",
    "a proof twice": lambda text: text + text[text.index(b",p=") :],
}


@pytest.mark.parametrize("name", LAST)
def test_last_answer_is_wrong(guarded: Guarded, serving: Serving, name: str) -> None:
    def trace(port: int) -> list[object]:
        right = Answers("scram", PASSWORD)

        def answer(code: int, data: bytes) -> bytes | None:
            said = right(code, data)
            return message("p", LAST[name](said[5:])) if code == 11 and said else said

        return log_in(port, "scram", answer)

    direct = trace(guarded.port)
    assert direct[-1] is True
    assert trace(serving.port) == direct


def test_a_password_may_come_before_it_is_asked_for(guarded: Guarded, serving: Serving) -> None:
    def trace(port: int) -> list[object]:
        with Raw(port) as raw:
            raw.send(startup(user="plain", database="postgres") + message("p", b"pencil\0"))
            raw.until("Z")
            return compared(raw.trace)

    direct = trace(guarded.port)
    assert direct[-1] == ("Z", b"I")
    assert trace(serving.port) == direct


def test_a_database_is_the_roles_where_none_is_named(guarded: Guarded, serving: Serving) -> None:
    direct, proxied = (
        log_in(port, "scram", Answers("scram", PASSWORD), database="")
        for port in (guarded.port, serving.port)
    )
    assert direct == proxied
    assert "scram" in str(direct)


# -- drivers ---------------------------------------------------------------------------------------

CAN = [("plain", PASSWORD), ("hashed", PASSWORD), ("scram", PASSWORD), ("umlauts", UMLAUTS)]


@pytest.mark.parametrize(("user", "password"), CAN)
def test_psycopg_logs_in(serving: Serving, user: str, password: str) -> None:
    url = f"postgresql://{user}@127.0.0.1:{serving.port}/postgres"
    with psycopg.connect(url, password=password) as connection:
        assert connection.execute("SELECT session_user").fetchone() == (user,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed for user"):
        psycopg.connect(url, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="channel binding required"):
        psycopg.connect(url, password=password, channel_binding="require")


@pytest.mark.parametrize(("user", "password"), CAN)
async def test_asyncpg_logs_in(serving: Serving, user: str, password: str) -> None:
    url = f"postgresql://{user}@127.0.0.1:{serving.port}/postgres"
    connection = await asyncpg.connect(url, password=password)
    assert await connection.fetchval("SELECT session_user") == user
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url, password="wrong")
