"""SCRAM's messages and keys: the example of its RFC, and bytes that nobody should send."""

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scram_ends import Client, Server, verifier

from proxy.auth import scram, secret
from proxy.auth.secret import Lack, Password, Verifier

# RFC 7677, section 3.
NONCE = b"rOprNGfwEbeRWgbNEkqO"
WHOLE = NONCE + b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
BARE = b"n=user,r=" + NONCE
CHALLENGE = b"r=" + WHOLE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
WITHOUT = b"c=biws,r=" + WHOLE
FINAL = WITHOUT + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SIGNED = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

PARSERS = (scram.client_first, scram.server_first, scram.client_final, scram.server_final)
MESSAGES = (b"n,," + BARE, CHALLENGE, FINAL, SIGNED)


def test_the_example_of_the_rfc() -> None:
    first = scram.client_first(b"n,," + BARE)
    challenge = scram.server_first(CHALLENGE)
    final = scram.client_final(FINAL)
    assert first is not None
    assert challenge is not None
    assert final is not None
    assert (first.header, first.bare, first.nonce) == (b"n,,", BARE, NONCE)
    assert (challenge.nonce, challenge.iterations) == (WHOLE, 4096)
    assert (final.text, final.binding, final.nonce) == (WITHOUT, b"biws", WHOLE)
    keys = scram.derive(b"pencil", challenge.salt, challenge.iterations)
    said = scram.said(first.bare, challenge.text, final.text)
    client_key = keys.client_key(final.proof, said)
    assert client_key is not None
    assert scram.encode_client_final(WITHOUT, keys.proof(client_key, said)) == FINAL
    assert scram.encode_server_final(keys.signature(said)) == SIGNED
    assert scram.server_final(SIGNED) == keys.signature(said)
    assert scram.encode_server_first(WHOLE, challenge.salt, 4096) == CHALLENGE


def test_a_wrong_proof_yields_no_key() -> None:
    keys = scram.derive(b"pencil", b"salt", 1)
    assert keys.client_key(b"\0" * 32, b"said") is None
    assert scram.no_keys().client_key(b"\0" * 32, b"said") is None


def test_ends_of_the_tests_understand_each_other() -> None:
    client, server = Client("x", b"hash"), Server(verifier("x"), b"hash")
    assert client.satisfied(server.final(client.final(server.challenge(client.first()))))
    assert server.refused == ""


@pytest.mark.parametrize("parser", PARSERS)
@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_not(parser, data: bytes) -> None:
    parser(data)


pieces = st.sampled_from(
    [*b"nypcrsiva=,\0-", *(m[:k] for m in MESSAGES for k in (1, 3, 9, len(m))), b"=" * 3, b"\xff"]
).map(lambda piece: bytes([piece]) if isinstance(piece, int) else piece)


@pytest.mark.parametrize("parser", PARSERS)
@given(st.lists(pieces, max_size=12).map(b"".join))
def test_what_looks_like_it_is_taken_or_not(parser, data: bytes) -> None:
    parser(data)


@pytest.mark.parametrize(("parser", "text"), list(zip(PARSERS, MESSAGES, strict=True)))
@given(data=st.data())
def test_one_changed_byte_never_breaks_it(parser, text: bytes, data) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    parser(text[:at] + data.draw(st.binary(max_size=2)) + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x,," + BARE,
        b"n," + BARE,
        b"n,a=other," + BARE,
        b"p=tls-unique,," + BARE,
        b"p=tls-server-end-point," + BARE,
        b"n,,m=must," + BARE,
        b"n,,r=" + NONCE,
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=user,r=a\0",
        b"n,,n=user,r=ab,",
        b"n,,n=us\0er,r=ab",
        b"n,,n=user,r=" + b"a" * 1025,
    ],
)
def test_not_a_first_message_of_a_client(text: bytes) -> None:
    assert scram.client_first(text) is None


def test_extensions_mean_nothing() -> None:
    first = scram.client_first(b"y,," + BARE + b",x=1,y=")
    assert first is not None
    assert (first.header, first.nonce) == (b"y,,", NONCE)
    final = scram.client_final(WITHOUT + b",x=1" + FINAL[len(WITHOUT) :])
    assert final is not None
    assert final.text == WITHOUT + b",x=1"


@pytest.mark.parametrize(
    "text",
    [
        b"r=ab,s=,i=1",
        b"r=ab,s=====,i=1",
        b"r=ab,s=YQ=,i=1",
        b"r=ab,s=YQ==,i=0",
        b"r=ab,s=YQ==,i=-1",
        b"r=ab,s=YQ==,i=99999999999",
        b"r=ab,s=YQ==,i=1,x=y",
        b"r=ab,s=YQ==,i=1\n",
        b"m=x,r=ab,s=YQ==,i=1",
        b"e=other-error",
        b"r=" + b"a" * 1025 + b",s=YQ==,i=1",
    ],
)
def test_not_a_challenge(text: bytes) -> None:
    assert scram.server_first(text) is None


@pytest.mark.parametrize(
    "text",
    [
        WITHOUT,
        WITHOUT + b",p=",
        WITHOUT + b",p=YQ==",
        FINAL + b",x=y",
        FINAL + b"=",
        b"r=" + WHOLE + FINAL[len(WITHOUT) :],
        b"c=biws,x=y" + FINAL[len(WITHOUT) :],
    ],
)
def test_not_a_last_message_of_a_client(text: bytes) -> None:
    assert scram.client_final(text) is None


def test_long_garbage_takes_no_time() -> None:
    """A parser that tries every way would never come back."""
    for parser in PARSERS:
        assert parser(b"n,,n=" + b",a=" * 40_000 + b"\0") is None
        assert parser(b"c=,r=" + b",a=" * 40_000 + b"\0") is None


def test_what_is_kept_of_a_password() -> None:
    kept = secret.read(verifier("pencil", b"salt", 7))
    assert isinstance(kept, Verifier)
    assert (kept.salt, kept.iterations) == (b"salt", 7)
    assert kept.keys == scram.derive(b"pencil", b"salt", 7)
    assert kept.fits(b"salt", 7)
    assert not kept.fits(b"salt", 8)
    assert not kept.fits(b"other", 7)
    assert secret.read("pencil") == Password("pencil")
    assert secret.read("md5" + "0" * 32) is Lack.NONE
    assert secret.read("md5 is not good") == Password("md5 is not good")
    assert secret.read(None) is Lack.NONE
    assert secret.read("") is Lack.NONE


@pytest.mark.parametrize(
    "text",
    [
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096:YQ==$YQ==:YQ==",
        verifier("x")[:-1],
        verifier("x").replace("$10:", "$0:"),
        verifier("x") + "$",
    ],
)
def test_half_a_verifier_is_no_password(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole verifier") as refused:
        secret.read(text)
    assert text == "SCRAM-SHA-256$" or text not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    kept = secret.read(verifier("pencil", b"salt", 7))
    assert isinstance(kept, Verifier)
    shown = f"{kept!r} {kept} {kept.keys!r} {Password('pencil')!r}"
    for hidden in ("pencil", "salt", repr(kept.keys.stored), repr(b64decode(b"c2FsdA=="))):
        assert hidden not in shown.replace("salt=", "")
