"""Messages of any length, in both directions: they go through, and little of them is held.

What is sent is longer by far than the proxy may grow.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_postgres import Server
from fix_proxy import Proxy
from raw import (
    COPY_DONE,
    SYNC,
    Raw,
    bind,
    copy_data,
    describe,
    execute,
    parse,
    query,
)
from watch import backends, eventually, memory

from proxy.demo.command import Serving

MEGABYTE = 1 << 20
SIZE = 96 * MEGABYTE  # of a value
TEXT = 32 * MEGABYTE  # of a statement, which the server copies more often
GROWTH = 24 * MEGABYTE


@pytest.fixture(scope="module")
def proxy(server18: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with server18.database(logged=True) as database:
        database.psql("CREATE TABLE t (id int, v text); GRANT ALL ON t TO app")
        with Serving(database.url(), Path(tmp_path_factory.mktemp("big"))) as serving:
            yield Proxy(database, serving)


def drained(raw: Raw, end: bytes) -> int:
    """Bytes that come until the last of them are these; they are not kept here, either."""
    count, last = 0, b""
    while not last.endswith(end):
        came = raw.socket.recv(MEGABYTE)
        assert came, last[-200:]
        count += len(came)
        last = (last + came)[-400:]
    return count


READY = b"Z\0\0\0\5I"


def pump(raw: Raw, size: int, count: int = 1) -> None:
    chunk = b"x" * MEGABYTE
    for _ in range(count * size // MEGABYTE):
        raw.send(chunk)


def head(message: bytes, more: int) -> bytes:
    """The beginning of a message whose body will be longer by so much."""
    return message[:1] + (len(message) - 1 + more).to_bytes(4, "big") + message[5:]


def test_a_value_to_the_server(proxy: Proxy) -> None:
    with Raw(proxy.port) as raw:
        raw.log_in("app", proxy.database.name)
        before = memory(proxy.serving)
        empty = bind("")
        at = len(empty) - 2 - 4  # the value's length
        raw.send(parse("SELECT length($1::text)"))
        raw.send(head(empty[:at], SIZE + 4 + 2) + SIZE.to_bytes(4, "big"))
        pump(raw, SIZE)
        raw.send(b"\0\0" + execute() + SYNC)
        (row,) = [m for m in raw.until("Z") if m.kind == "D"]
        assert row.body[6:] == str(SIZE).encode()
        assert memory(proxy.serving) - before < GROWTH


def check_answer(proxy: Proxy, text: str, size: int) -> None:
    """It has so many bytes, which pass and are not kept, and the session goes on."""
    with Raw(proxy.port) as raw:
        raw.log_in("app", proxy.database.name)
        before = memory(proxy.serving)
        raw.send(query(text))
        assert drained(raw, READY) > size
        assert memory(proxy.serving) - before < GROWTH
        assert [m.kind for m in raw.ask("SELECT 1")] == ["T", "D", "C", "Z"]


def test_a_value_from_the_server(proxy: Proxy) -> None:
    check_answer(proxy, f"SELECT repeat('x', {SIZE})", SIZE)


@pytest.mark.parametrize("what", ["Query", "Parse", "a write"])
def test_a_statement(proxy: Proxy, what: str) -> None:
    """Longer than statement_limit. It passes, and a write leaves a gap."""
    before_text, after_text = b"SELECT length('", b"')"
    if what == "a write":
        before_text, after_text = b"INSERT INTO t SELECT 1, length('", b"')"
    gaps = "SELECT count(*) FROM hotrollback.gap WHERE reason = 'too_long'"
    ((known,),) = proxy.database.psql(gaps)
    with Raw(proxy.port) as raw:
        raw.log_in("app", proxy.database.name)
        before = memory(proxy.serving)
        if what == "Parse":
            start, rest = b"P\0\0\0\4\0" + before_text, after_text + b"\0\0\0"
        else:
            start, rest = b"Q\0\0\0\4" + before_text, after_text + b"\0"
        raw.send(head(start, TEXT + len(rest)))
        pump(raw, TEXT)
        raw.send(rest)
        if what == "Parse":
            raw.send(bind() + describe() + execute() + SYNC)
        came = raw.until("Z")
        assert "E" not in [m.kind for m in came]
        if what != "a write":
            assert [m.body[6:] for m in came if m.kind == "D"] == [str(TEXT).encode()]
        assert memory(proxy.serving) - before < GROWTH
    if what == "a write":
        assert proxy.database.psql("SELECT v FROM t") == [(str(TEXT),)]
        eventually(lambda: proxy.database.psql(gaps) == [(known + 1,)])


def test_one_message_of_copied_data_in_each_direction(proxy: Proxy) -> None:
    proxy.database.psql("CREATE TABLE IF NOT EXISTS c (v text); GRANT ALL ON c TO app")
    with Raw(proxy.port) as raw:
        raw.log_in("app", proxy.database.name)
        before = memory(proxy.serving)
        raw.send(query("COPY c FROM STDIN"))
        raw.until("G")
        raw.send(head(copy_data(""), SIZE + 1))
        pump(raw, SIZE)
        raw.send(b"\n" + COPY_DONE)
        assert [m.body for m in raw.until("Z") if m.kind == "C"] == [b"COPY 1\0"]
        raw.send(query("COPY c TO STDOUT"))
        assert drained(raw, READY) > SIZE
        assert memory(proxy.serving) - before < GROWTH


def test_a_long_error_is_an_error_like_others(proxy: Proxy) -> None:
    """What follows it in its pipeline is skipped; of a write nothing is left."""
    proxy.database.psql("CREATE FUNCTION boom(text) RETURNS text LANGUAGE plpgsql AS $$"
                        " BEGIN RAISE EXCEPTION '%', repeat('x', 3000000); END $$")  # fmt: skip
    write = "INSERT INTO t VALUES (9, boom('a'))"
    step = parse(write) + bind() + describe() + execute()
    traces = []
    for port in (proxy.database.port, proxy.port):
        with Raw(port) as raw:
            raw.log_in("app", proxy.database.name)
            at = len(raw.trace)
            raw.send(query(write))
            raw.until("Z")
            raw.send(step + step + SYNC + query("SELECT 2"))
            raw.until("ZZ")
            found = [(m.kind, m.fields["C"] if m.kind == "E" else m.body) for m in raw.trace[at:]]
            traces.append([(kind, body) for kind, body in found if kind != "T"])
    assert traces[1] == traces[0]
    assert [kind for kind, _ in traces[0]] == list("EZ12nEZDCZ")


@pytest.mark.parametrize("level", ["NOTICE", "EXCEPTION"])
def test_what_the_server_says(proxy: Proxy, level: str) -> None:
    check_answer(proxy, f"DO $$ BEGIN RAISE {level} '%', repeat('x', {TEXT}); END $$", TEXT)


def test_who_is_killed_in_the_middle_of_a_long_value(proxy: Proxy) -> None:
    """The server has the beginning of it, and does nothing with it."""
    proxy.database.psql("CREATE TABLE IF NOT EXISTS k (v text); GRANT ALL ON k TO app")
    for leaves in (Raw.reset, lambda raw: raw.socket.close()):
        with Raw(proxy.port) as raw:
            raw.log_in("app", proxy.database.name)
            raw.send(parse("INSERT INTO k VALUES ($1)"))
            raw.send(head(bind("")[:-6], SIZE) + SIZE.to_bytes(4, "big"))
            sender = threading.Thread(target=pump, args=(raw, 8 * MEGABYTE))
            sender.start()
            sender.join(20)
            leaves(raw)
        eventually(lambda: backends(proxy.database) == 0)
    assert proxy.database.psql("SELECT count(*) FROM k") == [(0,)]
