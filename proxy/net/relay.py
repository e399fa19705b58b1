"""One client and its server connection: bytes from the one through the session to the other.

Each direction is held back by itself: a side that does not read stops the other from being read,
never both.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import structlog

from proxy.session.session import Session, Surroundings
from proxy.session.startup import Cancel, Connect, Startup, State, Tagger
from proxy.wire import encode

_log = structlog.get_logger()

# A client whose messages wait for an answer of ours is not read beyond this.
HELD_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Upstream:
    host: str  # a directory for a Unix socket
    port: int

    async def connect(
        self, loop: asyncio.AbstractEventLoop, make: Callable[[], asyncio.Protocol]
    ) -> None:
        """Raises OSError."""
        if self.host.startswith("/"):
            await loop.create_unix_connection(make, f"{self.host}/.s.PGSQL.{self.port}")
        else:
            await loop.create_connection(make, self.host, self.port)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Door:
    """What every link of a worker needs."""

    loop: asyncio.AbstractEventLoop
    upstream: Upstream
    around: Surroundings
    tag_of: Callable[[str], Tagger]  # by client address
    login_timeout: float  # seconds
    opened: Callable[["Link"], None]
    closed: Callable[["Link"], None]


class Link(asyncio.Protocol):
    """The client's side, and the owner of both."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.client: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None
        self.session: Session | None = None
        self.address = ""
        self.startup: Startup | None = None
        self._timeout: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._server_full = False
        self._ended = False  # the last word has been said to the client

    # -- client ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.client = client = cast(asyncio.Transport, transport)
        peer = client.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) and peer else "local"
        self.startup = Startup(self.door.tag_of(self.address))
        self._timeout = self.door.loop.call_later(self.door.login_timeout, self._too_slow)
        self.door.opened(self)

    def _too_slow(self) -> None:
        _log.info("login_timeout", client=self.address)
        self.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._from_client(data)
        except Exception:
            self._broken("client")

    def _broken(self, side: str) -> None:
        """A fault of ours ends one connection, never the process."""
        _log.exception("session_fault", side=side, client=self.address)
        for transport in (self.client, self.server):
            if transport is not None:
                transport.abort()

    def _from_client(self, data: bytes) -> None:
        session = self.session
        if session is not None:
            session.from_client(data)
            self.flush()
            return
        startup = self.startup
        if startup is None:
            return
        wanted = startup.wants
        startup.from_client(data)
        if startup.wants is not wanted:
            self._open(startup)
        self._flush_startup(startup)

    def _open(self, startup: Startup) -> None:
        wants = startup.wants
        if isinstance(wants, Cancel):
            self._task = self.door.loop.create_task(self._cancel(wants))
        elif isinstance(wants, Connect):
            self._task = self.door.loop.create_task(self._connect(startup))

    async def _connect(self, startup: Startup) -> None:
        try:
            await self.door.upstream.connect(self.door.loop, lambda: ServerSide(self))
        except OSError as error:
            _log.warning("upstream_unreachable", upstream=str(self.door.upstream), error=str(error))
            startup.fail(
                "08001",
                f"could not connect to the server at {self.door.upstream}: {error}",
                hint="The proxy is running; the PostgreSQL server behind it does not answer.",
            )
        else:
            if self.server is not None and self.client is not None:
                startup.connected()
        self._flush_startup(startup)

    async def _cancel(self, wants: Cancel) -> None:
        """Ends when the server has taken it, so that a waiting client knows that it was."""
        done = self.door.loop.create_future()

        class Courier(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                cast(asyncio.Transport, transport).write(wants.packet)

            def connection_lost(self, exc: Exception | None) -> None:
                del exc
                if not done.done():
                    done.set_result(None)

        try:
            await self.door.upstream.connect(self.door.loop, Courier)
            await asyncio.wait_for(done, self.door.login_timeout)
        except (OSError, TimeoutError) as error:
            _log.info("cancel_failed", client=self.address, error=str(error))
        self.close()

    def _flush_startup(self, startup: Startup) -> None:
        if startup.to_client and self.client is not None:
            self.client.writelines(startup.to_client)
            startup.to_client.clear()
        if startup.to_server and self.server is not None:
            self.server.writelines(startup.to_server)
            startup.to_server.clear()
        if startup.state is State.CLOSED and not isinstance(startup.wants, Cancel):
            self._ended = True
            self.close()

    def pause_writing(self) -> None:
        if self.server is not None:
            self.server.pause_reading()

    def resume_writing(self) -> None:
        if self.server is not None and not self.server.is_closing():
            self.server.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.client = None
        if self._timeout is not None:
            self._timeout.cancel()
        if self.server is not None:
            self.server.close()
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self.door.closed(self)

    # -- server ------------------------------------------------------------------------------

    def server_made(self, transport: asyncio.Transport) -> None:
        if self.client is None:
            transport.abort()
        else:
            self.server = transport

    def from_server(self, data: bytes) -> None:
        try:
            self._from_server(data)
        except Exception:
            self._broken("server")

    def _from_server(self, data: bytes) -> None:
        session = self.session
        if session is not None:
            session.from_server(data)
            self.flush()
            return
        startup = self.startup
        if startup is None:
            return
        try:
            startup.from_server(data)
        except ValueError as error:
            _log.error("upstream_protocol", error=str(error))
            startup.fail("08P01", f"the server's answer could not be read: {error}")
        self._flush_startup(startup)
        if startup.login is not None:
            self._log_in(startup)

    def _log_in(self, startup: Startup) -> None:
        if startup.login is None:
            return
        if self._timeout is not None:
            self._timeout.cancel()
        self.startup = None
        session = self.session = Session(startup.login, self.door.around)
        if startup.late:
            session.from_server(startup.late)
        if startup.early:
            session.from_client(startup.early)
        self.flush()

    def server_lost(self) -> None:
        self.server = None
        if self.client is None or self.client.is_closing():
            return
        fatal = self.session is not None and self.session.fatal
        if not self._ended and not fatal and self._expects_an_answer():
            self.client.write(
                encode.error("FATAL", "08006", "the server closed the connection unexpectedly")
            )
        self.client.close()

    def _expects_an_answer(self) -> bool:
        """Before login the server's own error has been relayed."""
        return self.session is not None and not self.session.raw

    def server_full(self, *, full: bool) -> None:
        self._server_full = full
        self._hold_client()

    def _hold_client(self) -> None:
        if self.client is None or self.client.is_closing():
            return
        session = self.session
        waiting = session is not None and session.held and session.held_bytes > HELD_LIMIT
        if self._server_full or waiting:
            self.client.pause_reading()
        else:
            self.client.resume_reading()

    # -- both --------------------------------------------------------------------------------

    def flush(self) -> None:
        session = self.session
        if session is None:
            return
        if session.to_server:
            if self.server is not None:
                self.server.writelines(session.to_server)
            session.to_server.clear()
        if session.to_client:
            if self.client is not None:
                self.client.writelines(session.to_client)
            session.to_client.clear()
        if session.held_bytes > HELD_LIMIT or self._server_full:
            self._hold_client()
        elif self.client is not None and not self.client.is_reading():
            self._hold_client()
        if session.closing:
            self.close()

    def close(self) -> None:
        """What was written goes out first."""
        if self.client is not None:
            self.client.close()
        elif self.server is not None:
            self.server.close()

    def shut_down(self) -> None:
        """The proxy ends: as a server that is shut down says it."""
        if self.client is not None and not self._ended:
            self._ended = True
            self.client.write(
                encode.error(
                    "FATAL", "57P01", "terminating connection due to administrator command"
                )
            )
        self.close()

    @property
    def idle(self) -> bool:
        """Between transactions, with nothing awaited."""
        session = self.session
        return session is None or (not session.outstanding.queue and not session.in_block)


class ServerSide(asyncio.Protocol):
    __slots__ = ("link",)

    def __init__(self, link: Link) -> None:
        self.link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.link.server_made(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self.link.from_server(data)

    def pause_writing(self) -> None:
        self.link.server_full(full=True)

    def resume_writing(self) -> None:
        self.link.server_full(full=False)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.link.server_lost()
