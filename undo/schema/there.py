"""The components that a command was about, as they are now."""

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from undo.database import Database
from undo.schema.component import Command, Component, Id
from undo.schema.words import qualified


@dataclass(frozen=True, slots=True)
class There:
    """Relations are known by the number that the log has for them: a view that was made again has
    another one, which is in `relids`."""

    components: tuple[Component, ...]
    relids: Mapping[int, tuple[int, str]]  # by that number: the one of now, and the name
    ids: Mapping[Id, Component] = field(default_factory=dict)
    names: Mapping[tuple[Any, ...], Component] = field(default_factory=dict)
    binned: Container[Id] = frozenset()  # types and routines that are in the bin

    @classmethod
    def of(
        cls,
        found: Iterable[Component],
        relids: Mapping[int, tuple[int, str]],
        binned: Container[Id] = frozenset(),
    ) -> "There":
        known = tuple(found)
        ids = {one.id: one for one in known}
        return cls(known, relids, ids, {one.name: one for one in known}, binned)

    def find(self, one: Component) -> Component | None:
        """What was recorded, under whatever name it has now."""
        for found in (self.ids.get(one.id), self.names.get(one.name)):
            # An index that is its parent's now is known as a name that is taken.
            if found is not None and found.kind == one.kind:
                return found
        return None

    def named(self, one: Component) -> Component | None:
        """What has its name now."""
        return self.names.get(one.name)

    def type_of(self, one: Component, column: str) -> str:
        """Of a column of the same relation."""
        found = self.names[one.relid, "column", None, column, None]
        return str(found.image["type"])

    def owner(self, one: Component) -> str | None:
        """Of its relation, or of itself."""
        if "owner" in one.image:
            return str(one.image["owner"])
        for other in self.components:
            if other.relid == one.relid and other.whole:
                return str(other.image.get("owner")) if "owner" in other.image else None
        return None

    def oid(self, one: Component) -> int | None:
        """The number that its relation has now, if that is there."""
        place = self.relids.get(one.relid)
        return None if place is None else place[0]

    def on(self, one: Component) -> str | None:
        """The name of its relation, if that is there."""
        place = self.relids.get(one.relid)
        return None if place is None else place[1]


# A relation that was made again is known by its name.
_RELATIONS: Final = """
SELECT r.relid, c.oid::pg_catalog.int8 AS oid, c.oid::pg_catalog.regclass::pg_catalog.text AS name
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int8[]),
                  pg_catalog.unnest($2::pg_catalog.text[])) AS r(relid, name)
 CROSS JOIN LATERAL (
       SELECT c.oid FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname <> 'hotrollback_bin'
          AND c.oid IN (r.relid::pg_catalog.oid, pg_catalog.to_regclass(r.name))
        ORDER BY c.oid <> r.relid::pg_catalog.oid LIMIT 1) c
"""
_IMAGES: Final = """
SELECT classid::pg_catalog.int8, objid::pg_catalog.int8, objsubid, relid::pg_catalog.int8,
       image::pg_catalog.text
  FROM hotrollback.images_v1($1::pg_catalog.oid[])
"""
_OTHERS: Final = """
SELECT classid::pg_catalog.int8, objid::pg_catalog.int8, objsubid, relid::pg_catalog.int8,
       image::pg_catalog.text
  FROM hotrollback.other_images_v1($1::pg_catalog.oid, ARRAY(
       SELECT o.oid
         FROM (SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.proname
                 FROM pg_catalog.pg_proc p
               UNION ALL
               SELECT 'pg_catalog.pg_type', t.oid, t.typname FROM pg_catalog.pg_type t
               UNION ALL
               SELECT 'pg_catalog.pg_namespace', n.oid, n.nspname FROM pg_catalog.pg_namespace n
               UNION ALL
               SELECT 'pg_catalog.pg_extension', e.oid, e.extname FROM pg_catalog.pg_extension e
              ) AS o(class, oid, name)
        WHERE o.class = $1::pg_catalog.oid
          AND (o.oid = ANY ($2::pg_catalog.oid[])
               OR o.name = ANY ($3::pg_catalog.text[]::pg_catalog.name[]))))
"""
# By name alone: whatever it is, it counts as one that is not the command's. Of an index that is its
# parent's it says the partition.
_TAKEN: Final = """
SELECT 1259::pg_catalog.int8, c.oid::pg_catalog.int8, 0, 0::pg_catalog.int8,
       pg_catalog.json_build_object(
           'kind', 'table', 'schema', n.nspname, 'name', c.relname,
           'of', (SELECT i.indrelid::pg_catalog.int8 FROM pg_catalog.pg_index i
                   WHERE i.indexrelid = c.oid AND c.relispartition),
           'said', CASE c.relkind
                   WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'S' THEN 'sequence'
                   WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                   WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'composite type'
                   ELSE 'table' END)::pg_catalog.text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),
                  pg_catalog.unnest($2::pg_catalog.text[])) AS w(schema, name)
    ON w.schema = n.nspname AND w.name = c.relname
"""
_BINNED: Final = "SELECT classid::pg_catalog.int8, objid::pg_catalog.int8 FROM hotrollback.binned"


async def there(db: Database, command: Command) -> There:
    told = (*command.before.values(), *command.after.values())
    names = {one.relid: one.on for one in told if one.relid}
    for one in told:
        if one.whole:
            names[one.relid] = qualified(one.image)
    rows = await db.fetch(_RELATIONS, list(names), list(names.values()))
    relids = {row["relid"]: (row["oid"], row["name"]) for row in rows}
    logged = {oid: relid for relid, (oid, _) in relids.items()}
    found = [
        _component(row, logged, relids)
        for row in await db.fetch(_IMAGES, [oid for oid, _ in relids.values()])
    ]
    for classid in {one.id.classid for one in told if not one.relid}:
        of_class = [one for one in told if one.id.classid == classid and not one.relid]
        rows = await db.fetch(
            _OTHERS,
            classid,
            [one.id.objid for one in of_class],
            [one.image.get("name") for one in of_class],
        )
        found += [_component(row, {}, {}) for row in rows]
    known = {one.id for one in found}
    placed = [one.image for one in told if one.name[1] == "relation"]
    rows = await db.fetch(
        _TAKEN, [image["schema"] for image in placed], [image["name"] for image in placed]
    )
    found += [one for one in (_component(row, {}, {}) for row in rows) if one.id not in known]
    binned = frozenset(Id(row["classid"], row["objid"], 0) for row in await db.fetch(_BINNED))
    return There.of(found, relids, binned)


def _component(
    row: Any, logged: Mapping[int, int], relids: Mapping[int, tuple[int, str]]
) -> Component:
    classid, objid, objsubid, oid, image = row
    relid = logged.get(oid, oid)
    on = relids[relid][1] if relid in relids else ""
    return Component(Id(classid, objid, objsubid), relid, on, json.loads(image))
