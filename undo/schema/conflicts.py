"""What others have done since with what a command made or changed: what stands in the way of taking
it back, and who it was.
"""

import json
from collections.abc import Container
from typing import Any, Final

from undo.database import Database
from undo.image import quote_ident, quote_literal
from undo.log import CHANGE, COMMAND
from undo.model import Conflict, Kind
from undo.schema.component import Command, Component, Delta, Id
from undo.schema.steps import problems
from undo.schema.there import There
from undo.stages.load import DEAD, ROWS
from undo.stages.select import SESSION_OF, Chosen

# The last DDL of others that touched a component, by its place in the catalog.
_ALTERED: Final = f"""
SELECT c.xid, c.at, c.tag, {SESSION_OF} AS session
  FROM {COMMAND} c
 WHERE c.lsn > {{lsn}}::pg_catalog.pg_lsn AND NOT {DEAD} AND COALESCE(({{where}}), false) IS FALSE
   AND EXISTS (SELECT FROM pg_catalog.json_array_elements(
                               c.before OPERATOR(pg_catalog.->) 'components') e
                WHERE (e.value OPERATOR(pg_catalog.->) 'id')::pg_catalog.jsonb
                      OPERATOR(pg_catalog.=) {{id}}::pg_catalog.text::pg_catalog.jsonb)
 ORDER BY c.lsn DESC LIMIT 1
"""
# Rows that others wrote since: all of a table's, or those in which a column got a value of its own.
_WRITTEN: Final = f"""
SELECT pg_catalog.count(*) AS rows, pg_catalog.max(c.xid) AS xid, pg_catalog.max(c.at) AS at,
       (pg_catalog.array_agg(c.tag ORDER BY c.lsn DESC))[1] AS tag,
       (pg_catalog.array_agg({SESSION_OF} ORDER BY c.lsn DESC))[1] AS session
  FROM {CHANGE} c
 WHERE c.lsn > {{lsn}}::pg_catalog.pg_lsn AND c.op IN {ROWS} AND NOT {DEAD}
   AND COALESCE(({{where}}), false) IS FALSE
   AND c.relid IN (SELECT {{relid}}::pg_catalog.oid
                    UNION
                   SELECT t.relid FROM pg_catalog.pg_partition_tree({{relid}}::pg_catalog.oid) t)
   AND ({{which}})
"""
_GIVEN: Final = """
(c.op <> 'D' AND (c.after OPERATOR(pg_catalog.->) {name}) IS NOT NULL
 AND (c.after OPERATOR(pg_catalog.->>) {name}) IS DISTINCT FROM
    COALESCE(c.before OPERATOR(pg_catalog.->>) {name}, (
        SELECT (a.attmissingval::pg_catalog.text::pg_catalog.text[])[1]
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = {relid}::pg_catalog.oid AND a.attnum = {number})))
"""
# Those that a column has had since, in whose images others wrote.
_NAMES: Final = """
SELECT DISTINCT i.image OPERATOR(pg_catalog.->>) 'name' AS name
  FROM hotrollback.command c
 CROSS JOIN LATERAL (VALUES (c.before), (c.after)) AS s(side)
 CROSS JOIN LATERAL pg_catalog.json_to_recordset(
                        s.side OPERATOR(pg_catalog.->) 'components')
                    AS i(id pg_catalog.json, image pg_catalog.json)
 WHERE c.lsn > $1::pg_catalog.text::pg_catalog.pg_lsn
   AND (i.id OPERATOR(pg_catalog.->>) 1) = $2::pg_catalog.int8::pg_catalog.text
   AND (i.id OPERATOR(pg_catalog.->>) 2) = $3::pg_catalog.int4::pg_catalog.text
"""


async def conflicts_of(
    db: Database,
    chosen: Chosen,
    command: Command,
    now: There,
    ours: Container[Id] = frozenset(),
) -> tuple[Conflict, ...]:
    """Raises nothing: whether they stop it is the policy's to say. `ours`: what later commands of
    the selection touched, where these are not taken back yet."""
    found = [
        await _altered(db, chosen, command, delta, text)
        for delta, text in problems(command.deltas, now)
    ]
    for delta in command.deltas:
        if delta.then is not None and delta.kind == "column" and delta.then.kept is not None:
            found += await _displaced(db, chosen, command, delta, now)
    made = {d.any.relid for d in command.deltas if d.then is None and d.any.whole}
    for delta in command.deltas:
        if delta.then is None and delta.kind in {"table", "column"}:
            if delta.kind == "column" and delta.any.relid in made:
                continue
            found += await _written(db, chosen, command, delta, now)
            found += await _resting(db, command, delta, now, ours)
        elif delta.then is None and delta.kind == "attribute" and delta.any.relid not in made:
            found += await _stored(db, chosen, command, delta, now)
    return tuple(found)


async def _altered(
    db: Database, chosen: Chosen, command: Command, delta: Delta, text: str
) -> Conflict:
    query = _ALTERED.format(
        lsn=quote_literal(command.lsn), where=chosen.where, id=f"${len(chosen.args) + 1}"
    )
    place = json.dumps([*delta.any.id, delta.any.relid])
    by = await db.fetchrow(query, *chosen.args, place)
    return _conflict(delta, Kind.SCHEMA if by is None else Kind.LATER_CHANGE, text, by)


async def _written(
    db: Database, chosen: Chosen, command: Command, delta: Delta, now: There
) -> list[Conflict]:
    one = now.find(delta.any)
    place = now.relids.get(delta.any.relid)
    if one is None or place is None or "inherited" in one.image:
        return []
    which, what = "true", f"{one.label} was written since"
    if one.kind == "column":
        which = " OR ".join(
            _GIVEN.format(name=name, relid=place[0], number=one.id.objsubid)
            for name in await _names(db, command, one)
        )
        what = f"{one.label} was given values since"
    return await _rows(db, chosen, command, delta, place[0], which, what)


# Columns of a composite type, as they are called now.
_STORING: Final = """
SELECT a.attrelid::pg_catalog.int8 AS relid, a.attname::pg_catalog.text AS name
  FROM pg_catalog.pg_type t
  JOIN pg_catalog.pg_attribute a ON a.atttypid IN (t.oid, t.typarray) AND NOT a.attisdropped
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
 WHERE t.typrelid = $1
"""


async def _stored(
    db: Database, chosen: Chosen, command: Command, delta: Delta, now: There
) -> list[Conflict]:
    """Values of its type that were written since may hold it."""
    found: list[Conflict] = []
    place = now.relids.get(delta.any.relid)
    if place is None:
        return found
    for row in await db.fetch(_STORING, place[0]):
        name = quote_literal(row["name"])
        which = (
            f"c.op <> 'D' AND (c.after OPERATOR(pg_catalog.->>) {name})"
            f" IS DISTINCT FROM (c.before OPERATOR(pg_catalog.->>) {name})"
        )
        what = f"values that may hold {delta.any.label} were written since"
        found += await _rows(db, chosen, command, delta, row["relid"], which, what)
    return found


async def _names(db: Database, command: Command, one: Component) -> list[str]:
    """Quoted."""
    rows = await db.fetch(_NAMES, command.lsn, one.id.objid, one.id.objsubid)
    return sorted(quote_literal(name) for name in {one.image["name"], *(r["name"] for r in rows)})


async def _rows(
    db: Database, chosen: Chosen, command: Command, delta: Delta, relid: int, which: str, what: str
) -> list[Conflict]:
    """Which of the changes of others (c) are in the way, and what is said of them."""
    query = _WRITTEN.format(
        lsn=quote_literal(command.lsn), where=chosen.where, relid=relid, which=which
    )
    by = await db.fetchrow(query, *chosen.args)
    if not by["rows"]:
        return []
    rows = "1 row" if by["rows"] == 1 else f"{by['rows']} rows"
    return [_conflict(delta, Kind.LATER_CHANGE, f"{what}, in {rows}", by)]


_KEPT: Final = "SELECT keys::pg_catalog.text[] AS keys FROM hotrollback.kept WHERE name = $1"
# Of another row that has such a key now: a value would be given to it.
_AGAIN: Final = """
c.op = 'I' AND EXISTS (SELECT FROM hotrollback_bin.{kept} k WHERE {same})
"""
# Which of several rows that were alike in all else was deleted is not known.
_ANY_OF: Final = """
c.op = 'U' OR (c.op = 'D' AND EXISTS (
    SELECT FROM hotrollback_bin.{kept} k GROUP BY k.key
    HAVING pg_catalog.count(DISTINCT (pg_catalog.to_jsonb(k)
                                      OPERATOR(pg_catalog.-) 'number')::pg_catalog.text) > 1))
"""
# The last DDL of others that made columns another way to tell rows apart.
_RETOLD: Final = f"""
SELECT c.xid, c.at, c.tag, {SESSION_OF} AS session
  FROM {COMMAND} c
 WHERE c.lsn > {{lsn}}::pg_catalog.pg_lsn AND NOT {DEAD} AND COALESCE(({{where}}), false) IS FALSE
   AND EXISTS (
       SELECT FROM (SELECT e.value OPERATOR(pg_catalog.->>) 'id' AS id,
                           e.value OPERATOR(pg_catalog.->) 'image' AS image
                      FROM pg_catalog.json_array_elements(
                               c.before OPERATOR(pg_catalog.->) 'components') e
                     WHERE (e.value OPERATOR(pg_catalog.->) 'id' OPERATOR(pg_catalog.->>) 3)
                           OPERATOR(pg_catalog.=) {{relid}}::pg_catalog.text) was
         LEFT JOIN (SELECT e.value OPERATOR(pg_catalog.->>) 'id' AS id,
                           e.value OPERATOR(pg_catalog.->) 'image' AS image
                      FROM pg_catalog.json_array_elements(
                               c.after OPERATOR(pg_catalog.->) 'components') e) n
           ON n.id = was.id
        WHERE (was.image OPERATOR(pg_catalog.->>) 'kind') = 'column' AND ({{which}}))
 ORDER BY c.lsn DESC LIMIT 1
"""


async def _displaced(
    db: Database, chosen: Chosen, command: Command, delta: Delta, now: There
) -> list[Conflict]:
    """Values that were kept go to the rows that they were of: by the key, or by all that is left of
    the row. And what others wrote into a column since is not overwritten."""
    then, place = delta.then, now.relids.get(delta.any.relid)
    row = await db.fetchrow(_KEPT, then.kept) if then is not None else None
    if then is None or row is None or place is None:
        return []
    found: list[Conflict] = []
    altered = _altered_keys(row["keys"])
    query = _RETOLD.format(
        lsn=quote_literal(command.lsn),
        where=chosen.where,
        relid=f"'{delta.any.relid}'",
        which=altered,
    )
    by = await db.fetchrow(query, *chosen.args)
    if by is not None:
        text = f"columns that tell which rows had the values of {then.label} were altered since"
        found.append(_conflict(delta, Kind.LATER_CHANGE, text, by))
    kept = quote_ident(str(then.kept))
    moved = _ANY_OF.format(kept=kept)
    if row["keys"]:
        names = [quote_literal(key) for key in row["keys"]]
        same = " AND ".join(
            f"k.key_{n}::pg_catalog.text = (c.after OPERATOR(pg_catalog.->>) {name})"
            for n, name in enumerate(names, 1)
        )
        again = _AGAIN.format(kept=kept, same=same)
        differ = [await _differs(db, command, now, delta.any, key) for key in row["keys"]]
        moved = f"(c.op = 'U' AND ({' OR '.join(differ)})) OR ({again})"
    what = f"rows that had values of {then.label} were changed since"
    found += await _rows(db, chosen, command, delta, place[0], moved, what)
    if delta.now is not None and row["keys"]:
        differs = await _differs(db, command, now, delta.any, str(delta.now.image["name"]))
        given = f"c.op = 'U' AND ({differs})"
        what = f"{delta.now.label} was given values since"
        found += await _rows(db, chosen, command, delta, place[0], given, what)
    return found


async def _differs(db: Database, command: Command, now: There, of: Component, name: str) -> str:
    """Whether a change (c) gave a column of the same relation another value."""
    one = now.names.get((of.relid, "column", None, name, None))
    names = await _names(db, command, one) if one is not None else [quote_literal(name)]
    return " OR ".join(
        f"(c.before OPERATOR(pg_catalog.->>) {each}) IS DISTINCT FROM"
        f" (c.after OPERATOR(pg_catalog.->>) {each})"
        for each in names
    )


def _altered_keys(keys: list[str]) -> str:
    """Of columns as they were (was) and are (n). A key may have another type; all that is left of a
    row is another text then."""
    other = [
        f"(n.image OPERATOR(pg_catalog.->>) '{field}')"
        f" IS DISTINCT FROM (was.image OPERATOR(pg_catalog.->>) '{field}')"
        for field in (("name",) if keys else ("name", "type"))
    ]
    names = ", ".join(map(quote_literal, keys))
    of_key = f"(was.image OPERATOR(pg_catalog.->>) 'name') IN ({names}) AND " if keys else ""
    return f"{of_key}({' OR '.join(other)})"


# What rests on a column and would go with it, unseen.
_RESTING: Final = """
SELECT d.classid::pg_catalog.int8, d.objid::pg_catalog.int8
  FROM pg_catalog.pg_depend d
 WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1
   AND d.refobjsubid = $2 AND d.deptype IN ('n', 'a')
"""


async def _resting(
    db: Database, command: Command, delta: Delta, now: There, besides: Container[Id]
) -> list[Conflict]:
    one = now.find(delta.any)
    if one is None or one.kind != "column":
        return []
    ours = {found.id for c in command.after.values() if (found := now.find(c)) is not None}
    rows = await db.fetch(_RESTING, one.id.objid, one.id.objsubid)
    resting = (now.ids.get(Id(classid, objid, 0)) for classid, objid in rows)
    return [
        _conflict(delta, Kind.SCHEMA, f"{other.label} rests on {one.label}", None)
        for other in resting
        if other is not None and other.id not in ours and other.id not in besides
    ]


def _conflict(delta: Delta, kind: Kind, detail: str, by: Any) -> Conflict:
    who = {f: by[f] for f in ("xid", "session", "tag", "at")} if by is not None else {}
    return Conflict(delta.any.label, None, str(kind), None, None, None, detail=detail, **who)
