"""Load, fold and lock until nothing moves any more: a row may be changed between being looked for
in the log and being locked, and then its newest change has to be seen, too.
"""

from dataclasses import dataclass
from typing import Final

from undo.database import Database
from undo.errors import TooBusy
from undo.stages.fold import Answer, Folded, Link, fold
from undo.stages.load import (
    Loaded,
    Matched,
    Partitions,
    answers,
    load,
    match,
    overtaken,
    partitions,
)
from undo.stages.rows import Laid, Progress, lay_out, lock
from undo.stages.select import Chosen
from undo.tables import Tables, look_up

_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Settled:
    tables: Tables
    parts: Partitions
    matched: Matched
    loaded: Loaded
    laid: Laid


async def settle(db: Database, chosen: Chosen, matched: Matched, progress: Progress) -> Settled:
    """The effects of the selection, their rows locked; `matched` to begin with. Raises TooBusy."""
    parts = await partitions(db)
    for _ in range(_ATTEMPTS):
        progress("load", 0, 0)
        found = matched.changes
        relids = {change.relid for change in found} | {change.new_relid for change in found}
        tables = await look_up(db, relids)
        loaded = await load(db, chosen, tables, matched)
        progress("fold", 0, len(loaded.changes))
        folded = await _fold(db, tables, parts, loaded)
        laid = await lay_out(db, tables, parts, loaded, folded.effects)
        await lock(db, laid, parts, progress)
        if not await overtaken(db, chosen, loaded):
            return Settled(tables, parts, matched, loaded, laid)
        matched = await match(db, chosen)
    raise TooBusy(_ATTEMPTS)


async def _fold(db: Database, tables: Tables, parts: Partitions, loaded: Loaded) -> Folded:
    """Doubts are few, and every answer may raise others."""
    known: dict[Link, Answer] = {}
    while True:
        folded = fold(loaded.changes, tables.roots, known)
        doubts = [link for link in folded.doubts if link not in known]
        if not doubts:
            return folded
        known.update(await answers(db, tables, parts, loaded, doubts))
