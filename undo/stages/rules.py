"""What is said of single tables: another policy, and columns that do not count, by the request or
by the list (undo.ignored)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from undo.database import Database
from undo.errors import BadFilter
from undo.naming import column_there, there
from undo.request import UndoRequest


@dataclass(frozen=True, slots=True)
class Rules:
    """By relation, with all that is below of it."""

    policy: str = "abort"
    policies: Mapping[int, str] = field(default_factory=dict)
    ignored: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def policy_of(self, root: int | None) -> str:
        return self.policies.get(root, self.policy) if root is not None else self.policy


# Of what is on the list, a table or its column may be gone, or not be back yet.
_LISTED: Final = """
WITH RECURSIVE below(relid, name) AS (
    SELECT i.relid, i.name FROM hotrollback.ignored i
    UNION SELECT h.inhrelid, b.name
            FROM below b JOIN pg_catalog.pg_inherits h ON h.inhparent = b.relid
)
SELECT b.relid::pg_catalog.int8 AS relid, pg_catalog.array_agg(b.name) AS names
  FROM below b
  JOIN pg_catalog.pg_attribute a ON a.attrelid = b.relid AND a.attname = b.name
       AND a.attnum > 0 AND NOT a.attisdropped
 GROUP BY b.relid
"""


async def rules_of(db: Database, request: UndoRequest) -> Rules:
    """Raises UnknownRelation, UnknownColumn, BadFilter."""
    policies: dict[int, str] = {}
    named: set[int] = set()
    for name, policy in request.policies:
        table, _, relids = await there(db, name)
        if table in named:
            raise BadFilter(f"{name} is given two policies: leave one of them")
        named.add(table)
        policies |= dict.fromkeys(relids, policy)
    ignored = {row["relid"]: frozenset(row["names"]) for row in await db.fetch(_LISTED)}
    for name in request.ignore:
        _, column, relids = await column_there(db, name)
        for each in relids:
            ignored[each] = ignored.get(each, frozenset()) | {column}
    return Rules(request.policy, policies, ignored)
