"""A proxy inside the test process: real sessions between a client and a real server.

What a worker would tell the operator is kept in lists, what a worker decides is an attribute.
"""

import asyncio
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from fix_postgres import Database, install_into, rows_of

from proxy.catalog.cache import Knowledge
from proxy.catalog.capabilities import version_number
from proxy.session.login import Login, Surroundings
from proxy.session.outstanding import Action
from proxy.session.session import Session
from proxy.wire import decode

TAG = "case"


@dataclass(slots=True, eq=False)
class Inside:
    """`capturing`, `known` may be changed while it runs; the rest is what sessions told."""

    database: Database
    port: int = 0
    capturing: bool = True
    known: dict[str, Knowledge] = field(default_factory=dict)  # by database
    statements: dict[int, bytes] = field(default_factory=dict)
    unrecorded: list[Any] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)  # ours that ran when clients awaited nothing
    chunk: int = 1 << 16  # bytes that travel at once
    options: dict[str, Any] = field(default_factory=dict)

    def surroundings(self) -> Surroundings:
        return Surroundings(
            knowledge=lambda database: self.known.setdefault(database, Knowledge()),
            capturing=lambda: self.capturing,
            statement_seen=lambda _database, number, text: self.statements.update({number: text}),
            session_seen=self.seen.append,
            gap_unrecorded=lambda _session, plan: self.unrecorded.append(plan),
            counted=self.counted,
            **self.options,
        )

    def url(self, user: str = "app") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{self.database.name}"

    def connect(self, user: str = "app", tag: str = TAG, **options: Any) -> psycopg.Connection:
        given = f"-c hotrollback.tag={tag}" if tag else ""
        return psycopg.connect(self.url(user), autocommit=True, options=given, **options)

    def psql(self, sql: str, user: str = "app", tag: str = TAG) -> list[tuple]:
        with self.connect(user, tag) as connection:
            return rows_of(connection.execute(sql))

    def changes(self, where: str = "true") -> list[tuple]:
        """op, relation, before, after of rows, in the order of the log."""
        return self.database.psql(
            "SELECT op::text, relid::regclass::text, before::jsonb, after::jsonb"
            f" FROM hotrollback.change WHERE {where} AND op <> 'C' ORDER BY lsn"
        )

    def gaps(self, where: str = "true") -> list[tuple]:
        """reason, relation in the order of the log."""
        return self.database.psql(
            "SELECT reason, nullif(relid, 0)::regclass::text"
            f" FROM hotrollback.gap WHERE {where} ORDER BY lsn, at"
        )


def _login(packet: bytes, pid: int, parameters: dict[bytes, bytes]) -> Login:
    given = dict(decode.startup_parameters(packet[8:]))
    return Login(
        user=given[b"user"].decode(),
        database=given[b"database"].decode(),
        application_name=given.get(b"application_name", b"").decode(),
        pid=pid,
        version=version_number(parameters[b"server_version"].decode()),
        parameters=parameters,
        replication=False,
    )


async def _log_in(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> Login:
    """Trust authentication only; requests for encryption are refused."""
    while True:
        size = await client[0].readexactly(4)
        packet = size + await client[0].readexactly(int.from_bytes(size, "big") - 4)
        if packet[4:6] == b"\0\3":
            break
        client[1].write(b"N")
    server[1].write(packet)
    parameters: dict[bytes, bytes] = {}
    pid = 0
    while True:
        head = await server[0].readexactly(5)
        body = await server[0].readexactly(int.from_bytes(head[1:], "big") - 4)
        client[1].write(head + body)
        if head[:1] == b"S":
            name, at = decode.cstring(body, 0)
            parameters[name], _ = decode.cstring(body, at)
        elif head[:1] == b"K":
            pid = int.from_bytes(body[:4], "big")
        elif head[:1] == b"Z":
            return _login(packet, pid, parameters)


def awaits_nothing(session: Session) -> bool:
    """Whether the client has just been told that the server is ready, for all that it has sent, while
    something of ours still runs: the client's cancel request would hit that."""
    queue = session.outstanding.queue
    told = b"".join(session.to_client[-3:])[-6:-1] == b"Z\0\0\0\5"
    ours = all(slot.action is Action.SWALLOW for slot in queue)
    return told and ours and bool(queue) and not session.held


async def _pump(state: Inside, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    server = await asyncio.open_connection(state.database.host, state.database.port)
    try:
        session = Session(await _log_in((reader, writer), server), state.surroundings())
        state.sessions.append(session)

        def flush() -> None:
            server[1].writelines(session.to_server)
            session.to_server.clear()
            writer.writelines(session.to_client)
            session.to_client.clear()

        async def forth() -> None:
            while data := await reader.read(state.chunk):
                session.from_client(data)
                flush()
            server[1].close()

        async def back() -> None:
            while data := await server[0].read(state.chunk):
                session.from_server(data)
                if awaits_nothing(session):
                    state.behind.append(repr(session.outstanding.queue))
                flush()
            writer.close()

        await asyncio.gather(forth(), back())
    except (OSError, asyncio.IncompleteReadError):
        pass
    except Exception:
        state.faults.append(traceback.format_exc())
        raise
    finally:
        writer.close()
        server[1].close()


@contextmanager
def inside(database: Database, **options: Any) -> Iterator[Inside]:
    chunk = options.pop("chunk", 1 << 16)
    state = Inside(database, chunk=chunk, options=options)
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop: asyncio.Event = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(
            lambda *ends: _pump(state, *ends), "127.0.0.1", 0, limit=1 << 20
        )
        state.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        pumps = asyncio.all_tasks() - {asyncio.current_task()}
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield state
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
    assert not state.faults, state.faults[0]


@pytest.fixture
def between(database: Database, with_log: None) -> Iterator[Inside]:
    """The log is installed before the test's tables are there: on 15 attach() comes after them."""
    with inside(database) as state:
        yield state


@pytest.fixture
def between18(database18: Database, with_log: None) -> Iterator[Inside]:
    with inside(database18) as state:
        yield state


Reinstall = Callable[..., None]


@pytest.fixture
def reinstall() -> Reinstall:
    """Attach what tables made since the first install need."""
    return install_into
