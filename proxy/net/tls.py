"""TLS between a connection and the protocol above it: ciphertext below, plaintext above.

A Secured is the protocol of the connection and looks like a transport to what is above it. It holds
nothing back by itself: what is written goes down at once, and what is not wanted above is not read
below. Not: which certificates (credentials), who asks for TLS (startup, upstream).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog

_log = structlog.get_logger()

# libpq reads no more at once, and an asynchronous one may wait for ever for the rest of a record.
RECORD_LIMIT: Final = 8192
_RECORD_MOST: Final = 16384  # of the peer's
# What OpenSSL's buffers are given at once: they never shrink.
_CHUNK: Final = 1 << 14

# When the handshake is over: None, or why it failed.
Then = Callable[[OSError | None], None]


class Secured(asyncio.Transport, asyncio.Protocol):
    def __init__(
        self, below: asyncio.Transport, above: asyncio.BaseProtocol, side: ssl.SSLContext
    ) -> None:
        """What comes from below is this one's from now on; `accept` or `ask` begins."""
        super().__init__()
        self._below = below
        self._above: Any = above
        self._side = side
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._then: Then | None = None
        self._ahead: deque[memoryview] = deque()  # ciphertext that OpenSSL has not seen
        self._open = False  # the handshake is done
        self._paused = False  # nothing is wanted above
        self._below_ended = False  # nothing comes behind what is ahead
        self._heard_end = False  # the peer will say no more, what is ahead included
        self._told_end = False  # above has heard of it
        self._end_due = False  # our own end is to be said once everything was read
        self._said_end = False
        self._fault: OSError | None = None
        below.set_protocol(self)

    def accept(self, hello: bytes, then: Then) -> None:
        """As the server; `hello` was read already."""
        self._begin(self._side.wrap_bio(self._incoming, self._outgoing, server_side=True), then)
        if hello:
            self.data_received(hello)

    def ask(self, host: str, then: Then) -> None:
        """As the client. Raises ValueError for a host that TLS has no name for."""
        self._begin(self._side.wrap_bio(self._incoming, self._outgoing, server_hostname=host), then)
        self._shake()

    def _begin(self, tls: ssl.SSLObject, then: Then) -> None:
        self._tls = tls
        self._then = then

    @property
    def peer_certificate(self) -> bytes | None:
        """DER."""
        return self._tls.getpeercert(binary_form=True) if self._tls is not None else None

    @property
    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol() if self._tls is not None else None

    # -- from below --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._heard_end:
            return
        self._ahead.append(memoryview(data))
        if self._open or self._shake():
            self._deliver()

    def _feed(self) -> bool:
        """A little more for OpenSSL; False if there is nothing."""
        if not self._ahead:
            return False
        piece = self._ahead.popleft()
        if len(piece) > _CHUNK:
            self._ahead.appendleft(piece[_CHUNK:])
        self._incoming.write(piece[:_CHUNK])
        return True

    def _shake(self) -> bool:
        """True when the handshake is over."""
        tls = self._tls
        if tls is None:
            return False
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._feed():
                    return False
            except ssl.SSLError as error:
                self._flush()  # the alert
                self._failed(error)
                return False
            else:
                break
        self._flush()
        self._open = True
        self._over(None)
        return True

    def _failed(self, error: OSError) -> None:
        self._heard_end = self._told_end = True
        self._ahead.clear()
        self._over(error)
        self._below.close()

    def _over(self, error: OSError | None) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(error)

    def _deliver(self) -> None:
        """Plaintext goes up as long as it is wanted there."""
        while not (self._paused or self._heard_end or self._below.is_closing()):
            plain = self._read()
            if plain:
                self._above.data_received(plain)
            elif not self._feed():
                self._heard_end = self._below_ended
                break
        if not self._ahead or self._heard_end:
            self._pass_end()

    def _read(self) -> bytes:
        """What OpenSSL has whole records of."""
        tls = self._tls
        if tls is None:
            return b""
        parts = []
        try:
            while part := tls.read(_RECORD_MOST):
                parts.append(part)
            self._heard_end = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._heard_end = True
        except ssl.SSLError as error:
            self._broken(error)
        self._flush()  # key updates, alerts
        return b"".join(parts)

    def _broken(self, error: ssl.SSLError) -> None:
        _log.info("tls_fault", error=error.reason or str(error), peer=self._peer())
        self._fault = error
        self._heard_end = True
        self._said_end = True  # nothing more can be said
        self._ahead.clear()

    def _peer(self) -> str:
        peer = self._below.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) and peer else ""

    def _pass_end(self) -> None:
        """Ends are passed on behind all that came before them."""
        if self._end_due:
            self._say_end()
        if not self._heard_end or self._told_end:
            return
        self._told_end = True
        if not self._above.eof_received():
            self.close()

    def eof_received(self) -> bool:
        """Perhaps without a close_notify: a message's length says where it ends, as without TLS."""
        if not self._open:
            self._failed(ConnectionResetError("the connection was closed during the TLS handshake"))
            return False
        self._below_ended = True
        if not self._ahead:
            self._heard_end = True
            self._pass_end()
        return True

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._then is not None:
            self._over(ConnectionResetError("the connection was lost during the TLS handshake"))
        elif self._open and not self._told_end:
            # The last words of a server that closed first.
            self._paused = False
            while not self._heard_end:
                plain = self._read()
                if plain:
                    self._above.data_received(plain)
                elif not self._feed():
                    break
        self._above.connection_lost(self._fault or exc)

    # -- from above --------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        tls = self._tls
        if tls is None or self._said_end or not self._open:
            return
        view = memoryview(data)
        try:
            for at in range(0, len(view), RECORD_LIMIT):
                tls.write(view[at : at + RECORD_LIMIT])
                if self._outgoing.pending >= _CHUNK:
                    self._flush()
        except ssl.SSLError as error:
            self._broken(error)
        self._flush()

    def writelines(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(parts))

    def _flush(self) -> None:
        if self._outgoing.pending:
            data = self._outgoing.read()
            if not self._below.is_closing():
                self._below.write(data)

    def _say_end(self) -> None:
        """close_notify. What the peer still says is not looked at here: OpenSSL would take it for
        a fault."""
        tls = self._tls
        if tls is None or self._said_end or not self._open:
            return
        self._said_end = True
        try:
            tls.unwrap()
        except ssl.SSLError as error:
            _log.debug("tls_end", error=str(error))
        self._flush()

    def write_eof(self) -> None:
        self._end_due = True
        if not self._ahead:
            self._say_end()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._below.is_closing():
            self._say_end()
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """What is here already goes first, and not inside of whoever asks for it."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._paused or self._below.is_closing():
            return
        self._deliver()
        if not self._paused and not self._below.is_closing():
            self._below.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        above: asyncio.BaseProtocol = self._above
        return above

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)
