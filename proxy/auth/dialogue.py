"""What passes between client and server from AuthenticationSASL on: as it came, wherever that can
work, and otherwise two SCRAM exchanges, each bound to its own certificate.

Between two TLS connections a bound exchange cannot be relayed, for the client binds it to the
proxy's certificate; and a client that could bind and is not offered it says so, which the server
takes for an attack. Then the proxy is the server to the client and a client to the server, message
by message: the server's salt is the client's, the client's proof yields the key that the server is
given proof of. Every decision stays the server's. What is wrong with a client's message is made
wrong with the one that the server gets, so that the refusal is the server's own.

A client that cannot bind, and everything that is not understood, is relayed. Not: sockets, other
messages than Authentication and SASL responses, where secrets come from.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from enum import Enum, auto
from struct import Struct
from typing import Final

from proxy.auth import scram
from proxy.auth.binding import end_point
from proxy.auth.secret import Lack, Secret, Verifier
from proxy.wire import decode, encode

_INT: Final = Struct("!i")
_OK: Final = 0  # AuthenticationOk
_SASL: Final = 10
_CONTINUE: Final = 11
_FINAL: Final = 12
_NO_BINDING: Final = b"\0" * 32  # no certificate's hash


class Stage(Enum):
    """Of the two exchanges; what happens next."""

    RELAYED = auto()  # there are none: messages pass as they are
    CHOOSING = auto()  # the client chooses its mechanism
    OPENED = auto()  # the server answers our first message
    CHALLENGED = auto()  # the client proves that it has its key
    PROVING = auto()  # the server answers the proof
    PROVED = auto()  # the server lets the client in
    REFUSED = auto()  # the server says why not


@dataclass(frozen=True, slots=True)
class Lookup:
    """Wanted: the secret of a role."""

    role: str


@dataclass(frozen=True, slots=True)
class Derivation:
    """Wanted: the keys for this salt, where the secret that was found does not have them."""

    role: str
    secret: Secret
    salt: bytes = field(repr=False)
    iterations: int


@dataclass(slots=True, eq=False)
class Dialogue:
    """Certificates in DER; None where the connection is in clear. While something is wanted,
    neither side's messages are taken. Messages are whole ones, and empty where there is none."""

    role: str
    client_certificate: bytes | None  # which the client was shown
    server_certificate: bytes | None
    wants: Lookup | Derivation | None = None
    stage: Stage = Stage.RELAYED
    _mechanisms: list[bytes] = field(default_factory=list)
    _offers_bound: bool = False
    _secret: Secret = Lack.UNKNOWN
    _keys: scram.Keys = field(default_factory=scram.no_keys)
    _client: "_Side" = field(default_factory=lambda: _Side(b"", None))
    _server: "_Side" = field(default_factory=lambda: _Side(b"", None))

    @property
    def refused(self) -> bool:
        """The server will refuse what it was sent: nothing more of the client matters."""
        return self.stage is Stage.REFUSED

    # -- the server's messages: what the client gets ---------------------------------------------

    def from_server(self, message: bytes) -> bytes:
        """An Authentication message. Raises ValueError for what no PostgreSQL says here."""
        if len(message) < 9:
            raise ValueError("a short authentication request")
        code, body = _INT.unpack_from(message, 5)[0], message[9:]
        if self.stage is Stage.RELAYED:
            return self._offered(message, body) if code == _SASL else message
        if self.stage is Stage.OPENED and code == _CONTINUE:
            return self._challenged(body)
        if self.stage is Stage.PROVING and code == _FINAL:
            return self._proved(body)
        if self.stage is Stage.PROVED and code == _OK:
            return message
        raise ValueError(f"authentication request {code} in the middle of SCRAM")

    def _offered(self, message: bytes, body: bytes) -> bytes:
        self._mechanisms = _mechanisms(body)
        if scram.PLUS not in self._mechanisms or self.server_certificate is None:
            return message
        if self.client_certificate is None:
            # libpq takes an offer to bind what is not encrypted for an attack.
            return self._without_binding()
        self.wants = Lookup(self.role)
        return b""

    def _without_binding(self) -> bytes:
        return _offer([name for name in self._mechanisms if name != scram.PLUS])

    def found(self, secret: Secret) -> bytes:
        """What was looked up; without a secret the server gets the client's own messages."""
        self.wants = None
        if secret is Lack.UNKNOWN:
            return self._without_binding()
        self._secret = secret
        self.stage = Stage.CHOOSING
        self._client.binding = end_point(self.client_certificate or b"")
        self._server.binding = end_point(self.server_certificate or b"")
        self._offers_bound = self._client.binding is not None
        return _offer(self._mechanisms) if self._offers_bound else self._without_binding()

    def _challenged(self, body: bytes) -> bytes:
        first = scram.server_first(body)
        own = self._server.nonce
        if first is None or not first.nonce.startswith(own) or len(first.nonce) == len(own):
            raise ValueError("a SCRAM challenge that is none")
        self._server.challenge = first
        secret = self._secret
        if isinstance(secret, Verifier) and secret.fits(first.salt, first.iterations):
            return self._challenge(secret.keys)
        if secret is Lack.NONE:
            return self._challenge(scram.no_keys())
        self.wants = Derivation(self.role, secret, first.salt, first.iterations)
        return b""

    def derived(self, keys: scram.Keys | None) -> bytes:
        """Without keys the exchange goes on, and fails: nobody learns why."""
        self.wants = None
        return self._challenge(keys or scram.no_keys())

    def _challenge(self, keys: scram.Keys) -> bytes:
        theirs = self._server.challenge
        self._keys = keys
        self.stage = Stage.CHALLENGED
        nonce = self._client.nonce + scram.new_nonce()
        text = scram.encode_server_first(nonce, theirs.salt, theirs.iterations)
        self._client.challenge = scram.ServerFirst(text, nonce, theirs.salt, theirs.iterations)
        return _request(_CONTINUE, text)

    def _proved(self, body: bytes) -> bytes:
        signature = scram.server_final(body)
        expected = self._keys.signature(self._server.said)
        if signature is None or not hmac.compare_digest(signature, expected):
            raise ValueError("it has not proved that it knows the role's password")
        self.stage = Stage.PROVED
        final = scram.encode_server_final(self._keys.signature(self._client.said))
        return _request(_FINAL, final)

    # -- the client's messages: what the server gets ---------------------------------------------

    def from_client(self, message: bytes) -> bytes:
        """A message of type p, which the server has asked for."""
        if self.stage is Stage.CHOOSING:
            return self._chosen(message)
        if self.stage is Stage.CHALLENGED:
            return self._answered(message[5:])
        return message

    def _chosen(self, message: bytes) -> bytes:
        mechanism, first = _initial_response(message[5:])
        said = scram.client_first(first)
        ours = scram.BOUND if self._offers_bound else scram.UNOFFERED
        theirs = scram.PLUS if self._offers_bound else scram.PLAIN
        if said is None or (mechanism, said.header) != (theirs, ours):
            self.stage = Stage.RELAYED
            return message
        self.stage = Stage.OPENED
        self._client.opened(said)
        bound = self._server.binding is not None
        header, nonce = scram.BOUND if bound else scram.UNBOUND, scram.new_nonce()
        self._server.opened(scram.ClientFirst(header, b"n=,r=" + nonce, nonce))
        text = header + self._server.bare
        name = scram.PLUS if bound else scram.PLAIN
        return encode.message(b"p", name + b"\0" + _INT.pack(len(text)) + text)

    def _answered(self, body: bytes) -> bytes:
        """The server looks at the binding first, then at the nonce, then at the proof."""
        client, server = self._client, self._server
        final = scram.client_final(body)
        if final is None:
            self.stage = Stage.REFUSED
            return encode.message(b"p", body.replace(client.bound, server.bound, 1))
        client.said = scram.said(client.bare, client.challenge.text, final.text)
        key = self._keys.client_key(final.proof, client.said)
        bound, nonce = server.bound, server.final_nonce
        if not hmac.compare_digest(final.binding, client.bound):
            key, bound = None, scram.bound_to(server.header, _NO_BINDING)
        elif not hmac.compare_digest(final.nonce, client.final_nonce):
            key, nonce = None, server.nonce
        text = b"c=%b,r=%b" % (bound, nonce)
        server.said = scram.said(server.bare, server.challenge.text, text)
        self.stage = Stage.PROVING if key else Stage.REFUSED
        proof = self._keys.proof(key or secrets.token_bytes(scram.KEY_LENGTH), server.said)
        return encode.message(b"p", scram.encode_client_final(text, proof))


@dataclass(slots=True, eq=False)
class _Side:
    """One of the two exchanges: with the client, or with the server."""

    header: bytes
    binding: bytes | None
    bare: bytes = b""
    nonce: bytes = b""  # of the one who began
    challenge: scram.ServerFirst = field(
        default_factory=lambda: scram.ServerFirst(b"", b"", b"", 0)
    )
    said: bytes = b""

    def opened(self, first: scram.ClientFirst) -> None:
        self.header, self.bare, self.nonce = first.header, first.bare, first.nonce

    @property
    def final_nonce(self) -> bytes:
        return self.challenge.nonce

    @property
    def bound(self) -> bytes:
        """How the last message has to begin."""
        return scram.bound_to(self.header, self.binding)


def _mechanisms(body: bytes) -> list[bytes]:
    names = body.split(b"\0")
    return names[: names.index(b"")] if b"" in names else names


def _offer(mechanisms: list[bytes]) -> bytes:
    return _request(_SASL, b"".join(name + b"\0" for name in mechanisms) + b"\0")


def _request(code: int, body: bytes) -> bytes:
    return encode.message(b"R", _INT.pack(code) + body)


def _initial_response(body: bytes) -> tuple[bytes, bytes]:
    """Mechanism and first message of a SASLInitialResponse; both empty for what is none."""
    try:
        mechanism, at = decode.cstring(body, 0)
    except ValueError:
        return b"", b""
    if len(body) < at + 4 or _INT.unpack_from(body, at)[0] != len(body) - at - 4:
        return b"", b""
    return mechanism, body[at + 4 :]
