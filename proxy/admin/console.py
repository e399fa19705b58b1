"""The console's side of the protocol: messages in, messages out; simple and extended.

One message at a time; errors are answered and the session goes on, but for what breaks the protocol
itself. Not: sockets; what a command does.
"""

# ruff: noqa: SLF001 (the table at the end names this class's own methods)

import secrets
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.admin import login, prepared
from proxy.admin.backend import Backend
from proxy.admin.courtesies import Manners
from proxy.admin.execution import CommandError, Execution, error_fields
from proxy.admin.grammar import scan, split
from proxy.admin.prepared import Doing, Portal, Statement, decoded
from proxy.admin.table import data_row, row_description
from proxy.wire import encode
from proxy.wire.decode import cstring
from proxy.wire.encode import message

_INT: Final = struct.Struct("!i")
_SHORT: Final = struct.Struct("!h").pack
_LONGEST: Final = 1 << 20  # of a message: commands are short
_SUSPENDED: Final = b"s\x00\x00\x00\x04"


class ProtocolError(Exception):
    """The client does not keep to the protocol: the session ends."""

    sqlstate = "08P01"


class Console:
    """`send` takes what cannot wait for the end of `feed`."""

    def __init__(self, backend: Backend, send: Callable[[bytes], None]) -> None:
        self.closed = False
        self._send = send
        self._data = b""
        self._out: list[bytes] = []
        self._logged_in = False
        self._skipping = False  # an error was answered: up to Sync
        self._key = secrets.token_bytes(8)
        self._manners = Manners(pid=_INT.unpack(b"\0" + self._key[1:4])[0])
        self._execution = Execution(backend, self._manners, self._tell)
        self._statements: dict[bytes, Statement] = {}
        self._portals: dict[bytes, Portal] = {}

    async def feed(self, data: bytes) -> bytes:
        """What is to be sent in answer to these bytes."""
        self._data += data
        try:
            while not self.closed and await self._one():
                pass
        except (ProtocolError, ValueError, struct.error) as error:
            self._out.append(encode.error("FATAL", ProtocolError.sqlstate, str(error)))
            self.closed = True
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _tell(self, notice: bytes) -> None:
        """At once, and after what came before it."""
        self._send(self._taken() + notice)

    async def _one(self) -> bool:
        """The next packet or message; False if it is not all there."""
        if not self._logged_in:
            return self._first()
        if len(self._data) < 5:
            return False
        kind = self._data[:1]
        (length,) = _INT.unpack_from(self._data, 1)
        if kind not in _MESSAGES:
            raise ProtocolError(f"invalid frontend message type {kind[0]}")
        if not 4 <= length <= _LONGEST:
            raise ProtocolError("invalid message length")
        if len(self._data) < length + 1:
            return False
        body, self._data = self._data[5 : length + 1], self._data[length + 1 :]
        await _MESSAGES[kind](self, body)
        return True

    def _first(self) -> bool:
        step = login.step(self._data, self._manners, self._key)
        if step is None:
            return False
        self._data = self._data[step.used :]
        self._out.append(step.reply)
        self.closed, self._logged_in = step.closed, step.logged_in
        return True

    # -- simple ----------------------------------------------------------------------------------

    async def _query(self, body: bytes) -> None:
        self._skipping = False
        text, _ = cstring(body, 0)
        try:
            commands = list(split(scan(decoded(text))))
            if not commands:
                self._out.append(encode.EMPTY_QUERY)
            prepared.check(commands, self._manners)
            for found in commands:
                doing = Doing(self._execution, self._manners)
                tag, rows = await doing.do(found)
                if doing.columns:
                    self._out.append(row_description(doing.columns, ()))
                self._out += [data_row(doing.columns, (), row) for row in rows]
                self._complete(tag)
        except Exception as error:  # noqa: BLE001 (answered, and logged if nobody foresaw it)
            self._failed(error)
        self._ready()

    def _complete(self, tag: str) -> None:
        for name in self._manners.changed:
            self._out.append(login.parameter_status(name, self._manners.settings[name]))
        self._manners.changed.clear()
        self._out.append(encode.command_complete(tag.encode()))

    def _failed(self, error: Exception) -> None:
        if self._manners.status == b"T":
            self._manners.status = b"E"
        self._out.append(error_fields(error))

    def _ready(self) -> None:
        self._out.append(message(b"Z", self._manners.status))
        if self._manners.status == b"I":
            self._portals.clear()

    # -- extended --------------------------------------------------------------------------------

    async def _extended(self, step: Callable[[bytes], Awaitable[None]], body: bytes) -> None:
        if self._skipping:
            return
        try:
            await step(body)
        except (ProtocolError, ValueError, struct.error):
            raise
        except Exception as error:  # noqa: BLE001 (answered, and logged if nobody foresaw it)
            self._failed(error)
            self._skipping = True

    async def _parse(self, body: bytes) -> None:
        await self._extended(self._parse_step, body)

    async def _parse_step(self, body: bytes) -> None:
        name, statement = prepared.parse(body, self._manners)
        if name and name in self._statements:
            raise CommandError("42P05", f'prepared statement "{decoded(name)}" already exists')
        self._statements[name] = statement
        self._out.append(encode.PARSE_COMPLETE)

    async def _bind(self, body: bytes) -> None:
        await self._extended(self._bind_step, body)

    async def _bind_step(self, body: bytes) -> None:
        name, portal = prepared.bind(body, self._statements)
        self._portals[name] = portal
        self._out.append(encode.BIND_COMPLETE)

    async def _describe(self, body: bytes) -> None:
        await self._extended(self._describe_step, body)

    async def _describe_step(self, body: bytes) -> None:
        name, _ = cstring(body, 1)
        formats: tuple[int, ...] = ()
        if body[:1] == b"S":
            statement = self._statement(name)
            oids = statement.oids
            described = _SHORT(len(oids)) + b"".join(_INT.pack(oid) for oid in oids)
            self._out.append(message(b"t", described))
            columns = statement.columns
        else:
            portal = self._portal(name)
            columns, formats = portal.statement.columns, portal.formats
        self._out.append(row_description(columns, formats) if columns else encode.NO_DATA)

    async def _execute(self, body: bytes) -> None:
        await self._extended(self._execute_step, body)

    async def _execute_step(self, body: bytes) -> None:
        name, at = cstring(body, 0)
        portal = self._portal(name)
        (limit,) = _INT.unpack_from(body, at)
        if not portal.found:
            self._out.append(encode.EMPTY_QUERY)
            return
        if not portal.executed:
            portal.executed = True
            doing = Doing(self._execution, self._manners)
            portal.tag, portal.rows = await doing.do(portal.found)
            if doing.columns != portal.statement.columns:
                raise CommandError(
                    "0A000",
                    "what columns this has is not known before it runs",
                    "use the simple query protocol, or AS JSON",
                )
        columns = portal.statement.columns
        end = portal.sent + limit if limit > 0 else len(portal.rows)
        rows = portal.rows[portal.sent : end]
        self._out += [data_row(columns, portal.formats, row) for row in rows]
        portal.sent += len(rows)
        if limit > 0 and len(rows) == limit:
            self._out.append(_SUSPENDED)
        else:
            self._complete(portal.tag)

    def _statement(self, name: bytes) -> Statement:
        try:
            return self._statements[name]
        except KeyError:
            text = f'prepared statement "{decoded(name)}" does not exist'
            raise CommandError("26000", text) from None

    def _portal(self, name: bytes) -> Portal:
        try:
            return self._portals[name]
        except KeyError:
            raise CommandError("34000", f'portal "{decoded(name)}" does not exist') from None

    async def _close(self, body: bytes) -> None:
        if self._skipping:
            return
        name, _ = cstring(body, 1)
        if body[:1] == b"S":
            self._statements.pop(name, None)
        else:
            self._portals.pop(name, None)
        self._out.append(encode.CLOSE_COMPLETE)

    async def _sync(self, _body: bytes) -> None:
        self._skipping = False
        self._ready()

    # -- the rest --------------------------------------------------------------------------------

    async def _flush(self, _body: bytes) -> None:
        self._send(self._taken())

    async def _terminate(self, _body: bytes) -> None:
        self.closed = True

    async def _function(self, _body: bytes) -> None:
        self._failed(CommandError("0A000", "the admin console has no functions to call"))
        self._ready()

    async def _ignored(self, _body: bytes) -> None:
        """Copy messages outside of COPY, as the server does it."""


_MESSAGES: Final[dict[bytes, Callable[[Console, bytes], Awaitable[None]]]] = {
    b"Q": Console._query,
    b"P": Console._parse,
    b"B": Console._bind,
    b"D": Console._describe,
    b"E": Console._execute,
    b"C": Console._close,
    b"S": Console._sync,
    b"H": Console._flush,
    b"X": Console._terminate,
    b"F": Console._function,
    b"d": Console._ignored,
    b"c": Console._ignored,
    b"f": Console._ignored,
}
