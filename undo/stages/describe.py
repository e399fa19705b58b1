"""Conflicts as people and programs read them: which row, as it was before, as the selection left
it and as it is now, and who is in the way.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from undo.database import Database
from undo.image import quote_ident, quote_literal
from undo.model import Conflict
from undo.stages.check import Obstacle
from undo.stages.load import Partitions
from undo.stages.rows import Laid, Rows
from undo.stages.select import SESSION_OF
from undo.tables import Tables


@dataclass(frozen=True, slots=True)
class _Told:
    """What an effect's conflict tells of besides its row."""

    root: int | None
    relid: int
    before: str | None
    ours: str | None


async def describe(
    db: Database, tables: Tables, parts: Partitions, laid: Laid, obstacles: Iterable[Obstacle]
) -> tuple[Conflict, ...]:
    """Conflicts as they are reported, in the order of the effects."""
    ordered = sorted(obstacles, key=lambda obstacle: obstacle.n)
    if not ordered:
        return ()
    told = await _told(db, parts, laid, {obstacle.n for obstacle in ordered})
    culprits = await _culprits(db, parts, laid, {o.by for o in ordered if o.by is not None})
    pictures = await _pictures(db, laid, ordered)
    names = await _names(db, {t.relid for t in told.values() if t.root is None})
    found = []
    for obstacle in ordered:
        effect = told[obstacle.n]
        culprit = culprits.get(obstacle.by or 0, NOBODY)
        key, now = pictures.get(obstacle.n, (None, None))
        root = effect.root
        found.append(
            Conflict(
                relation=tables.families[root].name if root is not None else names[effect.relid],
                key=key,
                kind=str(obstacle.kind),
                before=effect.before,
                ours=effect.ours,
                now=now,
                xid=culprit.xid,
                session=culprit.session,
                tag=culprit.tag,
                at=culprit.at,
                detail=obstacle.detail,
            )
        )
    return tuple(found)


async def _told(
    db: Database, parts: Partitions, laid: Laid, wanted: Collection[int]
) -> dict[int, _Told]:
    images: dict[str, dict[int, str | None]] = {"before": {}, "after": {}}
    for side, which in (("before", "first"), ("after", "last")):
        for oid, source in parts.items():
            query = (
                f"SELECT e.n, c.{side}::pg_catalog.text FROM {laid.table} e"
                f"  JOIN {source} c ON c.ctid = e.{which}_place"
                f" WHERE e.{which}_part = {oid} AND e.n = ANY ($1::pg_catalog.int4[])"
            )
            images[side].update(dict(await db.fetch(query, sorted(wanted))))
    rows = await db.fetch(
        f"SELECT e.n, e.root::pg_catalog.int8, e.tail_relid::pg_catalog.int8 FROM {laid.table} e"
        f" WHERE e.n = ANY ($1::pg_catalog.int4[])",
        sorted(wanted),
    )
    return {
        n: _Told(root, relid, images["before"].get(n), images["after"].get(n))
        for n, root, relid in rows
    }


async def _names(db: Database, relids: Collection[int]) -> dict[int, str]:
    """Last known names of dropped relations."""
    rows = await db.fetch(
        "SELECT DISTINCT ON (r.relid) r.relid::pg_catalog.int8 AS relid, r.name"
        "  FROM hotrollback.relation r WHERE r.relid = ANY ($1::pg_catalog.oid[])"
        " ORDER BY r.relid, r.seen DESC",
        sorted(relids),
    )
    named = {row["relid"]: row["name"] for row in rows}
    return {relid: named.get(relid, f"relation {relid}") for relid in relids}


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


class Culprit(NamedTuple):
    """Who made a change."""

    xid: int | None
    session: str | None
    tag: str | None
    at: datetime | None


NOBODY: Final = Culprit(None, None, None, None)


async def _culprits(
    db: Database, parts: Partitions, laid: Laid, wanted: Collection[int]
) -> dict[int, Culprit]:
    """By the number of the change."""
    found = {}
    for oid, source in parts.items():
        rows = await db.fetch(
            f"SELECT l.i, c.xid, {SESSION_OF} AS session, c.tag, c.at FROM {laid.changes} l"
            f"  JOIN {source} c ON c.ctid = l.place"
            f" WHERE l.part = {oid} AND l.i = ANY ($1::pg_catalog.int4[])",
            sorted(wanted),
        )
        found.update({i: Culprit(*culprit) for i, *culprit in rows})
    return found
