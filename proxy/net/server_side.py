"""The server's side of a link: what comes from there is told to its owner."""

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from proxy.net.relay import Link


class ServerSide(asyncio.Protocol):
    __slots__ = ("link",)

    def __init__(self, link: "Link") -> None:
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
