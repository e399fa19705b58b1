"""Any conversation looks the same with the proxy as without, byte for byte; and what the log says
happened is what did happen, unless it says that it does not know."""

import json
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from fix_postgres import Database, Server, install_into
from fix_session import Inside, inside
from hypothesis import HealthCheck, example, given, settings
from raw import FLUSH, SYNC, Raw, close, compared, execute, query
from vocabulary import OTHER, PLAIN, ROWS, SETUP, TABLES, conversations, pipelined

EXAMPLES = int(os.environ.get("CONVERSATIONS", "25"))
GRANTS = """grant all on schema public to app; grant all on all tables in schema public to app;
grant all on all sequences in schema public to app"""
OWNED = "".join(f"alter table {table} owner to app;" for table in TABLES)


class Twins:
    """Two databases with the same oids; the second has the log and a proxy before it."""

    def __init__(self, plain: Database, logged: Database, proxy: Inside) -> None:
        self.plain = plain
        self.logged = logged
        self.proxy = proxy

    def reset(self) -> None:
        for database in (self.plain, self.logged):
            made = "drop table if exists made; drop index if exists made_i; alter table k drop column if exists c;"
            database.psql(made + ROWS)
        self.logged.psql("truncate hotrollback.change, hotrollback.command, hotrollback.gap")
        self.proxy.unrecorded.clear()
        self.proxy.behind.clear()
        self.proxy.known.clear()


def twins(server: Server, chunk: int = 1 << 16) -> Iterator[Twins]:
    with server.database() as base:
        base.psql(SETUP + OWNED + GRANTS)
        plain, logged = base.name + "_p", base.name + "_l"
        server.psql(f"create database {plain} template {base.name}")
        server.psql(f"create database {logged} template {base.name}")
        install_into(Database(server, logged))
        try:
            with inside(Database(server, logged), chunk=chunk) as proxy:
                yield Twins(Database(server, plain), Database(server, logged), proxy)
        finally:
            server.psql(f"drop database {plain} with (force)")
            server.psql(f"drop database {logged} with (force)")


@pytest.fixture(scope="module")
def both(server: Server) -> Iterator[Twins]:
    yield from twins(server)


@pytest.fixture(scope="module")
def bytewise(server18: Server) -> Iterator[Twins]:
    yield from twins(server18, chunk=1)


def hold(port: int, database: str, turns: list[list[bytes]]) -> list[list[object]]:
    """The answers, turn by turn. A turn ends with an error of ours, which the server raises whatever
    state it is in."""
    seen = []
    with Raw(port).log_in("app", database, application_name="twin") as client:
        for number, turn in enumerate(turns):
            mark = f"turn_{number}_"
            client.send(b"".join(turn) + SYNC + query(mark))
            came = []
            while True:
                found = client.read()
                assert found is not None, came
                if found.kind == "E" and mark in found.fields.get("M", ""):
                    client.until("Z")
                    break
                came.append(found)
            seen.append(compared(came))
    return seen


def rows(database: Database, table: str) -> Counter:
    found = database.psql(f"select to_jsonb(it.*)::text from {table} it")
    return Counter(row for (row,) in found)


def replayed(database: Database, before: dict[str, Counter]) -> dict[str, Counter]:
    """The tables as the log would have them; what was recorded twice counts once. That a table was
    made (op C) or moved away (op B) is no row of any."""
    tables = {table: Counter(found) for table, found in before.items()}
    changes = database.psql(
        "select distinct on (xid, relid, op, old_tid::text, new_tid::text)"
        " relid::regclass::text, before::jsonb::text, after::jsonb::text, stale"
        " from hotrollback.change where op not in ('B', 'C') order by xid, relid, op, old_tid::text, new_tid::text"
    )
    for relation, was, became, stale in changes:
        assert not stale
        table = tables[relation]
        if was is not None:
            table[was] -= 1
        if became is not None:
            table[became] += 1
    return {table: +found for table, found in tables.items()} | negatives(tables)


def altered(database: Database) -> set[str]:
    """Tables whose columns changed: the rows of before are not those of after."""
    found = database.psql("select relid::regclass::text from hotrollback.command")
    return {table for (table,) in found}


def negatives(tables: dict[str, Counter]) -> dict[str, Counter]:
    return {name: found for name, found in tables.items() if min(found.values(), default=0) < 0}


def check(twins: Twins, turns: list[list[bytes]], *, gaps: bool) -> None:
    twins.reset()
    before = {table: rows(twins.logged, table) for table in TABLES}
    alone = hold(twins.plain.port, twins.plain.name, turns)
    through = hold(twins.proxy.port, twins.logged.name, turns)
    assert through == alone
    after = {table: rows(twins.logged, table) for table in TABLES}
    assert after == {table: rows(twins.plain, table) for table in TABLES}
    assert not twins.proxy.unrecorded
    assert not twins.proxy.behind
    left = twins.proxy.gaps()
    assert gaps or not left
    if not left:
        changed = altered(twins.logged)
        found = replayed(twins.logged, before)
        assert {name: found[name] for name in found if name not in changed} == {
            name: after[name] for name in after if name not in changed
        }, json.dumps(twins.proxy.changes(), default=str)
    assert not twins.proxy.faults, twins.proxy.faults[0]


AT_LENGTH = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@AT_LENGTH
@given(turns=conversations(PLAIN))
def test_plain_statements_are_the_same_and_recorded(both, turns):
    check(both, turns, gaps=False)


# Of a text that is no SQL ours is refused first: what the server says then comes behind the answer.
SET_IN_BLOCK = [
    query("begin; update t set v = 'in' where id = 1"),
    query("set standard_conforming_strings = off"),
]


@AT_LENGTH
@given(turns=conversations(PLAIN + OTHER))
@example(turns=[SET_IN_BLOCK])
def test_anything_is_the_same_and_recorded_or_said(both, turns):
    check(both, turns, gaps=True)


@settings(AT_LENGTH, max_examples=max(EXAMPLES // 4, 5))
@given(turns=conversations(PLAIN + OTHER))
def test_anything_byte_by_byte(bytewise, turns):
    check(bytewise, turns, gaps=True)


FAILED = [query("begin") + query("select 1/0")]
ADD = "alter table k add column if not exists c int"


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("between", [b"", FLUSH], ids=["at once", "flushed"])
def test_what_follows_a_failed_transaction_in_a_pipeline_is_noted(both, end, between):
    ending, adding = (pipelined(text, "", "", 0) for text in (end, ADD))
    check(both, [FAILED, [ending + between + adding]], gaps=True)
    assert both.proxy.gaps() == []
    assert altered(both.logged) == {"k"}


@pytest.mark.parametrize("before", [b"", close("nix", "S")], ids=["at once", "behind another"])
def test_a_portal_of_a_failed_transaction_fails_where_it_did(both, before):
    made = pipelined("insert into t values (7, 'x')", "", "p1", 0)
    check(both, [[query("begin"), made], [before + execute("p1")]], gaps=False)
