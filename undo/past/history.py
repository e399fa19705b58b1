"""Every change of one row, found by the hash of its key, which the log's index has.

A row is followed through changes of its key: back to when it was inserted, and on under the keys
that it got. The index has only the new key of such a change: where a row went to is looked for in
the log itself, and only between two records that do not fit together without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from undo.database import Database
from undo.listing import OPERATION, ROLE, STATEMENT, UNDONE, relation
from undo.past.rows import pinned, ready
from undo.request import Key
from undo.stages.chosen import SESSION_OF
from undo.stages.keys import RowKey, row_key
from undo.stages.load import by_index, summarize

_EVER: Final = ("0/0", "FFFFFFFF/FFFFFFFF")

_EVENTS: Final = """
SELECT c.tableoid::pg_catalog.int8 AS part, c.ctid AS place, c.xid, c.lsn::pg_catalog.text AS lsn,
       c.op::pg_catalog.text AS op, {was} AS was, {became} AS became, {old_key} AS old_key,
       {new_key} AS new_key
  FROM hotrollback.change c
 WHERE (c.relid = ANY ($2::pg_catalog.oid[]) OR c.new_relid = ANY ($2)) AND c.op IN ('I', 'U', 'D')
   AND c.lsn >= $3::pg_catalog.text::pg_catalog.pg_lsn
   AND c.lsn <= $4::pg_catalog.text::pg_catalog.pg_lsn AND {where}
 ORDER BY c.lsn, c.op = 'D', c.op <> 'I'
"""

_SHOWN: Final = f"""
SELECT c.at, c.xid, {SESSION_OF} AS session, c.tag, {ROLE} AS role, {OPERATION} AS op,
       CASE WHEN c.new_relid IS NULL THEN {relation("c.relid")}
            ELSE {relation("c.relid")} || ' -> ' || {relation("c.new_relid")} END AS relation,
       c.before::pg_catalog.text AS before, c.after::pg_catalog.text AS after,
       CASE WHEN c.op = 'U' THEN (
           SELECT pg_catalog.string_agg(pg_catalog.format('%s: %s -> %s', k.key, COALESCE(
                      c.before OPERATOR(pg_catalog.->) k.key, 'null'), COALESCE(
                      c.after OPERATOR(pg_catalog.->) k.key, 'null')), ', ' ORDER BY k.n)
             FROM (SELECT j.key, pg_catalog.min(j.n) AS n
                     FROM (SELECT a.key, a.n FROM pg_catalog.json_object_keys(c.after)
                             WITH ORDINALITY a(key, n)
                            UNION ALL
                           SELECT b.key, b.n FROM pg_catalog.json_object_keys(c.before)
                             WITH ORDINALITY b(key, n)) j GROUP BY j.key) k
            WHERE (c.before OPERATOR(pg_catalog.->) k.key)::pg_catalog.text
                  IS DISTINCT FROM (c.after OPERATOR(pg_catalog.->) k.key)::pg_catalog.text) END
           AS changed,
       {STATEMENT} AS statement, {UNDONE} AS undone
  FROM hotrollback.change c
 WHERE c.lsn = $1::pg_catalog.text::pg_catalog.pg_lsn AND c.xid = $2 AND c.ctid = $3
   AND c.tableoid = $4::pg_catalog.int8::pg_catalog.oid
"""


@dataclass(frozen=True, slots=True)
class Event:
    """A change, seen from a key: was the row under it before, and is it after?"""

    part: int
    place: Any
    xid: int
    lsn: str
    op: str
    was: bool
    became: bool
    old_key: tuple[str, ...]
    new_key: tuple[str, ...]

    @property
    def at(self) -> tuple[int, int]:
        high, low = self.lsn.split("/")
        return int(high, 16), int(low, 16)


async def history(db: Database, table: str, key: Key) -> Sequence[Any]:
    """Rows of at, xid, session, tag, role, op, relation, before, after, changed, statement, undone;
    the newest first. Raises UsageError."""
    await ready(db)
    await summarize(db)
    async with db.transaction(isolation="repeatable_read", readonly=True):
        await pinned(db)
        await by_index(db, on=True)
        row = await row_key(db, (table,), key)
        found: dict[tuple[int, Any], Event] = {}
        for event in await _life(db, row, row.texts):
            found[event.part, event.place] = event
        await _earlier(db, row, list(found.values()), found)
        await _later(db, row, list(found.values()), found)
        shown = []
        for event in sorted(found.values(), key=lambda e: e.at, reverse=True):
            place = (event.lsn, event.xid, event.place, event.part)
            shown.append(await db.fetchrow(_SHOWN, *place))
    return shown


async def _earlier(
    db: Database, row: RowKey, begun: list[Event], found: dict[tuple[int, Any], Event]
) -> None:
    """What the row was before it got these keys."""
    while begun:
        arrived = begun.pop()
        if arrived.was or not arrived.became or arrived.op != "U":
            continue
        life = await _life(db, row, arrived.old_key, (_EVER[0], arrived.lsn))
        kept = []
        birth = None
        for event in reversed([e for e in life if (e.part, e.place) not in found]):
            # Behind its birth it is another row's; what a trigger changed of it may be recorded
            # before that.
            if birth is not None and event.xid != birth:
                break
            kept.append(event)
            if event.became and not event.was:
                birth = event.xid
        for event in kept:
            found[event.part, event.place] = event
        begun += kept


async def _later(
    db: Database, row: RowKey, gone: list[Event], found: dict[tuple[int, Any], Event]
) -> None:
    """What became of the row under the keys that it went on to."""
    while gone:
        left = gone.pop()
        if left.became or not left.was or left.op != "U":
            continue
        life = await _life(db, row, left.new_key, (left.lsn, _EVER[1]))
        for event in life:
            if (event.part, event.place) in found:
                continue
            found[event.part, event.place] = event
            gone.append(event)
            if event.was and not event.became:
                break


async def _life(
    db: Database, row: RowKey, texts: tuple[str, ...], span: tuple[str, str] = _EVER
) -> list[Event]:
    """What happened under one key, in order."""
    hashed = row.hashed("$1")
    if hashed is None:
        return await _events(db, row, texts, span, "true")
    found = await _events(db, row, texts, span, f"(c.key = {hashed} OR c.key IS NULL)")
    there = await db.fetchval(
        f"SELECT EXISTS (SELECT FROM {row.family.source} x, {row.values('$1')} k"
        f" WHERE {row.equal('x', 'k')})",
        list(texts),
    )
    known = {(event.part, event.place) for event in found}
    for low, high in _holes(found, span, there=there):
        for event in await _events(db, row, texts, (low, high), "c.op = 'U'"):
            if (event.part, event.place) not in known and event.was and not event.became:
                found.append(event)
    return sorted(found, key=lambda event: event.at)


def _holes(found: Sequence[Event], span: tuple[str, str], *, there: bool) -> list[tuple[str, str]]:
    """Where the row must have gone away under its key, or may have if nothing else is known."""
    if not found:
        return [] if there else [span]
    holes = []
    present = None
    for before, event in zip([None, *found], found, strict=False):
        if present and before is not None and not event.was and event.became:
            holes.append((before.lsn, event.lsn))
        present = event.became
    if (present and not there and span[1] == _EVER[1]) or (present and span[1] != _EVER[1]):
        holes.append((found[-1].lsn, span[1]))
    return holes


async def _events(
    db: Database, row: RowKey, texts: tuple[str, ...], span: tuple[str, str], where: str
) -> list[Event]:
    imaged = [f"COALESCE({row.imaged(image, '$1')}, false)" for image in ("c.before", "c.after")]
    query = _EVENTS.format(
        was=imaged[0],
        became=imaged[1],
        old_key=row.texts_of("c.before"),
        new_key=row.texts_of("c.after"),
        where=f"{where} AND ({imaged[0]} OR {imaged[1]})",
    )
    rows = await db.fetch(query, list(texts), sorted(row.family.heaps), *span)
    return [
        Event(
            part=r["part"],
            place=r["place"],
            xid=r["xid"],
            lsn=r["lsn"],
            op=r["op"],
            was=r["was"],
            became=r["became"],
            old_key=tuple(r["old_key"] or ()),
            new_key=tuple(r["new_key"] or ()),
        )
        for r in rows
    ]
