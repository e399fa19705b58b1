"""From the first byte of a client to the first ReadyForQuery; then `login` is there and a Session
takes over. Sans-I/O: bytes in, `to_client`/`to_server` out, and `wants` says what socket or secret
is needed.

Authentication is relayed byte for byte wherever that can work (proxy.auth.dialogue), so that the
server decides, and the client is listened to only where the server waits for it. One startup packet
a connection. What the server is bound to refuse is sent to it, so that the refusal is the server's
own; nothing that follows is.

Sources: protocol chapter, "Start-up", "Canceling Requests in Progress", "SSL Session Encryption";
ProcessStartupPacket in src/backend/tcop/backend_startup.c, recv_password_packet in
src/backend/libpq/auth.c.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from proxy.auth.dialogue import Derivation, Dialogue, Lookup
from proxy.auth.scram import Keys
from proxy.auth.secret import Secret
from proxy.catalog.capabilities import version_number
from proxy.session.login import Login
from proxy.wire import decode, encode

# MAX_STARTUP_PACKET_LENGTH and the length itself; a token used as a password may be longer.
STARTUP_LIMIT: Final = 10_004
PASSWORD_LIMIT: Final = 1 << 17
# The longest of the server's messages before it is ready; more is no PostgreSQL.
SERVER_LIMIT: Final = 1 << 20
_CANCEL_KEY_LIMIT: Final = 256
_HANDSHAKE: Final = b"\x16"  # how TLS begins
_ENCRYPTION: Final = {encode.SSL_CODE: "SSL", encode.GSSENC_CODE: "GSSAPI encryption"}
_SERVER_KINDS: Final = frozenset(b"RSKZENv")
_OK: Final = 0  # AuthenticationOk
_NO_ANSWER: Final = (_OK, 12)  # nor is one awaited to AuthenticationSASLFinal
_SPACE: Final = re.compile(r"([\\\s])")


class State(Enum):
    FIRST = auto()  # untyped packets
    SECURING = auto()  # the TLS handshake; nothing is read here
    CONNECTING = auto()  # the server's socket is being opened
    RELAYING = auto()  # authentication
    REFUSED = auto()  # the server will say why, and close
    READY = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Cancel:
    """The client's whole packet: the key is the server's own, so it is passed on as it is."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class Secure:
    """TLS with the client from now on. `hello`: what it has said of it already, where it began
    with TLS instead of asking for it."""

    hello: bytes = b""


@dataclass(frozen=True, slots=True)
class Connect:
    user: str
    database: str
    application_name: str


Tagger = Callable[[str, str, str], str | None]  # role, database, application -> tag


@dataclass(slots=True, eq=False)
class Startup:
    tag_of: Tagger
    offers_tls: bool = False
    needs_tls: bool = False
    state: State = State.FIRST
    wants: Cancel | Secure | Connect | Lookup | Derivation | None = None
    to_client: list[bytes] = field(default_factory=list)
    to_server: list[bytes] = field(default_factory=list)
    login: Login | None = None
    early: bytes = b""  # what came from the client before it was due
    late: bytes = b""  # what came from the server behind ReadyForQuery
    _buffer: bytes = b""
    _server: bytes = b""
    _asked: set[int] = field(default_factory=set)
    _packet: bytes = b""
    _parameters: dict[bytes, bytes] = field(default_factory=dict)
    cancel_key: bytes = b""  # the server's: process id and secret
    # In DER; None where that connection is in clear.
    client_certificate: bytes | None = None  # which the client was shown
    server_certificate: bytes | None = None
    _connect: Connect = field(default_factory=lambda: Connect("", "", ""))
    _dialogue: Dialogue = field(default_factory=lambda: Dialogue("", None, None))
    _asked_client: bool = False  # the server waits for a password message
    _authenticated: bool = False
    _replication: bool = False
    _refusable: bool = False  # the startup packet itself will be refused

    @property
    def pending(self) -> int:
        """Bytes of the client that wait."""
        return len(self._buffer) + len(self.early)

    def from_client(self, data: bytes) -> None:
        if self.state in {State.REFUSED, State.CLOSED}:
            return
        self._buffer += data
        if self.state is State.FIRST:
            while self.state is State.FIRST and self._first_packet():
                pass
        if self.state is State.RELAYING:
            self._passwords()

    def _first_packet(self) -> bool:
        """Takes one packet; False if there is none (any more)."""
        data = self._buffer
        if data[:1] == _HANDSHAKE and self.offers_tls and not self._asked:
            self._secure(Secure(data))
            return False
        if len(data) < 4:
            return False
        length = int.from_bytes(data[:4], "big")
        if not 8 <= length <= STARTUP_LIMIT:
            # HTTP, a port scan: the server says nothing, either.
            self.state = State.CLOSED
            return False
        if len(data) < length:
            return False
        packet, self._buffer = data[:length], data[length:]
        code = int.from_bytes(packet[4:8], "big")
        if code in _ENCRYPTION:
            self._refuse_encryption(code)
        elif code == encode.CANCEL_CODE:
            if 12 < length <= 12 + _CANCEL_KEY_LIMIT:
                self.wants = Cancel(packet)
            self.state = State.CLOSED
        else:
            self._startup(packet, code)
        return self.state is State.FIRST

    def _refuse_encryption(self, code: int) -> None:
        if code in self._asked:
            self.fail(
                "0A000",
                f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}:"
                " server supports 3.0 to 3.2",
            )
            return
        self._asked.add(code)
        offered = code == encode.SSL_CODE and self.offers_tls
        self.to_client.append(b"S" if offered else b"N")
        if self._buffer:
            # Whoever stuffs clear text behind the request would have it taken for encrypted.
            self.fail(
                "08P01",
                f"received unencrypted data after {_ENCRYPTION[code]} request",
                detail="This could be either a client-software bug or evidence of an attempted"
                " man-in-the-middle attack.",
            )
        elif offered:
            self._secure(Secure())

    def _secure(self, how: Secure) -> None:
        self._buffer = b""
        self.wants = how
        self.state = State.SECURING

    def secured(self, certificate: bytes) -> None:
        """`certificate`: what the client was shown. Nothing can be asked for any more."""
        self._asked.update(_ENCRYPTION)
        self.client_certificate = certificate
        self.state = State.FIRST

    def _startup(self, packet: bytes, code: int) -> None:
        pairs: list[tuple[bytes, bytes]] = []
        try:
            pairs = decode.startup_parameters(packet[8:])
        except ValueError:
            self._refusable = True
        found = {name: value.decode("utf-8", "replace") for name, value in pairs}
        user = found.get(b"user", "")
        database = found.get(b"database") or user
        application = found.get(b"application_name", "")
        if self.needs_tls and self.client_certificate is None:
            self.fail(
                "28000",
                "this server can only be logged in to by TLS",
                hint="Connect with sslmode=require, or better with sslmode=verify-full.",
            )
            return
        self._refusable = self._refusable or code >> 16 != 3
        self._replication = _is_replication(found.get(b"replication", "").lower())
        tag = None if self._refusable else self.tag_of(user, database, application)
        if tag:
            packet = encode.startup(code, _with_tag(pairs, tag))
        self._packet = packet
        self.wants = self._connect = Connect(user, database, application)
        self.state = State.CONNECTING

    def connected(self) -> None:
        certificates = (self.client_certificate, self.server_certificate)
        self._dialogue = Dialogue(self._connect.user, *certificates)
        self.to_server.append(self._packet)
        self.state = State.REFUSED if self._refusable else State.RELAYING
        self._passwords()

    def refused(self, message: bytes) -> None:
        """The server has said why, and closed."""
        self.to_client.append(message)
        self.state = State.CLOSED

    def fail(self, sqlstate: str, text: str, *, detail: str = "", hint: str = "") -> None:
        self.to_client.append(encode.error("FATAL", sqlstate, text, detail=detail, hint=hint))
        self.state = State.CLOSED

    def _passwords(self) -> None:
        if self._authenticated:
            self.early += self._buffer
            self._buffer = b""
        elif self._asked_client and len(self._buffer) >= 5:
            length = int.from_bytes(self._buffer[1:5], "big")
            if self._buffer[0] != ord("p") or not 4 <= length <= PASSWORD_LIMIT:
                self.to_server.append(self._buffer[:5])
                self.state = State.REFUSED
            elif len(self._buffer) > length:
                self.to_server.append(self._dialogue.from_client(self._buffer[: length + 1]))
                self._buffer = self._buffer[length + 1 :]
                self._asked_client = False
                if self._dialogue.refused:
                    self.state = State.REFUSED

    def from_server(self, data: bytes) -> None:
        """Raises ValueError for what no PostgreSQL says."""
        self._server += data
        if self.state is State.REFUSED:
            self.to_client.append(self._server)
            self._server = b""
        else:
            self._server_messages()

    def found(self, secret: Secret) -> None:
        """The answer to a Lookup. Raises as from_server does, and so does `derived`."""
        if self.state is State.RELAYING:
            self._request(self._dialogue.found(secret))
            self._server_messages()

    def derived(self, keys: Keys | None) -> None:
        """The answer to a Derivation."""
        if self.state is State.RELAYING:
            self._request(self._dialogue.derived(keys))
            self._server_messages()

    def _server_messages(self) -> None:
        buf, pos = self._server, 0
        while len(buf) - pos >= 5 and self.login is None and self._dialogue.wants is None:
            length = int.from_bytes(buf[pos + 1 : pos + 5], "big")
            if buf[pos] not in _SERVER_KINDS or not 4 <= length <= SERVER_LIMIT:
                raise ValueError(f"message of type {buf[pos]} and length {length}")
            end = pos + 1 + length
            if end > len(buf):
                break
            self._server_message(buf[pos], buf[pos:end])
            pos = end
        self._server = buf[pos:]
        if self.login is not None:
            self.late, self._server = self._server, b""
        if self.state is not State.CLOSED:
            self._passwords()

    def _request(self, message: bytes) -> None:
        """An Authentication message for the client; none while something is looked up for it."""
        self.wants = self._dialogue.wants or self.wants
        if message:
            what = int.from_bytes(message[5:9], "big")
            self._authenticated = what == _OK
            self._asked_client = what not in _NO_ANSWER
            self.to_client.append(message)

    def _server_message(self, kind: int, message: bytes) -> None:
        if kind == ord("R"):
            self._request(self._dialogue.from_server(message))
            return
        self.to_client.append(message)
        body = message[5:]
        if kind == ord("S"):
            name, at = decode.cstring(body, 0)
            self._parameters[name], _ = decode.cstring(body, at)
        elif kind == ord("K"):
            self.cancel_key = body
        elif kind == ord("Z"):
            if not self._authenticated:
                raise ValueError("it is ready and has let nobody in")
            self.state = State.READY
            self.login = Login(
                user=self._connect.user,
                database=self._connect.database,
                application_name=self._connect.application_name,
                pid=int.from_bytes(self.cancel_key[:4], "big"),
                version=version_number(self._parameters.get(b"server_version", b"").decode()),
                parameters=self._parameters,
                replication=self._replication,
            )


def _is_replication(value: str) -> bool:
    """Any value but a false one, as parse_bool reads it: unique prefixes, too. One that it refuses
    ends the connection."""
    false = value and any(word.startswith(value) for word in ("false", "no", "0"))
    return bool(value) and not false and value not in {"of", "off"}


def _with_tag(pairs: list[tuple[bytes, bytes]], tag: str) -> list[tuple[bytes, bytes]]:
    """A tag as a startup option, before the client's own options, which win. Of several `options`
    the server takes the last."""
    option = b"-c hotrollback.tag=" + _SPACE.sub(r"\\\1", tag).encode()
    rest = [(name, value) for name, value in pairs if name != b"options"]
    given = dict(pairs).get(b"options")
    return [*rest, (b"options", option + b" " + given if given else option)]
