"""Types and routines that only tables in the bin need: they follow there, come back, and go for good."""

import pytest
from fix_undo import BAD, Ground
from test_bin import back, spared

from undo.bin.purge import purge
from undo.engine import redo
from undo.model import Outcome

MADE = """
CREATE TYPE kind AS ENUM ('a', 'b');
CREATE DOMAIN amount AS numeric CHECK (value > 0);
CREATE TYPE pair AS (k kind, n int);
CREATE TYPE span AS RANGE (subtype = int);
CREATE FUNCTION low(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)';
CREATE FUNCTION next_kind(kind) RETURNS kind IMMUTABLE LANGUAGE sql AS $$ SELECT 'b'::kind $$;
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE t (id int PRIMARY KEY, k kind DEFAULT next_kind('a'), sum amount, p pair, s span,
                v text CHECK (low(v) <> ''), l text GENERATED ALWAYS AS (low(v)) STORED);
CREATE INDEX i ON t (low(v));
CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION g();
INSERT INTO t (id, sum, p, s, v) VALUES (1, 2, ('a', 3), '[1,4)', 'X');
COMMENT ON TYPE kind IS 'of old'; GRANT USAGE ON TYPE kind TO app WITH GRANT OPTION;
REVOKE EXECUTE ON FUNCTION low FROM PUBLIC; GRANT EXECUTE ON FUNCTION low TO app;
SET ROLE app; GRANT USAGE ON TYPE kind TO pg_monitor; RESET ROLE
"""
DROPS = (
    "DROP TABLE t",
    "DROP FUNCTION low(text), next_kind, g()",
    "DROP DOMAIN amount",
    "DROP TYPE kind, pair, span",
)
IN_BIN = """
SELECT (SELECT count(*) FROM pg_type WHERE typnamespace = n AND typtype IN ('e', 'd', 'r', 'm'))
       + (SELECT count(*) FROM pg_proc WHERE pronamespace = n) FROM to_regnamespace('hotrollback_bin') n
"""


async def drop_all(ground: Ground) -> None:
    """As a client does, statement by statement."""
    for statement in DROPS:
        await ground.write(spared(statement))


async def no_gap(ground: Ground) -> None:
    assert await ground.rows("SELECT reason, statement FROM hotrollback.gap") == []


async def test_what_was_made_is_taken_back_and_made_again(ground: Ground) -> None:
    await ground.given("SELECT")
    before = await ground.content()
    await ground.write(MADE)
    after = await ground.content()
    for _ in range(2):
        await ground.there_and_back(before, after)
        assert await ground.rows("SELECT FROM hotrollback.binned") == []
    await no_gap(ground)


@pytest.mark.parametrize("user", ["postgres", "app"])
async def test_what_a_client_drops_comes_back(ground: Ground, user: str) -> None:
    made = MADE if user == "postgres" else MADE.partition("COMMENT ON TYPE")[0]
    await ground.given(f"GRANT CREATE ON SCHEMA public TO app; SET ROLE {user}; {made}; RESET ROLE")
    before = await ground.content()
    for statement in DROPS:
        await ground.write(spared(statement), user=user)
    after = await ground.content()
    assert await ground.db.fetchval("SELECT to_regtype('kind') IS NULL")
    assert await ground.db.fetchval("SELECT to_regprocedure('low(text)') IS NULL")
    await no_gap(ground)
    roles = await ground.rows("SELECT DISTINCT role::regrole::text FROM hotrollback.command")
    assert roles == [(user,)]
    for _ in range(2):
        await ground.there_and_back(before, after)
    await no_gap(ground)


async def test_their_names_are_free(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    await ground.write(MADE, tag="anew")
    await no_gap(ground)
    await ground.undo(tag="anew")
    report = await ground.undo()
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)


async def test_what_something_else_needs_is_refused_as_ever(ground: Ground) -> None:
    await ground.given(MADE + "; CREATE TABLE live (k kind)")
    await ground.write(spared("DROP TABLE t"))
    with pytest.raises(Exception, match="cannot drop type kind because") as refused:
        await ground.write(spared("DROP TYPE kind"))
    assert refused.value.sqlstate == "2BP01"
    assert await ground.rows("SELECT FROM hotrollback.binned") == []


async def test_nobody_moves_what_is_not_theirs(ground: Ground) -> None:
    await ground.given(MADE)
    await ground.write(spared("DROP TABLE t"))
    move = "SELECT hotrollback.bin_dropped_object_v1('pg_type'::regclass, 'kind'::regtype, 0)"
    with pytest.raises(Exception, match="must be owner"):
        await ground.write(move, user="app")


async def test_what_cannot_be_moved_is_said(ground: Ground) -> None:
    await ground.given("""
        CREATE COLLATION same (provider = libc, locale = 'C');
        CREATE TABLE t (v text COLLATE same)""")
    await ground.write(spared("DROP TABLE t"))
    await ground.write(spared("DROP COLLATION same"))
    reasons = await ground.rows("SELECT DISTINCT reason FROM hotrollback.gap")
    assert reasons == [("lost",)]


async def test_a_number_is_one_catalog_s(ground: Ground) -> None:
    """A function that has by chance the number of a type is not dropped with that."""
    await ground.given("CREATE TYPE kind AS ENUM ('a'); CREATE TABLE t (k kind);"
                       "CREATE FUNCTION alike() RETURNS int LANGUAGE sql AS 'SELECT 1'")  # fmt: skip
    await ground.db.execute("""
        SET allow_system_table_mods = on;
        UPDATE pg_depend SET objid = 'kind'::regtype
         WHERE classid = 'pg_proc'::regclass AND objid = 'alike'::regproc;
        UPDATE pg_proc SET oid = 'kind'::regtype WHERE proname = 'alike';
        RESET allow_system_table_mods""")
    await ground.write(spared("DROP TABLE t"))
    await ground.write(spared("DROP TYPE kind"))
    assert await ground.db.fetchval("SELECT to_regtype('kind') IS NULL")
    assert await ground.db.fetchval("SELECT to_regproc('alike') IS NOT NULL")
    await no_gap(ground)


async def test_no_role_is_held(ground: Ground) -> None:
    maker, guest = (f'"{name} {ground.database.name}"' for name in ("maker", "guest"))
    await ground.given(f"""
        CREATE ROLE {maker}; CREATE ROLE {guest};
        GRANT CREATE ON SCHEMA public TO {maker}; SET ROLE {maker};
        CREATE TYPE kind AS ENUM ('a'); CREATE TYPE span AS RANGE (subtype = int);
        CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE TABLE t (k kind, s span, n int DEFAULT f());
        GRANT USAGE ON TYPE kind TO {guest}; GRANT EXECUTE ON FUNCTION f TO {guest}; RESET ROLE;
        REVOKE CREATE ON SCHEMA public FROM {maker}""")
    for statement in ("DROP TABLE t", "DROP TYPE kind, span", "DROP FUNCTION f"):
        await ground.write(spared(statement))
    await no_gap(ground)
    await ground.db.execute(f"DROP ROLE {maker}, {guest}")


async def test_they_go_with_the_last_that_needs_them(ground: Ground) -> None:
    await ground.given(MADE + "; CREATE TABLE other (k kind)")
    await ground.write(spared("DROP TABLE t, other"))
    for statement in DROPS[1:]:
        await ground.write(spared(statement))
    await purge(ground.db, "t")
    assert [row[0] for row in await ground.rows("SELECT name FROM hotrollback.binned")] == ["kind"]
    await purge(ground.db)
    assert await ground.rows("SELECT FROM hotrollback.binned") == []
    assert await ground.db.fetchval(IN_BIN) == 0


async def test_a_table_brings_them_back(ground: Ground) -> None:
    await ground.given(MADE)
    before = await ground.content()
    await drop_all(ground)
    after = await ground.content()
    done = await back(ground, "t")
    assert (done.missing, await ground.content()) == ([], before)
    report = await redo(ground.db, done.undo_id, by="test")
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
    assert await ground.content() == after


async def test_what_has_its_name_by_now_stays(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    await ground.write("CREATE TYPE kind AS ENUM ('z')", tag="other")
    done = await back(ground, "t")
    ((what, remedy),) = done.missing
    assert what.startswith("type public.kind")
    assert remedy.startswith("ALTER TYPE hotrollback_bin.")
    assert await ground.db.fetchval("SELECT k::text FROM t") == "b"


async def test_an_undo_knows_that_they_are_back(ground: Ground) -> None:
    await ground.given(MADE)
    before = await ground.content()
    await drop_all(ground)
    await back(ground, "t")
    report = await ground.undo(tag=BAD)
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
    assert await ground.content() == before
