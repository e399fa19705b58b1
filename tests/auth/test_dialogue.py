"""Two exchanges instead of one: ends written from the RFC on both sides of the machine between."""

import hashlib
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import message
from scram_ends import Client, Server, initial, offer, request, verifier
from test_binding import EC, RSA, certificate

from proxy.auth import scram, secret
from proxy.auth.dialogue import Derivation, Dialogue, Lookup, Stage
from proxy.auth.secret import Lack, Password

OURS = certificate(EC, hashes.SHA384())  # which the client sees
THEIRS = certificate(RSA, hashes.SHA256())
HASHLESS = certificate(ed25519.Ed25519PrivateKey.generate(), None)
OUR_HASH = hashlib.sha384(OURS).digest()
THEIR_HASH = hashlib.sha256(THEIRS).digest()
PLAIN, PLUS = b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS"
BOTH = offer(PLUS, PLAIN)
ONLY_PLAIN = offer(PLAIN)
OK = request(0, b"")
KEPT = verifier("pencil")
WRONG_LENGTH = PLUS + b"\0\0\0\0\x05p=tls-server-end-point,,n=,r=abc"


def begun(known: object = KEPT, *, ours: bytes = OURS, theirs: bytes = THEIRS) -> Dialogue:
    """The secret is found, the client is to choose."""
    dialogue = Dialogue("app", ours, theirs)
    assert dialogue.from_server(BOTH) == b""
    assert dialogue.wants == Lookup("app")
    found = secret.read(known) if isinstance(known, str) else known
    expected = BOTH if ours is not HASHLESS and found is not Lack.UNKNOWN else ONLY_PLAIN
    assert dialogue.found(found) == expected  # type: ignore[arg-type]
    return dialogue


def challenged(dialogue: Dialogue, client: Client, server: Server) -> bytes:
    """What the client gets for its first message, whatever has to be derived for it."""
    came = dialogue.from_server(server.challenge(dialogue.from_client(client.first())))
    if isinstance(dialogue.wants, Derivation):
        wanted = dialogue.wants
        if isinstance(wanted.secret, Password):
            keys = scram.derive(wanted.secret.raw, wanted.salt, wanted.iterations)
            return dialogue.derived(keys)
        return dialogue.derived(None)
    return came


@pytest.mark.parametrize("known", [KEPT, "pencil"], ids=["verifier", "password"])
def test_both_exchanges_are_bound_to_their_own_certificate(known: str) -> None:
    client, server = Client("pencil", OUR_HASH), Server(KEPT, THEIR_HASH)
    dialogue = begun(known)
    final = server.final(dialogue.from_client(client.final(challenged(dialogue, client, server))))
    assert server.refused == ""
    assert server.header == b"p=tls-server-end-point,,"
    assert client.satisfied(dialogue.from_server(final))
    assert dialogue.from_server(OK) == OK
    assert not dialogue.refused
    assert client.nonce not in server.nonce


@pytest.mark.parametrize(
    ("known", "password", "kept"),
    [
        (KEPT, "wrong", KEPT),
        ("pencil", "wrong", KEPT),
        ("old", "pencil", KEPT),  # in a list that nobody has brought up to date
        (verifier("pencil", b"other salt"), "pencil", KEPT),
        (KEPT, "new", verifier("new", b"another salt")),  # changed a moment ago
        (Lack.NONE, "pencil", KEPT),
        (verifier("pencil"), "pencil", verifier("other")),
    ],
)
def test_a_wrong_proof_is_the_servers_to_refuse(known: object, password: str, kept: str) -> None:
    client, server = Client(password, OUR_HASH), Server(kept, THEIR_HASH)
    dialogue = begun(known)
    server.final(dialogue.from_client(client.final(challenged(dialogue, client, server))))
    assert server.refused == "proof"


def test_what_the_client_gets_does_not_tell_whether_there_is_a_secret() -> None:
    """The challenge is the server's in all but the nonce."""
    for known in (KEPT, Lack.NONE, "pencil", verifier("old", b"old salt")):
        client, server = Client("x", OUR_HASH), Server(KEPT, THEIR_HASH)
        came = challenged(begun(known), client, server)
        nonce = came[9:].split(b",")[0]
        assert came[9 + len(nonce) :] == server.text[len(b"r=" + server.nonce) :]
        assert len(nonce) == len(b"r=" + client.nonce) + 24


def test_a_client_that_says_it_was_not_offered_is_the_servers_to_refuse() -> None:
    client, server = Client("pencil", None, b"y,,"), Server(KEPT, THEIR_HASH)
    dialogue = begun()
    assert dialogue.from_client(client.first()) == client.first()
    server.challenge(client.first())
    assert server.refused == "downgrade"


def test_a_client_that_cannot_bind_talks_to_the_server_itself() -> None:
    client, server = Client("pencil", None), Server(KEPT, THEIR_HASH)
    dialogue = begun(Lack.NONE)
    challenge = server.challenge(dialogue.from_client(client.first()))
    assert dialogue.from_server(challenge) == challenge
    final = client.final(challenge)
    assert dialogue.from_client(final) == final
    end = server.final(final)
    assert (server.refused, dialogue.from_server(end), client.satisfied(end)) == ("", end, True)
    assert dialogue.from_server(OK) == OK


@pytest.mark.parametrize(
    ("mechanism", "text"),
    [
        (PLUS, b"n,,n=,r=abc"),
        (PLUS, b"y,,n=,r=abc"),
        (PLUS, b"p=tls-unique,,n=,r=abc"),
        (PLUS, b"p=tls-server-end-point,a=app,n=,r=abc"),
        (PLUS, b"p=tls-server-end-point,,m=x,n=,r=abc"),
        (PLUS, b"p=tls-server-end-point,,n=,r=ab c"),
        (PLUS, b""),
        (PLAIN, b"p=tls-server-end-point,,n=,r=abc"),
        (b"SCRAM-SHA-512", b"p=tls-server-end-point,,n=,r=abc"),
        (b"OAUTHBEARER", b"n,,\x01auth=Bearer x\x01\x01"),
    ],
)
def test_what_is_not_understood_reaches_the_server(mechanism: bytes, text: bytes) -> None:
    dialogue = begun()
    first = initial(mechanism, text)
    assert dialogue.from_client(first) == first
    assert dialogue.stage is Stage.RELAYED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        PLUS,
        PLUS + b"\0",
        PLUS + b"\0\xff\xff\xff\xff",
        PLUS + b"\0\0\0\0\x09abc",
        b"\0" * 5,
        WRONG_LENGTH,
    ],
)
def test_half_a_first_message_reaches_the_server(body: bytes) -> None:
    dialogue = begun()
    assert dialogue.from_client(message("p", body)) == message("p", body)
    assert dialogue.stage is Stage.RELAYED


def answered(change: object) -> tuple[Dialogue, Server, bytes]:
    """What the server gets for a last message of a client that is not as it should be."""
    client, server = Client("pencil", OUR_HASH), Server(KEPT, THEIR_HASH)
    dialogue = begun()
    final = client.final(challenged(dialogue, client, server))
    return dialogue, server, dialogue.from_client(message("p", change(final[5:])))  # type: ignore[operator]


def test_a_binding_to_another_certificate_is_the_servers_to_refuse() -> None:
    """Somebody stands between the client and the proxy."""
    client, server = Client("pencil", b"another certificate's hash"), Server(KEPT, THEIR_HASH)
    dialogue = begun()
    server.final(dialogue.from_client(client.final(challenged(dialogue, client, server))))
    assert server.refused == "binding"
    assert dialogue.refused


def test_a_binding_that_is_taken_back_is_the_servers_to_refuse() -> None:
    _, server, sent = answered(lambda text: b"c=biws" + text[text.index(b",") :])
    server.final(sent)
    assert server.refused == "binding"


def test_a_wrong_nonce_is_the_servers_to_refuse() -> None:
    dialogue, server, sent = answered(lambda text: text.replace(b",p=", b"x,p="))
    server.final(sent)
    assert server.refused == "nonce"
    assert dialogue.refused


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-5],
        lambda text: text + b",x=y",
        lambda text: text.replace(b",p=", b",q="),
        lambda text: text.replace(b",r=", b",s="),
        lambda _: b"",
        lambda text: text + b"\0",
    ],
)
def test_what_is_malformed_stays_so(change) -> None:
    """With the server's own binding in it, so that it is the form that it refuses."""
    dialogue, _, sent = answered(change)
    assert dialogue.refused
    assert scram.client_final(sent[5:]) is None
    if sent[5:].startswith(b"c="):
        assert b64encode(b"p=tls-server-end-point,," + THEIR_HASH) in sent


@pytest.mark.parametrize("known", [KEPT, "pencil"])
def test_a_server_that_does_not_have_the_keys_is_not_believed(known: str) -> None:
    client, server = Client("pencil", OUR_HASH), Server(KEPT, THEIR_HASH)
    dialogue = begun(known)
    response = dialogue.from_client(client.final(challenged(dialogue, client, server)))
    server.server = b"another key"
    with pytest.raises(ValueError, match="has not proved"):
        dialogue.from_server(server.final(response))


@pytest.mark.parametrize("code", [0, 3, 5, 10, 11, 12, 99])
def test_a_server_does_not_leave_the_path(code: int) -> None:
    """It may not let the client in before it has proved itself, nor ask for something else."""
    allowed = {"opened": 11, "proving": 12, "proved": 0}
    client, server = Client("pencil", OUR_HASH), Server(KEPT, THEIR_HASH)
    dialogue = begun()
    for stage in ("choosing", "opened", "challenged", "proving", "proved", "refused"):
        if stage == "opened":
            opened = dialogue.from_client(client.first())
        elif stage == "challenged":
            came = dialogue.from_server(server.challenge(opened))
        elif stage == "proving":
            response = dialogue.from_client(client.final(came))
        elif stage == "proved":
            dialogue.from_server(server.final(response))
        elif stage == "refused":
            dialogue, _, _ = answered(lambda _: b"")
        if code != allowed.get(stage):
            with pytest.raises(ValueError, match="authentication request"):
                dialogue.from_server(request(code, b""))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"r=%b,s=YQ==,i=1",  # nothing of the server's own in the nonce
        b"r=x%bx,s=YQ==,i=1",
        b"r=%bx,s=,i=1",
        b"r=%bx,s=YQ==,i=0",
        b"r=%bx,s=YQ==,i=1,m=y",
        b"r=%b" + b"x" * 1100 + b",s=YQ==,i=1",
        b"e=other-error",
    ],
)
def test_a_challenge_that_is_none_ends_it(text: bytes) -> None:
    dialogue = begun()
    sent = dialogue.from_client(Client("pencil", OUR_HASH).first())
    nonce = sent[sent.index(b"r=") + 2 :]
    with pytest.raises(ValueError, match="challenge"):
        dialogue.from_server(request(11, text.replace(b"%b", nonce)))


# -- one of the two in clear, or nothing to be had -------------------------------------------------


def test_in_clear_to_the_client_nothing_can_be_bound() -> None:
    dialogue = Dialogue("app", None, THEIRS)
    assert dialogue.from_server(BOTH) == ONLY_PLAIN
    assert dialogue.wants is None
    first = Client("pencil", None).first()
    assert dialogue.from_client(first) == first


@pytest.mark.parametrize("ours", [None, OURS])
@pytest.mark.parametrize(
    "came",
    [
        ONLY_PLAIN,
        offer(b"OAUTHBEARER"),
        offer(PLAIN, b"OAUTHBEARER"),
        OK,
        request(3, b""),
        request(5, b"salt"),
        request(7, b""),
        request(8, b"gss"),
        request(10, b""),
        request(99, b"of a later day"),
    ],
)
def test_everything_else_is_relayed(ours: bytes | None, came: bytes) -> None:
    dialogue = Dialogue("app", ours, THEIRS if ours is None else None)
    assert dialogue.from_server(came) == came
    assert dialogue.wants is None
    assert dialogue.from_client(message("p", b"secret\0")) == message("p", b"secret\0")
    other = Dialogue("app", OURS, THEIRS)
    assert other.from_server(came) == came


def test_in_clear_to_the_server_a_false_offer_is_not_touched() -> None:
    assert Dialogue("app", OURS, None).from_server(BOTH) == BOTH


def test_without_a_secret_it_is_relayed() -> None:
    dialogue = begun(Lack.UNKNOWN)
    first = Client("pencil", None, b"y,,").first()
    assert dialogue.from_client(first) == first
    assert dialogue.from_server(OK) == OK


def test_a_certificate_without_a_hash_is_not_offered() -> None:
    """The client could bind, and says so; nobody has taken the offer away from it."""
    client, server = Client("pencil", None, b"y,,"), Server(KEPT, THEIR_HASH)
    dialogue = begun(ours=HASHLESS)
    final = server.final(dialogue.from_client(client.final(challenged(dialogue, client, server))))
    assert (server.refused, server.header[:1]) == ("", b"p")
    assert client.satisfied(dialogue.from_server(final))


def test_a_server_without_a_hash_is_not_bound_to() -> None:
    client, server = Client("pencil", OUR_HASH), Server(KEPT, None)
    dialogue = begun(theirs=HASHLESS)
    final = server.final(dialogue.from_client(client.final(challenged(dialogue, client, server))))
    assert (server.refused, server.header) == ("", b"n,,")
    assert client.satisfied(dialogue.from_server(final))


# -- anything --------------------------------------------------------------------------------------

texts = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"n,,n=,r=a", b"c=biws,r=a,p=" + b64encode(b"p" * 32), PLUS + b"\0"]),
    st.just(initial(PLUS, b"p=tls-server-end-point,,n=,r=abc")[5:]),
)
requests = st.tuples(st.sampled_from([0, 3, 5, 10, 11, 12, 99]), texts)
steps = st.one_of(
    st.tuples(st.just("client"), texts.map(lambda text: message("p", text))),
    st.tuples(st.just("server"), requests.map(lambda pair: request(*pair))),
    st.tuples(st.just("server"), st.sampled_from([BOTH, OK, request(11, b"")])),
    st.tuples(st.just("secret"), st.sampled_from([KEPT, "pencil", Lack.NONE, Lack.UNKNOWN])),
)


@settings(max_examples=300)
@given(st.sampled_from([None, OURS]), st.sampled_from([None, THEIRS]), st.lists(steps, max_size=12))
def test_nobody_gets_in_but_by_the_path(ours, theirs, taken) -> None:
    """Whatever comes: a message or a ValueError; and once the proxy has begun an exchange of its
    own, AuthenticationOk is not passed on before both have proved themselves."""
    dialogue = Dialogue("app", ours, theirs)
    for side, what in taken:
        try:
            if side == "client" and dialogue.wants is None:
                dialogue.from_client(what)
            elif side == "server" and dialogue.wants is None:
                stage = dialogue.stage
                came = dialogue.from_server(what)
                assert came != OK or stage in {Stage.RELAYED, Stage.PROVED}
            elif side == "secret" and isinstance(dialogue.wants, Lookup):
                dialogue.found(secret.read(what) if isinstance(what, str) else what)
            elif side == "secret" and isinstance(dialogue.wants, Derivation):
                dialogue.derived(None)
        except ValueError:
            return
    # Nobody has proved anything.
    assert dialogue.stage is not Stage.PROVED


@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_request_without_a_code_is_none(length: int) -> None:
    with pytest.raises(ValueError, match="short"):
        Dialogue("app", OURS, THEIRS).from_server(message("R", b"\0" * length))
