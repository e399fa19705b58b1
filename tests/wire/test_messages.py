"""What is made is read back as it was meant, and what is malformed is refused, never guessed."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import decode, encode

names = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"_"))
values = st.none() | st.binary(max_size=50)


def body(message: bytes, kind: str) -> bytes:
    """Checks the head that every message has."""
    assert message[:1] == kind.encode()
    assert struct.unpack("!i", message[1:5]) == (len(message) - 1,)
    return message[5:]


@given(names, names, st.lists(st.integers(0, 2**32 - 1), max_size=5))
def test_parse(name: bytes, text: bytes, oids: list[int]) -> None:
    types = struct.pack(f"!H{len(oids)}I", len(oids), *oids)
    assert decode.parse(body(encode.parse(name, text, types), "P")) == (name, text, types)


@given(names, names, st.lists(values, max_size=8))
def test_bind(portal: bytes, statement: bytes, given_values: list[bytes | None]) -> None:
    read = body(encode.bind(portal, statement, given_values), "B")
    assert decode.cstring(read, 0) == (portal, len(portal) + 1)
    found, at = decode.cstring(read, len(portal) + 1)
    assert found == statement
    # No formats, the values as a row has them, no result formats.
    assert read[at : at + 2] == b"\0\0"
    assert read[-2:] == b"\0\0"
    assert decode.data_row(read[at + 2 : -2]) == given_values


fields = st.lists(
    st.tuples(st.binary(min_size=1, max_size=1).filter(lambda code: code != b"\0"), names),
    max_size=9,
)


@given(fields)
def test_errors_keep_fields_that_nobody_knows(pairs: list[tuple[bytes, bytes]]) -> None:
    assert decode.error_fields(body(encode.fields(b"E", pairs), "E")) == pairs


def test_an_error_of_ours_has_what_clients_need() -> None:
    read = dict(decode.error_fields(body(encode.error("FATAL", "08001", "ä", hint="b"), "E")))
    assert read == {b"S": b"FATAL", b"V": b"FATAL", b"C": b"08001", b"M": "ä".encode(), b"H": b"b"}


def row(columns: list[bytes | None]) -> bytes:
    lengths = (-1 if column is None else len(column) for column in columns)
    pairs = zip(lengths, columns, strict=True)
    return struct.pack("!H", len(columns)) + b"".join(
        struct.pack("!i", length) + (column or b"") for length, column in pairs
    )


@given(st.lists(values, max_size=8))
def test_rows(columns: list[bytes | None]) -> None:
    assert decode.data_row(row(columns)) == columns


@given(st.lists(values, min_size=1, max_size=4), st.data())
def test_a_row_that_is_cut_short_is_refused(
    columns: list[bytes | None], data: st.DataObject
) -> None:
    whole = row(columns)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"DataRow|field length"):
        decode.data_row(whole[:cut])


@pytest.mark.parametrize("length", [-2, -(2**31), 1, 2**31 - 1])
def test_a_field_length_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="invalid field length"):
        decode.data_row(struct.pack("!Hi", 1, length))


def test_row_description() -> None:
    columns = b"".join(
        name + b"\0" + struct.pack("!IhIhih", table, attnum, kind, -1, -1, 0)
        for name, table, attnum, kind in ((b"id", 4_000_000_000, 1, 23), ("ü".encode(), 0, 0, 25))
    )
    found = decode.row_description(struct.pack("!H", 2) + columns)
    assert found == [(b"id", 4_000_000_000, 1, 23), ("ü".encode(), 0, 0, 25)]
    with pytest.raises(ValueError, match=r"RowDescription|invalid string"):
        decode.row_description(struct.pack("!H", 2) + columns[:-5])


pairs_of_text = st.lists(st.tuples(names.filter(bool), names), max_size=6)


@given(st.integers(0, 2**31 - 1), pairs_of_text)
def test_startup_packets(version: int, pairs: list[tuple[bytes, bytes]]) -> None:
    packet = encode.startup(version, pairs)
    assert struct.unpack("!ii", packet[:8]) == (len(packet), version)
    assert decode.startup_parameters(packet[8:]) == pairs


@given(st.binary(max_size=60))
def test_a_startup_packet_of_anything_is_read_or_refused(raw: bytes) -> None:
    """Every loop takes something."""
    try:
        pairs = decode.startup_parameters(raw)
    except ValueError:
        return
    assert encode.startup(0, pairs)[8:] == raw


@given(st.binary(max_size=60))
def test_nothing_else_is_raised(raw: bytes) -> None:
    for read in (decode.parse, decode.error_fields, decode.data_row, decode.row_description):
        try:
            read(raw)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (encode.query(b"SELECT 1"), b"Q\0\0\0\x0dSELECT 1\0"),
        (encode.execute(b"p", 3), b"E\0\0\0\x0ap\0\0\0\0\3"),
        (encode.describe_statement(b"s"), b"D\0\0\0\7Ss\0"),
        (encode.close_statement(b"s"), b"C\0\0\0\7Ss\0"),
        (encode.close_portal(b"p"), b"C\0\0\0\7Pp\0"),
        (encode.command_complete(b"UPDATE 1"), b"C\0\0\0\x0dUPDATE 1\0"),
        (encode.cancel_request(b"\0\0\0\1abcd"), b"\0\0\0\x10\4\xd2\x16\x2e\0\0\0\1abcd"),
        (encode.SYNC, b"S\0\0\0\4"),
    ],
)
def test_as_the_documentation_has_them(made: bytes, expected: bytes) -> None:
    assert made == expected
