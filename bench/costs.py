"""What recording costs beside time per transaction: bytes, and one statement of very many rows.

    python bench/costs.py                          about 15 minutes
    python bench/costs.py --rows 20000 --rounds 1
    python bench/costs.py --only bytes

`bytes`: rows of a narrow table (3 columns) and of a wide one (30, of which an UPDATE changes one)
are inserted, updated and deleted one by one, each in a transaction of its own; WAL, and the log
with indexes and TOAST and without, per row.
`bulk`: one UPDATE of all rows of a table; seconds, and the ratio to direct in the same round.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import asyncpg
from figures import LOCAL, Ratio, circumstances, keep, terminal
from rich.table import Table
from targets import LOGGED, REWRITTEN, STARTERS, Bed, BenchError, Target, bed, tool

from proxy.demo.cluster import Cluster, ClusterError
from proxy.demo.command import CommandError

BASE = "direct"
LATEST = LOCAL / "costs.json"
# All that records, beside what does not.
SHOWN = tuple(name for name in STARTERS if name not in {BASE, "pgbouncer", "capture off"})
# Rows written first, so that plans are there, and the log is past its first range of pages.
WARM_UP = 2000
COLUMNS = 30
KINDS = ("int", "text", "numeric", "timestamptz")
VALUES = ("4711", "'some words of a note'", "1234.56", "'2026-01-31 09:10:11.123456+00'")

# Of every log: its heap alone, and with indexes and TOAST. An audit table is not partitioned.
LOG_SIZE = """
SELECT sum(pg_relation_size(relid))::bigint AS heap,
       sum(pg_total_relation_size(relid))::bigint AS whole
  FROM (SELECT relid FROM pg_partition_tree($1::text::regclass)
         UNION SELECT $1::text::regclass) AS part
"""
# What autovacuum does when a range of pages is full. A VACUUM would take in the last one, too, and
# each row that comes to it afterwards would write the range's summary anew, as in a new partition
# all rows of its first range do.
SUMMARIZE = """
SELECT brin_summarize_range(i.indexrelid, start)
  FROM pg_partition_tree($1::text::regclass) part
  JOIN pg_index i ON i.indrelid = part.relid
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_am m ON m.oid = c.relam AND m.amname = 'brin'
  JOIN LATERAL (SELECT option_value::int FROM pg_options_to_table(c.reloptions)
                 WHERE option_name = 'pages_per_range') AS r (pages) ON true
 CROSS JOIN generate_series(0, pg_relation_size(part.relid) / 8192 - r.pages, r.pages) AS start
 WHERE part.isleaf
"""
WAL = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
ITEMS = """
CREATE TABLE items (id int PRIMARY KEY, name text, price numeric, note text, at timestamptz);
INSERT INTO items SELECT i, 'item ' || i, i % 1000, repeat('x', 40), now()
  FROM generate_series(1, {rows}) i
"""
BULK = "UPDATE items SET price = price + 1"


@dataclass(frozen=True, slots=True)
class Shape:
    """A table whose rows are counted in bytes; `id` is its key, `c1` the column that changes."""

    name: str
    columns: int

    @property
    def create(self) -> str:
        names = (f"c{n} {KINDS[(n - 1) % len(KINDS)]}" for n in range(1, self.columns))
        return f"CREATE TABLE {self.name} (id int PRIMARY KEY, {', '.join(names)})"

    @property
    def statements(self) -> dict[str, str]:
        values = ", ".join(VALUES[(n - 1) % len(VALUES)] for n in range(1, self.columns))
        return {
            "INSERT": f"INSERT INTO {self.name} VALUES ($1, {values})",
            "UPDATE": f"UPDATE {self.name} SET c1 = c1 + 1 WHERE id = $1",
            "DELETE": f"DELETE FROM {self.name} WHERE id = $1",
        }


SHAPES = (Shape("narrow", 3), Shape("wide", COLUMNS))


@dataclass(frozen=True, slots=True)
class Bytes:
    """Per row."""

    wal: float
    log: float  # with its indexes and TOAST
    heap: float  # of the log alone

    def __str__(self) -> str:
        return f"{self.wal:,.0f} {self.log:,.0f} {self.heap:,.0f}"


@dataclass(slots=True)
class Bulk:
    """Of one target: a figure per round."""

    seconds: list[float] = field(default_factory=list)
    bytes: list[Bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Writer:
    """A connection to a target, and one beside it that looks at the server."""

    target: Target
    through: asyncpg.Connection
    beside: asyncpg.Connection

    @property
    def log(self) -> str | None:
        if self.target.name == BASE:
            return None
        recorded = self.target.database in {LOGGED, REWRITTEN}
        return "hotrollback.change" if recorded else "public.audit"

    async def one_by_one(self, sql: str, ids: Iterable[int]) -> None:
        statement = await self.through.prepare(sql)
        for number in ids:
            await statement.fetch(number)

    async def empty_log(self) -> None:
        if self.log is not None:
            await self.beside.execute(f"TRUNCATE {self.log}")

    async def wal_written(self) -> int:
        found: int = await self.beside.fetchval(WAL)
        return found

    async def log_size(self) -> tuple[int, int]:
        """Of the heap, and of it all with its indexes up to date."""
        if self.log is None:
            return 0, 0
        await self.beside.execute(SUMMARIZE, self.log)
        found = await self.beside.fetchrow(LOG_SIZE, self.log)
        assert found is not None
        return found["heap"], found["whole"]

    async def measure(self, rows: int, work: Callable[[], Awaitable[Any]]) -> tuple[float, Bytes]:
        """Seconds of this work, and bytes per row."""
        heap, log = await self.log_size()
        wal = await self.wal_written()
        started = perf_counter()
        await work()
        seconds = perf_counter() - started
        heap_now, log_now = await self.log_size()
        wal = await self.wal_written() - wal
        each = (round(n / rows, 1) for n in (wal, log_now - log, heap_now - heap))
        return seconds, Bytes(*each)


@asynccontextmanager
async def writer(ground: Bed, target: Target) -> AsyncIterator[Writer]:
    through = await asyncpg.connect(
        f"postgresql://postgres@127.0.0.1:{target.port}/{target.database}"
    )
    beside = await asyncpg.connect(ground.cluster.url(target.database))
    try:
        yield Writer(target, through, beside)
    finally:
        await through.close()
        await beside.close()


async def kinds(there: Writer, changes: int) -> AsyncIterator[tuple[str, str, range]]:
    """Name, statement, and the keys that it is run for; each kind has a log of its own."""
    narrow, wide = SHAPES
    ids = range(changes)
    for shape in SHAPES:
        # Targets share databases: none finds rows of another.
        await there.beside.execute(f"TRUNCATE {shape.name}")
        for verb, sql in shape.statements.items():
            await there.empty_log()
            await there.one_by_one(sql, range(-WARM_UP, 0))
            yield f"{shape.name} {verb}", sql, ids
    await there.empty_log()
    for verb in ("INSERT", "UPDATE"):
        await there.one_by_one(wide.statements[verb], ids)
    # Into the room that bigger rows have left at the ends of their pages.
    yield f"{narrow.name} INSERT, after wide", narrow.statements["INSERT"], ids


async def count_bytes(ground: Bed, changes: int) -> dict[str, dict[str, Bytes]]:
    """Per kind of write and target."""
    found: dict[str, dict[str, Bytes]] = {}
    for target in ground.targets:
        async with writer(ground, target) as there:
            async for kind, sql, ids in kinds(there, changes):
                _, each = await there.measure(changes, partial(there.one_by_one, sql, ids))
                found.setdefault(kind, {})[target.name] = each
    return found


async def bulk(ground: Bed, rows: int, rounds: int) -> dict[str, Bulk]:
    found = {target.name: Bulk() for target in ground.targets}
    for number in range(rounds):
        first = number % len(ground.targets)
        for target in ground.targets[first:] + ground.targets[:first]:
            async with writer(ground, target) as there:
                await there.empty_log()
                ground.checkpoint()
                seconds, each = await there.measure(rows, partial(there.through.execute, BULK))
                # Targets share databases: each finds the table as the one before it did.
                await there.beside.execute("VACUUM items")
            found[target.name].seconds.append(round(seconds, 4))
            found[target.name].bytes.append(each)
    return found


def as_figures(found: dict[str, Bulk]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "seconds": one.seconds,
            "median": median(one.seconds),
            **asdict(Ratio.of(one.seconds, found[BASE].seconds)),
            "bytes": [asdict(each) for each in one.bytes],
        }
        for name, one in found.items()
    }


def bytes_table(found: dict[str, dict[str, Bytes]], names: Sequence[str]) -> Table:
    shown = Table(title="bytes per row: WAL, log with indexes and TOAST, its heap alone")
    shown.add_column("", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right")
    for kind, of_targets in found.items():
        shown.add_row(kind, *(str(of_targets[name]) for name in names))
    return shown


def bulk_table(found: dict[str, Bulk], rows: int) -> Table:
    shown = Table(title=f"one UPDATE of {rows:,} rows")
    shown.add_column("")
    for column in ("seconds", "ratio to direct", "spread", "bytes per row"):
        shown.add_column(column, justify="right")
    for name, one in found.items():
        ratio = Ratio.of(one.seconds, found[BASE].seconds)
        figures = (f"{median(one.seconds):.2f}", f"{ratio.ratio:.2f}", ratio.spread)
        shown.add_row(name, *figures, str(one.bytes[-1]))
    return shown


async def run(ground: Bed, args: argparse.Namespace) -> dict[str, Any]:
    """What was measured, shown as soon as it is there."""
    figures: dict[str, Any] = {}
    if args.only != "bulk":
        counted = await count_bytes(ground, args.changes)
        terminal().print(bytes_table(counted, [target.name for target in ground.targets]))
        figures["bytes per row"] = {
            kind: {name: asdict(each) for name, each in of_targets.items()}
            for kind, of_targets in counted.items()
        }
    if args.only != "bytes":
        timed = await bulk(ground, args.rows, args.rounds)
        terminal().print(bulk_table(timed, args.rows))
        figures["bulk"] = as_figures(timed)
    return figures


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the bulk UPDATE")
    parser.add_argument("--rounds", type=int, default=3, help="of the bulk UPDATE")
    parser.add_argument("--changes", type=int, default=2_000, help="of a kind, to count bytes")
    parser.add_argument("--only", choices=("bytes", "bulk"))
    parser.add_argument("--target", action="append", choices=SHOWN, help="beside direct")
    parser.add_argument(
        "--durable", action="store_true", help="fsync and synchronous_commit on, on a disk"
    )
    parser.add_argument("--output", type=Path, default=LATEST, help=f"default {LATEST}")
    return parser.parse_args()


def main() -> int:
    args = arguments()

    def fill(cluster: Cluster, database: str) -> None:
        texts = [*(shape.create for shape in SHAPES), ITEMS.format(rows=args.rows)]
        for text in (*texts, "VACUUM ANALYZE"):
            tool(cluster, "psql", database, "-qX", "-v", "ON_ERROR_STOP=1", "-c", text)

    try:
        with tempfile.TemporaryDirectory(prefix="hotrollback-costs-") as name:
            names = (BASE, *(args.target or SHOWN))
            with bed(Path(name), names, fill, durable=args.durable) as ground:
                figures = asyncio.run(run(ground, args))
                facts = circumstances(ground)
    except (BenchError, ClusterError, CommandError) as error:
        print(error, file=sys.stderr)
        return 1
    sizes = {name: getattr(args, name) for name in ("rows", "rounds", "changes")}
    keep({**facts, **sizes, **figures}, args.output)
    print(f"figures in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
