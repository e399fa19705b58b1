"""Undo on plain connections: tables whose capture triggers record, writes under tags, dumps."""

import asyncio
import subprocess
from dataclasses import dataclass

import asyncpg
import pytest
from fix_log import Connect
from fix_postgres import Database

from undo.engine import redo, run
from undo.install import install
from undo.model import Outcome
from undo.report import Report
from undo.request import Selection, UndoRequest

BAD = "bad"


@dataclass(slots=True, eq=False)
class Ground:
    """A database whose every table has a capture trigger, once `install` was called."""

    database: Database
    connect: Connect
    db: asyncpg.Connection

    async def given(self, sql: str) -> None:
        """Tables and rows that were there before."""
        await self.db.execute(sql)
        await install(self.db, all_tables=True)

    async def write(self, sql: str, tag: str = BAD, user: str = "postgres") -> None:
        connection = await self.connect(user, server_settings={"hotrollback.tag": tag})
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def undo(self, policy: str = "abort", **selectors) -> Report:
        selection = Selection(**(selectors or {"tag": BAD}))
        return await run(self.db, UndoRequest(selection, policy=policy, by="test"))

    async def preview(self, policy: str = "abort", **selectors) -> Report:
        selection = Selection(**(selectors or {"tag": BAD}))
        return await run(self.db, UndoRequest(selection, policy=policy, dry_run=True, by="test"))

    async def script(self, policy: str = "abort", **selectors) -> str:
        """The undo as a script for psql."""
        said: list[str] = []
        selection = Selection(**(selectors or {"tag": BAD}))
        request = UndoRequest(selection, policy=policy, dry_run=True, by="test")
        await run(self.db, request, script=said.append)
        return "".join(said)

    async def psql(self, script: str, *flags: str) -> tuple[int, str]:
        """Exit status, and what it says on standard error."""
        command = [str(self.database.server.bin / "psql"), "-X", "-d", self.database.url()]
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, *(flags or ("-1", "-v", "ON_ERROR_STOP=1")), "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == ""
        return done.returncode, done.stderr

    async def redo(self, undo_id: int | None = None) -> Report:
        return await redo(self.db, undo_id, by="test")

    async def dump(self) -> list[str]:
        return await asyncio.to_thread(self.database.dump)

    async def content(self) -> list[str]:
        """A dump without what the log attaches to tables of others."""
        return [line for line in await self.dump() if "hotrollback" not in line]

    async def there_and_back(self, before: list[str], after: list[str], **selectors) -> None:
        """Undo what was written, and redo it: both are exact."""
        report = await self.undo(**selectors)
        assert report.outcome is Outcome.DONE, (report.message, report.conflicts)
        assert await self.content() == before
        again = await self.redo()
        assert again.outcome is Outcome.DONE, (again.message, again.conflicts)
        assert await self.content() == after

    async def rows(self, query: str) -> list[tuple]:
        return [tuple(row) for row in await self.db.fetch(query)]


@pytest.fixture
async def ground(database: Database, connect: Connect) -> Ground:
    """An install has begun here, and goes on when tables and rows are given."""
    return Ground(database, connect, await connect())


@pytest.fixture
async def bare(database: Database, connect: Connect) -> Ground:
    """Where there is no log."""
    return Ground(database, connect, await connect())


TWO_TABLES = (
    "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, 0 FROM generate_series(1, 9) g;"
    "CREATE TABLE s (id int PRIMARY KEY, v int); INSERT INTO s SELECT g, 0 FROM generate_series(1, 9) g;"
    "GRANT ALL ON t, s TO app"
)


async def changed(ground: Ground) -> tuple[list[int], list[int]]:
    """The rows of t and s that are not as they were."""
    left = [row[0] for row in await ground.rows("SELECT id FROM t WHERE v <> 0 ORDER BY id")]
    right = [row[0] for row in await ground.rows("SELECT id FROM s WHERE v <> 0 ORDER BY id")]
    return left, right


def columns_sorted(dump: list[str]) -> list[str]:
    """A column that was dropped comes back as the last one: rows are compared without an order. And
    pg_dump takes account of identity columns that were dropped."""
    return sorted(map(_without_order, dump))


def _without_order(line: str) -> str:
    line = line.replace(" OVERRIDING SYSTEM VALUE", "").rstrip(",")
    if line.startswith("CREATE STATISTICS"):
        return " ".join(sorted(line.replace(",", "").split()))
    if line.startswith("INSERT INTO"):
        head, _, values = line.partition(" VALUES (")
        return f"{head} ({', '.join(sorted(values.removesuffix(');').split(', ')))})"
    return line
