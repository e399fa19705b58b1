"""From changes to effects in sets, on the server: a temporary table of effects, one per chain that
has something selected, named by the number of the chain's first change.

A chain is *plain* where the log alone is certain of it: changes under one key, each of the version
that the one before it made, and none of these versions under another key. That is nearly all of
them; the rest is handed to `fold`. For a plain chain both say the same, and tests compare them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from undo import path
from undo.database import Database, sqlstate
from undo.image import quote_literal, read_back, same
from undo.model import Change
from undo.stages.fold import Answer, Folded, Link, duplicates, fold
from undo.stages.load import SELECTED, Partitions, serial
from undo.tables import Family, Tables, equal


@dataclass(frozen=True, slots=True)
class Chained:
    """The changes, numbered in their order, and the effects."""

    changes: str  # i: the number; n: of the chain; again: recorded once already
    effects: str


# `plain`: its link to the change before it is certain. `home` is the topmost table, where keys are
# unique. The row that an undo deleted comes back with its redo; any other one that is inserted
# under a key is a new row.
_CHAINED: Final = """
CREATE TEMPORARY TABLE {chained} ON COMMIT DROP AS
WITH roots AS (
    SELECT r.relid, r.root
      FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                      pg_catalog.unnest($2::pg_catalog.oid[])) AS r(relid, root)
), known AS (
    SELECT (pg_catalog.row_number() OVER (ORDER BY c.lsn, c.xid))::pg_catalog.int4 AS i, c.*,
           {selected} AS selected,
           a.root, b.root AS new_root,
           COALESCE(a.root, c.relid) AS home, COALESCE(b.root, c.new_relid) AS new_home
      FROM {changes} c
      LEFT JOIN roots a ON a.relid = c.relid
      LEFT JOIN roots b ON b.relid = c.new_relid
), ordered AS (
    SELECT k.*, pg_catalog.min(k.i) OVER g AS grp, pg_catalog.count(*) OVER g AS members,
           pg_catalog.lag(k.op) OVER w AS p_op, pg_catalog.lag(k.dead) OVER w AS p_dead,
           pg_catalog.lag(k.new_relid) OVER w AS p_relid, pg_catalog.lag(k.new_tid) OVER w AS p_tid
      FROM known k
    WINDOW g AS (PARTITION BY k.home, k.key, CASE WHEN k.key IS NULL THEN k.i END),
           w AS (PARTITION BY k.home, k.key, CASE WHEN k.key IS NULL THEN k.i END ORDER BY k.i)
), judged AS (
    SELECT o.*,
           o.p_op IS NULL OR (o.op = 'I' AND NOT (o.dead AND o.p_dead)) AS head,
           o.home = o.new_home AND COALESCE(CASE
               WHEN o.p_op IS NULL THEN true
               WHEN o.op = 'I' THEN o.p_op = 'D' AND (o.p_dead OR NOT o.dead)
               ELSE o.p_op <> 'D' AND o.p_relid = o.relid AND o.p_tid = o.old_tid
           END, false) AS plain
      FROM ordered o
)
SELECT j.i, j.part, j.place, j.xid, j.lsn, j.relid, j.new_relid, j.new_root, j.op, j.old_tid,
       j.new_tid, j.key, j.role, j.stale, j.selected, j.dead, j.grp, j.members = 1 AS alone,
       j.plain, false AS again,
       pg_catalog.max(CASE WHEN j.head THEN j.i END)
           OVER (PARTITION BY j.home, j.key, CASE WHEN j.key IS NULL THEN j.i END ORDER BY j.i) AS n
  FROM judged j
"""

# Groups that are not plain, that share a version of a row with another, or in which one was
# replaced before it was made: a trigger changed a row again, or a place was used again.
_ODD: Final = """
CREATE TEMPORARY TABLE {odd} ON COMMIT DROP AS
WITH versions AS (
    SELECT c.grp, c.relid, c.old_tid AS tid, c.i AS replaced, NULL::pg_catalog.int4 AS made
      FROM {chained} c WHERE c.old_tid IS NOT NULL
    UNION ALL
    SELECT c.grp, c.new_relid, c.new_tid, NULL, c.i FROM {chained} c WHERE c.new_tid IS NOT NULL
), shared AS (
    SELECT v.relid, v.tid FROM versions v
     GROUP BY v.relid, v.tid
    HAVING pg_catalog.min(v.grp) <> pg_catalog.max(v.grp)
        OR pg_catalog.max(v.made) > pg_catalog.min(v.replaced)
)
SELECT c.grp FROM {chained} c WHERE NOT c.plain
UNION
SELECT v.grp FROM versions v JOIN shared s ON s.relid = v.relid AND s.tid = v.tid
"""

_EFFECTS: Final = """
CREATE TEMPORARY TABLE {effects} (
    n pg_catalog.int4 NOT NULL, root pg_catalog.oid, op pg_catalog."char",
    first_part pg_catalog.oid, first_place pg_catalog.tid, first_relid pg_catalog.oid,
    last_part pg_catalog.oid, last_place pg_catalog.tid,
    tail_part pg_catalog.oid, tail_place pg_catalog.tid,
    tail_relid pg_catalog.oid, tail_tid pg_catalog.tid,
    later pg_catalog.int4, torn pg_catalog.bool, broken pg_catalog.bool DEFAULT false,
    moved_on pg_catalog.bool,
    active pg_catalog.bool, mover pg_catalog.bool DEFAULT false,
    dropped pg_catalog.bool DEFAULT false
) ON COMMIT DROP
"""

# Chains of one change.
_ALONE: Final = """
INSERT INTO {effects} (n, root, op, first_part, first_place, first_relid, last_part, last_place,
                       tail_part, tail_place, tail_relid, tail_tid, torn, moved_on, active)
SELECT c.n, c.new_root, CASE c.op WHEN 'I' THEN 'D' WHEN 'D' THEN 'I' ELSE 'U' END,
       c.part, c.place, c.relid, c.part, c.place, c.part, c.place, c.new_relid, c.new_tid,
       false, false, c.new_root IS NOT NULL
  FROM {chained} c
 WHERE c.selected AND c.alone AND NOT EXISTS (SELECT FROM {odd} o WHERE o.grp = c.grp)
"""

# Chains of several: which change is the first and the last selected one, which the last of all, and
# the last of somebody else's behind the first.
_SPANS: Final = """
WITH spans AS (
    SELECT c.n, pg_catalog.min(c.i) FILTER (WHERE c.selected) AS first,
           pg_catalog.max(c.i) FILTER (WHERE c.selected) AS last, pg_catalog.max(c.i) AS tail,
           pg_catalog.max(c.i) FILTER (WHERE NOT c.selected AND NOT c.dead) AS other
      FROM {chained} c
     WHERE NOT c.alone AND NOT EXISTS (SELECT FROM {odd} o WHERE o.grp = c.grp)
     GROUP BY c.n HAVING pg_catalog.bool_or(c.selected)
)
SELECT s.n, s.first, s.last, s.tail, CASE WHEN s.other > s.first THEN s.other END AS later,
       b.n IS NOT NULL AS torn, false AS broken
  FROM spans s
  LEFT JOIN (SELECT DISTINCT o.n FROM spans x JOIN {chained} o ON o.n = x.n
              WHERE NOT o.selected AND NOT o.dead AND o.i > x.first AND o.i < x.last) b ON b.n = s.n
"""
_FOLDED: Final = """
SELECT s.first AS n, s.first, s.last, s.tail, s.later, s.torn, s.broken
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]),
                  pg_catalog.unnest($2::pg_catalog.int4[]),
                  pg_catalog.unnest($3::pg_catalog.int4[]),
                  pg_catalog.unnest($4::pg_catalog.int4[]),
                  pg_catalog.unnest($5::pg_catalog.bool[]),
                  pg_catalog.unnest($6::pg_catalog.bool[]))
       AS s(first, last, tail, later, torn, broken)
"""
_SEVERAL: Final = """
INSERT INTO {effects} (n, root, op, first_part, first_place, first_relid, last_part, last_place,
                       tail_part, tail_place, tail_relid, tail_tid, later, torn, broken, moved_on,
                       active)
SELECT e.*, e.root IS NOT NULL AND e.op <> ''
  FROM (
    SELECT s.n, t.new_root AS root,
           CASE WHEN f.op <> 'I' THEN CASE WHEN l.op <> 'D' THEN 'U' ELSE 'I' END
                -- What the selection made and others have deleted since is as it would be without.
                WHEN l.op <> 'D' AND t.op <> 'D' THEN 'D' ELSE '' END AS op,
           f.part AS first_part, f.place AS first_place, f.relid AS first_relid,
           l.part AS last_part, l.place AS last_place, t.part AS tail_part, t.place AS tail_place,
           t.new_relid AS tail_relid, CASE WHEN t.op <> 'D' THEN t.new_tid END AS tail_tid,
           s.later, s.torn, s.broken, t.i <> l.i AS moved_on
      FROM ({spans}) s
      JOIN {chained} f ON f.i = s.first
      JOIN {chained} l ON l.i = s.last
      JOIN {chained} z ON z.i = s.tail
      -- Deleted by an undo and, if it is there, inserted by the redo as a row of no known place.
      JOIN {chained} t ON t.i = CASE WHEN z.dead AND z.op = 'D' AND l.op <> 'D'
                                     THEN s.last ELSE s.tail END) e
"""


async def chain(db: Database, tables: Tables, parts: Partitions, changes: str) -> Chained:
    """The effects of the changes in a table as `load` fills it."""
    number = next(serial)
    names = {name: f"pg_temp.hotrollback_{name}{number}" for name in ("chained", "odd", "effects")}
    bare = {name: full.removeprefix("pg_temp.") for name, full in names.items()}
    chained = names["chained"]
    await db.execute(
        _CHAINED.format(chained=bare["chained"], changes=changes, selected=SELECTED),
        list(tables.roots),
        list(tables.roots.values()),
    )
    await db.execute(f"ANALYZE {chained}")
    await db.execute(_ODD.format(odd=bare["odd"], chained=chained))
    await db.execute(f"ANALYZE {names['odd']}")
    await db.execute(_EFFECTS.format(effects=bare["effects"]))
    await db.execute(_ALONE.format(**names))
    await db.execute(_SEVERAL.format(**names, spans=_SPANS.format(**names)))
    found = Chained(chained, names["effects"])
    await _odd(db, tables, parts, found, names["odd"])
    await db.execute(f"ANALYZE {found.effects}")
    return found


_FETCHED: Final = """
SELECT c.i, c.part::pg_catalog.int8, c.place, c.xid,
       (c.lsn - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8, c.relid::pg_catalog.int8,
       c.new_relid::pg_catalog.int8, c.op::pg_catalog.text, c.old_tid, c.new_tid, c.key,
       c.role::pg_catalog.int8, c.stale, c.selected, c.dead
  FROM {chained} c JOIN {odd} o ON o.grp = c.grp
 ORDER BY c.i
"""


async def _odd(db: Database, tables: Tables, parts: Partitions, to: Chained, odd: str) -> None:
    """What is not plain, one by one."""
    rows = [tuple(row) for row in await db.fetch(_FETCHED.format(chained=to.changes, odd=odd))]
    if not rows:
        return
    numbers = [row[0] for row in rows]
    changes = [Change._make(row[1:]) for row in rows]
    effects = (await _settled(db, tables, parts, changes)).effects
    again = duplicates(changes)
    chain_of = {i: effect.first for effect in effects for i in effect.members}
    await db.execute(
        f"UPDATE {to.changes} c SET n = x.n, again = x.again"
        f"  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]),"
        f"                  pg_catalog.unnest($2::pg_catalog.int4[]),"
        f"                  pg_catalog.unnest($3::pg_catalog.bool[])) AS x(i, n, again)"
        f" WHERE x.i = c.i",
        numbers,
        [numbers[chain_of[i]] if i in chain_of else None for i in range(len(rows))],
        [i in again for i in range(len(rows))],
    )
    await db.execute(
        _SEVERAL.format(effects=to.effects, chained=to.changes, spans=_FOLDED),
        [numbers[effect.first] for effect in effects],
        [numbers[effect.last] for effect in effects],
        [numbers[effect.tail] for effect in effects],
        [None if effect.later is None else numbers[effect.later] for effect in effects],
        [effect.torn for effect in effects],
        [effect.broken for effect in effects],
    )


async def _settled(
    db: Database, tables: Tables, parts: Partitions, changes: Sequence[Change]
) -> Folded:
    """Doubts are few, and every answer may raise others."""
    known: dict[Link, Answer] = {}
    while True:
        folded = fold(changes, tables.roots, known)
        doubts = [link for link in folded.doubts if link not in known]
        if not doubts:
            return folded
        known.update(await _answers(db, tables, parts, changes, doubts))


async def _answers(
    db: Database,
    tables: Tables,
    parts: Partitions,
    changes: Sequence[Change],
    doubts: Collection[Link],
) -> dict[Link, Answer]:
    """What the images say of doubtful links."""
    found: dict[Link, Answer] = {}
    groups: dict[tuple[int, int, int], list[Link]] = {}
    for link in doubts:
        before, after = changes[link[0]], changes[link[1]]
        root = tables.roots.get(after.relid)
        if root is None:
            found[link] = Answer.SAME
        else:
            groups.setdefault((root, before.part, after.part), []).append(link)
    for (root, left, right), links in groups.items():
        family = tables.families[root]
        args = (
            list(range(len(links))),
            [changes[link[0]].place for link in links],
            [changes[link[1]].place for link in links],
        )
        sides = parts[left], parts[right]
        try:
            async with db.transaction(), path.theirs(db, root):
                rows = await db.fetch(_typed(family, *sides), *args)
        except Exception as error:
            if not (sqlstate(error) or "").startswith(_DATA):
                raise
            # A column had another type then: what it says is compared.
            rows = await db.fetch(_as_text(family, *sides), *args)
        for i, equal_rows, equal_keys in rows:
            answer = Answer.SAME if equal_rows else Answer.KEY if equal_keys else Answer.OTHER
            found[links[i]] = answer
    return found


_DATA: Final = "22"  # the class of errors that say a value is none of its type
_LINKS: Final = """
SELECT d.i, {same}, COALESCE({key}, false)
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]),
                  pg_catalog.unnest($2::pg_catalog.tid[]),
                  pg_catalog.unnest($3::pg_catalog.tid[])) AS d(i, l, r)
  JOIN {left} a ON a.ctid = d.l
  JOIN {right} b ON b.ctid = d.r
"""
_SAME_TEXT: Final = """(
SELECT pg_catalog.bool_and((a.after OPERATOR(pg_catalog.->>) k) IS NOT DISTINCT FROM
                           (b.before OPERATOR(pg_catalog.->>) k))
  FROM pg_catalog.json_object_keys(a.after) k
 WHERE (b.before OPERATOR(pg_catalog.->) k) IS NOT NULL)"""


def _typed(family: Family, left: str, right: str) -> str:
    key = "false"
    if family.key is not None:
        key = equal(family.key.columns, family.key.operators, "x", "y")
    query = _LINKS.format(same=same(family.columns, "x", "y"), key=key, left=left, right=right)
    return (
        f"{query} CROSS JOIN LATERAL {read_back(family.columns, 'a.after')} x"
        f" CROSS JOIN LATERAL {read_back(family.columns, 'b.before')} y"
    )


def _as_text(family: Family, left: str, right: str) -> str:
    key = "false"
    if family.key is not None:
        key = " AND ".join(
            f"(a.after OPERATOR(pg_catalog.->>) {n}) = (b.before OPERATOR(pg_catalog.->>) {n})"
            for n in map(quote_literal, family.key.columns)
        )
    return _LINKS.format(same=f"COALESCE({_SAME_TEXT}, false)", key=key, left=left, right=right)
