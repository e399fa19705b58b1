"""A console and a client of it, byte by byte, without a socket and without a server behind it."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from struct import pack, unpack

from config import ConfigError, Settings
from proxy.admin.console import Console
from proxy.wire import encode
from proxy.wire.decode import data_row, error_fields

PROTOCOL = 3 << 16
SSL, GSS, CANCEL = (pack("!ii", 8, code) for code in (80877103, 80877104, 80877102))


@dataclass
class Proxy:
    """What these commands need of a proxy; none of them needs a database."""

    on: bool = True
    stopped: bool = False
    bad_file: bool = False
    reloaded: bool = False

    def database(self, name: str | None) -> AbstractAsyncContextManager:
        raise ConnectionRefusedError(111, "Connection refused")

    async def sessions(self) -> list:
        return []

    async def stats(self) -> dict[str, int]:
        return {"connections": 3, "queries": 12_345_678_901}

    def settings(self) -> Settings:
        return Settings(upstream="postgresql://operator:s3cret@db/shop")

    def capturing(self) -> bool:
        return self.on

    async def set_capture(self, *, on: bool) -> None:
        self.on = on

    async def reload(self) -> None:
        if self.bad_file:
            raise ConfigError("tls_cert: /nowhere: No such file or directory")
        self.reloaded = True

    async def shutdown(self) -> None:
        self.stopped = True


@dataclass
class Client:
    """Feeds a console and takes its messages apart."""

    proxy: Proxy = field(default_factory=Proxy)
    told: list[bytes] = field(default_factory=list)
    console: Console = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.console = Console(self.proxy, self.told.append)

    async def send(self, data: bytes) -> list[tuple[str, bytes]]:
        answer = await self.console.feed(data)
        found = list(messages(b"".join(self.told) + answer))
        self.told.clear()
        return found

    async def log_in(self, **parameters: str) -> list[tuple[str, bytes]]:
        given = {"user": "me", "database": "hotrollback", **parameters}
        return await self.send(startup(given))

    async def ask(self, text: str) -> list[tuple[str, bytes]]:
        return await self.send(encode.query(text.encode()))


def startup(given: dict[str, str], version: int = PROTOCOL) -> bytes:
    return encode.startup(version, [(k.encode(), v.encode()) for k, v in given.items()])


def messages(data: bytes) -> Iterator[tuple[str, bytes]]:
    while data:
        (length,) = unpack("!i", data[1:5])
        yield chr(data[0]), data[5 : length + 1]
        data = data[length + 1 :]


def kinds(found: list[tuple[str, bytes]]) -> str:
    return "".join(kind for kind, _ in found)


def error(found: list[tuple[str, bytes]]) -> dict[str, str]:
    (body,) = [body for kind, body in found if kind == "E"]
    return {code.decode(): text.decode() for code, text in error_fields(body)}


def rows(found: list[tuple[str, bytes]]) -> list[tuple]:
    return [tuple(data_row(body)) for kind, body in found if kind == "D"]


async def logged_in() -> Client:
    client = Client()
    await client.log_in()
    return client
