"""A write by simple query that comes again with other values is prepared, and is the same write."""

from typing import Any

import psycopg
import pytest
from fix_postgres import Database
from fix_session import Inside, inside
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.session import repeated as repeated_queries

TABLE = """
CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 1, b bigint, q numeric(8, 2), c varchar(4), d date, f float8,
                s smallint, j jsonb, u uuid);
INSERT INTO t (id, v) SELECT g, 'v' || g FROM generate_series(1, 4) g;
GRANT ALL ON t TO app
"""


def prepared(proxy: Inside) -> int:
    """Statements that sessions have prepared for the client."""
    return sum(len(session.names.shadows) for session in proxy.sessions)


def written(proxy: Inside, *texts: str) -> None:
    with proxy.connect() as client:
        for text in texts:
            client.execute(text.encode(), prepare=False)


@pytest.fixture
def table(between18: Inside) -> Inside:
    between18.database.psql(TABLE)
    return between18


def test_prepared_when_it_comes_again(table: Inside) -> None:
    texts = [f"UPDATE t SET n = {n}, v = 'it''s {n}' WHERE id = {1 + n % 2}" for n in range(12)]
    written(table, *texts[:5])
    assert prepared(table) == 0
    written(table, *texts)
    assert prepared(table) == 1
    changes = table.changes("op = 'U'")
    assert [(op, after["n"], after["v"]) for op, _, _, after in changes] == [
        ("U", n, f"it's {n}") for n in (*range(5), *range(12))
    ]
    prints = "SELECT count(DISTINCT fingerprint) FROM hotrollback.change WHERE op = 'U'"
    assert table.database.psql(prints) == [(1,)]
    assert list(table.statements.values()) == [texts[-1].encode()]  # as the client wrote it
    assert table.gaps() == []


def test_not_where_it_is_switched_off(database18: Database, with_log: None) -> None:
    database18.psql(TABLE)
    with inside(database18, prepare=False) as proxy:
        written(proxy, *(f"UPDATE t SET n = {n}" for n in range(9)))
        assert prepared(proxy) == 0
        assert len(proxy.changes("op = 'U'")) == 9 * 4


def test_other_types_are_other_statements(table: Inside) -> None:
    numbers = (*range(9), *(n + 0.5 for n in range(9)), 4)
    written(table, *(f"UPDATE t SET q = {n} WHERE id = 1" for n in numbers))
    assert prepared(table) == 2
    assert [row[3]["q"] for row in table.changes("op = 'U'")] == list(numbers)
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        written(table, *(f"UPDATE t SET q = {n}" for n in (*range(9), 9999999)))


def test_what_may_be_refused_is_not_prepared_in_a_block(table: Inside) -> None:
    """Its error would end the block, where it is told in other words than the client's text is."""
    days = [f"UPDATE t SET d = '2026-01-{n:02}' WHERE id = 1" for n in range(1, 10)]
    written(table, "BEGIN", *days, "COMMIT")
    assert prepared(table) == 0
    names = [f"UPDATE t SET v = 'x{n}' WHERE id = 1" for n in range(1, 10)]
    written(table, "BEGIN", *names, "COMMIT")
    assert prepared(table) == 1
    written(table, *days)
    assert prepared(table) == 2


@pytest.mark.parametrize("again", [0, 9])
def test_what_is_written_while_capture_is_off_is_told_once(table: Inside, again: int) -> None:
    with table.connect() as client:
        for n in range(again):
            client.execute(f"UPDATE t SET n = {n}".encode(), prepare=False)
        table.capturing = False
        for n in range(3):
            client.execute(f"UPDATE t SET n = {n}".encode(), prepare=False)
        with client.transaction():
            for n in range(3):
                client.execute(f"UPDATE t SET n = {n}".encode(), prepare=False)
    assert table.gaps() == [("capture_off", None)] * 4
    assert prepared(table) == (again > 0)


def test_what_reads_is_known_without_its_values(table: Inside) -> None:
    """And is not taken for what writes."""
    for _ in range(2):
        written(table, *(f"SELECT v FROM t WHERE id = {n}" for n in range(4)))
    assert table.counted == {}
    with pytest.raises(psycopg.errors.SyntaxError):
        written(table, "SELECT v FROM t WHERE id = 5 5")


VALUES: dict[str, tuple[str, ...]] = {
    "v": ("'a'", "''", "'it''s'", "'ü'", "5", "NULL"),
    "n": ("1", "-2", "2147483647", "2147483648", "1.5", "'7'", "'x'", "DEFAULT"),
    "b": ("1", "9223372036854775807", "9223372036854775808", "-5", "'8'"),
    "q": ("1", "1.005", "999999.99", "1000000", "'3.2'"),
    "c": ("'abcd'", "'abcde'", "'a   '", "12345", "7"),
    "d": ("'2026-02-28'", "'2026-02-30'", "'infinity'", "5"),
    "f": ("1", "0.1", "'NaN'", "'1e400'"),
    "s": ("1", "40000", "-3", "'9'"),
    "j": ("'{}'", "'[1, \"a\"]'", "'{'", "'null'", "3"),
    "u": ("'00000000-0000-0000-0000-000000000001'", "'x'"),
}


@st.composite
def repeated(draw: st.DrawFn) -> list[str]:
    """One statement, with one value or another each time."""
    column = draw(st.sampled_from([*VALUES]))
    other = draw(st.sampled_from([*VALUES]))
    kind = draw(st.sampled_from(("update", "both", "compare", "insert", "delete")))
    text = {
        "update": f"UPDATE t SET {column} = {{0}} WHERE id = {{2}}",
        "both": f"UPDATE t SET ({column}, id) = ({{0}}, {{2}}) WHERE id = {{2}} AND n < 5 + {{2}}",
        "compare": f"UPDATE t SET n = n + {{2}} WHERE {column} <> {{0}} OR NOT {other} = {{1}}",
        "insert": f"INSERT INTO t (id, {column}) VALUES ({{2}}0, {{0}}), (1{{2}}00, {{0}})",
        "delete": f"DELETE FROM t WHERE {column} = {{0}} AND id IN (3, {{2}})",
    }[kind]
    return [
        text.format(draw(st.sampled_from(VALUES[column])), draw(st.sampled_from(VALUES[other])), draw(st.integers(1, 9)))
        for _ in range(draw(st.integers(3, 6)))
    ]  # fmt: skip


def outcome(client: psycopg.Connection, text: str) -> Any:
    try:
        return client.execute(text.encode(), prepare=False).statusmessage
    except psycopg.Error as error:
        found = error.diag
        return (
            found.sqlstate, found.message_primary, found.message_detail, found.message_hint,
            found.statement_position, found.context, found.source_function,
        )  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=repeated(), block=st.booleans())
def test_the_same_outcome(table: Inside, beside: Database, texts: list[str], block: bool) -> None:  # noqa: FBT001
    """Of any statement, with what the server says of it, as without the proxy."""
    rows = []
    outcomes = []
    for url in (table.url(), beside.url("app")):
        with psycopg.connect(url, autocommit=True) as client:
            begin = ("BEGIN",) if block else ()
            outcomes.append([outcome(client, text) for text in (*begin, *texts, *texts, *texts)])
            if block:
                client.execute("COMMIT")
            rows.append(client.execute("SELECT t::text FROM t ORDER BY id").fetchall())
    assert outcomes[0] == outcomes[1]
    assert rows[0] == rows[1]
    assert table.gaps() == []


@pytest.fixture
def beside(database18: Database) -> Any:
    """The same without a proxy."""
    with database18.server.database() as plain:
        plain.psql(TABLE)
        yield plain


def test_what_cannot_be_prepared_is_looked_at_once(
    table: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bytes] = []

    def form(text: bytes, *others: Any) -> Any:
        looked.append(text)
        return sight(text, *others)

    sight = repeated_queries.form
    monkeypatch.setattr(repeated_queries, "form", form)
    monkeypatch.setattr(repeated_queries, "_seen", {})
    texts = [f"UPDATE t SET n = {n} WHERE id = 1 RETURNING n" for n in range(4)]
    written(table, *texts)
    assert looked == [texts[0].encode()]
    assert prepared(table) == 0
    assert [row[3]["n"] for row in table.changes("op = 'U'")] == [0, 1, 2, 3]
