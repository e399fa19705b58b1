"""What the catalog says of a relation, as far as capture must know it. Values only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from undo.image import COLUMNS_SQL as _COLUMNS

RELATIONS_SQL = b"SELECT hotrollback.relations_v1($1::pg_catalog.json)"
VOLATILE_SQL = (
    b"SELECT pg_catalog.array_to_json(hotrollback.volatile_v1(ARRAY("
    b"SELECT pg_catalog.json_array_elements_text($1::pg_catalog.json))))"
)

COMMITS_SQL = (
    b"SELECT pg_catalog.array_to_json(hotrollback.commits_v1(ARRAY("
    b"SELECT pg_catalog.json_array_elements_text($1::pg_catalog.json))))"
)

COMPLETE_SQL = b"SELECT hotrollback.complete_v1()"

# Rows of a relation's columns; $1: their relations' oids.
COLUMNS_SQL = _COLUMNS.encode()

Name = tuple[str | None, str]  # schema or None, name


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation as a role sees it. `heaps` are the tables that hold its rows: itself, its
    partitions or its inheritance children."""

    oid: int
    schema: str
    name: str
    kind: str  # pg_class.relkind
    shape: int  # of all that images rest upon, as a number
    temporary: bool
    row_security: bool
    rules: bool
    foreign: bool  # a foreign table is among its heaps
    inherited: bool  # has inheritance children (not partitions)
    triggers: bool  # users' own, enabled
    deferred: bool  # one of them may fire at commit
    query_seen: bool  # current_query() is in reach: a rewritten text would be data
    volatile: bool  # defaults or checks call a user's volatile function
    implicit: bool  # views, operators, casts or aggregates of the database call such functions
    heaps: tuple[int, ...]
    uncaptured: int  # how many heaps lack an always enabled capture trigger
    cascades: tuple[int, ...]  # tables that a foreign key action may write
    referrers: tuple[int, ...]  # tables that TRUNCATE .. CASCADE would take along
    cascades_uncaptured: int  # how many of them lack it or have triggers of users
    selectable: bool  # the role may read every column
    key: tuple[str, ...]

    @property
    def system(self) -> bool:
        return self.schema in {"pg_catalog", "information_schema", "pg_toast", "hotrollback"}

    @property
    def captured(self) -> bool:
        """Every row written is recorded by a trigger."""
        return self.uncaptured == 0 and bool(self.heaps) and not self.foreign

    @property
    def writes_elsewhere(self) -> bool:
        """Writing it may write other tables that nothing is known to record."""
        return self.triggers or self.rules or self.volatile or self.cascades_uncaptured > 0


_TUPLES = ("heaps", "cascades", "referrers", "key")


def question(names: Sequence[Name]) -> bytes:
    """The parameter of RELATIONS_SQL."""
    return json.dumps(names).encode()


def oids(numbers: Sequence[int]) -> bytes:
    """The parameter of COLUMNS_SQL."""
    return b"{" + b",".join(b"%d" % number for number in numbers) + b"}"


def read(answer: bytes | None) -> list[Relation | None]:
    """From the one value that RELATIONS_SQL gives, in the order asked."""
    found: list[Relation | None] = []
    for facts in json.loads(answer or b"[]"):
        if facts is None:
            found.append(None)
            continue
        for field in _TUPLES:
            facts[field] = tuple(facts[field] or ())
        found.append(Relation(**facts))
    return found
