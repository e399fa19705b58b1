"""Conflicts as people and programs read them: which row, as it was before, as the selection left
it and as it is now, and who is in the way.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from undo.database import Database
from undo.image import quote_ident, quote_literal
from undo.model import Change, Conflict, Tid
from undo.stages.check import Obstacle
from undo.stages.load import Loaded, Partitions
from undo.stages.rows import Laid, Rows
from undo.stages.select import SESSION_OF
from undo.tables import Tables


async def describe(
    db: Database, tables: Tables, parts: Partitions, laid: Laid, loaded: Loaded,
    obstacles: Iterable[Obstacle],
) -> tuple[Conflict, ...]:  # fmt: skip
    """Conflicts as they are reported, in the order of the effects."""
    ordered = sorted(obstacles, key=lambda obstacle: obstacle.n)
    names = await _names(db, loaded, laid, ordered)
    changes = [loaded.changes[i] for o in ordered for i in _told_of(laid, o)]
    records = await _records(db, parts, changes)
    pictures = await _pictures(db, laid, ordered)
    found = []
    for obstacle in ordered:
        effect = laid.effects[obstacle.n]
        first, last, tail = (loaded.changes[i] for i in (effect.first, effect.last, effect.tail))
        by = loaded.changes[obstacle.by] if obstacle.by is not None else None
        culprit = records[by.part, by.place] if by is not None else NOBODY
        key, now = pictures.get(obstacle.n, (None, None))
        root = laid.roots[obstacle.n]
        found.append(
            Conflict(
                relation=tables.families[root].name if root is not None else names[tail.new_relid],
                key=key,
                kind=str(obstacle.kind),
                before=records[first.part, first.place].before,
                ours=records[last.part, last.place].after,
                now=now,
                xid=by.xid if by is not None else None,
                session=culprit.session,
                tag=culprit.tag,
                at=culprit.at,
                detail=obstacle.detail,
            )
        )
    return tuple(found)


async def _names(
    db: Database, loaded: Loaded, laid: Laid, obstacles: Sequence[Obstacle]
) -> dict[int, str]:
    """Last known names of dropped relations."""
    relids = {loaded.changes[laid.effects[o.n].tail].new_relid for o in obstacles}
    rows = await db.fetch(
        "SELECT DISTINCT ON (r.relid) r.relid::pg_catalog.int8 AS relid, r.name"
        "  FROM hotrollback.relation r WHERE r.relid = ANY ($1::pg_catalog.oid[])"
        " ORDER BY r.relid, r.seen DESC",
        sorted(relids),
    )
    named = {row["relid"]: row["name"] for row in rows}
    return {relid: named.get(relid, f"relation {relid}") for relid in relids}


def _told_of(laid: Laid, obstacle: Obstacle) -> list[int]:
    """Positions of the changes that a conflict tells of."""
    effect = laid.effects[obstacle.n]
    return [effect.first, effect.last, *([obstacle.by] if obstacle.by is not None else [])]


async def _pictures(
    db: Database, laid: Laid, obstacles: Sequence[Obstacle]
) -> dict[int, tuple[str | None, str | None]]:
    """For each effect the key of its row, and the image of it as it is now."""
    wanted = sorted({obstacle.n for obstacle in obstacles})
    now: dict[int, str] = {}
    keys: dict[int, str] = {}
    for rows in laid.rows.values():
        query = f"SELECT m.n, m.image::pg_catalog.text FROM {rows.now} m WHERE m.n = ANY ($1)"
        now.update(dict(await db.fetch(query, wanted)))
        keys.update(await _keys(db, rows, wanted))
    return {n: (keys.get(n), now.get(n)) for n in wanted}


async def _keys(db: Database, rows: Rows, wanted: list[int]) -> dict[int, str]:
    key = rows.family.key
    if key is None or not {c.name for c in rows.columns}.issuperset(key.columns):
        return {}
    parts = ", ".join(
        f"pg_catalog.format('%s=%s', {quote_literal(name)}, x.{quote_ident(name)})"
        for name in key.columns
    )
    found = {}
    for table in (rows.want, rows.ours):
        query = (
            f"SELECT x.{rows.n}, pg_catalog.concat_ws(', ', {parts}) FROM {table} x"
            f" WHERE x.{rows.n} = ANY ($1)"
        )
        found.update(dict(await db.fetch(query, wanted)))
    return found


class Record(NamedTuple):
    """What the log has of a change besides what is loaded of every one."""

    before: str | None
    after: str | None
    session: str | None
    tag: str | None
    at: datetime | None


NOBODY: Final = Record(None, None, None, None, None)


async def _records(
    db: Database, parts: Partitions, changes: Sequence[Change]
) -> dict[tuple[int, Tid], Record]:
    """By partition and place."""
    found = {}
    for oid, source in parts.items():
        places = [change.place for change in changes if change.part == oid]
        if places:
            rows = await db.fetch(
                f"SELECT c.ctid, c.before::pg_catalog.text, c.after::pg_catalog.text,"
                f"       {SESSION_OF} AS session, c.tag, c.at"
                f"  FROM {source} c WHERE c.ctid = ANY ($1::pg_catalog.tid[])",
                places,
            )
            found.update({(oid, tuple(place)): Record(*record) for place, *record in rows})
    return found
