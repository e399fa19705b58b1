"""Rows and DDL of one selection, interleaved, and what others do meanwhile."""

import pytest
from fix_undo import BAD, Ground, columns_sorted

from undo import batches
from undo.errors import NoScript, NotReversible, UsageError
from undo.model import Outcome
from undo.request import Selection, UndoRequest

PEOPLE = """
CREATE TABLE person (id int PRIMARY KEY, first text NOT NULL, last text);
INSERT INTO person VALUES (1, 'Ada', 'L'), (2, 'Bob', NULL), (3, 'Cyd', 'M');
CREATE TABLE free (v text); INSERT INTO free VALUES ('a'), ('a'), ('b');
CREATE INDEX by_last ON person (last);
GRANT ALL ON ALL TABLES IN SCHEMA public TO app
"""
MERGES = """
ALTER TABLE person ADD COLUMN name text;
UPDATE person SET name = first || ' ' || coalesce(last, '?');
ALTER TABLE person ALTER COLUMN name SET NOT NULL;
CALL hotrollback.run_ddl_v1('ALTER TABLE person DROP COLUMN first, DROP COLUMN last');
INSERT INTO person VALUES (4, 'Dan ?');
DELETE FROM person WHERE id = 3;
ALTER TABLE person RENAME TO human
"""
MOVES = """
CREATE TABLE word (id serial PRIMARY KEY, v text UNIQUE);
INSERT INTO word (v) SELECT DISTINCT v FROM free ORDER BY v;
ALTER TABLE free ADD COLUMN word int REFERENCES word;
UPDATE free SET word = word.id FROM word WHERE word.v = free.v;
CALL hotrollback.run_ddl_v1('ALTER TABLE free DROP COLUMN v');
CREATE VIEW words AS SELECT word.v FROM free JOIN word ON word.id = free.word;
CALL hotrollback.run_ddl_v1('DROP TABLE person')
"""
RETYPES = """
UPDATE person SET last = id::text WHERE true;
CALL hotrollback.run_ddl_v1('ALTER TABLE person ALTER COLUMN last TYPE int USING last::int');
UPDATE person SET last = last + 1;
UPDATE person SET id = id + 10 WHERE id = 2;
TRUNCATE free
"""
MIGRATIONS = {"merges columns": MERGES, "moves values": MOVES, "retypes": RETYPES}


async def content(ground: Ground) -> dict[str, list[str]]:
    """Each table's columns and rows, whatever the order of the columns."""
    found = {}
    for relid, name in await ground.rows(
        "SELECT oid, oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v')"
        " AND relnamespace = 'public'::regnamespace ORDER BY 2"
    ):
        columns = await ground.rows(
            "SELECT format('%s %s %s', attname, format_type(atttypid, atttypmod), attnotnull)"
            f" FROM pg_attribute WHERE attrelid = {relid} AND attnum > 0 AND NOT attisdropped"
        )
        rows = await ground.rows(f"SELECT to_jsonb(t)::text FROM {name} t")
        found[name] = [*sorted(str(c) for c in columns), *sorted(str(r) for r in rows)]
    return found


@pytest.mark.parametrize("together", [True, False], ids=["one transaction", "many"])
@pytest.mark.parametrize("name", MIGRATIONS)
async def test_a_migration_is_taken_back(ground: Ground, name: str, *, together: bool) -> None:
    await ground.given(PEOPLE)
    before = await content(ground)
    if together:
        await ground.write(f"BEGIN; {MIGRATIONS[name]}; COMMIT")
    else:
        for statement in MIGRATIONS[name].split(";\n"):
            await ground.write(statement)
    after = await content(ground)
    assert await ground.rows("SELECT reason FROM hotrollback.gap") == []
    report = await ground.undo()
    assert report.outcome is Outcome.DONE, report.conflicts
    assert await content(ground) == before
    report = await ground.redo()
    assert report.outcome is Outcome.DONE, report.conflicts
    assert await content(ground) == after
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await content(ground) == before


async def test_rows_of_others_stay(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write(MERGES)
    await ground.write("INSERT INTO free VALUES ('theirs')", tag="theirs")
    await ground.write("ALTER TABLE free ADD COLUMN more int", tag="theirs")
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await ground.rows("SELECT v, more FROM free ORDER BY v") == [
        *(("a", None), ("a", None), ("b", None), ("theirs", None)),
    ]
    assert len(await ground.rows("SELECT first, last FROM person")) == 3


async def test_rows_inserted_since_get_the_default(ground: Ground) -> None:
    await ground.given(
        "CREATE TABLE t (id int PRIMARY KEY, c text DEFAULT 'd'); INSERT INTO t VALUES (1, 'x')"
    )
    await ground.write("CALL hotrollback.run_ddl_v1('ALTER TABLE t DROP COLUMN c')")
    await ground.write("INSERT INTO t VALUES (2)", tag="theirs")
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await ground.rows("SELECT id, c FROM t ORDER BY id") == [(1, "x"), (2, "d")]


ADDED = "ALTER TABLE person ADD COLUMN name text DEFAULT 'none'"


async def test_values_of_others_in_a_new_column(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write(ADDED)
    await ground.write("INSERT INTO person (id, first) VALUES (4, 'Dan')", tag="theirs")
    await ground.write("UPDATE person SET name = 'Ada L' WHERE id = 1", tag="theirs")
    await ground.write("INSERT INTO person VALUES (5, 'Eve', 'N', 'Eve N')", tag="theirs")
    before = await content(ground)
    report = await ground.undo()
    assert report.outcome is Outcome.CONFLICTS
    (conflict,) = report.conflicts
    assert conflict.detail == "column public.person.name was given values since, in 2 rows"
    assert (conflict.kind, conflict.tag) == ("later_change", "theirs")
    assert await content(ground) == before
    forced = await ground.undo("force")
    assert forced.outcome is Outcome.DONE
    assert len(await ground.rows("SELECT * FROM person")) == 5
    assert (await ground.redo()).outcome is Outcome.DONE
    assert await content(ground) == before


async def test_others_are_taken_along(ground: Ground) -> None:
    await ground.given(PEOPLE)
    before = await content(ground)
    await ground.write(ADDED)
    await ground.write("ALTER TABLE person ALTER COLUMN name SET DEFAULT 'x'", tag="theirs")
    report = await ground.undo()
    (conflict,) = report.conflicts
    assert conflict.detail == "column public.person.name was altered since (default)"
    assert conflict.tag == "theirs"
    report = await ground.undo("cascade")
    assert (report.outcome, len(report.along)) == (Outcome.DONE, 1)
    assert await content(ground) == before


async def test_an_index_of_others_on_a_new_column_does_not_go_unsaid(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write(ADDED)
    await ground.write("CREATE INDEX theirs ON person (name)", tag="theirs")
    before = await content(ground)
    report = await ground.undo()
    assert report.outcome is Outcome.CONFLICTS
    assert "index public.theirs" in report.conflicts[0].detail
    assert await content(ground) == before


@pytest.mark.parametrize(("made", "said"), [
    ("INDEX by_last ON free (v)", "index"), ("SEQUENCE by_last", "sequence"), ("TABLE by_last (a int)", "table"),
    ("VIEW by_last AS SELECT 1", "view"), ("MATERIALIZED VIEW by_last AS SELECT 1", "materialized view"),
    ("TYPE by_last AS (a int)", "composite type"),
])  # fmt: skip
async def test_a_name_that_others_took(ground: Ground, made: str, said: str) -> None:
    await ground.given(PEOPLE)
    await ground.write("DROP INDEX by_last")
    await ground.write(f"CREATE {made}", tag="theirs")
    report = await ground.undo()
    assert report.outcome is Outcome.CONFLICTS
    assert report.conflicts[0].detail == f"there is another {said} public.by_last by now"


DROPPED = "CALL hotrollback.run_ddl_v1('ALTER TABLE person DROP COLUMN last')"
RETYPED = "CALL hotrollback.run_ddl_v1('ALTER TABLE person ALTER COLUMN last TYPE varchar(9)')"
BARE = "CALL hotrollback.run_ddl_v1('ALTER TABLE free DROP COLUMN v')"
OF_LAST = "rows that had values of column public.person.last were changed since, in 1 row"


@pytest.mark.parametrize(
    ("ours", "theirs", "detail"),
    [
        (DROPPED, "UPDATE person SET id = 9 WHERE id = 1", OF_LAST),
        (DROPPED, "DELETE FROM person WHERE id = 1; INSERT INTO person VALUES (1, 'Eve')", OF_LAST),
        (
            DROPPED,
            "ALTER TABLE person RENAME id TO number",
            "columns that tell which rows had the values of column public.person.last"
            " were altered since",
        ),
        (
            BARE,
            "UPDATE free SET n = 7 WHERE n = 1",
            "rows that had values of column public.free.v were changed since, in 1 row",
        ),
        (
            RETYPED,
            "UPDATE person SET last = 'x' WHERE id = 1",
            "column public.person.last was given values since, in 1 row",
        ),
        (
            "UPDATE person SET last = 'x' WHERE id = 1",
            "ALTER TABLE person RENAME last TO name",
            "column last is gone, or its name is another's by now",
        ),
    ],
)
async def test_values_do_not_go_astray(ground: Ground, ours: str, theirs: str, detail: str) -> None:
    await ground.given(f"{PEOPLE}; ALTER TABLE free ADD COLUMN n serial")
    await ground.write(ours)
    await ground.write(theirs, tag="theirs")
    before = await content(ground)
    report = await ground.undo()
    assert (report.outcome, [c.detail for c in report.conflicts]) == (Outcome.CONFLICTS, [detail])
    assert await content(ground) == before


async def test_values_that_find_no_row_are_not_forced(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write(DROPPED)
    await ground.write("ALTER TABLE person RENAME id TO number", tag="theirs")
    before = await content(ground)
    with pytest.raises(
        NotReversible, match=r"column id of public\.person, by which rows are known, is gone"
    ):
        await ground.undo("force")
    assert await content(ground) == before


async def test_values_find_rows_that_have_got_more_columns(ground: Ground) -> None:
    await ground.given(f"{PEOPLE}; ALTER TABLE free ADD COLUMN n serial")
    before = await ground.rows("SELECT n, v FROM free ORDER BY n")
    await ground.write(BARE)
    await ground.write("ALTER TABLE free ADD COLUMN more int DEFAULT 7", tag="theirs")
    await ground.write("DELETE FROM free WHERE n = 3", tag="theirs")
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await ground.rows("SELECT n, v FROM free ORDER BY n") == before[:2]


async def test_all_conflicts_are_said_at_once(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write(ADDED)
    await ground.write("CREATE INDEX ours ON person (name)")
    await ground.write("DROP INDEX by_last")
    await ground.write("INSERT INTO free VALUES ('ours')")
    await ground.write("ALTER TABLE free ADD COLUMN w int")
    before = await content(ground)
    await ground.write("UPDATE free SET w = 1 WHERE v = 'b'", tag="one")
    await ground.write("CREATE INDEX by_last ON free (v)", tag="two")
    await ground.write("UPDATE person SET name = 'x'", tag="three")
    after = await content(ground)
    report = await ground.undo()
    assert report.outcome is Outcome.CONFLICTS
    assert [(c.tag, c.detail) for c in report.conflicts] == [
        ("one", "column public.free.w was given values since, in 1 row"),
        (None, "there is another index public.by_last by now"),
        ("three", "column public.person.name was given values since, in 3 rows"),
    ]
    assert report.message.startswith("3 conflicts. Nothing was changed. What the selection did")
    assert await content(ground) == after
    assert (await ground.undo(tag="three")).outcome is Outcome.DONE
    assert (await ground.undo(tag="two")).outcome is Outcome.DONE
    assert (await ground.undo(tag="one")).outcome is Outcome.DONE
    assert await content(ground) == before
    assert (await ground.undo()).outcome is Outcome.DONE


async def test_conflicts_of_ddl_are_said_with_those_of_rows(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write(f"{ADDED}; UPDATE person SET last = 'ours' WHERE id = 1")
    await ground.write("UPDATE person SET last = 'theirs', name = 'x' WHERE id = 1", tag="theirs")
    report = await ground.undo()
    assert {(c.tag, c.key, c.detail) for c in report.conflicts} >= {
        ("theirs", None, "column public.person.name was given values since, in 1 row")
    }
    assert [c.relation for c in report.conflicts if c.key] == ["public.person"]
    assert report.message == "2 conflicts. Nothing was changed"


@pytest.mark.parametrize(
    "ours",
    [
        f"{ADDED}; CREATE INDEX ours ON person (name)",
        f"{ADDED}; CREATE VIEW names AS SELECT name FROM person",
        f"{ADDED}; ALTER TABLE person RENAME name TO called",
        f"{ADDED}; ALTER TABLE person ALTER COLUMN name SET DEFAULT 'other'",
        f"{ADDED}; UPDATE person SET name = 'ours'; INSERT INTO person VALUES (9, '', '', 'ours')",
        f"{ADDED}; DROP TABLE person",
        "CREATE SEQUENCE n; ALTER TABLE person ADD COLUMN number int DEFAULT nextval('n');"
        " ALTER SEQUENCE n OWNED BY person.number; ALTER SEQUENCE n CACHE 5; DROP TABLE person",
        "CREATE VIEW v AS SELECT 1; DROP VIEW v; CREATE TABLE v (i int)",
        "DROP INDEX by_last; CREATE INDEX by_last ON free (v)",
        "CREATE TABLE child (p int); ALTER TABLE child ADD FOREIGN KEY (p) REFERENCES person;"
        " ALTER TABLE person RENAME TO human",
        "CREATE TYPE e AS ENUM ('a'); ALTER TABLE person ADD COLUMN e e; ALTER TYPE e RENAME TO f",
        "CREATE SCHEMA x; CREATE VIEW x.v AS SELECT 1 AS one; ALTER SCHEMA x RENAME TO y",
        "CREATE SCHEMA x; CREATE VIEW x.v AS SELECT 1 AS one; DROP SCHEMA x CASCADE",
    ],
)
async def test_what_the_selection_did_later_is_not_in_its_own_way(
    ground: Ground, ours: str
) -> None:
    await ground.given(PEOPLE)
    await ground.given("CREATE TABLE apart (v int); INSERT INTO apart VALUES (1)")
    before = await ground.content()
    for statement in ours.split("; "):
        text = statement
        if statement.startswith("DROP"):
            text = f"CALL hotrollback.run_ddl_v1('{statement}')"
        await ground.write(text)
    await ground.write("ALTER TABLE apart ADD COLUMN w int")
    await ground.write("UPDATE apart SET w = 1", tag="theirs")
    report = await ground.undo()
    assert [c.detail for c in report.conflicts] == [
        "column public.apart.w was given values since, in 1 row"
    ]
    await ground.undo(tag="theirs")
    assert (await ground.undo()).outcome is Outcome.DONE
    assert columns_sorted(await ground.content()) == columns_sorted(before)


async def test_a_preview_shows_the_statements_and_changes_nothing(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write(MERGES)
    before = await content(ground)
    report = await ground.preview()
    assert report.outcome is Outcome.PREVIEW
    assert any('ADD COLUMN "first"' in statement for statement in report.statements)
    assert {(t.relation, t.inserts, t.deletes) for t in report.tables} == {("public.person", 1, 1)}
    assert await content(ground) == before


async def test_what_ddl_does_not_go_with(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write(ADDED)
    with pytest.raises(NoScript):
        await ground.script()
    with pytest.raises(UsageError, match="leave out BATCH"):
        await batches.run(ground.db, UndoRequest(Selection(tag=BAD), batch=10))


async def test_what_was_not_kept_is_a_gap(ground: Ground) -> None:
    await ground.given(PEOPLE)
    await ground.write("ALTER TABLE person DROP COLUMN last")
    report = await ground.undo()
    assert (report.outcome, report.gaps[0].reason) == (Outcome.GAPS, "lost")
