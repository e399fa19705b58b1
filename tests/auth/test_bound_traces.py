"""Logins between two TLS connections, message by message as without the proxy."""

import hashlib
import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from guarded_server import PASSWORD
from raw import SSL_REQUEST, Raw, message
from raw_login import Answer, Answers, log_in
from sealed_server import LOGINS, Sealed

from proxy.demo.command import Serving


@dataclass(frozen=True, slots=True)
class Ends:
    """The server and the proxy in front of it, each with the hash of its certificate."""

    sealed: Sealed
    ends: tuple[tuple[int, bytes], tuple[int, bytes]]

    def traces(self, user: str, answer: Callable[[bytes], Answer]) -> list[list[object]]:
        """`answer` gets the hash."""
        return [
            log_in(port, user, answer(certificate), secure=self._secure)
            for port, certificate in self.ends
        ]

    def _secure(self, raw: Raw) -> None:
        raw.send(SSL_REQUEST)
        assert raw.byte() == b"S"
        roots = ssl.create_default_context(cafile=str(self.sealed.folder / "ca.pem"))
        raw.socket = roots.wrap_socket(raw.socket, server_hostname="127.0.0.1")


@pytest.fixture(scope="module")
def ends(sealed: Sealed, through: Callable[..., Serving]) -> Ends:
    def shown(file: Path) -> bytes:
        text = file.read_text()
        first = text[text.index(ssl.PEM_HEADER) :].partition(ssl.PEM_FOOTER)
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert("".join(first[:2]))).digest()

    server = (sealed.server.port, shown(sealed.server.cluster.data / "server.crt"))
    return Ends(sealed, (server, (through().port, shown(sealed.folder / "proxy.pem"))))


@pytest.mark.parametrize(("user", "password"), LOGINS)
def test_trace_of_a_bound_login(ends: Ends, user: str, password: str) -> None:
    direct, proxied = ends.traces(user, lambda hash_: Answers(user, password, binding=hash_))
    assert proxied == direct


@pytest.mark.parametrize(
    "header", [b"n,,", b"y,,", b"p=tls-unique,,", b"p=tls-server-end-point,a,"]
)
@pytest.mark.parametrize("bound", [True, False])
def test_trace_of_another_header(ends: Ends, header: bytes, bound: bool) -> None:  # noqa: FBT001
    direct, proxied = ends.traces(
        "scram", lambda hash_: Answers("scram", PASSWORD, header, hash_ if bound else None)
    )
    assert proxied == direct


LAST: dict[str, Callable[[bytes], bytes]] = {
    "another certificate": lambda text: b"c=" + b64encode(BOUND + b"x" * 32) + _behind(text),
    "binding taken back": lambda text: b"c=biws" + _behind(text),
    "no binding": lambda text: _behind(text)[1:],
    "another nonce": lambda text: text.replace(b",p=", b"x,p="),
    "a short proof": lambda text: text[:-8],
    "no proof": lambda text: text[: text.index(b",p=")],
    "more behind the proof": lambda text: text + b",x=y",
    "an extension": lambda text: text.replace(b",p=", b",x=y,p="),
    "nothing": lambda _: b"",
    "a nul": lambda text: text + b"\0",
}
BOUND = b"p=tls-server-end-point,,"


def _behind(text: bytes) -> bytes:
    return text[text.index(b",") :]


@pytest.mark.parametrize("name", LAST)
def test_trace_of_a_wrong_end(ends: Ends, name: str) -> None:
    def answers(hash_: bytes) -> Answer:
        right = Answers("scram", PASSWORD, binding=hash_)

        def answer(code: int, data: bytes) -> bytes | None:
            said = right(code, data)
            return message("p", LAST[name](said[5:])) if code == 11 and said else said

        return answer

    direct, proxied = ends.traces("scram", answers)
    assert direct[-1] is True
    assert proxied == direct
