"""The console's protocol behind the login: simple, extended, broken, and cut anywhere."""

import re
from itertools import pairwise
from struct import pack

import pytest
from conversation import SSL, Client, Proxy, error, kinds, logged_in, rows, startup
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.console import Console
from proxy.wire import encode
from proxy.wire.decode import row_description

# -- simple --------------------------------------------------------------------------------------


async def test_a_command() -> None:
    client = await logged_in()
    found = await client.ask("show stats;")
    assert kinds(found) == "TDDCZ"
    assert [(c.name, c.type) for c in row_description(found[0][1])] == [
        *((b"name", 25), (b"value", 20)),
    ]
    assert rows(found) == [(b"connections", b"3"), (b"queries", b"12345678901")]
    assert found[-2:] == [("C", b"SELECT 2\0"), ("Z", b"I")]


async def test_several_commands_end_at_the_first_error() -> None:
    client = await logged_in()
    found = await client.ask("SHOW VERSION; SHOW TAGS; SHOW VERSION")
    assert kinds(found) == "TDCEZ"
    assert error(found)["C"] == "08001"  # no server behind this proxy
    assert kinds(await client.ask("SHOW VERSION")) == "TDCZ"


async def test_nothing_is_done_of_a_text_that_is_wrong_somewhere() -> None:
    client = await logged_in()
    found = await client.ask("CAPTURE OFF; SHOW TAGZ")
    assert kinds(found) == "EZ"
    assert client.proxy.on
    told = error(found)
    assert (told["C"], told["P"], told["H"]) == ("42601", "19", "did you mean TAGS?")


@pytest.mark.parametrize("text", ["", ";", " -- nothing\n"])
async def test_an_empty_query(text: str) -> None:
    client = await logged_in()
    assert kinds(await client.ask(text)) == "IZ"


async def test_passwords_are_not_shown() -> None:
    client = await logged_in()
    assert b"s3cret" not in b"".join(body for _, body in await client.ask("SHOW CONFIG"))


async def test_capture_off_warns_and_on() -> None:
    client = await logged_in()
    found = await client.ask("CAPTURE OFF")
    assert kinds(found) == "NTDCZ"
    assert not client.proxy.on
    assert kinds(await client.ask("CAPTURE ON")) == "TDCZ"
    assert client.proxy.on


async def test_reload() -> None:
    client = await logged_in()
    assert kinds(await client.ask("RELOAD")) == "TDCZ"
    assert client.proxy.reloaded
    client.proxy.bad_file = True
    told = error(await client.ask("RELOAD"))
    assert told["C"] == "F0000"
    assert "tls_cert: /nowhere" in told["M"]


async def test_shutdown() -> None:
    client = await logged_in()
    assert kinds(await client.ask("SHUTDOWN")) == "TDCZ"
    assert client.proxy.stopped


async def test_what_changes_something_is_refused_in_a_transaction() -> None:
    """A driver that began one for its user would promise a rollback that cannot be."""
    client = await logged_in()
    assert (await client.ask("BEGIN"))[-1] == ("Z", b"T")
    found = await client.ask("CAPTURE OFF")
    assert error(found)["C"] == "25001"
    assert found[-1] == ("Z", b"E")
    assert error(await client.ask("SHOW VERSION"))["C"] == "25P02"
    found = await client.ask("COMMIT")
    assert found == [("C", b"ROLLBACK\0"), ("Z", b"I")]
    assert client.proxy.on


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("SET search_path TO a, b", "C"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "C"),
        ("SET NAMES 'UTF8'", "C"),
        ("SET TIME ZONE 'Europe/Berlin'", "SC"),
        ("SHOW transaction_read_only", "TDC"),
        ("SHOW TRANSACTION ISOLATION LEVEL", "TDC"),
        ("show server_version", "TDC"),
        ("SELECT version()", "TDC"),
        ("select pg_catalog.version()", "TDC"),
        ("SELECT 1 AS alive", "TDC"),
        ("select pg_catalog.pg_is_in_recovery()", "TDC"),
        ("select current_setting('server_version_num')", "TDC"),
        (
            "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
            "TDCCCC",
        ),
        ("DISCARD ALL", "C"),
        ("DEALLOCATE ALL", "C"),
        ("BEGIN; SAVEPOINT a; RELEASE a; COMMIT", "CCCC"),
    ],
)
async def test_what_drivers_send_by_themselves(text: str, answer: str) -> None:
    client = await logged_in()
    assert kinds(await client.ask(text)) == answer + "Z"


async def test_settings_are_kept_and_reset() -> None:
    client = Client()
    await client.log_in(application_name="first")
    await client.ask("SET application_name = 'second'")
    assert rows(await client.ask("SHOW application_name")) == [(b"second",)]
    await client.ask("RESET ALL")
    assert rows(await client.ask("SHOW application_name")) == [(b"first",)]


async def test_a_bad_time_zone_is_refused() -> None:
    client = await logged_in()
    assert error(await client.ask("SET TimeZone = 'Moon'"))["C"] == "22023"


async def test_queries_of_a_database_are_told_what_this_is() -> None:
    client = await logged_in()
    told = error(await client.ask("SELECT * FROM pg_class"))
    assert told["C"] == "42601"
    assert told["H"] == "SHOW HELP lists the commands"


# -- extended ------------------------------------------------------------------------------------


def bind(statement: bytes = b"", *values: bytes, formats: tuple[int, ...] = ()) -> bytes:
    body = b"\0" + statement + b"\0" + pack("!h", 0) + pack("!h", len(values))
    body += b"".join(pack("!i", len(value)) + value for value in values)
    body += pack("!h", len(formats)) + b"".join(pack("!h", each) for each in formats)
    return encode.message(b"B", body)


DESCRIBE_PORTAL = encode.message(b"D", b"P\0")


async def test_prepare_describe_execute() -> None:
    client = await logged_in()
    found = await client.send(
        encode.parse(b"s", b"SHOW STATS") + encode.describe_statement(b"s") + encode.SYNC
    )
    assert kinds(found) == "1tTZ"
    for _ in range(2):
        found = await client.send(bind(b"s") + DESCRIBE_PORTAL + encode.execute() + encode.SYNC)
        assert kinds(found) == "2TDDCZ"


@pytest.mark.parametrize("formats", [(1,), (1, 1), (0, 1)])
async def test_results_in_binary(formats: tuple[int, ...]) -> None:
    """One format for all columns, or one for each."""
    client = await logged_in()
    found = await client.send(
        encode.parse(b"", b"SHOW STATS") + bind(formats=formats) + encode.execute() + encode.SYNC
    )
    assert rows(found)[1] == (b"queries", pack("!q", 12_345_678_901))


async def test_a_row_limit_suspends_the_portal() -> None:
    client = await logged_in()
    found = await client.send(
        encode.parse(b"", b"SHOW STATS") + bind() + encode.execute(limit=1) * 3 + encode.SYNC
    )
    assert kinds(found) == "12DsDsCZ"


async def test_an_error_skips_to_sync() -> None:
    client = await logged_in()
    one = encode.parse(b"", b"SHOW VERSION") + bind() + encode.execute()
    bad = encode.parse(b"", b"SHOW TAGZ") + bind() + encode.execute()
    found = await client.send(one + bad + one + encode.SYNC + one + encode.SYNC)
    assert kinds(found) == "12DCEZ12DCZ"


async def test_parameters() -> None:
    client = await logged_in()
    await client.send(encode.parse(b"s", b"SHOW TAGS TAG $1 LIMIT $2"))
    found = await client.send(encode.describe_statement(b"s") + encode.SYNC)
    assert found[0] == ("t", pack("!hii", 2, 25, 25))
    found = await client.send(bind(b"s", b"x", b"0") + encode.execute() + encode.SYNC)
    assert (error(found)["M"], kinds(found)) == ("0 is not enough", "2EZ")


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        (bind(b"nosuch"), "26000"),
        (encode.execute(b"nosuch"), "34000"),
        (encode.message(b"D", b"Snosuch\0"), "26000"),
        (encode.parse(b"", b"SHOW VERSION; SHOW VERSION"), "42601"),
        (encode.parse(b"s", b"SHOW VERSION") * 2, "42P05"),
        (encode.parse(b"", b"SHOW TAGS TAG $1") + bind(), "08P01"),
        (encode.parse(b"", b"\xff"), "22021"),
    ],
)
async def test_errors_of_the_extended_protocol(sent: bytes, state: str) -> None:
    client = await logged_in()
    found = await client.send(sent + encode.SYNC)
    assert error(found)["C"] == state
    assert kinds(found).endswith("EZ")


async def test_describing_changes_nothing() -> None:
    client = await logged_in()
    found = await client.send(encode.parse(b"", b"BEGIN") + encode.SYNC)
    assert found[-1] == ("Z", b"I")
    await client.send(encode.parse(b"", b"SET application_name = 'x'") + encode.SYNC)
    assert rows(await client.ask("SHOW application_name")) == [(b"",)]


# -- what breaks the protocol --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        startup({"user": "me", "database": "hotrollback"}),  # a second one
        b"Q" + pack("!i", 3),
        b"Q" + pack("!i", 1 << 30),
        b"y" + pack("!i", 4),
        encode.message(b"Q", b"no end"),
        encode.parse(b"", b"SHOW VERSION") + encode.message(b"B", b"\0\0\0"),
        encode.message(b"P", b"\0x\0"),
    ],
)
async def test_a_broken_message_ends_the_session(data: bytes) -> None:
    client = await logged_in()
    told = error(await client.send(data))
    assert (told["S"], told["C"]) == ("FATAL", "08P01")
    assert client.console.closed


async def test_terminate() -> None:
    client = await logged_in()
    assert await client.send(encode.TERMINATE + encode.query(b"CAPTURE OFF")) == []
    assert client.console.closed
    assert client.proxy.on


SCRIPT = (
    *(SSL, startup({"user": "me", "database": "hotrollback"})),
    encode.query(b"SHOW STATS; CAPTURE OFF"),
    encode.parse(b"s", b"SHOW VERSION") + encode.describe_statement(b"s") + encode.SYNC,
    bind(b"s") + encode.execute() + encode.SYNC,
    encode.query(b"SHOW TAGZ"),
)


async def answered(pieces: list[bytes]) -> bytes:
    """All that was sent, in its order, but for the secret of BackendKeyData."""
    sent: list[bytes] = []
    console = Console(Proxy(), sent.append)
    for piece in pieces:
        answer = await console.feed(piece)
        sent.append(answer)
    return re.sub(rb"K\0\0\0\x0c.{8}", b"K", b"".join(sent), flags=re.DOTALL)


@given(st.lists(st.integers(0, len(b"".join(SCRIPT))), max_size=30))
async def test_where_the_bytes_are_cut_does_not_matter(cuts: list[int]) -> None:
    data = b"".join(SCRIPT)
    edges = [0, *sorted(cuts), len(data)]
    assert await answered([data[a:b] for a, b in pairwise(edges)]) == await answered([data])
