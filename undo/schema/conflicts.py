"""What others have done since with what a command made or changed: what stands in the way of taking
it back, and who it was.
"""

import json
from collections.abc import Container
from typing import Any, Final

from undo.database import Database
from undo.image import quote_literal
from undo.log import CHANGE, COMMAND
from undo.model import Conflict, Kind
from undo.schema.component import Command, Delta, Id
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
c.op <> 'D' AND (c.after OPERATOR(pg_catalog.->>) {name}) IS DISTINCT FROM
    COALESCE(c.before OPERATOR(pg_catalog.->>) {name}, (
        SELECT (a.attmissingval::pg_catalog.text::pg_catalog.text[])[1]
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = {relid}::pg_catalog.oid AND a.attname = {name}))
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
    made = {d.any.relid for d in command.deltas if d.then is None and d.any.whole}
    for delta in command.deltas:
        if delta.then is None and delta.kind in {"table", "column"}:
            if delta.kind == "column" and delta.any.relid in made:
                continue
            found += await _written(db, chosen, command, delta, now)
            found += await _resting(db, command, delta, now, ours)
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
        name = quote_literal(one.image["name"])
        which = _GIVEN.format(name=name, relid=place[0])
        what = f"{one.label} was given values since"
    query = _WRITTEN.format(
        lsn=quote_literal(command.lsn), where=chosen.where, relid=place[0], which=which
    )
    by = await db.fetchrow(query, *chosen.args)
    if not by["rows"]:
        return []
    rows = "1 row" if by["rows"] == 1 else f"{by['rows']} rows"
    return [_conflict(delta, Kind.LATER_CHANGE, f"{what}, in {rows}", by)]


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
