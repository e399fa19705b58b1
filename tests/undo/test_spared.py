"""DDL through the proxy: recorded, what it destroys kept, and taken back; and what cannot be, said."""

import asyncio
import re
from collections.abc import Iterator

import psycopg
import pytest
from fix_session import Inside, inside
from fix_undo import BAD, Ground, columns_sorted
from test_schema import CASES, NO_CHANGE, ONE_WAY, SETUP

from undo import engine
from undo.engine import redo
from undo.errors import UnknownTag
from undo.model import Outcome
from undo.request import Selection, UndoRequest


@pytest.fixture
def through(ground: Ground) -> Iterator[Inside]:
    with inside(ground.database) as proxy:
        yield proxy


async def run(proxy: Inside, statements: str, user: str = "postgres", **how: bool) -> None:
    """One by one, each a transaction of its own."""

    def send() -> None:
        with proxy.connect(user, BAD) as client:
            for part in re.split(r";\s*(?=[A-Z]{4})", statements):
                client.execute(part.encode(), **how)

    await asyncio.to_thread(send)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.given(SETUP)
async def test_each_kind(ground: Ground, through: Inside, name: str) -> None:
    before = await ground.content()
    # What a client prepares goes by the extended protocol.
    await run(through, CASES[name], prepare=ground.database.server.version == 18)
    after = await ground.content()
    assert through.gaps() == []
    if name in NO_CHANGE:
        assert after == before
        with pytest.raises(UnknownTag):
            await ground.undo()
        return
    report = await ground.undo()
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
    assert columns_sorted(await ground.content()) == columns_sorted(before)
    again = await redo(ground.db, None, by="test")
    if name in ONE_WAY:
        assert again.outcome is Outcome.GAPS
        return
    assert again.outcome is Outcome.DONE, (again.message, again.conflicts, again.gaps)
    if name != "create child":  # whose inherited columns are its own, too, afterwards
        assert columns_sorted(await ground.content()) == columns_sorted(after)
    assert (await ground.undo()).outcome is Outcome.DONE
    assert columns_sorted(await ground.content()) == columns_sorted(before)


OWN = """
CREATE SCHEMA own AUTHORIZATION app; SET ROLE app;
CREATE TABLE own.t (id serial PRIMARY KEY, v text, n int UNIQUE);
INSERT INTO own.t (v, n) SELECT 'v' || g, g FROM generate_series(1, 3) g;
CREATE TABLE own.child (id int REFERENCES own.t, v text DEFAULT 'd'); INSERT INTO own.child VALUES (1);
CREATE VIEW own.seen AS SELECT v FROM own.t; CREATE TABLE own.made (a int);
RESET ROLE; CREATE TABLE theirs (a int, b int); INSERT INTO theirs VALUES (1, 2);
"""
# Name -> the messages of one session.
MESSAGES = {
    "table": ["DROP TABLE own.t CASCADE"],
    "tables": ["DROP TABLE own.made, own.child, own.t CASCADE"],
    "schema": ["DROP SCHEMA own CASCADE"],
    "column": ["ALTER TABLE own.t DROP COLUMN v CASCADE, ADD COLUMN w int DEFAULT 1"],
    "retyped": ["ALTER TABLE own.t ALTER n TYPE text USING 'it''s \\' || n"],
    "sequence": ["ALTER TABLE own.t ALTER id DROP DEFAULT; DROP SEQUENCE own.t_id_seq"],
    "block": [
        "BEGIN", "UPDATE own.t SET v = 'w'", "ALTER TABLE own.t DROP COLUMN v CASCADE", "SAVEPOINT s",
        "DROP TABLE own.child", "ROLLBACK TO s", "INSERT INTO own.t (n) VALUES (9)", "DROP TABLE own.t CASCADE", "COMMIT",
    ],
    "message": [
        "UPDATE own.t SET v = 'w'; ALTER TABLE own.t DROP COLUMN v CASCADE; INSERT INTO own.t (n) VALUES (9);"
        " DROP TABLE own.child; CREATE TABLE own.other (a int); INSERT INTO own.other VALUES (1)",
    ],
    "temporary, too": ["CREATE TEMP TABLE mine (a int); CREATE TEMP VIEW v AS SELECT * FROM own.t",
                       "DROP TABLE mine, own.t CASCADE", "CREATE TEMP TABLE mine (a int); CREATE TEMP VIEW v AS SELECT 1"],
    "made under it": ["CREATE TABLE own.more (a int)", "INSERT INTO own.more VALUES (1)", "ALTER TABLE own.more DROP COLUMN a", "DROP TABLE own.more"],
    "rows before": ["DELETE FROM own.child", "UPDATE own.t SET n = n + 10", "DROP TABLE own.t CASCADE"],
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.given(OWN)
async def test_as_whoever_owns_it(ground: Ground, through: Inside, name: str) -> None:
    before = await ground.content()

    def send() -> None:
        with through.connect("app", BAD) as client:
            for message in MESSAGES[name]:
                client.execute(message.encode())

    await asyncio.to_thread(send)
    after = await ground.content()
    assert through.gaps() == []
    report = await ground.undo()
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
    assert columns_sorted(await ground.content()) == columns_sorted(before)
    again = await redo(ground.db, None, by="test")
    assert again.outcome is Outcome.DONE, (again.message, again.conflicts, again.gaps)
    assert columns_sorted(await ground.content()) == columns_sorted(after)


@pytest.mark.parametrize("text", [
    "UPDATE t SET v = 'w'; DROP TABLE t",
    "BEGIN; DELETE FROM t WHERE id = 1; INSERT INTO child VALUES (2); DROP TABLE child; DROP TABLE t; COMMIT",
    "DELETE FROM child; DROP TABLE child; DELETE FROM t; ALTER TABLE t ADD n int",
])  # fmt: skip
@pytest.mark.given("""
CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');
CREATE TABLE child (id int REFERENCES t ON DELETE CASCADE); INSERT INTO child VALUES (1), (3)""")
async def test_a_redo_writes_rows_of_a_table_before_it_drops_it(
    ground: Ground, through: Inside, text: str
) -> None:
    before = await ground.content()
    await run(through, text.replace("DROP TABLE t", "DROP TABLE t CASCADE"))
    after = await ground.content()
    for _ in range(2):
        report = await ground.undo()
        assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
        assert columns_sorted(await ground.content()) == columns_sorted(before)
        again = await redo(ground.db, None, by="test")
        assert again.outcome is Outcome.DONE, (again.message, again.conflicts)
        assert columns_sorted(await ground.content()) == columns_sorted(after)


SAID = {
    "a role": ("CREATE ROLE somebody_new; DROP ROLE somebody_new", {("ddl", None)}),
    "an event trigger": ("ALTER EVENT TRIGGER hotrollback_ddl ENABLE ALWAYS", {("ddl", None)}),
    "a value": ("ALTER TYPE mood ADD VALUE 'mad'", {("lost", None)}),
    "an operator": ("CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int); DROP OPERATOR === (int, int)", {("lost", None)}),
    "by code": ("DO 'BEGIN DROP TABLE loose; END'", {("lost", None)}),
    "types of the bin": ("ALTER TABLE t ADD m mood; DROP TABLE t CASCADE; DROP TYPE mood CASCADE", {("lost", None)}),
    "values of many": ("ALTER TABLE t DROP COLUMN n CASCADE", {("lost", "t")}),
    "rows of a view": ("REFRESH MATERIALIZED VIEW m", {("ddl", None)}),
    "an index that is not made": ("CREATE UNIQUE INDEX CONCURRENTLY j ON loose (k)", {("ddl", "loose")}),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
@pytest.mark.given(SETUP + "INSERT INTO loose SELECT 3 FROM generate_series(1, 2)")
async def test_what_cannot_be_given_back_is_said(
    ground: Ground, through: Inside, name: str
) -> None:
    text, said = SAID[name]
    if "many" in name:
        await ground.db.execute("UPDATE hotrollback.meta SET keep_limit = 1")
    try:
        await run(through, text)
    except psycopg.errors.UniqueViolation:
        assert "not made" in name
    assert {
        (reason, (relation or "").strip("0123456789") or None)
        for reason, relation in through.gaps()
    } == said


ALONE = (
    "CREATE INDEX CONCURRENTLY j ON t (v)",
    "DROP INDEX CONCURRENTLY i",
    "ALTER TABLE part DETACH PARTITION part1 CONCURRENTLY",
)


@pytest.mark.parametrize("text", ALONE)
@pytest.mark.parametrize("how", [{}, {"prepare": True}], ids=["simple", "extended"])
@pytest.mark.given(SETUP)
async def test_what_stands_alone_is_no_gap_once_it_is_recorded(
    ground: Ground, through: Inside, text: str, how: dict[str, bool]
) -> None:
    before = await ground.content()
    await run(through, text, **how)
    assert through.gaps() == []
    assert await ground.content() != before
    assert (await ground.undo()).outcome is Outcome.DONE
    assert columns_sorted(await ground.content()) == columns_sorted(before)


NOTHING = (
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (v)",
    "DROP INDEX CONCURRENTLY IF EXISTS nothing",
    "CREATE TEMP TABLE x (a int); CREATE INDEX CONCURRENTLY xi ON x (a); DROP INDEX CONCURRENTLY xi",
)


@pytest.mark.parametrize("text", NOTHING)
@pytest.mark.given(SETUP)
async def test_what_does_nothing_alone_is_no_gap(
    ground: Ground, through: Inside, text: str
) -> None:
    await run(through, text)
    assert through.gaps() == []


@pytest.mark.given(SETUP + "INSERT INTO loose SELECT 3 FROM generate_series(1, 2)")
async def test_what_failed_alone_stays_a_gap_whatever_follows(
    ground: Ground, through: Inside
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        await run(through, "CREATE UNIQUE INDEX CONCURRENTLY j ON loose (k)")

    def send() -> None:
        with through.connect("postgres", BAD) as client:
            with pytest.raises(psycopg.errors.UniqueViolation):
                client.execute("CREATE UNIQUE INDEX CONCURRENTLY jj ON loose (k)")
            client.execute("CREATE INDEX ON t (v)")
            client.execute("ALTER TABLE t DROP COLUMN v CASCADE")

    await asyncio.to_thread(send)
    assert through.gaps() == [("ddl", "loose")] * 2


REFUSED = {
    "an operator": "CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int); DROP OPERATOR === (int, int)",
    "values of many": "ALTER TABLE t DROP COLUMN n CASCADE",
    "types of many": "ALTER TABLE t ALTER n TYPE bigint",
    "a role": "CREATE ROLE somebody_new",
    "a value": "ALTER TYPE mood ADD VALUE 'mad'",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("how", [{}, {"prepare": True}], ids=["simple", "extended"])
@pytest.mark.given(SETUP)
async def test_gaps_can_be_refused(
    ground: Ground, through: Inside, name: str, how: dict[str, bool]
) -> None:
    await ground.db.execute("UPDATE hotrollback.meta SET keep_limit = 1")
    *first, last = REFUSED[name].split("; ")
    for text in first:
        await run(through, text)
    through.options["reject"] = True
    before = await ground.content()
    with pytest.raises(psycopg.Error) as refused:
        await run(through, last, **how)
    assert refused.value.sqlstate == "RB002"
    assert await ground.content() == before
    assert through.gaps() == []
    await run(through, "DROP TABLE loose; DROP INDEX CONCURRENTLY i", **how)
    assert through.gaps() == []
    assert (await ground.undo()).outcome is Outcome.DONE


@pytest.mark.given("""
CREATE EXTENSION postgres_fdw; CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw; CREATE SCHEMA s;
CREATE TABLE s.t (a int PRIMARY KEY, b text); INSERT INTO s.t VALUES (1, 'x'); CREATE VIEW s.v AS TABLE s.t;
CREATE FOREIGN TABLE s.far (a int) SERVER there""")
async def test_a_foreign_table_is_lost_alone(ground: Ground, through: Inside) -> None:
    await run(through, "DROP SCHEMA s CASCADE")
    assert await ground.rows("SELECT reason, statement FROM hotrollback.gap") == [
        ("lost", "DROP FOREIGN TABLE: foreign table far")
    ]
    assert (await ground.undo()).outcome is Outcome.GAPS
    request = UndoRequest(Selection(tag=BAD), accept_gaps=True, by="test")
    report = await engine.run(ground.db, request)
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
    assert await ground.rows("SELECT * FROM s.v") == [(1, "x")]
