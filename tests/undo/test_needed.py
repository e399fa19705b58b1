"""What only tables in the bin still need can be dropped: nobody else knows that they are there."""

import json

import psycopg
import pytest
from fix_session import inside
from fix_undo import BAD, Ground
from test_owned import back_and_again

from undo.model import Outcome

CLASS = """CREATE OPERATOR CLASS mine FOR TYPE int4 USING btree AS
OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int4, int4);"""
# What is made, how many tables are in the bin then (one may hold values), and how it is dropped or changed.
CASES = {
    "operator class of a partition key": (
        CLASS + "CREATE TABLE t (a int) PARTITION BY RANGE (a mine)", 0, "DROP OPERATOR CLASS mine USING btree"),
    "operator class of an index": (
        CLASS + "CREATE TABLE t (a int); CREATE INDEX ON t (a mine)", 1, "DROP OPERATOR CLASS mine USING btree"),
    "operator": (
        "CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);"
        "CREATE TABLE t (a int CHECK (a === 1))", 1, "DROP OPERATOR === (int, int)"),
    "text search configuration": (
        "CREATE TEXT SEARCH CONFIGURATION mine (copy = simple);"
        "CREATE TABLE t (a text CHECK (to_tsvector('mine'::regconfig, a) IS NOT NULL))", 1,
        "DROP TEXT SEARCH CONFIGURATION mine"),
    "cast": (
        "CREATE TYPE pair AS (x int, y int); CREATE FUNCTION sum(pair) RETURNS int AS 'SELECT $1.x + $1.y' LANGUAGE sql;"
        "CREATE CAST (pair AS int) WITH FUNCTION sum(pair); CREATE TABLE t (a pair CHECK (a::int > 0))", 1,
        "DROP CAST (pair AS int)"),
    "server": (
        "CREATE FOREIGN DATA WRAPPER mine; CREATE SERVER there FOREIGN DATA WRAPPER mine; CREATE TABLE t (a int)", 1,
        "DROP SERVER there; DROP FOREIGN DATA WRAPPER mine"),
    "row type": (
        "CREATE TABLE had (x int, y text); CREATE TABLE t (a had, b had)", 2, "ALTER TABLE had ALTER y TYPE varchar"),
    "domain in a composite type": (
        "CREATE DOMAIN d AS int; CREATE TYPE pair AS (x d, y int); CREATE TABLE t (a int, b pair)", 1,
        "ALTER DOMAIN d ADD CHECK (VALUE > 0)"),
    "composite type": (
        "CREATE TYPE pair AS (x int, y int); CREATE TABLE t (a int, b pair)", 1, "ALTER TYPE pair ALTER ATTRIBUTE x TYPE text"),
}  # fmt: skip
BINNED = """SELECT count(*)::int FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace('hotrollback_bin')"""


def tag_of(statement: str) -> str:
    """The words before the object's own name."""
    words = statement.split()
    return " ".join(words[: next(n for n, word in enumerate(words) if not word.isupper())])


@pytest.mark.parametrize("name", CASES)
async def test_it_is_dropped_and_said(ground: Ground, name: str) -> None:
    made, left, drop = CASES[name]
    await ground.given(made)
    with inside(ground.database) as proxy:
        proxy.psql("DROP TABLE t", "postgres")
        assert proxy.gaps() == []
        with proxy.connect("postgres") as client:
            for statement in drop.split("; "):
                assert client.execute(statement).statusmessage == tag_of(statement)
        assert {reason for reason, _ in proxy.gaps()} == {"lost"}
    assert await ground.rows(BINNED) == [(left,)]


@pytest.mark.parametrize(("made", "drops"), [
    ("CREATE TABLE u (a int); CREATE TABLE t (a int); CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO u VALUES (1)",
     "DROP TABLE t; DROP TABLE u"),
    ("CREATE TABLE u (a int); CREATE TABLE t (a int); CREATE POLICY p ON t USING (a IN (SELECT a FROM u))",
     "DROP TABLE t; DROP TABLE u RESTRICT"),
    ("CREATE FUNCTION f(int) RETURNS bool LANGUAGE sql AS 'SELECT true';"
     'CREATE DOMAIN d AS int CONSTRAINT "a b" CHECK (f(value)); CREATE TABLE t (a d)',
     "DROP TABLE t; DROP DOMAIN d; DROP FUNCTION f(int)"),
])  # fmt: skip
async def test_one_after_the_other(ground: Ground, made: str, drops: str) -> None:
    await ground.given(made)
    before = await ground.content()
    with inside(ground.database) as proxy, proxy.connect("postgres", BAD) as client:
        for drop in drops.split("; "):
            assert client.execute(drop.encode()).statusmessage == tag_of(drop)
        assert proxy.gaps() == []
    await back_and_again(ground, before)


@pytest.mark.parametrize("word", ["", " RESTRICT", "\n restrict "])
async def test_it_comes_back_with_what_needs_it(ground: Ground, word: str) -> None:
    await ground.given(
        "CREATE DOMAIN d AS int; CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (a d, b mood)"
    )
    before = await ground.content()
    with inside(ground.database) as proxy, proxy.connect("postgres", BAD) as client:
        client.execute("DROP TABLE t")
        for drop in (f"DROP DOMAIN d{word}", f"DROP TYPE mood{word}"):
            client.execute(drop.encode())
        assert proxy.gaps() == []
    report = await ground.undo()
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
    assert await ground.content() == before


@pytest.mark.parametrize("user", ["app", "postgres"])
async def test_what_others_need_is_not_let_go(ground: Ground, user: str) -> None:
    """Nor by whoever may only call our function, with a message of his own."""
    await ground.given(
        "CREATE TYPE pair AS (x int); CREATE TABLE t (a pair); CREATE TABLE there (a pair);"
        "GRANT ALL ON SCHEMA public TO app"
    )
    with inside(ground.database) as proxy:
        proxy.psql("DROP TABLE t", "postgres")
        with proxy.connect(user) as client:
            for _ in range(2):
                with pytest.raises(psycopg.DatabaseError) as told:
                    client.execute("ALTER TYPE pair ALTER ATTRIBUTE x TYPE text")
                message = str(told.value.diag.message_primary)
                assert message in {
                    'cannot alter type "pair" because column "there.a" uses it',
                    "must be owner of table pair",  # as it is called here
                }
    ((name,),) = await ground.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'hotrollback_bin'::regnamespace AND relkind = 'r'"
    )
    await ground.db.execute("SET SESSION AUTHORIZATION app")
    (gone,) = await ground.rows(f"SELECT hotrollback.let_go_v1('column \"{name}.a\" uses it')")
    assert gone == (False,)


async def test_a_client_that_reads_strings_another_way_is_told_nothing(ground: Ground) -> None:
    await ground.given("CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t")
    with inside(ground.database) as proxy, proxy.connect("postgres") as client:
        said: list[str | None] = []
        client.add_notice_handler(lambda notice: said.append(notice.message_primary))
        client.execute("SET standard_conforming_strings = off")
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            client.execute("DROP TABLE t")
        client.execute("DROP VIEW v")
        client.execute("DROP TABLE t")
        assert said == []


async def test_a_constraint_that_is_there_keeps_it(ground: Ground) -> None:
    """Also where one of the same name is a domain's in the bin."""
    await ground.given(
        "CREATE TYPE pair AS (a int, b int); CREATE TABLE t (p pair CONSTRAINT k CHECK ((p).a > 0));"
        "CREATE FUNCTION f(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';"
        "CREATE DOMAIN d AS int CONSTRAINT k CHECK (f(value)); CREATE DOMAIN e AS int CONSTRAINT k CHECK (f(value))"
    )
    with inside(ground.database) as proxy, proxy.connect("postgres") as client:
        with pytest.raises(
            psycopg.errors.DependentObjectsStillExist, match="column a of composite"
        ):
            client.execute("ALTER TYPE pair DROP ATTRIBUTE a")
        client.execute("DROP DOMAIN d")
        with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="function f"):
            client.execute("DROP FUNCTION f(int)")


REACHED = """
CREATE TYPE mood AS ENUM ('a', 'b'); CREATE DOMAIN few AS int;
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE w (m mood); CREATE TABLE u (m mood, d few, x int DEFAULT f(3), CONSTRAINT k CHECK (f(x) > 0));
CREATE TRIGGER g BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION g(); CREATE INDEX ui ON u (f(x));
CREATE RULE r AS ON INSERT TO u WHERE new.m = 'a' DO ALSO INSERT INTO w VALUES (new.m);
CREATE STATISTICS st ON f(x), d FROM u; CREATE TYPE pair AS (m mood, n few); INSERT INTO u VALUES ('b', 1, 2)
"""


@pytest.mark.given(REACHED)
async def test_nobody_is_told_what_goes_in_the_bin(ground: Ground) -> None:
    drops = {
        "DROP TABLE u CASCADE": [],
        "DROP FUNCTION g() CASCADE": [],
        "DROP FUNCTION f(int) CASCADE": [],
        "DROP DOMAIN few CASCADE": ["drop cascades to column n of composite type pair"],
        "DROP TYPE mood CASCADE": [
            "drop cascades to column m of composite type pair",
            "drop cascades to column m of table w",
        ],
    }
    told: list[str] = []
    with inside(ground.database) as proxy, proxy.connect("postgres") as client:
        client.add_notice_handler(
            lambda one: told.extend((one.message_detail or one.message_primary or "").splitlines())
        )
        for drop, lines in drops.items():
            told.clear()
            client.execute(drop.encode())
            assert sorted(told) == lines, drop
        assert {reason for reason, _ in proxy.gaps()} == {"lost"}
    (left,) = await ground.rows("SELECT format('hotrollback_bin.%I', b.relname) FROM hotrollback.bin n"
                                " JOIN pg_class b ON b.oid = n.relid")  # fmt: skip
    assert await ground.rows(f"SELECT * FROM {left[0]}") == [(2,)]


@pytest.mark.given(REACHED)
async def test_nobody_takes_from_the_bin_what_he_might_not_drop(ground: Ground) -> None:
    with inside(ground.database) as proxy:
        proxy.psql("DROP TABLE u", "postgres")
        (place,) = proxy.psql(
            "SELECT c.oid FROM pg_class c JOIN hotrollback.bin b ON b.relid = c.oid", "postgres"
        )
        losing = {
            "lost": [],
            "dropped": [[1259, place[0], 1, "table column", "hotrollback_bin.u.m"]],
        }
        proxy.psql(f"SELECT hotrollback.let_binned_go_v1('{json.dumps(losing)}')", "app")
    found = await ground.rows(
        f"SELECT count(*) FROM pg_attribute WHERE attrelid = {place[0]} AND attname = 'm'"
    )
    assert found == [(1,)]
