"""Ordinary clients of PostgreSQL on the admin socket."""

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta

import asyncpg
import psycopg
import pytest
from fix_proxy import Proxy


def psql(proxy: Proxy, *commands: str) -> subprocess.CompletedProcess[str]:
    words = [word for command in commands for word in ("-c", command)]
    return subprocess.run(
        [
            *(str(proxy.database.server.bin / "psql"), "-XAt", "-h", str(proxy.admin)),
            *("-p", "6433", *words, "hotrollback"),
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PGUSER": "somebody", "PGTZ": "Europe/Berlin"},
    )


def conninfo(proxy: Proxy) -> dict[str, object]:
    return {"host": str(proxy.admin), "port": 6433, "user": "somebody"}


def test_only_its_owner_may_open_the_socket(shop: Proxy) -> None:
    assert stat.S_IMODE((shop.admin / ".s.PGSQL.6433").stat().st_mode) == 0o600


def test_psql(shop: Proxy) -> None:
    done = psql(shop, "SHOW VERSION", "SHOW TAGS TAG 'deploy-42'", "SHOW TAGZ")
    version, tag = done.stdout.splitlines()
    assert version.startswith("Hot Rollback ")
    assert tag.startswith("deploy-42|20")
    assert done.stderr == (
        "ERROR:  syntax error at or near 'TAGZ'\n"
        "LINE 1: SHOW TAGZ\n"
        "             ^\n"
        "HINT:  did you mean TAGS?\n"
    )
    assert done.returncode == 1


def test_bare_times_are_of_the_sessions_zone(shop: Proxy) -> None:
    done = psql(shop, "SHOW GAPS FROM '2026-01-01 01:00'")
    assert done.stderr == "NOTICE:  FROM 2026-01-01 00:00:00 UTC\n"


async def test_asyncpg(shop: Proxy) -> None:
    connection = await asyncpg.connect(**conninfo(shop), database="hotrollback")
    try:
        row = await connection.fetchrow("SHOW TAGS TAG $1 LIMIT $2", "deploy-42", "5")
        assert (row["tag"], row["updates"]) == ("deploy-42", 1)
        assert timedelta(0) < datetime.now(UTC) - row["last"] < timedelta(hours=1)
        assert len(await connection.fetch("SHOW CHANGES TAG $1", "deploy-42")) == 2
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.fetch("SHOW TAGZ")
        await connection.reset()
        assert await connection.fetchval("SHOW VERSION")
    finally:
        await connection.close()


async def test_a_pool_of_asyncpg(shop: Proxy) -> None:
    """It resets its connections whenever they come back."""
    async with asyncpg.create_pool(
        **conninfo(shop), database="hotrollback", min_size=1, max_size=1
    ) as pool:
        for _ in range(2):
            async with pool.acquire() as connection:
                assert await connection.fetchval("SHOW VERSION")


@pytest.mark.parametrize("binary", [False, True])
def test_psycopg(shop: Proxy, binary: bool) -> None:  # noqa: FBT001
    with psycopg.connect(**conninfo(shop), dbname="hotrollback") as connection:
        cursor = connection.cursor(binary=binary, row_factory=psycopg.rows.dict_row)
        row = cursor.execute("SHOW TAGS TAG %s", ["deploy-42"]).fetchone()
        assert (row["tag"], row["deletes"]) == ("deploy-42", 1)
        assert timedelta(0) < datetime.now(UTC) - row["first"] < timedelta(hours=1)
        changes = cursor.execute("SHOW CHANGES TABLE products LIMIT %s", [3]).fetchall()
        assert len(changes) == 3
        assert changes[0]["before"]["id"] == 1  # the driver read the json
        with pytest.raises(psycopg.errors.SyntaxError):
            cursor.execute("SHOW TAGZ")
        connection.rollback()
        assert cursor.execute("SHOW VERSION").fetchall()


def test_psycopg_in_a_pipeline(shop: Proxy) -> None:
    with (
        psycopg.connect(**conninfo(shop), dbname="hotrollback", autocommit=True) as connection,
        connection.pipeline(),
    ):
        cursors = [connection.execute("SHOW VERSION") for _ in range(3)]
        assert all(cursor.fetchone() for cursor in cursors)


def test_an_undo_in_a_drivers_transaction_is_refused(shop: Proxy) -> None:
    with (
        psycopg.connect(**conninfo(shop), dbname="hotrollback") as connection,
        pytest.raises(psycopg.errors.ActiveSqlTransaction, match="use autocommit"),
    ):
        connection.execute("UNDO TAG 'deploy-42'")


def test_other_databases_do_not_exist(shop: Proxy) -> None:
    with pytest.raises(psycopg.OperationalError, match="its only database is hotrollback"):
        psycopg.connect(**conninfo(shop), dbname="shop")
