"""Load, fold and lock until nothing moves any more: a row may be changed between being looked for
in the log and being locked, and then its newest change has to be seen, too.
"""

from dataclasses import dataclass
from typing import Final

from undo.database import Database
from undo.errors import TooBusy
from undo.stages.chains import chain
from undo.stages.load import (
    Matched,
    Partitions,
    by_index,
    load,
    match,
    overtaken,
    partitions,
    relations,
)
from undo.stages.rows import Laid, Progress, lay_out, lock
from undo.stages.rules import Rules
from undo.stages.select import Chosen
from undo.tables import Tables, look_up

_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Settled:
    tables: Tables
    parts: Partitions
    matched: Matched
    laid: Laid


async def settle(
    db: Database, chosen: Chosen, matched: Matched, rules: Rules, progress: Progress, *, hold: bool
) -> Settled:
    """The effects of the selection; `matched` to begin with. With `hold` their rows are locked,
    and nothing that was committed before is missing. Raises TooBusy."""
    parts = await partitions(db)
    for _ in range(_ATTEMPTS):
        progress("load", 0, matched.rows)
        tables = await look_up(db, await relations(db, matched.table))
        await by_index(db, on=True)
        loaded = await load(db, chosen, tables, matched)
        await by_index(db, on=False)
        progress("fold", 0, matched.rows)
        chained = await chain(db, tables, parts, loaded.table)
        laid = await lay_out(db, tables, parts, chained, rules)
        await lock(db, laid, parts, progress, hold=hold)
        if not (hold and await overtaken(db, chosen, loaded)):
            return Settled(tables, parts, matched, laid)
        matched = await match(db, chosen)
    raise TooBusy(_ATTEMPTS)
