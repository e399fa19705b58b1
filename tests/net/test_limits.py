"""How many may come, how long they may say nothing, and how it is noticed that they are gone."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_postgres import Database
from raw import Raw, cancel_request, query, startup
from watch import backends, events, eventually, workers

from proxy.demo.command import Serving
from proxy.net.keepalive import KeepAlive

Through = Callable[..., Serving]


@pytest.fixture
def database(database18: Database) -> Database:
    return database18


# -- max_clients -----------------------------------------------------------------------------------


def come(port: int, database: Database) -> Raw:
    raw = Raw(port)
    raw.send(startup(user="app", database=database.name))
    raw.until("Z")
    return raw


@pytest.mark.parametrize("count", [1, 2])
def test_one_too_many_is_told_so(database: Database, through: Through, count: int) -> None:
    """As many as are allowed, whichever worker they come to; a place is free again at once."""
    serving = through(database.url(), "max_clients = 5", f"workers = {count}")
    clients = [come(serving.port, database) for _ in range(5)]
    assert all(raw.trace[-1].kind == "Z" for raw in clients)
    for _ in range(10):
        with come(serving.port, database) as late:
            (told,) = late.trace
            assert late.ended
            assert (told.kind, told.fields["S"], told.fields["C"]) == ("E", "FATAL", "53300")
            assert told.fields["M"] == "sorry, too many clients already"
    assert len(events(serving, "too_many_clients")) == 10
    with Raw(serving.port) as cancelling:  # it is no client
        cancelling.send(cancel_request(b"\0\0\0\1\0\0\0\2"))
        assert cancelling.rest() == []
    clients.pop().socket.close()

    def free() -> bool:
        with come(serving.port, database) as again:
            return again.trace[-1].kind == "Z"

    eventually(free)
    for raw in clients:
        assert [m.kind for m in raw.ask("SELECT 1")] == ["T", "D", "C", "Z"]
        raw.socket.close()


def test_the_places_of_a_worker_that_died_are_free(database: Database, through: Through) -> None:
    serving = through(database.url(), "max_clients = 3")
    clients = [come(serving.port, database) for _ in range(3)]
    os.kill(workers(serving)[0], signal.SIGKILL)
    eventually(lambda: events(serving, "worker_started"))
    assert all(raw.rest() == [] for raw in clients)
    again = [come(serving.port, database) for _ in range(3)]
    assert [raw.trace[-1].kind for raw in again] == ["Z"] * 3
    for raw in clients + again:
        raw.socket.close()


# -- client_idle_timeout ---------------------------------------------------------------------------


def test_who_is_idle_is_told_and_ended(database: Database, through: Through) -> None:
    """As the server's own idle_session_timeout says it; who waits, or is in a transaction, is not
    idle, and neither is who has not logged in."""
    database.psql("ALTER ROLE app SET idle_session_timeout = '800ms'")
    try:
        with Raw(database.port) as direct:
            direct.log_in("app", database.name)
            (expected,) = direct.rest()
    finally:
        database.psql("ALTER ROLE app RESET idle_session_timeout")
    serving = through(database.url(), 'client_idle_timeout = "800ms"')
    with (
        Raw(serving.port) as busy,
        Raw(serving.port) as blocked,
        Raw(serving.port) as idle,
        Raw(serving.port) as silent,
    ):
        for raw in (busy, blocked, idle):
            raw.log_in("app", database.name)
        busy.send(query("SELECT pg_sleep(2)"))
        blocked.ask("BEGIN")
        started = time.monotonic()
        while time.monotonic() - started < 1.2:
            idle.ask("SELECT 1")  # it stirs
            time.sleep(0.1)
        said = time.monotonic()
        (told,) = idle.rest()
        assert time.monotonic() - said >= 0.7
        shown = ("S", "V", "C", "M")
        assert [told.fields[n] for n in shown] == [expected.fields[n] for n in shown]
        assert told.fields["C"] == "57P05"
        assert [m.kind for m in busy.until("Z")] == ["T", "D", "C", "Z"]
        assert blocked.ask("COMMIT")[-1].body == b"I"
        assert silent.log_in("app", database.name).trace[-1].kind == "Z"
        eventually(lambda: len(events(serving, "client_idle_timeout")) == 4)
        assert blocked.rest()[-1].fields["C"] == "57P05"
    eventually(lambda: backends(database) == 0)


# -- keepalive -------------------------------------------------------------------------------------


def timers(port: int) -> list[float]:
    """Seconds until the next keepalive probe of each connection from or to this local port."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, _, timer, *_ = line.split()
        if int(local.partition(":")[2], 16) == port and state == "01":
            active, _, when = timer.partition(":")
            found.append(int(when, 16) / os.sysconf("SC_CLK_TCK") if active == "02" else 0.0)
    return found


def local_port(database: Database) -> int:
    """Of the proxy's connection to the server."""
    ((port,),) = database.psql(
        "SELECT client_port FROM pg_stat_activity WHERE usename = 'app' AND datname = current_database()"
    )
    return port


@pytest.mark.parametrize(("line", "most"), [('tcp_keepalives_idle = "100s"', 100), ("", 7200)])
def test_both_sides_are_kept_alive(
    database: Database, through: Through, line: str, most: float
) -> None:
    serving = through(database.url(), line)
    with Raw(serving.port) as raw:
        raw.log_in("app", database.name)
        for port in (serving.port, local_port(database)):
            (next_probe,) = timers(port)
            assert most - 30 < next_probe <= most


def test_what_the_system_is_told() -> None:
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")

    def options(link: socket.socket) -> list[int]:
        return [link.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]

    with socket.socket() as plain, socket.socket() as told:
        KeepAlive().set_on(plain)
        with socket.socket() as untouched:
            assert options(plain) == options(untouched)
        KeepAlive(idle=0.2, interval=7, count=3, unanswered=2.5).set_on(told)
        assert options(told) == [1, 7, 3, 2500]
        for link in (plain, told):
            assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
