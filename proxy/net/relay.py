"""One client and its server connection: bytes from the one through the session to the other.

Each direction is held back by itself: a side that does not read stops the other from being read,
never both.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import structlog

from proxy.auth.dialogue import Derivation, Lookup
from proxy.net import credentials, upstream
from proxy.net.door import NEEDED, Door
from proxy.net.server_side import ServerSide
from proxy.net.tls import Secured
from proxy.session.session import Session
from proxy.session.startup import Cancel, Connect, Secure, Startup, State
from proxy.wire import encode

_log = structlog.get_logger()

# A client whose messages wait for an answer of ours is not read beyond this.
HELD_LIMIT: Final = 1 << 20
# What a server that does not read may still take before it is cut off from a client that is gone.
_LAST_BYTES: Final = 5.0  # seconds


class Link(asyncio.Protocol):
    """The client's side, and the owner of both."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.client: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None
        self.session: Session | None = None
        self.address = ""
        self.startup: Startup | None = None
        self._key = b""  # for cancel requests of our own
        self._timeout: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._other: upstream.Route | None = None  # tried if the server refuses to begin
        self._finding: asyncio.Task[None] | None = None  # what the startup wants to know
        self._server_full = False
        self._client_held = False  # it is not read
        self._client_ended = False  # it has said all that it will say
        self._end_passed = False  # and the server has been told
        self._ended = False  # the last word has been said to the client
        self._counted = False  # among those that max_clients allows
        self.stirred = False  # it has said something since it was last looked at (idle)
        self.idle_since = 0.0  # at the earliest

    # -- client ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.client = client = cast(asyncio.Transport, transport)
        peer = client.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self.startup = Startup(
            self.door.tag_of(self.address),
            offers_tls=self.door.shown() is not None,
            needs_tls=self.door.tls in NEEDED,
        )
        self._timeout = self.door.loop.call_later(self.door.login_timeout, self._too_slow)
        self.door.opened(self)

    def _too_slow(self) -> None:
        _log.info("login_timeout", client=self.address)
        startup = self.startup
        if startup is not None and startup.state is State.CONNECTING:
            self._unreachable(startup, TimeoutError("it did not answer in time"))
            self._flush_startup(startup)
        self.close()

    def data_received(self, data: bytes) -> None:
        session = self.session
        self.stirred = True
        try:
            if session is None:
                self._starting(data)
            else:
                session.from_client(data)
                self.flush()
        except Exception:  # noqa: BLE001
            self._broken("client")

    def _woken(self) -> None:
        try:
            if self.session is not None:
                self.session.resume()
            self.flush()
        except Exception:  # noqa: BLE001
            self._broken("client")

    def _broken(self, side: str) -> None:
        """A fault of ours ends one connection, never the process."""
        _log.exception("session_fault", side=side, client=self.address)
        for transport in (self.client, self.server):
            if transport is not None:
                transport.abort()

    def _starting(self, data: bytes) -> None:
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
            # The client waits for the end of the connection to know that it was taken.
            self.door.send_cancel(wants.packet, self.close)
        elif isinstance(wants, Secure):
            self._secure(startup, wants)
        elif isinstance(wants, Connect):
            self._counted = self.door.census.enter()
            if self._counted:
                connecting = self._connect(startup, self.door.route())
                self._connecting = self.door.loop.create_task(connecting)
            else:
                _log.warning("too_many_clients", client=self.address)
                startup.fail("53300", "sorry, too many clients already")
        elif isinstance(wants, Lookup | Derivation):
            self._finding = self.door.loop.create_task(self._find(startup, wants))

    def _secure(self, startup: Startup, wants: Secure) -> None:
        client, shown = self.client, self.door.shown()
        if client is None or shown is None:  # it was taken away since it was offered
            self.cut()
            return
        self._flush_startup(startup)
        secured = Secured(client, self, shown.side)

        def then(error: OSError | None) -> None:
            if error is not None:
                _log.info("tls_failed", client=self.address, error=str(error))
                return
            if wants.hello and secured.alpn != credentials.ALPN:
                secured.abort()
                return
            self.client = secured
            startup.secured(shown.certificate)
            if self.door.tls == "verify-ca" and secured.peer_certificate is None:
                startup.fail("28000", "connection requires a valid client certificate")
                self._flush_startup(startup)

        secured.accept(wants.hello, then)

    async def _connect(self, startup: Startup, route: upstream.Route, refusal: bytes = b"") -> None:
        """`refusal`: what the server has said to another way; that counts if this one fails."""
        try:
            reached = await upstream.connect(route, self.door.loop, lambda: ServerSide(self))
        except OSError as error:
            startup.refused(refusal) if refusal else self._unreachable(startup, error)
        else:
            startup.server_certificate, self._other = reached.certificate, reached.other
            if self.server is not None and self.client is not None:
                startup.connected()
        self._flush_startup(startup)

    def _tries_otherwise(self, startup: Startup, data: bytes) -> bool:
        """Whether the server has refused to begin, as pg_hba.conf tells it to."""
        other, self._other = self._other, None
        refused = startup.state is State.RELAYING and data[:1] == b"E" and b"\0C28000\0" in data
        if other is None or self.server is None or not refused:
            return False
        server, self.server = self.server, None
        server.abort()
        self._connecting = self.door.loop.create_task(self._connect(startup, other, data))
        return True

    async def _find(self, startup: Startup, wanted: Lookup | Derivation) -> None:
        known = self.door.secrets
        try:
            if isinstance(wanted, Lookup):
                secret = await known.of(wanted.role)
                self._authenticating(startup, lambda: startup.found(secret))
            else:
                keys = await known.keys(wanted)
                self._authenticating(startup, lambda: startup.derived(keys))
        except Exception:  # noqa: BLE001
            self._broken("client")

    def _unreachable(self, startup: Startup, error: OSError) -> None:
        where = str(self.door.route().to)
        _log.warning("upstream_unreachable", upstream=where, error=str(error))
        startup.fail(
            "08001",
            f"could not connect to the server at {where}: {error.strerror or error}",
            hint="The proxy is running; the PostgreSQL server behind it does not answer.",
        )

    def _flush_startup(self, startup: Startup) -> None:
        said = bool(startup.to_client)
        if startup.to_client and self.client is not None:
            self.client.writelines(startup.to_client)
            startup.to_client.clear()
        if startup.to_server and self.server is not None:
            self.server.writelines(startup.to_server)
            startup.to_server.clear()
        if startup.state is State.CLOSED and not isinstance(startup.wants, Cancel):
            if not (said or self._ended):  # HTTP, a port scan
                _log.info("no_postgresql_client", client=self.address)
            self._ended = True
            self.close()
        else:
            self._hold_client()
            self._pass_end()

    def eof_received(self) -> bool:
        """What was asked before is still answered, as a server does it."""
        startup = self.startup
        if startup is not None and startup.state in {State.FIRST, State.CLOSED}:
            return isinstance(startup.wants, Cancel)
        self._client_ended = True
        self._pass_end()
        return True

    def _pass_end(self) -> None:
        if not self._client_ended or self._end_passed or self.server is None:
            return
        startup, session = self.startup, self.session
        if startup is not None and (startup.pending or startup.state is State.CONNECTING):
            return
        if session is None or not (session.held or session.outstanding.may_be_refused):
            self._end_passed = True
            self.server.write_eof()

    def pause_writing(self) -> None:
        if self.server is not None and not self.server.is_closing():
            self.server.pause_reading()

    def resume_writing(self) -> None:
        if self.server is not None and not self.server.is_closing():
            self.server.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.client = None
        if self._counted:
            self.door.census.leave()
        if self._timeout is not None:
            self._timeout.cancel()
        for task in (self._connecting, self._finding):
            if task is not None:
                task.cancel()
        server = self.server
        if server is not None:
            server.close()
            if server.get_write_buffer_size():
                # It may be waiting for us to read, who never will again.
                self.door.loop.call_later(_LAST_BYTES, server.abort)
        self.door.closed(self)

    # -- server ------------------------------------------------------------------------------

    def server_made(self, transport: asyncio.Transport) -> None:
        if self.client is None or self.client.is_closing():
            transport.abort()
        else:
            self.server = transport

    def from_server(self, data: bytes) -> None:
        session, startup = self.session, self.startup
        try:
            if startup is not None:
                if not self._tries_otherwise(startup, data):
                    self._authenticating(startup, lambda: startup.from_server(data))
            elif session is not None:
                session.from_server(data)
                self.flush()
                if session.broken:
                    _log.error("upstream_protocol", error=session.broken)
                    self.close()
        except Exception:  # noqa: BLE001
            self._broken("server")

    def _authenticating(self, startup: Startup, step: Callable[[], None]) -> None:
        """A step of it that is the server's, or answers what was wanted."""
        wanted = startup.wants
        try:
            step()
        except ValueError as error:
            _log.error("upstream_protocol", error=str(error))
            startup.fail("08P01", f"what answers behind the proxy is no PostgreSQL: {error}")
        if startup.wants is not wanted:
            self._open(startup)
        self._flush_startup(startup)
        if startup.login is not None:
            self._log_in(startup)

    def _log_in(self, startup: Startup) -> None:
        if startup.login is None:
            return
        if self._timeout is not None:
            self._timeout.cancel()
        # Nothing of a login is kept for as long as a session may last.
        self.startup = self._timeout = self._connecting = self._finding = None
        self._key = startup.cancel_key
        session = self.session = Session(startup.login, self.door.around)
        session.woken = self._woken
        self.door.logged_in(session, self.address)
        if startup.late:
            session.from_server(startup.late)
        if startup.early:
            session.from_client(startup.early)
        self.flush()

    def server_lost(self, transport: asyncio.Transport) -> None:
        if transport is not self.server:
            return  # another has taken its place
        self.server = None
        client, session = self.client, self.session
        if client is None or client.is_closing():
            return
        over = self._ended or self._client_ended
        if session is not None and not over and session.may_say_lost:
            _log.info("upstream_lost", client=self.address, database=session.login.database)
            client.write(
                encode.error("FATAL", "08006", "the server closed the connection unexpectedly")
            )
        client.close()

    def server_full(self, *, full: bool) -> None:
        self._server_full = full
        self._hold_client()

    def _hold_client(self) -> None:
        client, session, startup = self.client, self.session, self.startup
        if client is None or client.is_closing() or self._client_ended:
            return
        waiting = startup.pending if startup is not None else 0
        if session is not None and session.held:
            waiting = session.held_bytes
        hold = self._server_full or waiting > HELD_LIMIT
        if hold is not self._client_held:
            self._client_held = hold
            if hold:
                client.pause_reading()
            else:
                client.resume_reading()

    # -- both --------------------------------------------------------------------------------

    def flush(self) -> None:
        session, client, server = self.session, self.client, self.server
        if session is None:
            return
        out = session.to_server
        if out:
            if server is not None:
                server.write(out[0]) if len(out) == 1 else server.writelines(out)
            out.clear()
        out = session.to_client
        if out:
            if client is not None:
                client.write(out[0]) if len(out) == 1 else client.writelines(out)
            out.clear()
        if self._client_held or session.held:
            self._hold_client()
        if self._client_ended:
            self._pass_end()

    def close(self) -> None:
        """What was written goes out first."""
        if self.client is not None:
            self.client.close()
        elif self.server is not None:
            self.server.close()

    def end(self, sqlstate: str, text: str) -> None:
        """As a server says it that ends a session, and what still runs is stopped."""
        session, client = self.session, self.client
        if client is not None and not self._ended:
            self._ended = True
            startup = self.startup
            securing = startup is not None and startup.state is State.SECURING
            if not securing and (session is None or session.between_messages):
                client.write(encode.error("FATAL", sqlstate, text))
            if not self.idle and self._key:
                self.door.send_cancel(encode.cancel_request(self._key))
        self.close()

    def cut(self) -> None:
        """Nothing more is waited for."""
        for transport in (self.client, self.server):
            if transport is not None:
                transport.abort()

    @property
    def idle(self) -> bool:
        """Between transactions, with nothing awaited."""
        session = self.session
        return session is None or session.resting
