"""One command taken back, on a connection."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from undo.database import Database, sqlstate
from undo.errors import NotReversible
from undo.schema import keep
from undo.schema.component import Command, Delta
from undo.schema.kinds import KINDS
from undo.schema.steps import (
    BINNED,
    alters,
    anew,
    before_columns,
    beside,
    creates,
    drops,
    drops_of_others,
    gone_along,
    moves,
    renames,
    unlike,
)
from undo.schema.there import There, there
from undo.schema.words import Statements

# Nothing is known of the bodies' tables yet when a function comes back before them.
_BEGIN: Final = "SET LOCAL check_function_bodies = off; SET LOCAL hotrollback.reversing = on"
_END: Final = "SET LOCAL check_function_bodies = on; SET LOCAL hotrollback.reversing = off"
_RECORD: Final = """
SELECT hotrollback.record_ddl_v1($1, $2::pg_catalog.oid[], $3::pg_catalog.text::pg_catalog.jsonb,
                                 '[]', '{}', $4::pg_catalog.text::pg_catalog.jsonb)
"""


@dataclass(slots=True)
class _Work:
    """A command that is being taken back."""

    db: Database
    command: Command
    seen: There
    done: list[str] = field(default_factory=list)  # what was run
    seen_at: int = 0  # how much of it had been when the catalog was looked at

    @property
    def deltas(self) -> Sequence[Delta]:
        return self.command.deltas

    async def there(self) -> There:
        """What is there now: looked at again where something was run since."""
        if self.seen_at != len(self.done):
            self.seen, self.seen_at = await there(self.db, self.command), len(self.done)
        return self.seen


async def reverse(db: Database, command: Command, first: There) -> tuple[str, ...]:
    """Take it back, from what is there; what was run. Recorded as one command, whatever it took.
    Raises NotReversible: then nothing of the transaction may stay."""
    await db.execute(_BEGIN)
    work = _Work(db, command, first)
    deltas, done = work.deltas, work.done
    await keep.values(db, deltas, first)
    for parts in (False, True):
        await _run(db, renames(deltas, await work.there(), parts=parts), done)
    await _run(db, drops_of_others(deltas), done)
    await _until_done(work, drops, must=False)  # a default may need it still
    await _bin(db, deltas, await work.there(), done)
    await keep.retype(db, deltas, await work.there(), done)
    # A default may need what is not there yet.
    for statements in alters(deltas, await work.there()):
        await _attempt(db, statements, done)
    await _until_done(work, drops)
    await _until_done(work, before_columns, must=False)
    await _columns_first(work)
    await _until_done(work, creates)
    await _run(db, alters(deltas, await work.there()), done)
    await _run(db, alters(deltas, await work.there(), last=True), done)
    for instead, again in anew(deltas, await work.there()):
        if not instead or await _attempt(db, instead, done) is not None:
            await _run(db, [again], done)
    await _run(db, gone_along(deltas, first, await work.there()), done)
    more, missing = beside(deltas, first, await work.there())
    await _run(db, [KINDS[one.kind].drop(one) for one in more], done)
    now = await work.there()
    wrong = missing or unlike(deltas, now)
    if wrong:
        raise NotReversible(f"{command.tag} in transaction {command.xid}: {wrong}")
    await db.execute(_END)
    await _record(db, command, first, now)
    return tuple(done)


async def _record(db: Database, command: Command, first: There, now: There) -> None:
    relids = {oid for found in (first, now) for oid, _ in found.relids.values()}
    others = {one.id[:2] for found in (first, now) for one in found.components if not one.relid}
    objects = json.dumps(sorted(others))
    gone = [
        [*one.id[:2], False, one.label]
        for i, one in command.after.items()
        if one.kind == "other" and i not in command.before
    ]
    tag = f"UNDO OF {command.tag}"
    await db.execute(_RECORD, tag, sorted(relids), objects, json.dumps(gone))


async def _columns_first(work: _Work) -> None:
    """With their values, before constraints look at them."""
    columns = [d for d in work.deltas if d.kind == "column" and d.now is None]
    await _run(work.db, creates(columns, await work.there()), work.done)
    await keep.put_back(work.db, columns, await work.there(), work.done)


Phase = Callable[[Sequence[Delta], There], list[Statements]]


async def _until_done(work: _Work, phase: Phase, *, must: bool = True) -> None:
    """In whichever order the server takes it: what fails may need another to be first."""
    db, deltas, done = work.db, work.deltas, work.done
    while steps := phase(deltas, await work.there()):
        failed: Exception | None = None
        before = len(done)
        for statements in steps:
            error = await _attempt(db, statements, done)
            if error is not None and await _only_binned(db, error):
                instead = moves(deltas, await work.there()).get(statements[0])
                error = await _attempt(db, [instead], done) if instead else error
            failed = failed or error
        if failed is not None and len(done) == before:
            if not must:
                return
            command = work.command
            raise NotReversible(f"{command.tag} in transaction {command.xid}: {failed}") from failed


async def _attempt(db: Database, statements: Statements, done: list[str]) -> Exception | None:
    try:
        async with db.transaction():
            for statement in statements:
                await db.execute(statement)
    except Exception as error:
        if sqlstate(error) is None or sqlstate(error) in _FINAL:
            raise
        return error
    done.extend(statements)
    return None


async def _only_binned(db: Database, error: Exception) -> bool:
    """Whether it is a drop that was refused for what is in the bin, and for nothing else."""
    detail = getattr(error, "detail", None)
    if sqlstate(error) != "2BP01" or not detail:
        return False
    found: bool = await db.fetchval("SELECT hotrollback.rests_in_bin_v1($1)", detail)
    return found


# A lock, a deadlock: for whoever tries again.
_FINAL: Final = frozenset({"55P03", "40P01", "40001", "57014"})


async def _run(db: Database, steps: list[Statements], done: list[str]) -> None:
    for statements in steps:
        error = await _attempt(db, statements, done)
        if error is not None:
            raise NotReversible(f"{_named(statements)}: {error}") from error


def _named(statements: Statements) -> str:
    """What it is about, not whose rights and names it needs."""
    return next(s for s in statements if not s.startswith(("SET LOCAL ", "SELECT pg_catalog.set_")))


async def _bin(db: Database, deltas: Sequence[Delta], now: There, done: list[str]) -> None:
    """Tables that the command made, and that are not recorded as a whole: partitions, parents."""
    for delta in deltas:
        if delta.kind != BINNED or delta.then is not None or delta.now is None:
            continue
        place = now.relids.get(delta.now.relid)
        if place is not None:
            await db.execute("SELECT hotrollback.bin_keys_v1($1)", place[0])
            await db.execute("SELECT hotrollback.bin_v1($1, NULL)", place[0])
            done.append(f"ALTER TABLE {place[1]} SET SCHEMA hotrollback_bin")
