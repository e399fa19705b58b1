"""What TRUNCATE takes is copied into the log before it goes, wherever the TRUNCATE comes from."""

import asyncpg
import pytest
from fix_log import Connect
from test_triggers import TABLES, attach, changes, gaps


@pytest.fixture
async def table(log: asyncpg.Connection) -> asyncpg.Connection:
    """With public.t, which has a capture trigger."""
    await log.execute(TABLES)
    await attach(log, "public.t")
    return log


TRUNCATED = """
CREATE TABLE p (id integer) PARTITION BY LIST (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
CREATE TABLE child (t integer REFERENCES t ON DELETE CASCADE);
CREATE FUNCTION clear() RETURNS void LANGUAGE sql AS 'TRUNCATE t CASCADE'
"""


async def test_what_is_truncated_is_recorded_wherever_it_comes_from(
    table: asyncpg.Connection,
) -> None:
    await table.execute(TRUNCATED)
    await attach(table, "p1", "p2")
    await table.execute("GRANT TRUNCATE ON t TO app")
    await table.execute("INSERT INTO t VALUES (1, 'a'); INSERT INTO child VALUES (1)")
    await table.execute("SELECT clear()")
    await table.execute("BEGIN; INSERT INTO p VALUES (1), (2); TRUNCATE p; TRUNCATE p; COMMIT")
    await table.execute("INSERT INTO p VALUES (1); SET session_replication_role = replica")
    await table.execute("TRUNCATE p1")
    assert await gaps(table) == []
    taken = [change for change in await changes(table) if " D " in change]
    assert sorted(taken) == [
        "child D {t:1}", "p1 D {id:1}", "p1 D {id:1}", "p2 D {id:2}", "t D {id:1,v:a}",
    ]  # fmt: skip


async def test_what_is_truncated_is_recorded_as_his_who_did_it(
    table: asyncpg.Connection, connect: Connect
) -> None:
    await table.execute(
        "CREATE TABLE u (id integer, v float8[]); INSERT INTO u VALUES (1, '{0.1}');"
        "GRANT SELECT, TRUNCATE ON u TO app"
    )
    app = await connect("app")
    await app.execute("SET extra_float_digits = -5; TRUNCATE u")
    assert (await changes(table))[-1] == "u D {id:1,v:{0.1}}"
    role = "SELECT role = 'app'::regrole FROM hotrollback.change ORDER BY lsn DESC LIMIT 1"
    assert await table.fetchval(role)
    assert await gaps(table) == []


@pytest.mark.parametrize(
    "hidden",
    ["REVOKE SELECT ON t FROM PUBLIC", "ALTER TABLE t ENABLE ROW LEVEL SECURITY"],
)
async def test_what_is_truncated_by_who_may_not_read_all_of_it_is_a_gap(
    table: asyncpg.Connection, connect: Connect, hidden: str
) -> None:
    await table.execute(f"INSERT INTO t VALUES (1, 'a'); GRANT TRUNCATE ON t TO app; {hidden}")
    app = await connect("app")
    await app.execute("TRUNCATE t")
    assert await gaps(table) == [("truncate", "t")]
    assert await changes(table) == ["t I {id:1,v:a}"]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_what_an_older_snapshot_may_not_show_is_a_gap(
    table: asyncpg.Connection, connect: Connect, level: str
) -> None:
    app = await connect("app")
    await app.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM t")
    await table.execute("INSERT INTO t VALUES (1, 'unseen')")
    await app.execute("TRUNCATE t; COMMIT")
    assert await gaps(table) == [("truncate", "t")]


async def test_a_table_that_is_too_big_to_be_copied_is_a_gap(table: asyncpg.Connection) -> None:
    await table.execute("UPDATE hotrollback.meta SET truncate_limit = 8192")
    await table.execute("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 300) g")
    await table.execute("TRUNCATE t")
    assert await gaps(table) == [("truncate", "t")]
    assert not [change for change in await changes(table) if " D " in change]


async def test_truncate_that_the_proxy_announced_is_one_gap(table: asyncpg.Connection) -> None:
    await table.execute(
        "BEGIN; SELECT hotrollback.note_v1(1, ARRAY['t'::regclass::oid], 'truncate');"
        "TRUNCATE t; COMMIT"
    )
    assert await gaps(table) == [("truncate", "t")]
