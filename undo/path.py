"""Where users' code finds what it names without a schema, while an undo's rows pass through it.

Checks, domains and generated columns call functions that rely on the path of those who write. What
our own statements name is found first all the same, if operators there are given exactly their own
types: a number has quotes, so that it is an oid beside one. Not: triggers, which are off.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from undo.database import Database, set_all
from undo.image import PINNED_SETTINGS, quote_literal

_THEIRS: Final = """
SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog',
           pg_catalog.quote_ident(n.nspname), COALESCE((
               SELECT pg_catalog.substr(given.setting, 13)
                 FROM pg_catalog.pg_db_role_setting s,
                      pg_catalog.unnest(s.setconfig) AS given (setting)
                WHERE s.setrole = 0 AND s.setdatabase IN (0, (
                          SELECT d.oid FROM pg_catalog.pg_database d
                           WHERE d.datname = pg_catalog.current_database()))
                  AND given.setting LIKE 'search_path=_%'
                ORDER BY s.setdatabase DESC LIMIT 1), 'public')), true)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = {}
"""
_OURS: Final = tuple(pair for pair in PINNED_SETTINGS if pair[0] == "search_path")


@asynccontextmanager
async def theirs(db: Database, table: int) -> AsyncGenerator[None]:
    """The table's schema, and what the database's settings say; until an error, whose rollback
    takes it back."""
    await db.fetchval(_THEIRS.format("$1"), table)
    yield
    await set_all(db, _OURS, local=True)


def along(table: str, statements: Sequence[str]) -> list[str]:
    """The same for statements that are run with the rights of the table's owner."""
    begin = _THEIRS.format(f"{quote_literal(table)}::pg_catalog.regclass").strip()
    return [begin, *statements, f"SET LOCAL search_path = {_OURS[0][1]}"]
