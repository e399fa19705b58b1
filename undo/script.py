"""An undo as a script for psql that does the same to the rows, statement by statement: in the order
of the undo, under its settings, each statement sure that it touched the one row that it means, that
this was what it was, and became what it was to become. Or else it aborts, and changes nothing.

Made at the end of a dry run, and said piece by piece: whoever listens may keep all of it. It
records nothing itself: to the log it is a write like any other.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from undo import pieces
from undo.database import Database
from undo.errors import NoScript
from undo.image import PINNED_SETTINGS, quote_ident, quote_literal
from undo.log import DELETE, INSERT, UPDATE
from undo.stages.apply import Planned
from undo.stages.constraints import paired
from undo.stages.load import serial
from undo.stages.moves import Moves
from undo.stages.order import Sequence
from undo.stages.rows import Rows
from undo.stages.settle import Settled
from undo.tables import ForeignKey

Say = Callable[[str], None]

_PAGE: Final = 1000  # rows in memory

_HEAD: Final = """\
-- An undo by Hot Rollback, as it would have been when this was made. It does this or nothing:
--     psql -1 -v ON_ERROR_STOP=1 -f FILE
-- by the role {role}. The log takes it for writes like any other: not for an undo.
\\set ON_ERROR_STOP on
\\o /dev/null
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET client_encoding = 'UTF8';
{settings}
CREATE OR REPLACE FUNCTION pg_temp.hotrollback_check(
    what text, done bigint, wanted bigint, fits boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF done <> wanted THEN
        RAISE EXCEPTION '%: not what it was when this script was made; nothing is changed', what;
    ELSIF fits IS NOT TRUE THEN
        RAISE EXCEPTION '%: not what it was to become; nothing is changed', what;
    END IF;
END $$;
SELECT pg_temp.hotrollback_check('run it in one transaction, by psql -1: here', 0, 0,
    pg_catalog.current_setting('hotrollback.script', true) IS NOT DISTINCT FROM 'on');
SET CONSTRAINTS ALL DEFERRED;
"""
_MORE_SETTINGS: Final = (
    ("row_security", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "30s"),
    ("hotrollback.tag", ""),
    ("hotrollback.script", "on"),
)
_ACTS: Final = frozenset("cnd")  # cascade, set null, set default


async def write(
    db: Database,
    settled: Settled,
    moves: Moves,
    planned: dict[int, Planned],
    sequence: Sequence,
    say: Say,
) -> None:
    """Raises NoScript."""
    if moves.away or moves.back:
        raise NoScript("whole tables are moved, which only an undo does")
    role = await db.fetchval("SELECT pg_catalog.quote_ident(CURRENT_USER)")
    settings = "\n".join(
        f"SET LOCAL {name} = {quote_literal(value)};"
        for name, value in (*PINNED_SETTINGS, *_MORE_SETTINGS)
    )
    say(_HEAD.format(role=role, settings=settings))
    script = _Script(db, settled, planned, sequence, say)
    write_rows = {INSERT: script.insert, UPDATE: script.update, DELETE: script.delete}
    for op, root in sequence.steps(planned):
        await write_rows[op](root)
    script.quiet(on=False)
    say("SET CONSTRAINTS ALL IMMEDIATE;\n")
    await script.constraints()
    say("\\o\n")


@dataclass(slots=True)
class _Script:
    db: Database
    settled: Settled
    planned: dict[int, Planned]
    sequence: Sequence
    say: Say
    _quiet: bool = False

    def quiet(self, *, on: bool) -> None:
        if on != self._quiet:
            self.say(f"SET LOCAL session_replication_role = {'replica' if on else 'origin'};\n")
            self._quiet = on

    async def insert(self, root: int) -> None:
        if self.planned[root].work.inserts:
            await self._insert(root, movers=False)

    async def update(self, root: int) -> None:
        planned = self.planned[root]
        for relid in planned.movers:
            await self._delete(root, relid, movers=True)
        for relid in planned.updates:
            await self._update(root, relid)
        if planned.work.movers:
            await self._insert(root, movers=True)

    async def delete(self, root: int) -> None:
        for relid in self.planned[root].deletes:
            await self._delete(root, relid, movers=False)

    def _keys(self, root: int) -> Iterable[ForeignKey]:
        """That the server watches while the rows of a family are written, and that refer to it."""
        for key in self.settled.tables.foreign_keys:
            parent = self.settled.tables.roots.get(key.parent)
            if parent == root and root not in self.sequence.silent and not key.temporal:
                yield key

    def _to_itself(self, root: int) -> bool:
        """Rows of such a family go and come in one statement, at whose end they are checked."""
        return any(self.settled.tables.roots.get(key.child) == root for key in self._keys(root))

    async def _insert(self, root: int, *, movers: bool) -> None:
        rows = self.settled.laid.rows[root]
        self.quiet(on=root in self.sequence.silent)
        columns = [c for c in rows.columns if c.written]
        names = ", ".join(quote_ident(c.name) for c in columns)
        which = "e.op = 'U' AND e.mover" if movers else "e.op = 'I'"
        query = (
            f"SELECT {pieces.named(rows, 'INSERT', 'w')}, {pieces.values(columns, 'w')},"
            f"       {pieces.hashed(rows, 'w')}"
            f"  FROM {rows.want} w JOIN {rows.effects} e ON e.n = w.{rows.n}"
            f" WHERE e.active AND {which} AND e.root = {root} ORDER BY e.n"
        )
        head = f"WITH done AS (INSERT INTO {rows.family.name} AS t"
        head += f" ({names}) OVERRIDING SYSTEM VALUE VALUES\n" if columns else " DEFAULT VALUES"
        tail = f"\n RETURNING {pieces.hashed(rows, 't')} AS h)\n"
        together = self._to_itself(root) and bool(columns)
        await self._each(query, head, tail, together=together, bare=not columns)

    async def _delete(self, root: int, relid: int, *, movers: bool) -> None:
        rows = self.settled.laid.rows[root]
        self.quiet(on=root in self.sequence.silent)
        heap = rows.family.heaps[relid].name
        which = "e.op = 'U' AND e.mover" if movers else "e.op = 'D'"
        query = (
            f"SELECT {pieces.named(rows, 'DELETE', 'r')}, {pieces.was(rows)}, NULL"
            f"  FROM {pieces.there(rows)}"
            f" WHERE e.active AND {which} AND m.relid = {relid} ORDER BY e.n"
        )
        acting = [key for key in self._keys(root) if key.on_delete in _ACTS]
        if acting:
            async for _, values, _ in self._rows(query):
                self.say(
                    f"SELECT FROM ONLY {heap} AS t, (VALUES\n  {values})\n"
                    f" AS was ({pieces.names(rows)}) WHERE {pieces.found(rows)} FOR UPDATE OF t;\n"
                )
        tail = ")"
        for number, key in enumerate(acting):
            itself = self.settled.tables.roots.get(key.child) == root
            stays = (
                f" AND NOT EXISTS (SELECT FROM was WHERE {pieces.found(rows, 'c')})"
                if itself
                else ""
            )
            tail += (
                f",\n other{number} AS (SELECT FROM {key.child_name} c, was"
                f" WHERE {paired(key, 'was', 'c')}{stays})"
            )
        head = f"WITH was ({pieces.names(rows)}) AS (VALUES\n"
        tail += f",\n done AS (DELETE FROM ONLY {heap} AS t USING was WHERE {pieces.found(rows)}"
        tail += " RETURNING 1)\n"
        alone = "".join(f" AND NOT EXISTS (SELECT FROM other{n})" for n in range(len(acting)))
        together = self._to_itself(root)
        await self._each(query, head, tail, together=together, fits=f"true{alone}")

    async def _update(self, root: int, relid: int) -> None:
        rows = self.settled.laid.rows[root]
        if not rows.settable:
            return
        self.quiet(on=root in self.sequence.silent)
        heap = rows.family.heaps[relid].name
        query = (
            f"SELECT {pieces.named(rows, 'UPDATE', 'r')}, {pieces.was(rows)},"
            f"       {pieces.hashed(rows, 'w')}, {pieces.given(rows)}"
            f"  FROM {pieces.there(rows)} JOIN {rows.want} w ON w.{rows.n} = e.n"
            f" WHERE e.active AND e.op = 'U' AND NOT e.mover AND m.relid = {relid} ORDER BY e.n"
        )
        async for what, values, expected, given in self._rows(query):
            self.say(
                f"WITH was ({pieces.names(rows)}) AS (VALUES\n  {values}),\n"
                f" done AS (UPDATE ONLY {heap} AS t SET {given}\n"
                f"  FROM was WHERE {pieces.found(rows)}\n"
                f"  RETURNING {pieces.hashed(rows, 't')} AS h)\n"
                f"{pieces.checked(what, 1, pieces.summed(expected))}"
            )

    async def _each(
        self,
        query: str,
        head: str,
        tail: str,
        *,
        together: bool,
        fits: str | None = None,
        bare: bool = False,
    ) -> None:
        """A statement for each row, or one for all."""
        count, total, what = 0, 0, ""
        async for what, values, expected in self._rows(query):
            if together and count:
                self.say(f",\n  {values}")
            else:
                self.say(head if bare else f"{head}  {values}")
            count, total = count + 1, total + (expected or 0)
            if not together:
                self.say(tail + pieces.checked(what, 1, fits or pieces.summed(expected)))
        if together and count:
            self.say(tail + pieces.checked(what, count, fits or pieces.summed(total)))

    async def constraints(self) -> None:
        """What the server did not watch where triggers were off, for the rows that were written."""
        silent = self.sequence.silent & set(self.planned)
        roots, laid = self.settled.tables.roots, self.settled.laid
        for key in self.settled.tables.foreign_keys:
            parent, child = roots.get(key.parent, 0), roots.get(key.child, 0)
            if child in silent and not key.temporal:
                await self._refers(laid.rows[child], key)
            if parent in silent and not key.temporal:
                await self._referred(laid.rows[parent], key)
        for root in silent:
            rows = laid.rows[root]
            for unique in rows.family.uniques:
                if not unique.immediate:
                    found = unique.clash("t", "x")
                    there, wanted = unique.item(rows.family.source, "t"), unique.item("x", "x")
                    source = f"SELECT FROM {there}, {wanted} WHERE {found}"
                    count = f"(SELECT GREATEST(pg_catalog.count(*), 1) FROM ({source}) y)"
                    nulls = unique.made or not unique.nulls_distinct
                    query = self._wanted(rows, unique.columns, "true", nulls=nulls)
                    await self._check(query, unique.name, unique.columns, count, 1)

    async def _refers(self, rows: Rows, key: ForeignKey) -> None:
        """What a row refers to is there, and stays."""
        heaps = ", ".join(map(str, sorted(key.child_heaps)))
        there = f"SELECT FROM {key.parent_name} p, x WHERE {paired(key, 'p', 'x')}"
        count = f"(SELECT pg_catalog.count(*) FROM ({there} FOR KEY SHARE OF p) y)"
        query = self._wanted(rows, key.child_columns, f"e.first_relid IN ({heaps})")
        await self._check(query, key.name, key.child_columns, count, 1)

    async def _referred(self, rows: Rows, key: ForeignKey) -> None:
        """Nothing refers to what is gone."""
        columns = pieces.columns_of(rows, key.parent_columns)
        full = " AND ".join(f"r.{quote_ident(c.name)} IS NOT NULL" for c in columns)
        query = (
            f"SELECT DISTINCT {pieces.values(columns, 'r')} FROM {pieces.there(rows)}"
            f" WHERE e.active AND e.root = {rows.family.root} AND {full}"
        )
        parent = f"SELECT FROM {key.parent_name} p WHERE {paired(key, 'p', 'c')}"
        count = (
            f"(SELECT pg_catalog.count(*) FROM {key.child_name} c, x"
            f" WHERE {paired(key, 'x', 'c')} AND NOT EXISTS ({parent}))"
        )
        await self._check(query, key.name, key.parent_columns, count, 0)

    def _wanted(
        self, rows: Rows, names: tuple[str, ...], where: str, *, nulls: bool = False
    ) -> str:
        columns = pieces.columns_of(rows, names)
        full = " AND ".join(f"w.{quote_ident(c.name)} IS NOT NULL" for c in columns)
        full = "true" if nulls else full
        return (
            f"SELECT DISTINCT {pieces.values(columns, 'w')}"
            f"  FROM {rows.want} w JOIN {rows.effects} e ON e.n = w.{rows.n}"
            f" WHERE e.active AND e.op <> 'D' AND {where} AND {full}"
        )

    async def _check(
        self, query: str, name: str, columns: tuple[str, ...], count: str, wanted: int
    ) -> None:
        names = ", ".join(quote_ident(column) for column in columns)
        async for (values,) in self._rows(query):
            self.say(
                f"WITH x ({names}) AS (VALUES {values})\n"
                f"SELECT pg_temp.hotrollback_check({quote_literal(f'constraint {name}')},"
                f" {count}, {wanted}, true);\n"
            )

    async def _rows(self, query: str) -> AsyncIterator[Any]:
        cursor = f"hotrollback_q{next(serial)}"
        await self.db.execute(f"DECLARE {cursor} NO SCROLL CURSOR FOR {query}")
        while page := await self.db.fetch(f"FETCH {_PAGE} FROM {cursor}"):
            for row in page:
                yield row
        await self.db.execute(f"CLOSE {cursor}")
