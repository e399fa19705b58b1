"""What the doctor says, and what its checks share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["ok", "warn", "refuse"]


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level  # refuse: install does not go on
    subject: str  # a word
    text: str  # what is so
    remedy: str = ""  # what to do about it; SQL where that is possible


# Tables of users, as far as they matter here.
USER_TABLES: Final = """
SELECT c.oid, c.relowner, pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'hotrollback',
                         'hotrollback_bin')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
"""


def named(names: Sequence[str], most: int = 5) -> str:
    """A list that fits a line."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
