"""What an undo costs: beside one UPDATE written by hand, and out of a long log.

    python bench/undoing.py                    about 15 minutes
    python bench/undoing.py --rows 100000 --log 1000000 --rounds 1

`bulk`: an UPDATE of all rows of a table is undone; beside it, in the same round, one UPDATE that
sets the same rows back from a copy of the table, on the same server, in a database without a log.
`needle`: 100 rows under a tag of their own are undone out of a log of other changes.
"""

import argparse
import asyncio
import json
import platform
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from proxy.demo.cluster import Cluster, embedded_binaries
from proxy.demo.command import call
from undo import engine
from undo.model import Outcome
from undo.request import Selection, UndoRequest

HERE = Path(__file__).parent
LOCAL = HERE / "results" / "local" / "undo.json"
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"}
FILL = """
CREATE TABLE items (id int PRIMARY KEY, name text, price numeric, note text, at timestamptz);
INSERT INTO items SELECT i, 'item ' || i, i % 1000, repeat('x', 40), now()
  FROM generate_series(1, {rows}) i
"""
DAMAGE = "UPDATE items SET price = price * 2"
BY_HAND = "UPDATE items t SET price = c.price FROM copy c WHERE c.id = t.id"
# Of another table, a hundred in a transaction.
FILLER = """
INSERT INTO hotrollback.change (lsn, xid, at, old_tid, new_tid, relid, key, op, before, after)
SELECT pg_current_wal_insert_lsn(), $3 + i / 100, clock_timestamp(),
       format('(%s,%s)', i / 100, i % 100 + 1)::tid,
       format('(%s,%s)', i / 100 + 1, i % 100 + 1)::tid,
       'filler'::regclass, hash_record(ROW(i)), 'U',
       json_build_object('id', i, 'note', repeat('y', 40)), json_build_object('id', i, 'note', '')
  FROM generate_series($1::int, $2) i
"""


@dataclass(slots=True)
class Figures:
    """Seconds, one figure per round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def measure(self, name: str, work: Awaitable[Any]) -> Any:
        started = time.perf_counter()
        done = await work
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)
        return done

    def ratio(self, name: str, to: str) -> float:
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        return median(ours / theirs for ours, theirs in pairs)


async def undo(db: asyncpg.Connection, tag: str, progress: Callable[[str, int, int], None]) -> None:
    report = await engine.run(db, UndoRequest(Selection(tag=tag), by="bench"), progress=progress)
    if report.outcome is not Outcome.DONE:
        raise SystemExit(f"the undo of {tag} ended with {report.outcome}: {report.message}")


async def bulk(cluster: Cluster, rows: int, rounds: int, figures: Figures) -> None:
    logged = await asyncpg.connect(cluster.url("logged"))
    plain = await asyncpg.connect(cluster.url("plain"))
    await plain.execute(FILL.format(rows=rows))
    await plain.execute("CREATE TABLE copy AS TABLE items; ANALYZE")
    await logged.execute(FILL.format(rows=rows))
    stages: dict[str, float] = {}
    for number in range(rounds):
        await plain.execute(DAMAGE)
        await plain.execute("VACUUM ANALYZE items")
        await figures.measure("by hand", plain.execute(BY_HAND))
        await logged.execute(f"SET hotrollback.tag = 'bulk {number}'")
        await figures.measure("recorded", logged.execute(DAMAGE))
        await logged.execute("RESET hotrollback.tag")
        await logged.execute("VACUUM ANALYZE items")
        watch = Stages(stages)
        await figures.measure("undo", undo(logged, f"bulk {number}", watch))
        watch("end", 0, 0)
        await logged.execute("VACUUM items")
        await plain.execute("VACUUM items")
    print({stage: round(seconds / rounds, 2) for stage, seconds in stages.items()})
    await logged.close()
    await plain.close()


class Stages:
    """Seconds between the stages that an undo tells of."""

    def __init__(self, into: dict[str, float]) -> None:
        self.into, self.stage, self.since = into, "", time.perf_counter()

    def __call__(self, stage: str, _done: int, _total: int) -> None:
        now = time.perf_counter()
        if self.stage:
            self.into[self.stage] = self.into.get(self.stage, 0) + now - self.since
        self.stage, self.since = stage, now


async def needle(cluster: Cluster, log: int, rounds: int, figures: Figures) -> None:
    db = await asyncpg.connect(cluster.url("needle"))
    await db.execute("CREATE TABLE filler (id int PRIMARY KEY, note text)")
    await db.execute(FILL.format(rows=1000))
    first = await db.fetchval("SELECT pg_current_xact_id()::text::bigint")
    await db.execute("SELECT pg_current_xact_id()")
    step = 500_000
    for start in range(0, log, step):
        await db.execute("SET synchronous_commit = off")
        await db.execute(FILLER, start, min(start + step, log) - 1, first - 10_000_000)
    await db.execute("VACUUM ANALYZE hotrollback.change")
    for number in range(rounds):
        await db.execute(f"SET hotrollback.tag = 'needle {number}'")
        await db.execute("UPDATE items SET price = -1 WHERE id <= 100")
        await db.execute("RESET hotrollback.tag")
        await figures.measure(
            "100 rows out of the log", undo(db, f"needle {number}", lambda *_: None)
        )
    await db.close()


async def run(args: argparse.Namespace) -> Figures:
    figures = Figures()
    with Cluster(embedded_binaries(), SETTINGS) as cluster:
        admin = await asyncpg.connect(cluster.url("postgres"))
        for name in ("plain", "logged", "needle"):
            await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()
        for name in ("logged", "needle"):
            call("install", "--upstream", cluster.url(name))
        if args.only in {None, "bulk"}:
            await bulk(cluster, args.rows, args.rounds, figures)
        if args.only in {None, "needle"}:
            await needle(cluster, args.log, args.rounds, figures)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the bulk UPDATE")
    parser.add_argument("--log", type=int, default=10_000_000, help="changes in the long log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("bulk", "needle"))
    parser.add_argument("--output", type=Path, default=LOCAL)
    args = parser.parse_args()
    figures = asyncio.run(run(args))
    said: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "hotrollback": version("hotrollback"),
        "rows": args.rows,
        "log": args.log,
        "seconds": {name: [round(s, 4) for s in found] for name, found in figures.seconds.items()},
        "peak memory of the undoing process, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        // 1024,
    }
    if "undo" in figures.seconds:
        said["ratio of the undo to by hand"] = round(figures.ratio("undo", "by hand"), 2)
        said["ratio of recording to by hand"] = round(figures.ratio("recorded", "by hand"), 2)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(said, indent=2) + "\n")
    print(json.dumps(said, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
