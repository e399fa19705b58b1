"""Connections to the server behind the proxy: clients' own, and the short ones that carry their
cancel requests; by TLS where it is wanted. Not: what is said on them.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from config.upstream import Upstream
from proxy.net.credentials import ALPN
from proxy.net.keepalive import SYSTEMS, KeepAlive
from proxy.net.tls import Secured
from proxy.wire import encode

# Of sslmode: a server without TLS will do.
_CLEAR_FIRST: Final = "allow"
_TLS_FIRST: Final = "prefer"
_OPTIONAL: Final = frozenset({_CLEAR_FIRST, _TLS_FIRST})
_ENDED: Final = "the server closed the connection before it said whether it has TLS"


@dataclass(frozen=True, slots=True)
class Route:
    """Where the server is, and how TLS is spoken with it; None: not at all."""

    to: Upstream
    side: ssl.SSLContext | None
    keepalive: KeepAlive = SYSTEMS


@dataclass(frozen=True, slots=True)
class Reached:
    """`other`: how else it may be tried, as libpq does it, if the server refuses to begin."""

    certificate: bytes | None = None  # the server's in DER; None: in clear
    other: Route | None = None


class NoHandshakeError(ConnectionError):
    """TLS was agreed upon and did not come about."""


async def connect(
    route: Route, loop: asyncio.AbstractEventLoop, make: Callable[[], asyncio.Protocol]
) -> Reached:
    """Raises OSError."""
    to, side = route.to, route.side
    if to.socket is not None:
        await loop.create_unix_connection(make, to.socket)
        return Reached()
    if side is None or to.sslmode == _CLEAR_FIRST:
        transport, _ = await loop.create_connection(make, to.host, to.port)
        _keep_alive(transport, route.keepalive)
        by_tls = replace(route, to=replace(to, sslmode="require"))
        return Reached(other=by_tls if side is not None else None)
    in_clear = replace(route, side=None)
    try:
        certificate = await _by_tls(route, side, loop, make)
    except NoHandshakeError:
        if to.sslmode != _TLS_FIRST:
            raise
        return await connect(in_clear, loop, make)
    left = certificate is not None and to.sslmode == _TLS_FIRST
    return Reached(certificate, in_clear if left else None)


async def _by_tls(
    route: Route,
    side: ssl.SSLContext,
    loop: asyncio.AbstractEventLoop,
    make: Callable[[], asyncio.Protocol],
) -> bytes | None:
    to = route.to
    done: asyncio.Future[bytes | None] = loop.create_future()
    transport, _ = await loop.create_connection(
        lambda: _Asking(to, side, make, done), to.host, to.port
    )
    _keep_alive(transport, route.keepalive)
    try:
        return await done
    except BaseException:
        transport.abort()
        raise


def _keep_alive(transport: asyncio.BaseTransport, keepalive: KeepAlive) -> None:
    link = transport.get_extra_info("socket")
    if link is not None:
        keepalive.set_on(link)


class _Asking(asyncio.Protocol):
    """Until TLS is there, or it is known that it will not be. Nothing that a server says before is
    believed, or shown to anybody: whoever is on the line could have said it."""

    def __init__(
        self,
        to: Upstream,
        side: ssl.SSLContext,
        make: Callable[[], asyncio.Protocol],
        done: asyncio.Future[bytes | None],
    ) -> None:
        self._to = to
        self._side = side
        self._make = make
        self._done = done
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = made = cast(asyncio.Transport, transport)
        if self._to.direct:
            self._secure(made)
        else:
            made.write(encode.SSL_REQUEST)

    def data_received(self, data: bytes) -> None:
        made = self._transport
        if made is None:
            return
        if data == b"S":
            self._secure(made)
        elif data == b"N" and self._to.sslmode in _OPTIONAL:
            above = self._make()
            made.set_protocol(above)
            above.connection_made(made)
            self._over(None)
        elif data == b"N":
            self._failed(f"it has no TLS, and sslmode={self._to.sslmode} wants it")
        else:
            self._failed("it answers something else than yes or no when it is asked for TLS")

    def _secure(self, made: asyncio.Transport) -> None:
        above = self._make()
        secured = Secured(made, above, self._side)

        def then(error: OSError | None) -> None:
            if error is not None:
                self._fail(NoHandshakeError(error.strerror or str(error)))
            elif self._to.direct and secured.alpn != ALPN:
                self._failed(f"it does not speak {ALPN} by direct TLS")
            else:
                above.connection_made(secured)
                self._over(secured.peer_certificate)

        secured.ask(self._to.host, then)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError(_ENDED))

    def _failed(self, text: str) -> None:
        self._fail(ConnectionError(text))

    def _fail(self, error: OSError) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    def _over(self, certificate: bytes | None) -> None:
        if not self._done.done():
            self._done.set_result(certificate)


class _Courier(asyncio.Protocol):
    def __init__(self, packet: bytes, done: asyncio.Future[None]) -> None:
        self._packet = packet
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._packet)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self._done.done():
            self._done.set_result(None)


async def cancel(
    route: Route, loop: asyncio.AbstractEventLoop, packet: bytes, patience: float
) -> None:
    """Ends when the server has taken it. Raises OSError, TimeoutError among them."""
    done: asyncio.Future[None] = loop.create_future()
    async with asyncio.timeout(patience):
        await connect(route, loop, lambda: _Courier(packet, done))
        await done


def for_operator(route: Route) -> dict[str, Any]:
    """The same for asyncpg, which has its own way to speak TLS."""
    if route.side is None:
        return {"ssl": False}
    if route.to.sslmode in _OPTIONAL:
        return {"ssl": route.to.sslmode}
    return {"ssl": route.side, "direct_tls": route.to.direct}
