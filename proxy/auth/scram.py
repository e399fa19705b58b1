"""SCRAM-SHA-256: what its four messages say, and the arithmetic of their keys.

A parser gives None for what is not such a message, whatever it was given. Not: who says what when.

Sources: RFC 5802 and 7677; the forms that PostgreSQL takes are those of read_client_first_message
and read_client_final_message in src/backend/libpq/auth-scram.c.
"""

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Final

PLAIN: Final = b"SCRAM-SHA-256"
PLUS: Final = b"SCRAM-SHA-256-PLUS"
BOUND: Final = b"p=tls-server-end-point,,"  # how a message begins that is bound to a certificate
UNBOUND: Final = b"n,,"
UNOFFERED: Final = b"y,,"  # the client could, and was not offered it
KEY_LENGTH: Final = 32

_PRINTABLE: Final = rb"[!-+\--~]{1,1024}"
_BASE64: Final = rb"[A-Za-z0-9+/]{1,1024}={0,2}"
_MORE: Final = rb"(?:,[A-Za-oq-z]=[^,\0]*)*"  # extensions, which mean nothing to us
_CLIENT_FIRST: Final = re.compile(
    rb"(p=tls-server-end-point,,|n,,|y,,)(n=[^,\0]*,r=(%b)%b)" % (_PRINTABLE, _MORE)
)
_SERVER_FIRST: Final = re.compile(rb"r=(%b),s=(%b),i=([1-9][0-9]{0,9})" % (_PRINTABLE, _BASE64))
_CLIENT_FINAL: Final = re.compile(rb"(c=([^,\0]*),r=([^,\0]*)%b),p=(%b)" % (_MORE, _BASE64))
_SERVER_FINAL: Final = re.compile(rb"v=(%b)" % _BASE64)


@dataclass(frozen=True, slots=True)
class ClientFirst:
    header: bytes
    bare: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class ServerFirst:
    text: bytes
    nonce: bytes
    salt: bytes
    iterations: int


NO_CHALLENGE: Final = ServerFirst(b"", b"", b"", 0)


@dataclass(frozen=True, slots=True)
class ClientFinal:
    text: bytes  # without the proof
    binding: bytes  # as it is written, header and all
    nonce: bytes
    proof: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """What a server keeps of a password."""

    stored: bytes = field(repr=False)
    server: bytes = field(repr=False)

    def client_key(self, proof: bytes, said: bytes) -> bytes | None:
        """What the client proves to have, and the server has not; None if it does not."""
        key = _xor(proof, _hmac(self.stored, said))
        fits = hmac.compare_digest(hashlib.sha256(key).digest(), self.stored)
        return key if fits else None

    def proof(self, client_key: bytes, said: bytes) -> bytes:
        return _xor(client_key, _hmac(self.stored, said))

    def signature(self, said: bytes) -> bytes:
        """By which the server proves that it has the keys."""
        return _hmac(self.server, said)


def no_keys() -> Keys:
    """For a role that nobody can log in as; it takes as long to find that out."""
    return Keys(secrets.token_bytes(KEY_LENGTH), secrets.token_bytes(KEY_LENGTH))


def derive(password: bytes, salt: bytes, iterations: int) -> Keys:
    """Takes long, on purpose."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return Keys(hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key"))


def new_nonce() -> bytes:
    return b64encode(secrets.token_bytes(18))


def said(client_first: bytes, server_first: bytes, client_final: bytes) -> bytes:
    """What both have said so far, without the header of the first and the proof of the last."""
    return b",".join((client_first, server_first, client_final))


def bound_to(header: bytes, binding: bytes | None) -> bytes:
    """The header said once more, now with what it binds to."""
    return b64encode(header + (binding or b""))


def client_first(data: bytes) -> ClientFirst | None:
    found = _CLIENT_FIRST.fullmatch(data)
    return ClientFirst(found[1], found[2], found[3]) if found else None


def server_first(data: bytes) -> ServerFirst | None:
    found = _SERVER_FIRST.fullmatch(data)
    salt = decoded(found[2]) if found else None
    if found is None or not salt:
        return None
    return ServerFirst(data, found[1], salt, int(found[3]))


def client_final(data: bytes) -> ClientFinal | None:
    found = _CLIENT_FINAL.fullmatch(data)
    proof = decoded(found[4]) if found else None
    if found is None or proof is None or len(proof) != KEY_LENGTH:
        return None
    return ClientFinal(found[1], found[2], found[3], proof)


def server_final(data: bytes) -> bytes | None:
    """The server's signature."""
    found = _SERVER_FINAL.fullmatch(data)
    return decoded(found[1]) if found else None


def encode_server_first(nonce: bytes, salt: bytes, iterations: int) -> bytes:
    return b"r=%b,s=%b,i=%d" % (nonce, b64encode(salt), iterations)


def encode_client_final(text: bytes, proof: bytes) -> bytes:
    return b"%b,p=%b" % (text, b64encode(proof))


def encode_server_final(signature: bytes) -> bytes:
    return b"v=" + b64encode(signature)


def decoded(text: bytes) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return None


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    """Of two keys, which are of one length."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
