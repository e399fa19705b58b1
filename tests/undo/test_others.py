"""What of other roles goes with a table: its owner may drop it with that, and nothing else."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from fix_log import roles_made
from fix_session import inside
from fix_undo import Ground
from test_owned import back_and_again, send

MADE = """
GRANT CREATE ON SCHEMA public TO {owner}, {guest};
SET ROLE {owner};
CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x'), (2, 'y'); CREATE TABLE mine (a int);
GRANT ALL ON t TO {guest};
SET ROLE {guest};
CREATE VIEW v AS SELECT * FROM t; CREATE VIEW w AS SELECT b FROM v; CREATE MATERIALIZED VIEW m AS SELECT a FROM t;
CREATE TABLE child (a int PRIMARY KEY REFERENCES t, b text); INSERT INTO child VALUES (1, 'c');
CREATE TABLE seen (a int); ALTER TABLE seen ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON seen USING (a IN (SELECT a FROM t));
CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM t; END;
CREATE VIEW apart AS SELECT a FROM seen;
RESET ROLE
"""


@pytest.fixture
async def roles(ground: Ground) -> AsyncIterator[list[str]]:
    """The owner of a table, and one who has made things that need it."""
    async with roles_made(ground.db, ground.database, "owner", "guest") as made:
        await ground.given(MADE.format(owner=made[0], guest=made[1]))
        yield made


async def test_a_table_is_spared_with_what_others_rest_on_it(
    ground: Ground, roles: list[str]
) -> None:
    before = await ground.content()
    with inside(ground.database) as through:
        user = roles[0].strip('"').replace(" ", "%20")
        assert await send(through, "DROP TABLE t CASCADE", user) == ["DROP TABLE"]
        assert through.gaps() == []
    told = await ground.rows("SELECT DISTINCT role::regrole::text FROM hotrollback.command")
    assert told == [(roles[0],)]
    await back_and_again(ground, before)


@pytest.mark.parametrize(("named", "refused"), [
    ("ARRAY['mine'::regclass::oid], 'pg_class'::regclass, 'apart'::regclass, 0", "it does not go with the tables"),
    ("ARRAY['mine'::regclass::oid], 'pg_class'::regclass, 'v'::regclass, 0", "it does not go with the tables"),
    ("ARRAY['seen'::regclass::oid], 'pg_class'::regclass, 'apart'::regclass, 0", "must be owner of the tables"),
])  # fmt: skip
async def test_nobody_drops_more_by_that(
    ground: Ground, roles: list[str], named: str, refused: str
) -> None:
    await ground.db.execute(f"SET SESSION AUTHORIZATION {roles[0]}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=refused):
        await ground.db.execute(
            f"SELECT hotrollback.drop_dependent_v1({named}, false, $r${roles[0]}$r$::regrole)"
        )
    await ground.db.execute("RESET SESSION AUTHORIZATION")
    assert len(await ground.rows("SELECT FROM pg_class WHERE relname IN ('apart', 'v')")) == 2


# Of the guest's tables, what is made of the owner's things.
MADE_OF = """
CREATE SCHEMA own AUTHORIZATION {owner}; GRANT USAGE, CREATE ON SCHEMA own TO {guest};
SET ROLE {owner}; CREATE TABLE own.t (a int, b text); CREATE TYPE own.e AS ENUM ('a', 'b');
CREATE DOMAIN own.d AS own.e DEFAULT 'a';
SET ROLE {guest}; CREATE TABLE of_it (id int PRIMARY KEY, x own.t, y own.e[], z own.d, n int);
INSERT INTO of_it VALUES (1, ROW(1, 'x'), '{{a,b}}', 'b', 7);
CREATE TABLE own.theirs (a int, e own.e); INSERT INTO own.theirs VALUES (1, 'b'); CREATE VIEW own.v AS TABLE own.theirs;
RESET ROLE
"""


@pytest.mark.parametrize(
    "text", ["DROP TABLE own.t CASCADE", "DROP TYPE own.e CASCADE", "DROP SCHEMA own CASCADE"]
)
async def test_values_of_others_are_kept(ground: Ground, roles: list[str], text: str) -> None:
    owner, guest = roles
    await ground.given(MADE_OF.format(owner=owner, guest=guest))
    before = await ground.content()
    with inside(ground.database) as through:
        await send(through, text, owner.strip('"').replace(" ", "%20"))
        assert through.gaps() == []
    await back_and_again(ground, before)


async def test_nobody_has_values_kept_that_he_could_not_take(
    ground: Ground, roles: list[str]
) -> None:
    owner, guest = roles
    await ground.given(MADE_OF.format(owner=owner, guest=guest))
    await ground.db.execute(f"SET SESSION AUTHORIZATION {owner}")
    kept = "SELECT hotrollback.keep_v1('of_it'::regclass, ARRAY[{}]::name[])"
    assert await ground.rows(kept.format("'n'")) == [(False,)]
    assert await ground.rows(kept.format("'n', 'x'")) == [(False,)]
    assert await ground.rows(kept.format("'x', 'y'")) == [(True,)]
    await ground.db.execute("RESET SESSION AUTHORIZATION")
