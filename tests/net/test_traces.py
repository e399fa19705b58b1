"""A client cannot tell the proxy from PostgreSQL: the same bytes, the same messages back."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from fix_postgres import Database, Server, install_into
from raw import TERMINATE, Message, Raw, cancel_request, compared, extended, query
from traces import ALL as ALL_TRACES
from traces import DATABASE, Beside, Cancel, Conversation, Slowly, hello
from traces_again import ALL_AGAIN
from traces_beside import ALL_BESIDE
from traces_ddl import ALL_DDL
from traces_more import ALL_MORE
from traces_written import ALL_WRITTEN

from proxy.demo.command import Serving

ALL = ALL_TRACES | ALL_MORE | ALL_BESIDE | ALL_WRITTEN | ALL_DDL | ALL_AGAIN

EXPLAINED = b"Trigger hotrollback_capture: calls="  # the one line that tells of a capture trigger
SETUP = """
SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
 WHERE datname = current_database() AND usename = 'app';
DROP SCHEMA IF EXISTS w CASCADE;
CREATE SCHEMA w AUTHORIZATION app;
SET ROLE app;
CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 1);
INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three');
CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION loud(int) RETURNS text LANGUAGE plpgsql VOLATILE
    AS $$ BEGIN RAISE NOTICE 'row %', $1; RETURN 'loud'; END $$;
"""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a client connects, and to which database."""

    port: int
    database: Database
    direct: psycopg.Connection  # past the proxy

    def set_up(self) -> None:
        self.direct.execute("ROLLBACK; SELECT pg_advisory_unlock_all()")
        self.direct.execute(SETUP)
        self.direct.execute("RESET ROLE")

    def held(self, conversation: Conversation) -> list[object]:
        """The trace of it, from tables that are as they were."""
        self.set_up()
        name = self.database.name
        with Raw(self.port) as raw:
            if conversation.login:
                raw.send(in_database(hello(), name))
                raw.until("Z")
            for deed, awaited in conversation.steps:
                self._do(raw, deed)
                for kind in awaited:
                    if kind == "b":
                        raw.byte()
                    elif kind in ".!":
                        if kind == "!":
                            raw.end()
                        raw.rest()
                    else:
                        raw.until(kind)
            if not raw.ended:
                raw.send(TERMINATE)
                raw.rest()
            told = (found for found in raw.trace if EXPLAINED not in found.body)
            return compared(told, ours=conversation.ours)

    def _do(self, raw: Raw, deed: bytes | Beside | Cancel) -> None:
        match deed:
            case Beside(text):
                self.direct.execute(text.replace(DATABASE, self.database.name).encode())
            case Cancel():
                self._cancel(raw)
            case Slowly():
                for byte in in_database(deed, self.database.name):
                    raw.send(bytes((byte,)))
            case bytes():
                raw.send(in_database(deed, self.database.name))

    def _cancel(self, raw: Raw) -> None:
        """The server has closed the connection of the request when it has sent the signal."""
        (key,) = (found.body for found in raw.trace if found.kind == "K")
        with Raw(self.port) as other:
            other.send(cancel_request(key))
            assert other.rest() == []


def in_database(data: bytes, name: str) -> bytes:
    """A startup packet says its length, so that the names are of one length."""
    assert len(name) == len(DATABASE)
    return data.replace(DATABASE.encode(), name.encode())


@dataclass(frozen=True, slots=True)
class Ways:
    direct: Way
    proxied: dict[str, Way]  # by what capture is
    _known: dict[str, list[object]] = field(default_factory=dict)

    def expected(self, name: str) -> list[object]:
        if name not in self._known:
            self._known[name] = self.direct.held(ALL[name])
        return self._known[name]


@pytest.fixture(scope="module")
def ways(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = Path(tmp_path_factory.mktemp("ways"))
    off = folder / "off.toml"
    off.write_text('capture = "off"\n')
    server.psql("ALTER ROLE app REPLICATION")
    with ExitStack() as stack:
        stack.callback(server.psql, "ALTER ROLE app NOREPLICATION")

        def fresh(name: str) -> Database:
            server.psql(f"CREATE DATABASE {name}")
            stack.callback(server.psql, f"DROP DATABASE {name} WITH (FORCE)")
            made = Database(server, name)
            made.psql(f"ALTER DATABASE {name} SET search_path = w")
            return made

        plain, logged = fresh("conversed_bare"), fresh("conversed_logd")
        install_into(logged)
        on = stack.enter_context(Serving(logged.url(), folder))
        relay = stack.enter_context(Serving(logged.url(), folder, ("--config", str(off))))

        def way(port: int, database: Database) -> Way:
            connection = psycopg.connect(database.url(), autocommit=True)
            return Way(port, database, stack.enter_context(connection))

        yield Ways(
            way(server.port, plain), {"on": way(on.port, logged), "off": way(relay.port, logged)}
        )


@pytest.mark.parametrize("name", ALL)
def test_trace_is_the_same(ways: Ways, name: str) -> None:
    assert ways.proxied["on"].held(ALL[name]) == ways.expected(name)


@pytest.mark.parametrize("server", [18], indirect=True)
@pytest.mark.parametrize("name", [*ALL][::3])
def test_relayed_trace_is_the_same(ways: Ways, name: str) -> None:
    """Without capture nothing depends on the version, and little on what is said."""
    assert ways.proxied["off"].held(ALL[name]) == ways.expected(name)


RELOADED = (
    query("SELECT 1"),
    query("UPDATE t SET v = 'x' WHERE false"),
    extended("DELETE FROM t WHERE false RETURNING *"),
    query("SELECT loud(1); INSERT INTO t SELECT 1 WHERE false"),
)


def reloaded(way: Way) -> list[object]:
    """What is told of settings whose configuration has changed, and the answers that it comes with:
    behind them, or before them where the proxy had to ask something first."""
    way.set_up()
    found: list[object] = []
    with Raw(way.port) as raw:
        raw.send(in_database(hello(), way.database.name))
        raw.until("Z")
        for turn, sent in enumerate(RELOADED):
            way.direct.execute(f"ALTER SYSTEM SET DateStyle = '{('German', 'SQL')[turn % 2]}'")  # type: ignore[arg-type]
            way.direct.execute("SELECT pg_reload_conf()")
            came: list[Message] = []
            for _ in range(1000):
                raw.send(sent)
                came = raw.until("Z")
                if any(one.kind == "S" for one in came):
                    break
            found.append(sorted(compared(came), key=lambda one: one[0] != "S"))
    return found


@pytest.mark.parametrize("capture", ["on", "off"])
def test_reloaded_settings_are_told(ways: Ways, capture: str) -> None:
    direct = ways.direct.direct
    try:
        assert reloaded(ways.proxied[capture]) == reloaded(ways.direct)
    finally:
        direct.execute("ALTER SYSTEM RESET DateStyle")
        direct.execute("SELECT pg_reload_conf()")
