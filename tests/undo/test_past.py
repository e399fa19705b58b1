"""Rows as they were: the same as what was there then, or an error that says why not; and to whom."""

import random
import re
from datetime import datetime

import asyncpg
import pytest
from fix_undo import Ground

from undo.engine import redo
from undo.model import Outcome

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN price AS numeric(8, 2) CHECK (VALUE >= 0);
CREATE TABLE keyed (id int PRIMARY KEY, "odd %s ""name" text, cost price, code char(5), gone int,
    doc jsonb, at timestamptz, f float8[], m mood, n bit(3),
    twice int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE keyed DROP COLUMN gone;
CREATE TABLE bare (a int, b json);
CREATE TABLE parted (k text, v int, PRIMARY KEY (k, v)) PARTITION BY LIST (k);
CREATE TABLE parted_a (v int, k text, PRIMARY KEY (k, v));
ALTER TABLE parted ATTACH PARTITION parted_a FOR VALUES IN ('a');
CREATE TABLE parted_b PARTITION OF parted DEFAULT;
CREATE TABLE child (id int PRIMARY KEY, of int REFERENCES keyed ON DELETE CASCADE ON UPDATE CASCADE);
"""
NAMES = ("keyed", "bare", "parted", "parted_a", "child")


def statement(pick: random.Random) -> str:
    k, n = pick.randint(1, 9), pick.randint(0, 3)
    kind, part = pick.choice("abc"), pick.choice("abc")
    texts = ("NULL", "''", "'null'", "'{\"a\": 1}'")
    return pick.choice(
        (
            f"INSERT INTO keyed VALUES ({k}, 'x{n}', {n}.5, 'c', {texts[n] if n != 1 else 'NULL'},"
            f" now(), '[0:1]={{1,-0}}', 'ok', B'101') ON CONFLICT (id) DO UPDATE SET cost = {n}",
            f"UPDATE keyed SET doc = {texts[n] if n != 1 else 'NULL'}, m = NULL WHERE id = {k}",
            f"UPDATE keyed SET id = id + 10 WHERE id = {k} AND NOT EXISTS"
            f" (SELECT FROM keyed x WHERE x.id = {k + 10})",
            f"DELETE FROM keyed WHERE id % 10 = {k}",
            f"INSERT INTO bare SELECT {n}, '[{n}]' FROM generate_series(0, {n})",
            f"UPDATE bare SET a = {n} WHERE ctid = (SELECT min(ctid) FROM bare)",
            f"DELETE FROM bare WHERE ctid IN (SELECT ctid FROM bare LIMIT {n})",
            f"INSERT INTO parted VALUES ('{kind}', {k}) ON CONFLICT DO NOTHING",
            f"UPDATE parted SET k = '{part}' WHERE v = {k} AND k = '{kind}' AND NOT EXISTS"
            f" (SELECT FROM parted x WHERE x.v = {k} AND x.k = '{part}')",
            f"DELETE FROM parted WHERE v = {k}",
            f"INSERT INTO child SELECT {n + k}, id FROM keyed LIMIT 1 ON CONFLICT DO NOTHING",
        )
    )


async def content(db: asyncpg.Connection, source: str) -> list[str]:
    rows = await db.fetch(f"SELECT x::text AS x FROM {source} x ORDER BY 1")
    return [row["x"] for row in rows]


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_past_is_what_was_there(ground: Ground, seed: int) -> None:
    """By time and by restore point, through undos and redos, whatever became of the tables' files."""
    await ground.given(TABLES)
    pick = random.Random(seed)
    moments: list[tuple[str, datetime, dict[str, list[str]]]] = []
    undone = None
    for turn in range(40):
        if turn % 5 == 0:
            was = {name: await content(ground.db, f"ONLY {name}" if name == "keyed" else name)
                   for name in NAMES}  # fmt: skip
            await ground.db.execute(
                "INSERT INTO hotrollback.restore_point (name) VALUES ($1)", f"p{turn}"
            )
            at = await ground.db.fetchval("SELECT clock_timestamp()")
            moments.append((f"p{turn}", at, was))
        if turn in {17, 29}:
            report = await ground.undo("skip", restore_point=f"p{turn // 5 * 5 - 5}")
            assert report.outcome == Outcome.DONE
            undone = undone or report.undo_id
        if turn == 23:
            assert (await redo(ground.db, undone, by="test", policy="skip")).outcome == Outcome.DONE
        if turn == 31:
            await ground.db.execute("VACUUM FULL keyed; ")
            await ground.db.execute("VACUUM bare")
        if turn == 12:
            await ground.write("TRUNCATE bare")
        several = "; ".join(statement(pick) for _ in range(pick.randint(1, 4)))
        await ground.write(f"BEGIN; {several}; COMMIT", tag=f"t{turn}")
    for name in NAMES:
        assert len({tuple(was[name]) for _, _, was in moments}) > 2, name
    for point, at, was in moments:
        for name in NAMES:
            by_time = f"hotrollback.as_of('{at.isoformat()}', NULL::{name})"
            by_point = f"hotrollback.as_of_restore_point('{point}', NULL::{name})"
            assert await content(ground.db, by_time) == was[name], (point, name)
            assert await content(ground.db, by_point) == was[name], (point, name)


async def test_columns_that_are_computed_and_columns_that_went(ground: Ground) -> None:
    virtual = "v int GENERATED ALWAYS AS (id + length(name)) VIRTUAL,"
    if ground.database.server.version < 18:
        virtual = "v int GENERATED ALWAYS AS (id + length(name)) STORED,"
    await ground.given(f"CREATE TABLE t (name text, {virtual} id int PRIMARY KEY, old int)")
    await ground.write("INSERT INTO t VALUES ('abc', DEFAULT, 1, 0), ('d', DEFAULT, 2, 0)")
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('r')")
    was = await content(ground.db, "(SELECT name, v, id FROM t)")
    await ground.write("UPDATE t SET name = 'abcdef' WHERE id = 1; DELETE FROM t WHERE id = 2")
    await ground.db.execute("ALTER TABLE t DROP COLUMN old")
    assert await content(ground.db, "hotrollback.as_of_restore_point('r', NULL::t)") == was


REFUSED = (
    ("later", "INSERT INTO hotrollback.gap (relid, reason) VALUES ('t'::regclass, 'ddl')", "not everything", "ddl in transaction"),
    ("any", "INSERT INTO hotrollback.gap (reason) VALUES ('ddl')", "not everything", "ddl in transaction"),
    ("wild", "UPDATE t SET v = 5 WHERE id = 1; UPDATE t SET v = 7 WHERE id = 1;"
             " DELETE FROM hotrollback.change WHERE after ->> 'v' = '7'",
     "1 rows are not what the log left", None),
    ("column", "UPDATE t SET v = 5; ALTER TABLE t ADD COLUMN w int", "added or renamed since: w", None),
    ("shrunk", "UPDATE t SET n = 'abcd'; UPDATE t SET n = 'a'; ALTER TABLE t ALTER n TYPE varchar(2)",
     "rows are not what the log left", None),
    ("stale", "UPDATE t SET v = 5; UPDATE hotrollback.change SET stale = true", "not everything", "stale_catalog in"),
    ("retention", "UPDATE hotrollback.meta SET installed = clock_timestamp()", "not in the log (any more)", None),
)  # fmt: skip


async def test_what_is_missing_is_said(ground: Ground) -> None:
    """And only where it matters: gaps of other tables, or from before, do not."""
    await ground.given("CREATE TABLE t (id int PRIMARY KEY, v int, n varchar(9)); CREATE TABLE s (a int);"
                       "INSERT INTO t VALUES (1, 0, 'x'), (2, 0, 'y')")  # fmt: skip
    await ground.db.execute(
        "INSERT INTO hotrollback.gap (relid, reason) VALUES ('t'::regclass, 'ddl')"
    )
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('r')")
    at = await ground.db.fetchval("SELECT clock_timestamp()")
    was = await content(ground.db, "t")
    await ground.write("INSERT INTO hotrollback.gap (relid, reason) VALUES ('s'::regclass, 'ddl')")
    by_point = "SELECT x::text FROM hotrollback.as_of_restore_point('r', NULL::t) x"
    by_time = f"SELECT x::text FROM hotrollback.as_of('{at.isoformat()}', NULL::t) x"
    for name, sql, said, detail in REFUSED:
        writer = ground.db.transaction()
        await writer.start()
        for query in (by_point, by_time):
            assert sorted(row[0] for row in await ground.db.fetch(query)) == was, name
        await ground.db.execute(sql)
        for query in (by_point, by_time):
            if name == "retention" and query == by_point:
                await ground.db.execute("UPDATE hotrollback.meta SET installed = clock_timestamp()")
            inner = ground.db.transaction()
            await inner.start()
            with pytest.raises(asyncpg.PostgresError, match=re.escape(said)) as refused:
                raise ValueError((name, query, await ground.db.fetch(query)))
            await inner.rollback()
            assert refused.value.sqlstate == "RB001", name
            if detail:
                assert detail in refused.value.detail
        await writer.rollback()
    for wrong, state in (
        ("SELECT hotrollback.as_of(now(), NULL::int)", "42809"),
        ("SELECT hotrollback.as_of(now(), NULL::pg_class)", "42809"),
        ("SELECT hotrollback.as_of(NULL, NULL::t)", "22004"),
        ("SELECT hotrollback.as_of_restore_point('none', NULL::t)", "RB001"),
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await ground.db.execute(wrong)
        assert refused.value.sqlstate == state, wrong
    made = await ground.db.fetchval("SELECT clock_timestamp()")
    await ground.write("CREATE TABLE later (a int); INSERT INTO later VALUES (1)")
    with pytest.raises(asyncpg.PostgresError, match="not everything") as refused:
        await ground.db.execute(f"SELECT hotrollback.as_of('{made.isoformat()}', NULL::later)")
    assert "made since" in refused.value.detail


async def test_nobody_sees_more_of_the_past_than_of_the_table(ground: Ground) -> None:
    await ground.given(
        "CREATE TABLE free (id int PRIMARY KEY); CREATE TABLE secret (LIKE free INCLUDING ALL);"
        "CREATE TABLE partly (LIKE free INCLUDING ALL); ALTER TABLE partly ADD hidden int;"
        "CREATE TABLE rows_of (LIKE free INCLUDING ALL); ALTER TABLE rows_of ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON rows_of FOR SELECT TO app USING (id > 1);"
        "CREATE TABLE top (id int) PARTITION BY LIST (id);"
        "CREATE TABLE part PARTITION OF top DEFAULT;"
        "GRANT SELECT ON free, rows_of, top TO app; GRANT SELECT (id) ON partly TO app;"
        "CREATE FUNCTION spy(json) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS"
        " $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$"
    )
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('r')")
    await ground.write("; ".join(f"INSERT INTO {t} VALUES (1)" for t in
                                 ("free", "secret", "partly", "rows_of", "top")))  # fmt: skip
    app = await ground.connect("app")
    told: list[str] = []
    app.add_log_listener(lambda _, message: told.append(message.message))
    past = "SELECT count(*) FROM hotrollback.as_of_restore_point('r', NULL::{})".format
    for table in ("free", "top"):
        assert await app.fetchval(past(table)) == 0
    for table, said in (
        ("secret", r"permission denied for table public\.secret\n"),
        ("partly", r"permission denied for table public\.partly\n"),
        ("rows_of", r"row-level security of public\.rows_of is active for app"),
        ("part", "permission denied for table part"),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=said):
            await app.fetch(past(table))
    relations = (
        "SELECT DISTINCT relid::regclass::text FROM hotrollback.readable_change WHERE spy(after)"
    )
    assert {row[0] for row in await app.fetch(relations)} == {"free", "part"}
    assert len(told) == 2
    for table in ("change", "gap", "restore_point", "undo"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.fetch(f"SELECT * FROM hotrollback.{table}")


async def test_code_of_types_runs_as_whoever_asks(ground: Ground) -> None:
    """A check of a domain is its maker's code: it must not get the rights of the log's owner."""
    await ground.given(
        "CREATE FUNCTION who(int) RETURNS bool LANGUAGE plpgsql STABLE AS"
        " $$ BEGIN RAISE NOTICE '%', current_user; RETURN true; END $$;"
        "CREATE DOMAIN trap AS int CHECK (public.who(VALUE)); CREATE TABLE t (id trap PRIMARY KEY);"
        "GRANT ALL ON t TO app"
    )
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('r')")
    await ground.write("INSERT INTO t VALUES (1)")
    app = await ground.connect("app")
    told: list[str] = []
    app.add_log_listener(lambda _, message: told.append(message.message))
    assert await app.fetch("SELECT * FROM hotrollback.as_of_restore_point('r', NULL::t)") == []
    assert set(told) == {"app"}


async def test_rows_that_are_alike_are_counted(ground: Ground) -> None:
    await ground.given(
        "CREATE TABLE t (a int, b json); INSERT INTO t SELECT 1, '[1]' FROM generate_series(1, 5)"
    )
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('five')")
    await ground.write("INSERT INTO t VALUES (1, '[1]'), (1, '[1]'), (1, '[ 1]')")
    await ground.db.execute("INSERT INTO hotrollback.restore_point (name) VALUES ('eight')")
    await ground.write("DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 1)")
    for name, number in (("five", 5), ("eight", 7)):
        past = f"hotrollback.as_of_restore_point('{name}', NULL::t)"
        found = await ground.rows(
            f"SELECT b::text, count(*) FROM {past} GROUP BY 1 ORDER BY 1 DESC"
        )
        assert found == [("[1]", number), ("[ 1]", 1)][: 1 if name == "five" else 2]


async def test_who_wrote_before_and_after_the_moment_came_after_it(ground: Ground) -> None:
    await ground.given("CREATE TABLE t (id int PRIMARY KEY)")
    slow = await ground.connect()
    await slow.execute("BEGIN; INSERT INTO t VALUES (1)")
    await ground.write("INSERT INTO t VALUES (2)")
    at = await ground.db.fetchval("SELECT clock_timestamp()")
    await slow.execute("INSERT INTO t VALUES (3); COMMIT")
    past = f"hotrollback.as_of('{at.isoformat()}', NULL::t)"
    assert await ground.rows(f"SELECT id FROM {past}") == [(2,)]
