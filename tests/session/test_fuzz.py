"""Broken, cut and reordered messages from both sides, without sockets: nothing raises, nothing that
came is waited for without end, pieces make no difference. `FUZZ=n` tries more."""

import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw import message, query
from test_session import messages, session

from proxy.session.startup import Startup, State

EXAMPLES = int(os.environ.get("FUZZ", "150"))
AT_LENGTH = settings(max_examples=EXAMPLES, deadline=None)

FAILURE = b"SERROR\0VERROR\0C42P01\0Mno\0\0"
replies = st.one_of(
    st.sampled_from(
        [message("Z", status) for status in (b"I", b"T", b"E")]
        + [message(kind) for kind in "123nsI"]
        + [message("C", b"UPDATE 1\0"), message("E", FAILURE), message("N", FAILURE)]
        + [message("G", b"\0\0\0"), message("S", b"DateStyle\0ISO\0"), message("D", b"\0\0")]
    ),
    st.builds(message, st.sampled_from(list("123nTtDCIsZENGHWVRKvSAdc")), st.binary(max_size=14)),
    st.binary(max_size=12),
)
exchanges = st.lists(
    st.one_of(messages.map(lambda sent: (0, sent)), replies.map(lambda came: (1, came))),
    max_size=20,
)  # fmt: skip


def held(exchange, installed, size=1 << 20):
    one = session(installed=installed)
    for side, data in exchange:
        hear = one.from_server if side else one.from_client
        for at in range(0, len(data), size):
            hear(data[at : at + size])
    return one


@AT_LENGTH
@given(exchange=exchanges, installed=st.sampled_from([True, False, None]))
@example(exchange=[(0, message("C"))], installed=True)  # compiled code counts the missing bytes
@example(exchange=[(0, query("select 1")), (1, message("C"))], installed=True)
def test_nothing_raises_and_nothing_comes_back_greater(exchange, installed):
    one = held(exchange, installed)
    came = sum(len(data) for side, data in exchange if side)
    sent = sum(len(data) for side, data in exchange if not side)
    assert one.held_bytes <= sent
    assert len(b"".join(one.to_client)) <= came + 1000
    assert len(one.outstanding.queue) <= 20 * len(exchange)


@AT_LENGTH
@given(exchange=exchanges, installed=st.sampled_from([True, False, None]))
def test_pieces_of_both_sides_make_no_difference(exchange, installed):
    whole, pieces = held(exchange, installed), held(exchange, installed, 1)
    assert b"".join(pieces.to_client) == b"".join(whole.to_client)
    assert b"".join(pieces.to_server) == b"".join(whole.to_server)
    assert (pieces.held, pieces.broken) == (whole.held, whole.broken)


@pytest.mark.parametrize(
    "said",
    [
        message("Z"),
        message("E", b"SERROR"),
        message("S", b"DateStyle"),
        b"C\0\0\0\3",
    ],
)
def test_a_server_that_breaks_the_protocol_is_told_of_once(said):
    one = session(installed=True)
    one.from_client(query("select 1"))
    one.from_server(said)
    one.from_server(message("Z", b"I"))
    told = b"".join(one.to_client)
    assert told.count(b"08P01") == 1
    assert told.startswith(b"E")
    assert one.broken
    assert not one.may_say_lost


@AT_LENGTH
@given(
    pieces=st.lists(st.binary(max_size=30), max_size=8),
    replies=st.lists(replies, max_size=8),
    code=st.sampled_from([0x30000, 0x30002, 0x3270F, 0x20000, 80877102, 80877103, 80877104]),
)
def test_a_startup_ends_or_waits(pieces, replies, code):
    one = Startup(lambda *_: None)
    body = b"".join(pieces)
    packet = (len(body) + 8).to_bytes(4, "big") + code.to_bytes(4, "big") + body
    for at in range(len(packet)):
        one.from_client(packet[at : at + 1])
    one.from_client(body)
    if one.state is State.CONNECTING:
        one.connected()
        try:
            for reply in replies:
                one.from_server(reply)
        except ValueError:
            return
    assert one.pending <= len(packet) + len(body)
