"""The schema that the migrations make is the one that the rest of the program names."""

import re
from pathlib import Path

import asyncpg
import pytest

from undo import log as names
from undo.migrations import current, migrations

ROOT = Path(__file__).parents[2]
FUNCTION = re.compile(r"hotrollback\.(\w+_v\d+)\b")
# These look names up as their caller does, and qualify all others.
# What runs a client's own text runs it as the client would.
SEARCH_PATH_OF_THE_CALLER = {"relations_v1", "run_ddl_v1", "quietly_v1"}


def named(*globs: str) -> set[str]:
    """Functions of the log that files name."""
    found: set[str] = set()
    for pattern in globs:
        for path in ROOT.glob(pattern):
            found |= set(FUNCTION.findall(path.read_text()))
    return found


def test_numbered_from_one_without_holes() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, current() + 1))


def test_every_file_is_a_migration() -> None:
    files = {path.stem for path in (ROOT / "undo" / "migrations").glob("*.sql")}
    assert files == {f"{m.number:04}_{m.name}" for m in migrations()}


async def test_functions_that_are_named_are_there(log: asyncpg.Connection) -> None:
    there = {
        row["proname"]
        for row in await log.fetch(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'hotrollback'::regnamespace"
        )
    }
    used = named("proxy/**/*.py", "undo/**/*.py", "undo/migrations/*.sql")
    assert len(used) > 10
    assert used - there == set()


async def test_names_of_the_log(log: asyncpg.Connection) -> None:
    relations = (
        *(names.CHANGE, names.GAP, names.SESSION, names.STATEMENT, names.RELATION),
        *(names.RESTORE_POINT, names.UNDO, names.UNDONE, names.META, names.EPOCH),
    )
    for relation in relations:
        assert await log.fetchval("SELECT to_regclass($1) IS NOT NULL", relation), relation
    given = await log.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'hotrollback.change'::regclass"
        " AND attnum > 0 AND has_column_privilege('app', attrelid, attnum, 'INSERT')"
        " ORDER BY attnum"
    )
    assert tuple(row["attname"] for row in given) == names.GIVEN


async def test_functions_trust_no_search_path(log: asyncpg.Connection) -> None:
    """What runs in clients' sessions must not find a client's function or operator."""
    loose = await log.fetch(
        "SELECT proname, prosecdef FROM pg_proc WHERE pronamespace = 'hotrollback'::regnamespace"
        " AND NOT coalesce('search_path=pg_catalog' = ANY (proconfig), false)"
    )
    assert {row["proname"] for row in loose} == SEARCH_PATH_OF_THE_CALLER
    assert not any(row["prosecdef"] for row in loose)


async def test_everybody_may_run_the_functions(log: asyncpg.Connection) -> None:
    denied = await log.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'hotrollback'::regnamespace"
        " AND NOT has_function_privilege('app', oid, 'EXECUTE')"
    )
    assert [row["proname"] for row in denied] == []


@pytest.mark.parametrize("function", ["columns_v1", "relations_v1", "needs_v1", "writes_v1"])
async def test_questions_change_nothing(log: asyncpg.Connection, function: str) -> None:
    """They run inside clients' transactions, which may be read-only."""
    asked = {
        "columns_v1": "ARRAY['pg_class'::regclass::oid]",
        "relations_v1": """'[["pg_catalog", "pg_class"], [null, "none"]]'""",
        "needs_v1": "NULL",
        "writes_v1": "",
    }
    async with log.transaction(readonly=True):
        await log.fetch(f"SELECT * FROM hotrollback.{function}({asked[function]})")
