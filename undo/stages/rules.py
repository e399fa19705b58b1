"""What a request says of single tables: another policy, and columns that do not count."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from undo.database import Database
from undo.errors import UnknownColumn
from undo.image import quote_ident
from undo.naming import there
from undo.request import UndoRequest


@dataclass(frozen=True, slots=True)
class Rules:
    """By relation, with all that is below of it."""

    policy: str = "abort"
    policies: Mapping[int, str] = field(default_factory=dict)
    ignored: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def policy_of(self, root: int | None) -> str:
        return self.policies.get(root, self.policy) if root is not None else self.policy


async def rules_of(db: Database, request: UndoRequest) -> Rules:
    """Raises UnknownRelation, UnknownColumn, BadFilter."""
    policies: dict[int, str] = {}
    for name, policy in request.policies:
        _, _, relids = await there(db, name)
        policies |= dict.fromkeys(relids, policy)
    ignored: dict[int, frozenset[str]] = {}
    for name in request.ignore:
        table, column = await _split(db, name)
        relid, _, relids = await there(db, table)
        if not await db.fetchval(
            "SELECT true FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attname = $2"
            "   AND a.attnum > 0 AND NOT a.attisdropped",
            relid,
            column,
        ):
            raise UnknownColumn(name)
        for each in relids:
            ignored[each] = ignored.get(each, frozenset()) | {column}
    return Rules(request.policy, policies, ignored)


async def _split(db: Database, name: str) -> tuple[str, str]:
    """Into a table and a column. Raises UnknownColumn."""
    parts = await db.fetchval("SELECT pg_catalog.parse_ident($1, false)", name)
    if not 1 < len(parts) < 4:
        raise UnknownColumn(name)
    return ".".join(quote_ident(part) for part in parts[:-1]), parts[-1]
