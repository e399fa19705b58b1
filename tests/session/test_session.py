"""A session without any server: whatever bytes a client sends, in whatever pieces, it does not raise,
and what it forwards is what came; and the queue of awaited replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw import SYNC, bind, close, copy_data, describe, execute, message, parse, query

from proxy.catalog.cache import Knowledge
from proxy.session.login import Login, Surroundings
from proxy.session.outstanding import BIND, EXECUTE, PARSE, QUERY, Asked, Outstanding, Slot
from proxy.session.outstanding import SYNC as SYNC_KIND
from proxy.session.session import Session
from proxy.wire import encode

PARAMETERS = {b"client_encoding": b"UTF8", b"standard_conforming_strings": b"on"}
LOGIN = Login("u", "d", "", 1, 180000, PARAMETERS, replication=False)


def session(*, installed: bool | None = False, limit: int = 1 << 20) -> Session:
    knowledge = Knowledge(installed)
    around = Surroundings(
        knowledge=lambda _database: knowledge, capturing=lambda: True,
        statement_seen=lambda *_: None, session_seen=lambda _: None, gap_unrecorded=lambda *_: None,
        counted={}, statement_limit=limit,
    )  # fmt: skip
    return Session(LOGIN, around)


names = st.sampled_from(["", "a", "b"])
texts = st.sampled_from(
    ["select 1", "delete from t", "copy t from stdin", "begin", "", "a;b", "'", "discard all", "\\"]
)
messages = st.one_of(
    texts.map(query), st.builds(parse, texts, names), st.builds(lambda n, p: bind("x", name=n, portal=p), names, names),
    st.builds(describe, names), st.builds(execute, names), st.builds(close, names, st.sampled_from("SP")),
    st.sampled_from([SYNC, message("H"), message("c"), message("f", b"\0"), message("F", b"\0\0\3\xbb"), copy_data("x")]),
    st.builds(message, st.sampled_from(list("QPBEDCFdfcHS")), st.binary(max_size=12)),
)  # fmt: skip


@given(sent=st.lists(messages, max_size=12), cuts=st.lists(st.integers(1, 40), max_size=30))
def test_without_a_log_everything_goes_through_as_it_came(sent, cuts):
    """But for what the server refuses by its first bytes: of that and the rest only those are sent."""
    one = session()
    data = rest = b"".join(sent)
    for cut in cuts:
        one.from_client(rest[:cut])
        rest = rest[cut:]
    one.from_client(rest)
    forwarded = b"".join(one.to_server)
    assert data.startswith(forwarded)
    assert forwarded == data or one.refused


UNEDITED = (
    "SELECT 1", "/* a */ SELECT * FROM t -- b", "", ";;", "-- nothing", "BEGIN; SELECT 1; COMMIT", "SAVEPOINT a",
    "SET TimeZone = 'CET'", "SHOW ALL", "EXPLAIN UPDATE t SET v = 1", "PREPARE p AS DELETE FROM t", "LISTEN a",
    "NOTIFY a, 'x'", "COPY t TO STDOUT", "DECLARE c CURSOR FOR SELECT 1", "FETCH ALL FROM c", "CLOSE c", "VACUUM t",
    "ANALYZE t", "LOCK TABLE t", "DISCARD ALL", "DEALLOCATE p", "SET CONSTRAINTS ALL IMMEDIATE", "CHECKPOINT",
    "SELECT 'UPDATE t'; SELECT $$DELETE FROM t$$", "VALUES (1), (2)", "TABLE t", "SELECT * FROM t FOR UPDATE",
)  # fmt: skip


@pytest.mark.parametrize("text", UNEDITED)
def test_what_writes_nothing_goes_through_as_it_came(text):
    """Although there is a log: no byte is changed, and nothing of ours goes before it or after."""
    for sent in (
        query(text),
        parse(text, "s") + bind(name="s") + describe() + execute() + close("s", "S") + SYNC,
    ):
        one = session(installed=True)
        one.from_client(sent)
        assert b"".join(one.to_server) == sent


@given(data=st.binary(max_size=200), sent=st.lists(messages, max_size=6))
def test_no_bytes_of_a_client_raise(data, sent):
    for installed in (False, True, None):
        for limit in (8, 1 << 20):
            one = session(installed=installed, limit=limit)
            for piece in (*sent, data):
                one.from_client(piece)


@given(
    sent=st.lists(messages, min_size=1, max_size=6), cuts=st.lists(st.integers(1, 40), max_size=30)
)
def test_pieces_make_no_difference(sent, cuts):
    whole, cut_up = session(installed=None), session(installed=None)
    data = rest = b"".join(sent)
    whole.from_client(data)
    for cut in cuts:
        cut_up.from_client(rest[:cut])
        rest = rest[cut:]
    cut_up.from_client(rest)
    assert b"".join(cut_up.to_server) == b"".join(whole.to_server)
    assert cut_up.held == whole.held


def test_a_question_goes_before_the_first_write_and_the_client_waits():
    one = session(installed=None)
    one.from_client(query("select 1"))
    assert b"".join(one.to_server) == query("select 1")
    one.from_server(encode.command_complete(b"SELECT 1") + message("Z", b"I"))
    one.to_server.clear()
    one.from_client(query("delete from t") + query("select 2"))
    asked = b"".join(one.to_server)
    assert asked.startswith(b"P")
    assert asked.endswith(SYNC)
    assert b"delete" not in asked
    assert one.held


def test_an_error_drops_what_the_server_will_not_answer():
    taken_back = []
    queue = Outstanding()
    asked = Asked(lambda _: None, QUERY)
    for kind in (PARSE, BIND, EXECUTE, PARSE, BIND):
        queue.queue.append(Slot(kind, skipped=lambda kind=kind: taken_back.append(kind)))
    queue.queue[-1].asked, queue.queue[-1].last = asked, True
    queue.queue.extend([Slot(SYNC_KIND), Slot(QUERY)])
    queue.queue.popleft()
    assert queue.after_error() == (False, [asked])
    assert [slot.kind for slot in queue.queue] == [SYNC_KIND, QUERY]
    assert taken_back == [BIND, PARSE, EXECUTE, BIND]
    assert asked.cut


def test_an_error_of_a_simple_query_ends_by_itself():
    queue = Outstanding()
    queue.queue.extend([Slot(QUERY), Slot(PARSE)])
    assert queue.after_error() == (False, [])
    assert len(queue.queue) == 2


def test_without_a_sync_on_its_way_everything_is_discarded():
    queue = Outstanding()
    queue.queue.extend([Slot(EXECUTE), Slot(QUERY)])
    assert queue.after_error() == (True, [])
    assert not queue.queue
