"""Logging in to the console: encryption, versions, who is let in."""

from struct import pack

import pytest
from conversation import CANCEL, GSS, PROTOCOL, SSL, Client, error, kinds, startup

from proxy.wire.decode import cstring


async def test_a_login() -> None:
    found = await Client().log_in(application_name="psql", client_encoding="LATIN1")
    assert kinds(found) == "R" + "S" * 13 + "KZ"
    reported = {}
    for kind, body in found:
        if kind == "S":
            name, at = cstring(body, 0)
            reported[name] = cstring(body, at)[0]
    assert reported[b"application_name"] == b"psql"
    assert reported[b"client_encoding"] == b"UTF8"  # what is really sent
    assert reported[b"standard_conforming_strings"] == b"on"
    assert found[-1] == ("Z", b"I")


async def test_encryption_is_refused_in_any_order() -> None:
    client = Client()
    for request in (SSL, GSS, SSL):
        assert await client.console.feed(request) == b"N"
    assert kinds(await client.log_in())[0] == "R"


async def test_a_cancel_request_ends_without_a_word() -> None:
    client = Client()
    assert await client.console.feed(CANCEL + pack("!ii", 1, 2)) == b""
    assert client.console.closed


async def test_a_newer_minor_version_is_negotiated_down() -> None:
    given = {"user": "me", "database": "hotrollback", "_pq_.something": "1"}
    found = await Client().send(startup(given, PROTOCOL + 2))
    assert found[0] == ("v", pack("!ii", PROTOCOL, 1) + b"_pq_.something\0")
    assert kinds(found[1:]).startswith("RS")


@pytest.mark.parametrize(
    ("packet", "state"),
    [
        (startup({"user": "me", "database": "shop"}), "3D000"),
        (startup({"user": "me"}), "3D000"),
        (startup({"database": "hotrollback"}), "28000"),
        (startup({"user": "me", "database": "hotrollback"}, 2 << 16), "0A000"),
        (startup({"user": "me", "database": "hotrollback", "replication": "true"}), "0A000"),
        (startup({"user": "me", "database": "hotrollback", "TimeZone": "Moon"}), "22023"),
        (pack("!ii", 7, PROTOCOL), "08P01"),
        (pack("!ii", 1 << 30, PROTOCOL), "08P01"),
        (pack("!ii", 12, PROTOCOL) + b"user", "08P01"),
        (b"GET / HTTP/1.1\r\n\r\n", "08P01"),
    ],
)
async def test_who_is_not_let_in_is_told_why(packet: bytes, state: str) -> None:
    client = Client()
    told = error(await client.send(packet))
    assert (told["S"], told["C"]) == ("FATAL", state)
    assert client.console.closed
