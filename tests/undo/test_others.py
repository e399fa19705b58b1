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
