"""Connections to the server behind the proxy: clients' own, and the short ones that carry their
cancel requests. Not: what is said on them.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from config.upstream import Upstream


async def connect(
    to: Upstream, loop: asyncio.AbstractEventLoop, make: Callable[[], asyncio.Protocol]
) -> None:
    """Raises OSError."""
    if to.socket is not None:
        await loop.create_unix_connection(make, to.socket)
        return
    transport, _ = await loop.create_connection(make, to.host, to.port)
    link = transport.get_extra_info("socket")
    if link is not None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


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
    to: Upstream, loop: asyncio.AbstractEventLoop, packet: bytes, patience: float
) -> None:
    """Ends when the server has taken it. Raises OSError, TimeoutError among them."""
    done: asyncio.Future[None] = loop.create_future()
    async with asyncio.timeout(patience):
        await connect(to, loop, lambda: _Courier(packet, done))
        await done
