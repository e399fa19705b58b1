"""The admin socket's transport: bytes of a client to a Console and back. Not: commands."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from proxy.net import listen

_log = structlog.get_logger()

_AHEAD: Final = 1 << 20  # bytes that wait for the answer before them
_CHUNK: Final = 1 << 16


class Console(Protocol):
    """One client's conversation; see proxy.admin.console."""

    @property
    def closed(self) -> bool: ...
    async def feed(self, data: bytes, /) -> bytes: ...


Making = Callable[[Callable[[bytes], None]], Console]  # from what sends bytes at once


class AdminSocket:
    """Raises OSError if there is one in use already."""

    def __init__(self, path: Path, make: Making) -> None:
        self._path = path
        self._make = make
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, sock=listen.unix(self._path))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _converse(self._make(writer.write), reader, writer)
        except ConnectionError as error:
            _log.info("console_lost", error=str(error))
        except Exception:  # noqa: BLE001 (one console's fault, not the proxy's)
            _log.exception("console_fault")
        finally:
            writer.close()


async def _converse(
    console: Console, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A client that goes away while its command runs takes the command back: an undo that nobody
    waits for any more is rolled back. So its end is looked for behind what it still sends."""
    ahead = b""
    reading = asyncio.ensure_future(reader.read(_CHUNK))
    try:
        while not console.closed:
            if ahead:
                data, ahead = ahead, b""
            else:
                data = await reading
                reading = asyncio.ensure_future(reader.read(_CHUNK))
            if not data:
                return
            answering = asyncio.ensure_future(console.feed(data))
            try:
                while not answering.done() and len(ahead) < _AHEAD:
                    await asyncio.wait({answering, reading}, return_when=asyncio.FIRST_COMPLETED)
                    if reading.done() and not answering.done():
                        if not reading.result():
                            raise ConnectionResetError("the client went away before the answer")
                        ahead += reading.result()
                        reading = asyncio.ensure_future(reader.read(_CHUNK))
                writer.write(await answering)
            finally:
                answering.cancel()
            await writer.drain()
    finally:
        reading.cancel()
