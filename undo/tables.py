"""What the catalog says now of the tables that an undo touches: columns, keys, triggers.

A *family* is a partitioned table with all its partitions, or a single table: keys are unique there,
and rows move inside of it. Inheritance children are families of their own.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from undo.database import Database
from undo.image import COLUMNS_SQL, Column, quote_ident, read_columns


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique index or an exclusion constraint. Where it has expressions or a predicate rows are
    compared by what it makes of them."""

    name: str
    relid: int
    columns: tuple[str, ...]  # that it looks at; without expressions, those that it is over
    keys: tuple[str, ...]  # SQL of what it is over
    predicate: str | None
    made: bool  # there are expressions or a predicate
    operators: tuple[str, ...]  # that tell what may not be there twice, as OPERATOR(schema.sign)
    primary: bool
    immediate: bool  # not deferrable: enforced row by row
    nulls_distinct: bool

    def item(self, source: str, alias: str) -> str:
        """A FROM item: rows with what `clash` asks for."""
        if not self.made:
            return f"{source} {alias}"
        columns = ", ".join(f"{alias}.{quote_ident(column)}" for column in self.columns)
        holds = f"({self.predicate}) IS TRUE" if self.predicate else "true"
        keys = ", ".join(f"{key} AS k{n}" for n, key in enumerate(self.keys))
        return (
            f"({source} {alias} CROSS JOIN LATERAL (SELECT {keys}, {holds} AS holds"
            f" FROM (SELECT {columns}) hotrollback_t) {alias}_made)"
        )

    def clash(self, left: str, right: str) -> str:
        """Whether two rows (aliases of items) cannot both be there."""
        pairs = [
            (f"{x} {operator} {y}", f"{x} IS NULL AND {y} IS NULL")
            for x, operator, y in zip(self._of(left), self.operators, self._of(right), strict=True)
        ]
        found = [
            same if self.nulls_distinct else f"({same} OR ({neither}))" for same, neither in pairs
        ]
        if self.made:
            found += [f"{left}_made.holds", f"{right}_made.holds"]
        return " AND ".join(found)

    def _of(self, alias: str) -> list[str]:
        if self.made:
            return [f"{alias}_made.k{n}" for n in range(len(self.keys))]
        return [f"{alias}.{key}" for key in self.keys]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    name: str
    child: int
    child_name: str  # a FROM item
    child_heaps: frozenset[int]
    child_columns: tuple[str, ...]
    parent: int
    parent_name: str  # a FROM item
    parent_heaps: frozenset[int]
    parent_columns: tuple[str, ...]
    operators: tuple[str, ...]  # parent's value on the left
    deferrable: bool
    on_delete: (
        str  # pg_constraint.confdeltype: a no action, r restrict, c cascade, n null, d default
    )
    on_update: str
    full: bool  # MATCH FULL
    temporal: bool


@dataclass(frozen=True, slots=True)
class Heap:
    """A table that holds rows, or the partitioned one above it."""

    relid: int
    name: str  # schema and name, quoted where they must be
    acting: tuple[str, ...]  # triggers and rules of users that would act in an ordinary session
    always: tuple[str, ...]  # those that act in a replica's session, too


@dataclass(frozen=True, slots=True)
class Family:
    root: int
    name: str
    partitioned: bool
    columns: tuple[Column, ...]
    heaps: Mapping[int, Heap]  # with the root, and without what is foreign
    uniques: tuple[Unique, ...]

    @property
    def source(self) -> str:
        """As a FROM item: all of its rows and nobody else's."""
        return self.name if self.partitioned else f"ONLY {self.name}"

    @property
    def key(self) -> Unique | None:
        return next((u for u in self.uniques if u.primary and u.relid == self.root), None)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key.columns) if self.key else ()


@dataclass(frozen=True, slots=True)
class Tables:
    families: Mapping[int, Family]  # by root
    roots: Mapping[int, int]  # relation -> root of its family; a dropped one is not in it
    foreign_keys: tuple[ForeignKey, ...]  # all whose parent or child is among the families

    def family_of(self, relid: int) -> Family | None:
        root = self.roots.get(relid)
        return self.families[root] if root is not None else None


_ROOTS: Final = """
WITH RECURSIVE up(relid, oid) AS (
    SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::pg_catalog.oid[])
    UNION ALL
    SELECT u.relid, i.inhparent
      FROM up u
      JOIN pg_catalog.pg_class c ON c.oid = u.oid AND c.relispartition
      JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.oid
)
SELECT u.relid::pg_catalog.int8 AS relid, u.oid::pg_catalog.int8 AS root
  FROM up u JOIN pg_catalog.pg_class c ON c.oid = u.oid AND NOT c.relispartition
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname <> 'hotrollback_bin'
"""

_MEMBERS: Final = """
WITH RECURSIVE down(root, oid) AS (
    SELECT r, r FROM pg_catalog.unnest($1::pg_catalog.oid[]) r
    UNION ALL
    SELECT d.root, i.inhrelid
      FROM down d
      JOIN pg_catalog.pg_inherits i ON i.inhparent = d.oid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT d.root::pg_catalog.int8 AS root, d.oid::pg_catalog.int8 AS relid,
       c.relkind::pg_catalog.text AS kind,
       pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
       a.acting, a.always
  FROM down d
  JOIN pg_catalog.pg_class c ON c.oid = d.oid AND c.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (
       -- INSERT, DELETE, UPDATE are bits 4, 8 and 16 of tgtype (src/include/catalog/pg_trigger.h).
       SELECT COALESCE(pg_catalog.array_agg(x.name) FILTER (WHERE x.enabled IN ('O', 'A')), '{}')
                  AS acting,
              COALESCE(pg_catalog.array_agg(x.name) FILTER (WHERE x.enabled IN ('R', 'A')), '{}')
                  AS always
         FROM (SELECT t.tgname::pg_catalog.text AS name, t.tgenabled AS enabled
                 FROM pg_catalog.pg_trigger t
                WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                  AND t.tgname !~ '^hotrollback_' AND t.tgtype & 28 <> 0
               UNION ALL
               SELECT r.rulename::pg_catalog.text, r.ev_enabled
                 FROM pg_catalog.pg_rewrite r
                WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN') x) AS a
"""

# An expression need not be defined for rows that a predicate leaves out. Those of the row as a
# whole are left to the server.
_UNIQUES: Final = """
SELECT i.indrelid::pg_catalog.int8 AS relid, x.relname AS name, i.indisprimary AS is_primary,
       i.indimmediate AS immediate, NOT i.indnullsnotdistinct AS nulls_distinct,
       m.made, m.predicate,
       pg_catalog.array_agg(
           CASE WHEN m.made THEN pg_catalog.format(
                    CASE WHEN a.attname IS NULL AND m.predicate IS NOT NULL
                         THEN 'CASE WHEN %2$s THEN %1$s%3$s END' ELSE '%1$s%3$s' END,
                    pg_catalog.pg_get_indexdef(i.indexrelid, k.ord::pg_catalog.int4, false),
                    m.predicate, e.collated)
                ELSE pg_catalog.quote_ident(a.attname) END ORDER BY k.ord) AS keys,
       pg_catalog.array_agg(e.operator ORDER BY k.ord) AS operators,
       pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.ord)
           FILTER (WHERE a.attname IS NOT NULL) AS columns,
       ARRAY(SELECT DISTINCT b.attname::pg_catalog.text FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_attribute b
                 ON b.attrelid = d.refobjid AND b.attnum = d.refobjsubid AND b.attnum > 0
              WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.refclassid = d.classid AND d.objid = i.indexrelid
                AND d.refobjid = i.indrelid) AS used
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  LEFT JOIN pg_catalog.pg_constraint o ON o.conindid = i.indexrelid AND o.conexclop IS NOT NULL
 CROSS JOIN LATERAL (
       SELECT i.indpred IS NOT NULL OR i.indexprs IS NOT NULL AS made,
              pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate) AS m
 CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(i.indkey::pg_catalog.int2[]),
                               pg_catalog.unnest(i.indclass::pg_catalog.oid[]),
                               pg_catalog.unnest(i.indcollation::pg_catalog.oid[]),
                               pg_catalog.unnest(o.conexclop))
       WITH ORDINALITY AS k(attnum, opclass, inputs, operator, ord)
  JOIN pg_catalog.pg_opclass c ON c.oid = k.opclass
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 CROSS JOIN LATERAL (
       SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, p.oprname) AS operator,
              COALESCE((SELECT pg_catalog.format(' COLLATE %I.%I', s.nspname, l.collname)
                          FROM pg_catalog.pg_collation l
                          JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace
                         WHERE l.oid = k.inputs), '') AS collated
         FROM pg_catalog.pg_operator p
         JOIN pg_catalog.pg_namespace n ON n.oid = p.oprnamespace
        WHERE p.oid = COALESCE(k.operator, (
              SELECT f.amopopr FROM pg_catalog.pg_amop f
               WHERE f.amopfamily = c.opcfamily AND f.amoplefttype = c.opcintype
                 AND f.amoprighttype = c.opcintype AND f.amopstrategy = 3))) AS e
 WHERE i.indrelid = ANY ($1::pg_catalog.oid[]) AND i.indisvalid
   AND (i.indisunique OR o.oid IS NOT NULL) AND k.ord <= i.indnkeyatts
   AND COALESCE(pg_catalog.pg_get_expr(i.indexprs, i.indrelid), '') !~ '[.][*]'
   AND COALESCE(m.predicate, '') !~ '[.][*]'
 GROUP BY i.indrelid, i.indexrelid, x.relname, i.indisprimary, i.indisunique, i.indimmediate,
          i.indnullsnotdistinct, i.indnkeyatts, m.made, m.predicate
HAVING pg_catalog.count(*) = i.indnkeyatts
 ORDER BY i.indisprimary DESC, i.indisunique DESC, i.indexrelid
"""

# Those that the server looks after.
_FOREIGN_KEYS: Final = """
SELECT k.conname AS name, k.conrelid::pg_catalog.int8 AS child,
       k.confrelid::pg_catalog.int8 AS parent,
       (SELECT CASE WHEN c.relkind = 'p' THEN '' ELSE 'ONLY ' END
               || pg_catalog.format('%I.%I', n.nspname, c.relname)
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = k.conrelid) AS child_name,
       (SELECT CASE WHEN c.relkind = 'p' THEN '' ELSE 'ONLY ' END
               || pg_catalog.format('%I.%I', n.nspname, c.relname)
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = k.confrelid) AS parent_name,
       ARRAY(SELECT t.relid::pg_catalog.oid::pg_catalog.int8
               FROM pg_catalog.pg_partition_tree(k.conrelid) t)
       || k.conrelid::pg_catalog.int8 AS child_heaps,
       ARRAY(SELECT t.relid::pg_catalog.oid::pg_catalog.int8
               FROM pg_catalog.pg_partition_tree(k.confrelid) t)
       || k.confrelid::pg_catalog.int8 AS parent_heaps,
       ARRAY(SELECT a.attname::pg_catalog.text
               FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u(attnum, ord)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
              ORDER BY u.ord) AS child_columns,
       ARRAY(SELECT a.attname::pg_catalog.text
               FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u(attnum, ord)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum
              ORDER BY u.ord) AS parent_columns,
       -- Under the collation of the parent's column, as the server compares: what rows are laid out
       -- in has none.
       ARRAY(SELECT COALESCE((SELECT pg_catalog.format('COLLATE %I.%I ', s.nspname, l.collname)
                                FROM pg_catalog.pg_attribute a
                                JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
                                JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace
                               WHERE a.attrelid = k.confrelid AND a.attnum = u.attnum
                                 AND NOT l.collisdeterministic), '')
                    || pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
               FROM ROWS FROM (pg_catalog.unnest(k.conpfeqop), pg_catalog.unnest(k.confkey))
                    WITH ORDINALITY u(op, attnum, ord)
               JOIN pg_catalog.pg_operator o ON o.oid = u.op
               JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
              ORDER BY u.ord) AS operators,
       k.condeferrable AS deferrable, k.confdeltype::pg_catalog.text AS on_delete,
       k.confupdtype::pg_catalog.text AS on_update, k.confmatchtype = 'f' AS is_full,
       COALESCE(pg_catalog.to_jsonb(k) ->> 'conperiod', 'false') = 'true' AS temporal
  FROM pg_catalog.pg_constraint k
 WHERE k.contype = 'f' AND k.conparentid = 0
   AND COALESCE(pg_catalog.to_jsonb(k) ->> 'conenforced', 'true') = 'true'
   AND (k.conrelid = ANY ($1::pg_catalog.oid[]) OR k.confrelid = ANY ($1::pg_catalog.oid[]))
 ORDER BY k.oid
"""


async def look_up(db: Database, relids: Collection[int]) -> Tables:
    """Of these relations, as far as they still exist."""
    roots: dict[int, int] = {
        row["relid"]: row["root"] for row in await db.fetch(_ROOTS, list(relids))
    }
    tops = sorted(set(roots.values()))
    columns = read_columns([tuple(row) for row in await db.fetch(COLUMNS_SQL, tops)])
    members = await db.fetch(_MEMBERS, tops)
    heaps: dict[int, dict[int, Heap]] = {}
    kinds: dict[int, str] = {}
    for row in members:
        kinds[row["relid"]] = row["kind"]
        roots[row["relid"]] = row["root"]
        heaps.setdefault(row["root"], {})[row["relid"]] = Heap(
            row["relid"],
            row["name"],
            tuple(row["acting"]),
            tuple(row["always"]),
        )
    everything = sorted(kinds)
    uniques = [_unique(row) for row in await db.fetch(_UNIQUES, everything)]
    families = {
        root: Family(
            root,
            heaps[root][root].name,
            kinds[root] == "p",
            columns.get(root, ()),
            heaps[root],
            _own(uniques, root, roots),
        )
        for root in tops
        if root in heaps
    }
    roots = {relid: root for relid, root in roots.items() if root in families}
    return Tables(families, roots, await _foreign_keys(db, everything))


def _unique(row: Mapping[str, Any]) -> Unique:
    columns = dict.fromkeys([*(row["columns"] or ()), *(row["used"] if row["made"] else ())])
    return Unique(
        name=row["name"],
        relid=row["relid"],
        columns=tuple(columns),
        keys=tuple(row["keys"]),
        predicate=row["predicate"],
        made=row["made"],
        operators=tuple(row["operators"]),
        primary=row["is_primary"],
        immediate=row["immediate"],
        nulls_distinct=row["nulls_distinct"],
    )


def _own(uniques: Iterable[Unique], root: int, roots: Mapping[int, int]) -> tuple[Unique, ...]:
    """Those of the whole family, and those of single partitions that say something more."""
    of_root = [u for u in uniques if u.relid == root]
    said = {(u.keys, u.predicate, u.operators) for u in of_root}
    more = [u for u in uniques if u.relid != root and roots[u.relid] == root]
    return (*of_root, *(u for u in more if (u.keys, u.predicate, u.operators) not in said))


async def _foreign_keys(db: Database, relids: list[int]) -> tuple[ForeignKey, ...]:
    return tuple(
        ForeignKey(
            name=row["name"],
            child=row["child"],
            child_name=row["child_name"],
            child_heaps=frozenset(row["child_heaps"]),
            parent_heaps=frozenset(row["parent_heaps"]),
            child_columns=tuple(row["child_columns"]),
            parent=row["parent"],
            parent_name=row["parent_name"],
            parent_columns=tuple(row["parent_columns"]),
            operators=tuple(row["operators"]),
            deferrable=row["deferrable"],
            on_delete=row["on_delete"],
            on_update=row["on_update"],
            full=row["is_full"],
            temporal=row["temporal"],
        )
        for row in await db.fetch(_FOREIGN_KEYS, relids)
    )


def equal(columns: Iterable[str], operators: Iterable[str], left: str, right: str) -> str:
    """Whether two rows (aliases) have the same values in these columns, by their own operators."""
    return " AND ".join(
        f"{left}.{quote_ident(column)} {operator} {right}.{quote_ident(column)}"
        for column, operator in zip(columns, operators, strict=True)
    )
