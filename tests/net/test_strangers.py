"""Who connects and never logs in: garbage, other protocols, silence. It costs little, and is said in
one line; what comes before a login cannot be used against those who have one."""

import os
import random
import time
from collections.abc import Callable

import pytest
from fix_postgres import Database
from raw import SSL_REQUEST, Raw, packet, query, startup
from watch import backends, events, eventually, memory

from proxy.demo.command import Serving

MEGABYTE = 1 << 20
GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: db\r\n\r\n" * 2000,
    "TLS": bytes.fromhex("16030100c8010000c40303") + os.urandom(200),
    "a query": query("SELECT 1") * 10_000,
    "noise": b"\xff" + random.Random(4).randbytes(MEGABYTE),
    "zeros": b"\0" * MEGABYTE,
    "a long startup": packet(0x30000, b"user\0" + b"x" * MEGABYTE),
}


@pytest.fixture
def proxied(database18: Database, through: Callable[..., Serving]) -> tuple[Database, Serving]:
    return database18, through(database18.url(), 'login_timeout = "2s"')


def give(raw: Raw, data: bytes) -> None:
    """As much of it as is taken."""
    try:
        raw.send(data)
    except (BrokenPipeError, ConnectionResetError):
        raw.ended = True


def test_garbage(proxied: tuple[Database, Serving]) -> None:
    """Closed at once, without a word, as the server does it, and one line is logged."""
    _, serving = proxied
    with Raw(serving.port) as raw:
        give(raw, GARBAGE["HTTP"])
    eventually(lambda: events(serving, "no_postgresql_client"))
    before = memory(serving)
    started = time.monotonic()
    for _ in range(20):
        for data in GARBAGE.values():
            with Raw(serving.port) as raw:
                give(raw, data)
                assert raw.rest() == []
    assert time.monotonic() - started < 2 + 20 * len(GARBAGE) * 0.1  # nobody waits for a timeout
    assert memory(serving) - before < 4 * MEGABYTE
    lines = 1 + 20 * len(GARBAGE)
    eventually(lambda: len(events(serving, "no_postgresql_client")) == lines)
    assert {e["event"] for e in serving.events()} == {"ready", "no_postgresql_client"}


def test_silence(proxied: tuple[Database, Serving]) -> None:
    """Many who say nothing, or not enough, keep nobody out and are gone when their time is over."""
    database, serving = proxied
    before = memory(serving)
    starts = (b"", b"\0", SSL_REQUEST, startup(user="app", database=database.name)[:-1])
    silent = []
    for number in range(200):
        raw = Raw(serving.port)
        raw.send(starts[number % len(starts)])
        silent.append(raw)
    with Raw(serving.port) as raw:
        raw.log_in("app", database.name)
        assert [m.kind for m in raw.ask("SELECT 1")] == ["T", "D", "C", "Z"]
        assert memory(serving) - before < 6 * MEGABYTE
        assert backends(database) == 1
        for one in silent:
            assert [m.kind for m in one.rest()] == []
            one.socket.close()
        # Whoever has logged in stays.
        assert [m.kind for m in raw.ask("SELECT 1")] == ["T", "D", "C", "Z"]
    assert len(events(serving, "login_timeout")) == 200
