"""How sessions end that PostgreSQL ends: its last words come once, as they are, and then the end.

Each exchange is held with PostgreSQL itself and through the proxy; the traces must be equal.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg
import pytest
from fix_postgres import Database, Server, cluster_of, install_into
from raw import Raw, compared, extended, query, startup
from watch import events, eventually

from proxy.demo.cluster import Cluster
from proxy.demo.command import Serving

MOST = 16  # connections of the servers here
SETUP = """
CREATE ROLE app LOGIN; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');
GRANT ALL ON t TO app
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """A server that may be ended, and a proxy in front of it."""

    cluster: Cluster
    server: Server
    serving: Serving

    @property
    def ports(self) -> tuple[int, int]:
        return self.server.port, self.serving.port

    def backend(self) -> int:
        ((pid,),) = self.server.psql("SELECT pid FROM pg_stat_activity WHERE usename = 'app'")
        return pid

    def alone(self) -> None:
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app')"
        eventually(lambda: self.server.psql(gone) == [(True,)])

    def pg_ctl(self, *args: str) -> None:
        log = str(self.cluster.data / "server.log")
        start = ["-l", log, "-o", f"-p {self.cluster.port}", "-w"]
        self.cluster.account.run([*self.cluster._pg_ctl(), *start, *args])


@pytest.fixture(scope="module", params=[18, 15], ids=lambda version: f"pg{version}")
def ground(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    with ExitStack() as stack:
        cluster = stack.enter_context(
            cluster_of(request.param, max_connections=str(MOST), superuser_reserved_connections="6")
        )
        server = Server(request.param, cluster.host, cluster.port, cluster.binaries)
        install_into(Database(server, "postgres"))
        server.psql(SETUP)
        folder = Path(tmp_path_factory.mktemp("endings"))
        yield Ground(cluster, server, stack.enter_context(Serving(server.url(), folder)))


def same_on_both(ground: Ground, exchange: Callable[[Raw], None]) -> list[object]:
    """The trace of the exchange, which ends with the connection."""
    traces = []
    for port in ground.ports:
        ground.alone()
        with Raw(port) as raw:
            raw.log_in("app", "postgres")
            at = len(raw.trace)
            exchange(raw)
            raw.rest()
            traces.append(compared(raw.trace[at:]))
    direct, proxied = traces
    assert proxied == direct
    assert len(events(ground.serving, "session_fault")) == 0
    return direct


def codes(trace: list[object]) -> list[str]:
    return [fields["C"] for kind, fields in trace if kind == "E"]  # type: ignore[misc]


# -- one session -----------------------------------------------------------------------------------

RUNNING = {
    "idle": [],
    "a query": [query("SELECT pg_sleep(20)")],
    "a write": [query("UPDATE t SET v = 'b' FROM pg_sleep(20)")],
    "an extended write": [extended("UPDATE t SET v = $1 FROM pg_sleep(20)", "b")],
    "in a transaction": [query("BEGIN"), query("UPDATE t SET v = 'b'")],
    "rows under way": [query("SELECT i, pg_sleep(i / 3 * 20) FROM generate_series(1, 9) i")],
}
ASLEEP = "SELECT wait_event FROM pg_stat_activity WHERE usename = 'app'"


def begin(ground: Ground, raw: Raw, what: str) -> None:
    """Until the server sleeps over it, or waits for more."""
    asleep = "ClientRead"
    for step in RUNNING[what]:
        raw.send(step)
        if b"pg_sleep" in step:
            asleep = "PgSleep"
        else:
            raw.until("Z")
    eventually(lambda: ground.server.psql(ASLEEP) == [(asleep,)])


@pytest.mark.parametrize("what", RUNNING)
def test_pg_terminate_backend(ground: Ground, what: str) -> None:
    def exchange(raw: Raw) -> None:
        begin(ground, raw, what)
        ground.server.psql(f"SELECT pg_terminate_backend({ground.backend()})")

    assert codes(same_on_both(ground, exchange)) == ["57P01"]


TIMEOUTS = {
    "57P05": ("idle_session_timeout", []),
    "25P03": (
        "idle_in_transaction_session_timeout",
        [query("BEGIN"), query("UPDATE t SET v = 'b'")],
    ),
    "25P04": ("transaction_timeout", [query("BEGIN"), query("UPDATE t SET v = 'b'")]),
}


@pytest.mark.parametrize("code", TIMEOUTS)
def test_timeouts_that_end_a_session(ground: Ground, code: str) -> None:
    setting, steps = TIMEOUTS[code]
    if setting == "transaction_timeout" and ground.server.version < 17:
        steps = [query("SELECT pg_terminate_backend(pg_backend_pid())")]  # there is none yet
        setting, code = "lock_timeout", "57P01"

    def exchange(raw: Raw) -> None:
        raw.ask(f"SET {setting} = '300ms'")
        for step in steps:
            raw.send(step)

    assert codes(same_on_both(ground, exchange)) == [code]


@pytest.mark.parametrize("what", ["a query", "a write", "an extended write"])
def test_timeouts_that_end_a_statement(ground: Ground, what: str) -> None:
    """57014, and the session goes on."""

    def exchange(raw: Raw) -> None:
        raw.ask("SET statement_timeout = '300ms'")
        for step in RUNNING[what]:
            raw.send(step)
            raw.until("Z")
        raw.ask("RESET statement_timeout; SELECT v FROM t")
        raw.send(b"X\0\0\0\4")

    assert codes(same_on_both(ground, exchange)) == ["57014"]


def test_the_servers_max_connections(ground: Ground) -> None:
    """Whoever comes when all are taken hears it from the server; who leaves makes room."""
    told = []
    lost = len(events(ground.serving, "upstream_lost"))
    for port in ground.ports:
        ground.alone()
        with ExitStack() as stack:
            while True:
                raw = stack.enter_context(Raw(port))
                raw.log_in("app", "postgres")
                if raw.ended:
                    break
            told.append(compared(raw.trace))
            (first, *_) = told
            assert codes(told[-1]) == ["53300"]
            assert told[-1] == first
    ground.alone()
    with Raw(ground.serving.port) as raw:
        assert raw.log_in("app", "postgres").trace[-1].kind == "Z"
    ground.alone()
    # Whose client left first was not lost.
    assert len(events(ground.serving, "upstream_lost")) == lost


# -- all sessions ----------------------------------------------------------------------------------


def restarted(ground: Ground) -> datetime | None:
    """When the server has begun anew, the last time; None while it does."""
    try:
        ((at,),) = ground.server.psql(
            "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        )
    except psycopg.OperationalError:
        return None
    return at


def begun_anew(ground: Ground, before: datetime | None) -> bool:
    return restarted(ground) not in {None, before}


def back(ground: Ground) -> None:
    """Until the server lets clients in again; who comes too early hears so."""

    def served() -> bool:
        with Raw(ground.serving.port) as raw:
            trace = raw.log_in("app", "postgres").trace
            if not trace:  # a server in the middle of it says nothing at all
                return False
            told = {"08001", "57P03", "57P02"}  # the last where it crashes just now
            assert trace[-1].kind == "Z" or trace[-1].fields["C"] in told
            return trace[-1].kind == "Z"

    eventually(served)


@pytest.mark.parametrize("what", ["idle", "in a transaction", "rows under way"])
def test_a_crash_of_another_backend(ground: Ground, what: str) -> None:
    """57P02, and what was not committed is not logged."""

    def exchange(raw: Raw) -> None:
        begin(ground, raw, what)
        with psycopg.connect(ground.server.url()) as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            raw.rest()
        back(ground)

    trace = same_on_both(ground, exchange)
    ends = [fields["C"] for kind, fields in trace if kind in "EN"]  # type: ignore[misc]
    assert ends == ["57P02"]
    assert ground.server.psql("SELECT v FROM t") == [("a",)]


def test_a_restart(ground: Ground) -> None:
    """Everybody is told once; the proxy goes on, and records as before."""
    server = ground.server
    count = "SELECT count(*) FROM hotrollback.change"
    ((before,),) = server.psql(count)
    with ExitStack() as stack:
        clients = [stack.enter_context(Raw(ground.serving.port)) for _ in range(6)]
        for raw in clients:
            raw.log_in("app", "postgres")
        assert [m.kind for m in clients[0].ask("UPDATE t SET v = v")] == ["C", "Z"]
        clients[1].ask("BEGIN; UPDATE t SET v = 'lost' WHERE id = 2")
        clients[2].send(query("SELECT pg_sleep(30)"))
        restart = threading.Thread(target=ground.pg_ctl, args=("-m", "fast", "restart"))
        restart.start()
        for raw in clients:
            told = [m for m in raw.rest() if m.kind != "T"]
            assert [(m.kind, m.fields["C"]) for m in told] == [("E", "57P01")]
        restart.join()
    back(ground)
    with psycopg.connect(f"postgresql://app@127.0.0.1:{ground.serving.port}/postgres") as again:
        again.execute("UPDATE t SET v = v")
    assert server.psql(count) == [(before + 2,)]
    written = "SELECT count(*) FROM hotrollback.session WHERE started > now() - interval '1min'"
    eventually(lambda: server.psql(written)[0][0] >= 1, 30)


def test_a_backend_that_dies_in_the_middle_of_a_row(ground: Ground) -> None:
    """What came of it comes, and then the end: an error would be read as a part of the row."""
    size = 60_000_000
    for port in ground.ports:
        back(ground)
        ground.alone()
        with Raw(port) as raw:
            raw.log_in("app", "postgres")
            raw.send(query(f"SELECT repeat('x', {size})"))
            # It cannot send more than the sockets hold.
            eventually(lambda: ground.server.psql(ASLEEP) == [("ClientWrite",)])
            before = restarted(ground)
            os.kill(ground.backend(), signal.SIGKILL)
            raw.rest()
            eventually(partial(begun_anew, ground, before))
            *_, began, cut = raw.trace
            assert (began.kind, cut.kind) == ("T", "")
            assert cut.body[:1] == b"D"
            row = cut.body[11:]
            assert 0 < len(row) < size
            assert row == b"x" * len(row)
    back(ground)


def test_a_backend_that_dies_between_two_messages(ground: Ground) -> None:
    """The client is told; a bare end is all that PostgreSQL itself could give."""
    back(ground)
    ground.alone()
    with Raw(ground.serving.port) as raw:
        raw.log_in("app", "postgres")
        os.kill(ground.backend(), signal.SIGKILL)
        (told,) = raw.rest()
        assert (told.fields["S"], told.fields["C"]) == ("FATAL", "08006")
    back(ground)


# -- many at once ----------------------------------------------------------------------------------


def test_a_storm_of_connections(server18: Server, tmp_path: Path) -> None:
    """More than the server takes, at once: each is served or hears why not."""
    ends: list[str] = []
    everybody = threading.Barrier(300, timeout=60)

    def come(port: int, database: str) -> None:
        with Raw(port) as raw:
            raw.socket.settimeout(60)
            raw.send(startup(user="app", database=database))
            raw.until("Z")
            last = raw.trace[-1]
            if last.kind == "Z":
                ends.append("served")
                everybody.wait()
                assert [m.kind for m in raw.ask("SELECT 1")] == ["T", "D", "C", "Z"]
            else:
                ends.append(last.fields["C"])
                assert raw.ended
                everybody.wait()

    with server18.database() as database, Serving(database.url(), tmp_path) as serving:
        threads = [
            threading.Thread(target=come, args=(serving.port, database.name)) for _ in range(300)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ends) == 300
        assert set(ends) == {"served", "53300"}
        assert ends.count("served") > 150
        assert not everybody.broken
        left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"
        eventually(lambda: server18.psql(left) == [(0,)])
        assert not events(serving, "session_fault")
        assert not events(serving, "loop_fault")
