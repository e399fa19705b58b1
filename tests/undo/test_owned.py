"""All that a role owns, and what it may do: dropped or given to another one, and taken back."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from fix_log import roles_made
from fix_session import Inside, inside
from fix_undo import BAD, Ground, columns_sorted

from undo.engine import redo
from undo.model import Outcome

MADE = """
CREATE SCHEMA own AUTHORIZATION {owner}; GRANT CREATE ON SCHEMA public TO {owner};
CREATE TABLE theirs (a int PRIMARY KEY, b text); INSERT INTO theirs VALUES (1, 'x');
GRANT SELECT, UPDATE (b) ON theirs TO {owner} WITH GRANT OPTION;
CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION theirs TO {owner};
ALTER TABLE theirs ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_two ON theirs TO {owner}, {guest}; CREATE POLICY of_one ON theirs TO {owner} USING (a > 0);
SET ROLE {owner};
GRANT SELECT ON theirs TO {guest};
CREATE TYPE own.kind AS ENUM ('a', 'b'); CREATE DOMAIN own.positive AS int CHECK (value > 0);
CREATE TYPE own.pair AS (k own.kind, n int); CREATE SEQUENCE own.seq START 7;
CREATE FUNCTION own.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION own.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE own.t (id serial PRIMARY KEY, k own.kind, p own.pair, d own.positive, f int DEFAULT own.f(),
                    s int DEFAULT nextval('own.seq'));
CREATE TRIGGER g BEFORE INSERT ON own.t FOR EACH ROW EXECUTE FUNCTION own.g();
INSERT INTO own.t (k, p, d) VALUES ('a', ('b', 2), 3), ('b', NULL, 4);
CREATE TABLE own.child (id int REFERENCES own.t, b text); INSERT INTO own.child VALUES (1, 'c');
CREATE TABLE inpublic (a int); INSERT INTO inpublic VALUES (5); CREATE STATISTICS st ON id, b FROM own.child;
CREATE VIEW own.v AS SELECT * FROM own.t; CREATE MATERIALIZED VIEW own.m AS SELECT a FROM inpublic;
GRANT SELECT ON own.t, own.v TO {guest}; GRANT USAGE ON TYPE own.kind TO {guest};
RESET ROLE
"""


@pytest.fixture
async def roles(ground: Ground) -> AsyncIterator[list[str]]:
    """An owner and a guest, for whom all of that is made."""
    async with roles_made(ground.db, ground.database, "owner", "guest") as made:
        await ground.given(MADE.format(owner=made[0], guest=made[1]))
        yield made


@pytest.fixture
def through(ground: Ground, roles: list[str]) -> Iterator[Inside]:
    with inside(ground.database) as proxy:
        yield proxy


async def send(proxy: Inside, statements: str, user: str = "postgres") -> list[str]:
    """One by one; what each is said to have done."""

    def sent() -> list[str]:
        with proxy.connect(user, BAD) as client:
            given = statements.split("; ")
            return [client.execute(part.encode()).statusmessage or "" for part in given]

    return await asyncio.to_thread(sent)


async def back_and_again(ground: Ground, before: list[str]) -> None:
    after = await ground.content()
    assert after != before
    report = await ground.undo()
    assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
    assert columns_sorted(await ground.content()) == columns_sorted(before)
    again = await redo(ground.db, None, by="test")
    assert again.outcome is Outcome.DONE, (again.message, again.conflicts, again.gaps)
    assert columns_sorted(await ground.content()) == columns_sorted(after)
    assert (await ground.undo()).outcome is Outcome.DONE
    assert columns_sorted(await ground.content()) == columns_sorted(before)


@pytest.mark.parametrize("text", [
    "DROP OWNED BY {owner}", "DROP OWNED BY {owner}, {guest} CASCADE", "DROP OWNED BY {guest}",
    "REASSIGN OWNED BY {owner} TO {guest}",
    "REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}",
    "ALTER TABLE own.t ALTER s DROP DEFAULT; DROP TABLE own.child, own.t CASCADE; DROP OWNED BY {owner}",
    "DROP TABLE own.child; ALTER TABLE own.t ALTER s DROP DEFAULT; DROP TABLE own.t CASCADE; DROP SCHEMA own CASCADE",
    "DROP SCHEMA own CASCADE",
])  # fmt: skip
async def test_all_of_a_role(ground: Ground, through: Inside, roles: list[str], text: str) -> None:
    before = await ground.content()
    await send(through, text.format(owner=roles[0], guest=roles[1]))
    assert await ground.rows("SELECT reason, statement FROM hotrollback.gap") == []
    await back_and_again(ground, before)


@pytest.mark.parametrize(
    "text", ["DROP OWNED BY {owner}", "DROP OWNED BY {owner} CASCADE", "DROP SCHEMA own CASCADE"]
)
async def test_by_itself(ground: Ground, through: Inside, roles: list[str], text: str) -> None:
    before = await ground.content()
    await send(through, text.format(owner=roles[0]), user=roles[0].strip('"').replace(" ", "%20"))
    assert await ground.rows("SELECT reason, statement FROM hotrollback.gap") == []
    await back_and_again(ground, before)


async def test_given_away_by_itself(ground: Ground, through: Inside, roles: list[str]) -> None:
    owner, guest = roles
    await ground.db.execute(f"GRANT {guest} TO {owner}; GRANT CREATE ON SCHEMA own, public TO {guest};"
                            f"GRANT CREATE ON DATABASE {ground.database.name} TO {guest}")  # fmt: skip
    before = await ground.content()
    text = f"SET standard_conforming_strings = off; reassign owned by {owner} to {guest}"
    told = await send(through, text, user=owner.strip('"').replace(" ", "%20"))
    assert told == ["SET", "REASSIGN OWNED"]
    assert through.gaps() == []
    await back_and_again(ground, before)


# Of what no images are kept, and of what is the whole server's.
BESIDE = """
CREATE FOREIGN DATA WRAPPER mine; GRANT USAGE ON FOREIGN DATA WRAPPER mine TO {owner};
CREATE SERVER there FOREIGN DATA WRAPPER mine; ALTER SERVER there OWNER TO {owner};
CREATE COLLATION likewise (provider = libc, locale = 'C'); ALTER COLLATION likewise OWNER TO {owner};
SELECT lo_create(77); ALTER LARGE OBJECT 77 OWNER TO {owner};
GRANT TEMPORARY ON DATABASE {database} TO {owner}; GRANT SET ON PARAMETER {database}.x TO {owner};
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {owner}, {guest}
"""
SAID = {
    "DROP OWNED BY {owner}": {"foreign-data wrapper mine", "server there", "collation public.likewise",
                              "database {database}", "parameter ACL", "large object 77", "ddl",
                              "default acl for role postgres on tables"},
    "REASSIGN OWNED BY {owner} TO {guest}": {"server there", "collation public.likewise", "ddl"},
    "GRANT USAGE ON FOREIGN SERVER there TO {guest}": {"server there"},
    "REVOKE USAGE ON FOREIGN DATA WRAPPER mine FROM {owner}": {"foreign-data wrapper mine"},
    "GRANT SELECT ON LARGE OBJECT 77 TO {guest}": {"ddl"},
    "GRANT USAGE ON LANGUAGE sql TO {guest}": {"language sql"},
    "GRANT SELECT ON theirs TO {guest}": set(),
    "CREATE SERVER made FOREIGN DATA WRAPPER mine; GRANT USAGE ON FOREIGN SERVER made TO {guest}": set(),
}  # fmt: skip


@pytest.mark.parametrize("text", SAID)
async def test_what_no_undo_gives_back_is_said(
    ground: Ground, through: Inside, roles: list[str], text: str
) -> None:
    names = {"owner": roles[0], "guest": roles[1], "database": ground.database.name}
    await ground.db.execute(BESIDE.format(**names))
    await ground.db.execute("DELETE FROM hotrollback.gap")
    await send(through, "BEGIN; " + text.format(**names) + "; COMMIT")
    rows = await ground.rows("SELECT coalesce(statement, ': ' || reason) FROM hotrollback.gap")
    said = {what.format(**names) for what in SAID[text]}
    assert {row[0].partition(": ")[2] for row in rows} == said
