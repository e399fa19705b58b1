"""The server's side of a link: what comes from there is told to its owner."""

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from proxy.net.relay import Link


class ServerSide(asyncio.Protocol):
    __slots__ = ("link", "transport")

    def __init__(self, link: "Link") -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None  # none where TLS did not come about

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = made = cast(asyncio.Transport, transport)
        self.link.server_made(made)

    def data_received(self, data: bytes) -> None:
        self.link.from_server(data)

    def pause_writing(self) -> None:
        self.link.server_full(full=True)

    def resume_writing(self) -> None:
        self.link.server_full(full=False)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.transport is not None:
            self.link.server_lost(self.transport)
