"""Logging in as a state machine: whole, byte by byte, and cut at any place, it does the same."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw import GSSENC_REQUEST, SSL_REQUEST, cancel_request, message, packet, query, startup

from proxy.session.startup import Cancel, Connect, Startup, State
from proxy.wire import decode

OK = message("R", b"\0\0\0\0")
ASK = message("R", b"\0\0\0\3")
SCRAM = message("R", b"\0\0\0\x0aSCRAM-SHA-256\0\0")
SCRAM_GOES_ON = message("R", b"\0\0\0\x0br=1")
SCRAM_ENDS = message("R", b"\0\0\0\x0cv=1")
STATUS = message("S", b"server_version\x0018.6 (Debian)\0") + message("S", b"TimeZone\0UTC\0")
KEY = message("K", b"\0\0\4\xd2" + b"k" * 32)
READY = message("Z", b"I")
PASSWORD = message("p", b"secret\0")
HELLO = startup(user="app", database="shop", application_name="till")


def no_tag(_role: str, _database: str, _application: str) -> None:
    return None


def made(**given_by: object) -> Startup:
    return Startup(given_by.get("tag_of", no_tag))  # type: ignore[arg-type]


class Held:
    """One login, with both ends in hand; each side's bytes arrive in pieces."""

    def __init__(self, machine: Startup, cuts: tuple[int, ...] = (1 << 20,)) -> None:
        self.machine = machine
        self.cuts = cuts
        self.to_client = b""
        self.to_server = b""

    def _pieces(self, data: bytes) -> list[bytes]:
        pieces, turn = [], 0
        while data:
            size = self.cuts[turn % len(self.cuts)]
            pieces.append(data[:size])
            data, turn = data[size:], turn + 1
        return pieces

    def _take(self) -> None:
        machine = self.machine
        if machine.state is State.CONNECTING:
            machine.connected()
        self.to_client += b"".join(machine.to_client)
        self.to_server += b"".join(machine.to_server)
        machine.to_client.clear()
        machine.to_server.clear()

    def client(self, data: bytes) -> "Held":
        for piece in self._pieces(data):
            self.machine.from_client(piece)
            self._take()
        return self

    def server(self, data: bytes) -> "Held":
        for piece in self._pieces(data):
            if self.machine.login is not None:
                self.machine.late += piece
            else:
                self.machine.from_server(piece)
            self._take()
        return self


cuts = st.lists(st.integers(1, 40), min_size=1, max_size=5).map(tuple)


@given(cuts)
def test_a_login_is_relayed_verbatim(pieces: tuple[int, ...]) -> None:
    held = Held(made(), pieces)
    held.client(HELLO).server(ASK).client(PASSWORD).server(OK + STATUS + KEY + READY)
    assert held.to_server == HELLO + PASSWORD
    assert held.to_client == ASK + OK + STATUS + KEY + READY
    login = held.machine.login
    assert login is not None
    assert (login.user, login.database, login.application_name) == ("app", "shop", "till")
    assert (login.pid, login.version, login.replication) == (1234, 180006, False)
    assert login.parameters == {b"server_version": b"18.6 (Debian)", b"TimeZone": b"UTC"}
    assert held.machine.cancel_key == b"\0\0\4\xd2" + b"k" * 32


@given(cuts)
def test_scram_goes_back_and_forth(pieces: tuple[int, ...]) -> None:
    held = Held(made(), pieces).client(HELLO).server(SCRAM).client(PASSWORD).server(SCRAM_GOES_ON)
    held.client(PASSWORD).server(SCRAM_ENDS + OK + KEY + READY)
    assert held.to_server == HELLO + PASSWORD + PASSWORD
    assert held.machine.state is State.READY


@given(cuts, st.permutations([SSL_REQUEST, GSSENC_REQUEST]), st.integers(0, 2))
def test_encryption_is_refused_in_any_order(
    pieces: tuple[int, ...], requests: list[bytes], count: int
) -> None:
    held = Held(made(), pieces)
    for number, request in enumerate(requests[:count], 1):
        held.client(request)
        assert held.to_client == b"N" * number
    held.client(HELLO).server(OK + READY)
    assert held.to_client == b"N" * count + OK + READY


@pytest.mark.parametrize("request_", [SSL_REQUEST, GSSENC_REQUEST])
def test_encryption_is_asked_for_once(request_: bytes) -> None:
    held = Held(made()).client(request_).client(request_)
    assert held.machine.state is State.CLOSED
    assert b"C0A000\0" in held.to_client


@pytest.mark.parametrize("request_", [SSL_REQUEST, GSSENC_REQUEST])
def test_what_comes_with_the_request_is_not_taken_for_encrypted(request_: bytes) -> None:
    held = Held(made()).client(request_ + HELLO)
    assert held.machine.state is State.CLOSED
    assert held.machine.wants is None
    assert b"C08P01\0" in held.to_client


@given(cuts)
def test_what_comes_before_its_time_waits(pieces: tuple[int, ...]) -> None:
    """Without a password to send, a client may ask at once; with one it is the server's to say."""
    held = Held(made(), pieces).client(HELLO + query("SELECT 1"))
    assert held.to_server == HELLO
    held.server(OK + READY)
    assert held.machine.early == query("SELECT 1")
    assert held.machine.pending == len(held.machine.early)


@pytest.mark.parametrize(
    "wrong",
    [query("SELECT 1"), HELLO, b"p\0\0\0\3", b"p\x7f\xff\xff\xff", b"p\xff\xff\xff\xff", b"\0" * 9],
)
def test_what_is_no_password_is_refused_by_the_server(wrong: bytes) -> None:
    """It gets the head of it and nothing more; what it says is the last word."""
    held = Held(made()).client(HELLO).server(ASK).client(wrong)
    assert held.to_server == HELLO + wrong[:5]
    held.client(PASSWORD).client(HELLO)
    assert held.to_server == HELLO + wrong[:5]
    held.server(OK + READY)
    assert held.machine.login is None


def test_half_a_message_is_not_lost_with_a_refusal() -> None:
    notice = message("N", b"SNOTICE\0\0")
    held = Held(made()).client(HELLO).server(ASK + notice[:7]).client(query("SELECT 1"))
    held.server(notice[7:])
    assert held.to_client == ASK + notice


@pytest.mark.parametrize(
    "refused",
    [
        startup((2, 0), user="app"),
        startup((4, 0), user="app"),
        packet(0x30000, b"user\0app"),
        packet(0x30000, b"user\0app\0\0rest\0"),
    ],
)
def test_what_the_server_will_refuse_is_sent_to_it(refused: bytes) -> None:
    held = Held(made(tag_of=lambda *_: "tag")).client(refused + query("SELECT 1"))
    assert held.to_server == refused
    held.server(b"Eunsupported\0")
    assert held.to_client == b"Eunsupported\0"
    held.server(OK + READY)
    assert held.machine.login is None


@pytest.mark.parametrize("length", [0, 1, 7, 10_005, 2**31 - 1, -1])
def test_a_length_that_cannot_be_is_not_waited_for(length: int) -> None:
    machine = made()
    machine.from_client(struct.pack("!i", length))
    assert machine.state is State.CLOSED
    assert (machine.to_client, machine.wants) == ([], None)


@given(st.binary(max_size=200), cuts)
def test_garbage_never_breaks_it(garbage: bytes, pieces: tuple[int, ...]) -> None:
    held = Held(made(), pieces).client(garbage)
    assert held.machine.login is None


@given(st.binary(max_size=200), cuts)
def test_a_server_of_another_kind_never_breaks_it(garbage: bytes, pieces: tuple[int, ...]) -> None:
    held = Held(made(), pieces).client(HELLO)
    try:
        held.server(garbage)
    except ValueError:
        return


@pytest.mark.parametrize("wrong", [b"HTTP/1.1 400", b"R\0\0\0\3", b"S\x7f\xff\xff\xff"])
def test_a_server_of_another_kind_is_told_apart(wrong: bytes) -> None:
    held = Held(made()).client(HELLO)
    with pytest.raises(ValueError, match="message of type"):
        held.server(wrong)


@given(cuts, st.binary(min_size=8, max_size=260))
def test_cancel_requests_keep_their_key(pieces: tuple[int, ...], key: bytes) -> None:
    held = Held(made(), pieces).client(cancel_request(key))
    assert held.machine.wants == Cancel(cancel_request(key))
    assert held.machine.state is State.CLOSED


def test_the_database_is_the_users_by_default() -> None:
    machine = Held(made()).client(startup(user="app")).machine
    assert machine.wants == Connect("app", "app", "")


@pytest.mark.parametrize("value", ["", "false", "FAL", "f", "off", "of", "no", "n", "0"])
def test_no_replication(value: str) -> None:
    held = Held(made()).client(startup(user="a", replication=value)).server(OK + READY)
    assert held.machine.login is not None
    assert not held.machine.login.replication


@pytest.mark.parametrize("value", ["true", "T", "on", "yes", "1", "database"])
def test_replication(value: str) -> None:
    held = Held(made()).client(startup(user="a", replication=value)).server(OK + READY)
    assert held.machine.login is not None
    assert held.machine.login.replication


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_tag_becomes_an_option_that_the_server_reads_back(tag: str) -> None:
    held = Held(made(tag_of=lambda *_: tag)).client(startup(user="a", options="-c x.y=1"))
    options = dict(decode.startup_parameters(held.to_server[8:]))[b"options"].decode()
    assert split_options(options) == ["-c", f"hotrollback.tag={tag}", "-c", "x.y=1"]


def test_the_last_options_count() -> None:
    both = packet(0x30000, b"user\0a\0options\0-c a.b=1\0options\0-c a.b=2\0\0")
    held = Held(made(tag_of=lambda *_: "t")).client(both)
    options = decode.startup_parameters(held.to_server[8:])
    assert options == [(b"user", b"a"), (b"options", b"-c hotrollback.tag=t -c a.b=2")]


def split_options(text: str) -> list[str]:
    """As pg_split_opts of src/backend/utils/init/postinit.c: isspace() separates, \\ quotes."""
    words: list[str] = []
    word, quoted, inside = "", False, False
    for char in text:
        if quoted:
            word, quoted = word + char, False
        elif char == "\\":
            quoted = inside = True
        elif char in " \t\n\v\f\r":
            if inside:
                words.append(word)
            word, inside = "", False
        else:
            word, inside = word + char, True
    return [*words, word] if inside else words
