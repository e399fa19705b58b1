"""Tables that a publication names: in the bin they are in none, and back from there as they were."""

import asyncio
from collections.abc import Iterator

import pytest
from fix_session import Inside, inside
from fix_undo import BAD, Ground

from undo.bin import restore
from undo.model import Outcome

PUBLISHED = """
CREATE TABLE t (id int PRIMARY KEY, "V" text, n int); CREATE TABLE left_alone (id int PRIMARY KEY);
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts DEFAULT; GRANT ALL ON SCHEMA public TO app; ALTER TABLE t OWNER TO app;
CREATE PUBLICATION "Some" FOR TABLE t (id, "V") WHERE (id > 3 AND "V" <> 'x'), left_alone;
CREATE PUBLICATION others FOR TABLE t, parts WITH (publish = 'insert', publish_via_partition_root);
CREATE PUBLICATION schemas FOR TABLES IN SCHEMA public
"""
TABLES = "SELECT DISTINCT pubname::text, tablename::text FROM pg_publication_tables ORDER BY 1, 2"


@pytest.fixture
def through(ground: Ground) -> Iterator[Inside]:
    with inside(ground.database) as proxy:
        yield proxy


async def drop(through: Inside, text: str, user: str = "postgres") -> None:
    await asyncio.to_thread(through.psql, text, user, BAD)


@pytest.mark.given(PUBLISHED)
@pytest.mark.parametrize(
    ("text", "user"), [("DROP TABLE t", "app"), ("DROP TABLE parts, t", "postgres")]
)
async def test_dropped_and_back(ground: Ground, through: Inside, text: str, user: str) -> None:
    before = await ground.content()
    assert any('ADD TABLE ONLY public.t (id, "V") WHERE' in line for line in before)
    await drop(through, text, user)
    after = await ground.content()
    assert through.gaps() == []
    gone = {"t", "part", "parts"} if "parts" in text else {"t"}
    assert not any(name in gone or name[0].isdigit() for _, name in await ground.rows(TABLES))
    await ground.there_and_back(before, after)
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await ground.content() == before


@pytest.mark.given(PUBLISHED)
async def test_back_from_the_bin_in_what_is_there_still(ground: Ground, through: Inside) -> None:
    await drop(through, "DROP TABLE t")
    await ground.db.execute('DROP PUBLICATION others; ALTER PUBLICATION "Some" RENAME TO named')
    await restore.restore(ground.db, "t", by="test")
    found = [name for name, table in await ground.rows(TABLES) if table == "t"]
    assert found == ["named", "schemas"]
