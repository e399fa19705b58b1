"""What each statement of a client did, told so that it can be compared between two databases: what is
there is known by what it was in the beginning, whatever name it has now.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from migrations import attempt

PLACES = """
SELECT classid::int8, objid::int8, objsubid, relid::int8,
       coalesce(relid::regclass::text, '') AS on, image - '{columns,local,inherited}'::text[] AS image
  FROM hotrollback.images_v1(NULL) WHERE image::text ~ '\\mm2?\\M'
    OR relid IN (SELECT oid FROM pg_class WHERE relnamespace::regnamespace::text ~ '^m2?$')
"""
COLUMNS = """
SELECT c.oid::int8 AS relid, c.oid::regclass::text AS name, a.attnum, a.attname
  FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace::regnamespace::text ~ '^m2?$' AND c.relkind = 'r'
"""
RELATION = 1259
# What numbers rows as they happen to lie there.
NUMBERS = re.compile("serial|IDENTITY")

Labels = Mapping[tuple[int, int, int], str]
Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class State:
    components: Mapping[str, Mapping[str, Any]]
    columns: Mapping[str, frozenset[str]]  # of each table
    rows: Mapping[str, list[Row]]


@dataclass(frozen=True, slots=True)
class Step:
    """A statement, and what was there before and after it."""

    statement: str
    before: State | None
    after: State | None

    @property
    def seen(self) -> bool:
        return self.before is not None and self.after is not None

    def components(self, known: State) -> dict[str, Any]:
        """What it did to each; not to those that were there and are not `known`."""
        before, after = self.before.components, self.after.components
        found: dict[str, Any] = {}
        for label in {*before, *after}:
            was, now = before.get(label), after.get(label)
            if was == now or (was is not None and label not in known.components):
                continue
            if was is None or now is None:
                found[label] = now
            else:
                fields = {f for f in {*was, *now} if was.get(f) != now.get(f)}
                found[label] = {f: (was.get(f), now.get(f)) for f in fields}
        return found

    def columns(self, table: str) -> frozenset[str]:
        return frozenset().union(*(s.columns.get(table, ()) for s in (self.before, self.after)))

    def rows(self, table: str, columns: Iterable[str]) -> tuple[Counter, Counter]:
        """Those that went, and those that came."""
        was, now = (
            Counter(tuple(row.get(c) for c in columns) for row in state.rows.get(table, ()))
            for state in (self.before, self.after)
        )
        return was - now, now - was


def same(one: Step, other: Step) -> bool:
    """Whether the statement did the same, as far as it can be told of what is in both."""
    if not (one.seen and other.seen) or NUMBERS.search(one.statement):
        return False
    if one.components(other.before) != other.components(one.before):
        return False
    if one.statement.startswith(("ALTER", "DROP")):
        return True
    for table in {t for step in (one, other) for s in (step.before, step.after) for t in s.rows}:
        columns = sorted(one.columns(table) & other.columns(table))
        if one.rows(table, columns) != other.rows(table, columns):
            return False
    return True


@dataclass(slots=True)
class World:
    """A database as a client sees it. What is there at the start keeps the label of then."""

    client: asyncpg.Connection
    labels: Labels
    steps: list[Step] = field(default_factory=list)  # of the open transaction
    done: list[Step] = field(default_factory=list)  # committed

    @classmethod
    async def of(cls, client: asyncpg.Connection) -> "World":
        labels = {tuple(p[:3]): _label(p, {}) for p in await client.fetch(PLACES)}
        return cls(client, labels)

    async def step(self, statement: str) -> Step | None:
        """In a transaction; None where it failed."""
        before = await self._state()
        if await attempt(self.client, statement) is None:
            return None
        self.steps.append(Step(statement, before, await self._state()))
        return self.steps[-1]

    def end(self, how: str) -> None:
        if how == "COMMIT":
            self.done += self.steps
        self.steps = []

    async def _state(self) -> State | None:
        """None where another transaction hides it. No lock is kept."""
        await self.client.execute("SAVEPOINT looking")
        try:
            return await self._look()
        except asyncpg.LockNotAvailableError:
            return None
        finally:
            await self.client.execute("ROLLBACK TO looking")

    async def _look(self) -> State:
        places = await self.client.fetch(PLACES)
        found = {_label(p, self.labels): json.loads(p["image"]) for p in places}
        columns: dict[str, frozenset[str]] = {}
        rows: dict[str, list[Row]] = {}
        tables: dict[tuple[int, str], dict[str, str]] = {}
        for relid, name, number, column in await self.client.fetch(COLUMNS):
            of_table = tables.setdefault((relid, name), {})
            if column is not None:
                of_table[column] = self.labels.get((RELATION, relid, number), column)
        for (relid, name), labels in tables.items():
            table = self.labels.get((RELATION, relid, 0), name)
            columns[table] = frozenset(labels.values())
            rows[table] = [
                {labels[c]: str(v) for c, v in json.loads(row).items()}
                for (row,) in await self.client.fetch(f"SELECT to_jsonb(t) FROM {name} t")
            ]
        return State(found, columns, rows)


def _label(place: asyncpg.Record, labels: Labels) -> str:
    known = labels.get(tuple(place[:3]))
    image = json.loads(place["image"])
    on = labels.get((RELATION, place["relid"], 0), place["on"])
    return known or f"{image['kind']} {image.get('name')} of {on}"
