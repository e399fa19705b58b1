"""A login between two TLS connections, from the startup packet to ReadyForQuery, in any pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw import message, query, startup
from scram_ends import Client, Server, verifier
from test_dialogue import BOTH, OK, ONLY_PLAIN, OUR_HASH, OURS, THEIR_HASH, THEIRS

from proxy.auth import scram, secret
from proxy.auth.dialogue import Derivation, Lookup
from proxy.auth.secret import Lack, Password
from proxy.session.startup import Startup, State

HELLO = startup(user="app", database="shop")
VERSION = message("v", b"\0\3\0\2\0\0\0\0")
NOTICE = message("N", b"SNOTICE\0\0")
STATUS = message("S", b"server_version\x0018.6\0")
READY = message("K", b"\0\0\4\xd2" + b"k" * 32) + message("Z", b"I")
KEPT = verifier("pencil")

cuts = st.lists(st.integers(1, 200), min_size=1, max_size=5).map(tuple)


class Login:
    def __init__(self, known: object, cuts: tuple[int, ...] = (1 << 20,)) -> None:
        self.machine = Startup(lambda *_: None)
        self.machine.client_certificate = OURS
        self.machine.server_certificate = THEIRS
        self.known = known
        self.cuts = cuts
        self.asked: list[object] = []

    def _pieces(self, data: bytes) -> list[bytes]:
        pieces, turn = [], 0
        while data:
            size = self.cuts[turn % len(self.cuts)]
            pieces.append(data[:size])
            data, turn = data[size:], turn + 1
        return pieces

    def client(self, data: bytes) -> bytes:
        for piece in self._pieces(data):
            self.machine.from_client(piece)
            if self.machine.state is State.CONNECTING:
                self.machine.connected()
        return self._taken(self.machine.to_server)

    def server(self, data: bytes, *, answer: bool = True) -> bytes:
        for piece in self._pieces(data):
            if self.machine.login is not None:
                self.machine.late += piece
            else:
                self.machine.from_server(piece)
        while answer and self._answer():
            pass
        return self._taken(self.machine.to_client)

    def _answer(self) -> bool:
        wants = self.machine.wants
        if not isinstance(wants, Lookup | Derivation) or wants in self.asked:
            return False
        self.asked.append(wants)
        if isinstance(wants, Lookup):
            known = self.known
            self.machine.found(secret.read(known) if isinstance(known, str) else known)  # type: ignore[arg-type]
        elif isinstance(wants.secret, Password):
            self.machine.derived(scram.derive(wants.secret.raw, wants.salt, wants.iterations))
        else:
            self.machine.derived(None)
        return True

    @staticmethod
    def _taken(out: list[bytes]) -> bytes:
        data = b"".join(out)
        out.clear()
        return data


@pytest.mark.parametrize("known", [KEPT, "pencil"], ids=["verifier", "password"])
@given(pieces=cuts)
def test_a_login_goes_through(known: str, pieces: tuple[int, ...]) -> None:
    login = Login(known, pieces)
    client, server = Client("pencil", OUR_HASH), Server(KEPT, THEIR_HASH)
    assert login.client(HELLO) == HELLO
    assert login.server(VERSION + NOTICE + BOTH) == VERSION + NOTICE + BOTH
    challenge = login.server(NOTICE + server.challenge(login.client(client.first())))
    assert challenge.startswith(NOTICE)
    final = server.final(login.client(client.final(challenge[len(NOTICE) :]) + query("SELECT 1")))
    came = login.server(final + OK + STATUS + READY + b"late")
    assert server.refused == ""
    assert came.endswith(OK + STATUS + READY)
    assert client.satisfied(came[: -len(OK + STATUS + READY)])
    assert login.machine.login is not None
    assert login.machine.login.user == "app"
    assert (login.machine.early, login.machine.late) == (query("SELECT 1"), b"late")


def test_what_comes_while_something_is_looked_up_waits() -> None:
    login = Login(KEPT)
    login.client(HELLO)
    assert login.server(NOTICE + BOTH + NOTICE, answer=False) == NOTICE
    assert login.client(Client("pencil", OUR_HASH).first()) == b""
    login.machine.found(Lack.UNKNOWN)
    assert login.server(b"", answer=False) == ONLY_PLAIN + NOTICE
    assert login.machine.pending == 0
    assert b"".join(login.machine.to_server) != b""


def test_a_second_startup_packet_in_the_middle_is_refused_by_the_server() -> None:
    login = Login(KEPT)
    login.client(HELLO)
    login.server(BOTH)
    other = startup(user="postgres", database="shop")
    assert login.client(other) == other[:5]
    assert login.machine.state is State.REFUSED
    assert login.client(Client("pencil", OUR_HASH).first()) == b""


def test_after_a_wrong_proof_nothing_more_is_listened_to() -> None:
    login = Login(KEPT)
    client, server = Client("wrong", OUR_HASH), Server(KEPT, THEIR_HASH)
    login.client(HELLO)
    login.server(BOTH)
    final = client.final(login.server(server.challenge(login.client(client.first()))))
    server.final(login.client(final + final))
    assert server.refused == "proof"
    assert login.machine.state is State.REFUSED
    assert login.server(b"Eno\0") == b"Eno\0"


def test_an_answer_for_a_client_that_has_gone_changes_nothing() -> None:
    login = Login(KEPT)
    login.client(HELLO)
    login.server(BOTH, answer=False)
    login.machine.fail("57P01", "too late")
    login.machine.to_client.clear()
    login.machine.found(Lack.NONE)
    login.machine.derived(None)
    assert login.machine.to_client == []


def test_ready_is_not_believed_before_somebody_was_let_in() -> None:
    login = Login(KEPT)
    login.client(HELLO)
    with pytest.raises(ValueError, match="let nobody in"):
        login.server(READY)
