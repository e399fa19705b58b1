"""What an undo does not touch although the selection is likely to have: positions of sequences,
materialized views over its tables, what triggers told or did elsewhere. Said of every undo.

Asked of the catalog alone. Not: what applications did besides, which nobody here knows.
"""

import re
from typing import Any, Final

from undo.database import Database
from undo.log import INSERT
from undo.model import Untouched
from undo.sequences import USES
from undo.stages.settle import Settled

_SEQUENCES: Final = f"""
SELECT pg_catalog.format('%I.%I', n.nspname, s.relname) AS name,
       pg_catalog.min(pg_catalog.format('%I.%I.%I', tn.nspname, t.relname, a.attname)) AS column
  FROM ({USES}) u
  JOIN pg_catalog.pg_class s ON s.oid = u.sequence AND s.relkind = 'S'
  JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
  JOIN pg_catalog.pg_class t ON t.oid = u.relid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = u.relid AND a.attnum = u.attnum
 WHERE u.relid = ANY ($1::pg_catalog.oid[])
 GROUP BY s.oid, n.nspname, s.relname
 ORDER BY 1
"""

# Over views, too.
_MATERIALIZED: Final = """
WITH RECURSIVE up(oid) AS (
    SELECT u FROM pg_catalog.unnest($1::pg_catalog.oid[]) u
    UNION
    SELECT r.ev_class
      FROM up u
      JOIN pg_catalog.pg_depend d ON d.refobjid = u.oid
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
      JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
)
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM up u
  JOIN pg_catalog.pg_class c ON c.oid = u.oid AND c.relkind = 'm' AND c.relispopulated
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 ORDER BY 1
"""

_FUNCTIONS: Final = """
SELECT pg_catalog.format('%I.%I', n.nspname, p.proname) AS name,
       pg_catalog.min(pg_catalog.format('%I.%I', tn.nspname, c.relname)) AS relation,
       p.prosrc AS source, NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c') AS anything
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = c.relnamespace
 WHERE t.tgrelid = ANY ($1::pg_catalog.oid[]) AND NOT t.tgisinternal AND t.tgenabled <> 'D'
   AND t.tgname !~ '^hotrollback_'
 GROUP BY p.oid, n.nspname, p.proname, p.prosrc, l.lanname, l.lanpltrusted
 ORDER BY 1
"""

# A column of type oid, or of the extension lo, where there are large objects at all.
_LARGE_OBJECTS: Final = """
SELECT pg_catalog.format('%I.%I.%I', n.nspname, c.relname, a.attname)
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
   AND (y.oid = 'pg_catalog.oid'::pg_catalog.regtype
        OR (y.typname = 'lo' AND y.typbasetype = 'pg_catalog.oid'::pg_catalog.regtype))
   AND EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)
 ORDER BY 1
"""

# What the source of a trigger's function says that it does.
_SIGNS: Final = (
    ("notify", re.compile(r"\b(pg_notify|notify|triggered_change_notification)\b", re.IGNORECASE)),
    ("large object", re.compile(r"\b(lo_\w+|lowrite)\b", re.IGNORECASE)),
    ("outside", re.compile(r"\bdblink|\bhttp_|\bprogram\s*'", re.IGNORECASE)),
)
_OUTSIDE: Final = Untouched(
    "outside", None, "what applications did besides: mails, files, caches, other databases"
)


async def untouched(db: Database, settled: Settled) -> tuple[Untouched, ...]:
    """Of the tables that the selection wrote to, as they are now."""
    changed, grown = await _written(db, settled)
    if not changed:
        return ()
    found = [
        Untouched("sequence", name, f"its position: values for {column} stay taken")
        for name, column in await db.fetch(_SEQUENCES, grown)
    ]
    found += [
        Untouched("materialized view", name, "REFRESH MATERIALIZED VIEW brings it up to date")
        for (name,) in await db.fetch(_MATERIALIZED, changed)
    ]
    for row in await db.fetch(_FUNCTIONS, changed):
        found += _of_function(row)
    found += [
        Untouched("large object", name, "what its numbers name stays as it is")
        for (name,) in await db.fetch(_LARGE_OBJECTS, changed)
    ]
    return (*found, _OUTSIDE)


async def _written(db: Database, settled: Settled) -> tuple[list[int], list[int]]:
    """The tables of all families that the selection changed, and of those that it inserted into."""
    rows = await db.fetch(
        f"SELECT c.relid::pg_catalog.int8, pg_catalog.bool_or(c.op = '{INSERT}')"
        f"  FROM {settled.laid.changes} c WHERE c.selected GROUP BY 1"
    )
    changed: set[int] = set()
    grown: set[int] = set()
    for relid, inserted in rows:
        family = settled.tables.family_of(relid)
        heaps = family.heaps if family is not None else ()
        changed.update(heaps)
        if inserted:
            grown.update(heaps)
    return sorted(changed), sorted(grown)


def _of_function(row: Any) -> list[Untouched]:
    """A trigger may have run it for the selection; for the undo it does not."""
    who = f"its triggers on {row['relation']} ran for the selection"
    kinds = [kind for kind, sign in _SIGNS if sign.search(row["source"])]
    if row["anything"] and "outside" not in kinds:
        kinds.append("outside")
    told = {
        "notify": f"notifies: what was sent is with its listeners ({who})",
        "large object": f"works on large objects, which stay as they are ({who})",
        "outside": f"may act outside of this database ({who})",
    }
    return [Untouched(kind, row["name"], told[kind]) for kind in kinds]
