"""Both ends of SCRAM-SHA-256, written from RFC 5802 alone: what the proxy's own is measured by.

Not: PostgreSQL; what a real server and real drivers do is in test_login.
"""

import hashlib
import hmac
import secrets
import struct
from base64 import b64decode, b64encode

from raw import message


def hi(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, "sha256").digest()


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def verifier(password: str, salt: bytes = b"0123456789abcdef", iterations: int = 10) -> str:
    salted = hi(password, salt, iterations)
    stored = hashlib.sha256(mac(salted, b"Client Key")).digest()
    kept = (b64encode(part).decode() for part in (salt, stored, mac(salted, b"Server Key")))
    return "SCRAM-SHA-256${1}:{0}${2}:{3}".format(next(kept), iterations, *kept)


def request(code: int, body: bytes) -> bytes:
    return message("R", struct.pack("!i", code) + body)


def offer(*mechanisms: bytes) -> bytes:
    return request(10, b"".join(name + b"\0" for name in mechanisms) + b"\0")


def initial(mechanism: bytes, first: bytes) -> bytes:
    return message("p", mechanism + b"\0" + struct.pack("!i", len(first)) + first)


def attributes(text: bytes) -> dict[bytes, bytes]:
    return {part[:1]: part[2:] for part in text.split(b",")}


class Client:
    """`binding` None: it cannot bind, or says so with the header that it is given."""

    def __init__(self, password: str, binding: bytes | None, header: bytes = b"") -> None:
        self.password = password
        self.binding = binding or b""
        self.header = header or (b"n,," if binding is None else b"p=tls-server-end-point,,")
        self.mechanism = b"SCRAM-SHA-256" + (b"-PLUS" if binding else b"")
        self.nonce = b64encode(secrets.token_bytes(12))
        self.bare = b"n=,r=" + self.nonce

    def first(self) -> bytes:
        return initial(self.mechanism, self.header + self.bare)

    def final(self, challenge: bytes) -> bytes:
        assert challenge[5:9] == struct.pack("!i", 11)
        text = challenge[9:]
        said = attributes(text)
        assert said[b"r"].startswith(self.nonce)
        salted = hi(self.password, b64decode(said[b"s"]), int(said[b"i"]))
        without = b"c=" + b64encode(self.header + self.binding) + b",r=" + said[b"r"]
        self.auth = b",".join((self.bare, text, without))
        key = mac(salted, b"Client Key")
        proof = xor(key, mac(hashlib.sha256(key).digest(), self.auth))
        self.signature = mac(mac(salted, b"Server Key"), self.auth)
        return message("p", without + b",p=" + b64encode(proof))

    def satisfied(self, final: bytes) -> bool:
        return final == request(12, b"v=" + b64encode(self.signature))


class Server:
    """Keeps a verifier; `refused` says what was wrong."""

    def __init__(self, kept: str, binding: bytes | None) -> None:
        _, parameters, keys = kept.split("$")
        self.iterations, self.salt = (part.encode() for part in parameters.split(":"))
        self.stored, self.server = (b64decode(part) for part in keys.split(":"))
        self.binding = binding
        self.refused = ""

    def challenge(self, first: bytes) -> bytes:
        mechanism, rest = first[5:].split(b"\0", 1)
        header, comma, self.bare = rest[4:].partition(b",,")
        self.header = header + comma
        if mechanism.endswith(b"PLUS") != header.startswith(b"p="):
            self.refused = "header"
        if header == b"y" and self.binding:
            self.refused = "downgrade"
        self.nonce = attributes(self.bare)[b"r"] + b64encode(secrets.token_bytes(12))
        self.text = b"r=" + self.nonce + b",s=" + self.salt + b",i=" + self.iterations
        return request(11, self.text)

    def final(self, response: bytes) -> bytes:
        without, _, proof = response[5:].rpartition(b",p=")
        said = attributes(without)
        bound = b64encode(self.header + (self.binding or b"" if self.header[:1] == b"p" else b""))
        auth = b",".join((self.bare, self.text, without))
        key = xor(b64decode(proof), mac(self.stored, auth))
        if said[b"c"] != bound:
            self.refused = self.refused or "binding"
        elif said[b"r"] != self.nonce:
            self.refused = self.refused or "nonce"
        elif hashlib.sha256(key).digest() != self.stored:
            self.refused = self.refused or "proof"
        return request(12, b"v=" + b64encode(mac(self.server, auth)))
