"""pgbench through PostgreSQL alone, PgBouncer, this proxy with capture off and on, and triggers.

    python bench/run.py                  all workloads, about 25 minutes
    python bench/run.py --quick          the same workloads once, one second each
    python bench/run.py --only update --clients 1 64
    python bench/run.py --durable --plot durable.svg

Rounds are interleaved: in each, every target runs the same workload in turn, so that a slow minute
of the machine falls on all of them. A ratio is the median, over the rounds, of the target's time
per transaction to direct PostgreSQL's in the same round: 1.5 means one and a half times as long.
The spread is from the lowest of these ratios to the highest.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from figures import HERE, LOCAL, Ratio, circumstances, keep, terminal
from rich.progress import Progress
from rich.table import Table
from targets import STARTERS, Bed, BenchError, Target, available, bed, tool

from proxy.demo.cluster import Cluster, ClusterError
from proxy.demo.command import CommandError

LATEST = LOCAL / "latest.json"
SCRIPTS = {
    "select": ["-S"],
    "tpcb": ["-b", "tpcb-like"],
    "update": ["-f", str(HERE / "update.sql")],
}
MODES = ("simple", "extended", "prepared")
CLIENTS = (1, 8)
WARM_UP_TRANSACTIONS = 300
BASE = "direct"
VACUUMED = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers")

TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Workload:
    script: str
    mode: str
    clients: int


@dataclass(slots=True)
class Measured:
    """Transactions per second of one workload: for each target one figure per round."""

    workload: Workload
    tps: dict[str, list[float]] = field(default_factory=dict)

    def median(self, target: str) -> float:
        return median(self.tps[target])

    def ratio(self, target: str) -> Ratio:
        """Time per transaction to the base's; both ran in each round."""
        return Ratio.of(self.tps[BASE], self.tps[target])

    def as_dict(self) -> dict[str, object]:
        targets = {
            name: {"tps": tps, "median": self.median(name), **asdict(self.ratio(name))}
            for name, tps in self.tps.items()
        }
        return {**asdict(self.workload), "targets": targets}


def pgbench(ground: Bed, target: Target, workload: Workload, scale: int, *length: str) -> float:
    """One run; transactions per second without the time to connect."""
    threads = min(workload.clients, os.cpu_count() or 1)
    said = ground.tool(
        *("pgbench", target.database, "-n", *SCRIPTS[workload.script], "-D", f"scale={scale}"),
        *("-M", workload.mode, "-c", str(workload.clients), "-j", str(threads), *length),
        port=target.port,
    )
    failed = FAILED.search(said)
    tps = TPS.search(said)
    if tps is None or (failed is not None and failed[1] != "0"):
        raise BenchError(f"{target.name}, {workload}: not a clean run:\n{said}")
    return float(tps[1])


def measure(ground: Bed, workload: Workload, args: argparse.Namespace) -> Measured:
    measured = Measured(workload, {target.name: [] for target in ground.targets})
    warm_up = str(WARM_UP_TRANSACTIONS // workload.clients)
    for target in ground.targets:
        pgbench(ground, target, workload, args.scale, "-t", warm_up)
    for number in range(args.rounds):
        ground.vacuum(*VACUUMED)
        # Each round begins with another target: none is always the first after the vacuum.
        first = number % len(ground.targets)
        for target in ground.targets[first:] + ground.targets[:first]:
            ground.checkpoint()
            tps = pgbench(ground, target, workload, args.scale, "-T", str(args.seconds))
            measured.tps[target.name].append(tps)
    return measured


def table(results: list[Measured], names: tuple[str, ...]) -> Table:
    shown = Table(
        title="transactions per second; time per transaction as a ratio to direct, and its spread"
    )
    shown.add_column("workload", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right")
    previous = None
    for result in results:
        work = result.workload
        if previous not in (None, work.script):
            shown.add_section()
        previous = work.script
        row = [f"{work.script} {work.mode} x{work.clients}"]
        for name in names:
            cell = f"{result.median(name):,.0f}"
            if name != BASE:
                ratio = result.ratio(name)
                cell += f"  {ratio.ratio:.2f}\n{ratio.spread}"
            row.append(cell)
        shown.add_row(*row)
    return shown


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of one run")
    parser.add_argument("--scale", type=int, default=10, help="of the pgbench tables")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--only", action="append", choices=SCRIPTS, help="this script; may repeat")
    parser.add_argument("--mode", action="append", choices=MODES, help="may repeat")
    parser.add_argument(
        "--clients", action="extend", nargs="+", type=int, help="at once, e.g. 1 8 64; default 1 8"
    )
    parser.add_argument("--target", action="append", choices=STARTERS, help="beside direct")
    parser.add_argument(
        "--durable", action="store_true", help="fsync and synchronous_commit on, on a disk"
    )
    parser.add_argument("--output", type=Path, default=LATEST, help=f"default {LATEST}")
    parser.add_argument("--plot", type=Path, help="an SVG of the ratios; needs the extra bench")
    args = parser.parse_args()
    args.clients = args.clients or list(CLIENTS)
    if args.quick:
        args.rounds = args.seconds = 1
    return args


def run(args: argparse.Namespace, names: tuple[str, ...]) -> tuple[list[Measured], dict[str, Any]]:
    """What was measured, and under which circumstances."""
    workloads = [
        Workload(*choice)
        for choice in product(args.only or SCRIPTS, args.mode or MODES, args.clients)
    ]

    def fill(cluster: Cluster, database: str) -> None:
        tool(cluster, "pgbench", database, "-i", "-q", "-s", str(args.scale))

    with tempfile.TemporaryDirectory(prefix="hotrollback-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PgBouncer reads its configuration as another user
        ground = bed(folder, names, fill, durable=args.durable, clients=max(args.clients))
        with ground as there, Progress(console=terminal()) as progress:
            task = progress.add_task("pgbench", total=len(workloads))
            results = []
            for workload in workloads:
                results.append(measure(there, workload, args))
                progress.advance(task)
            return results, circumstances(there)


def main() -> int:
    args = arguments()
    if args.plot:
        import plot  # noqa: PLC0415  only a picture needs pygal: said now, not after the runs
    wanted = tuple(args.target or available())
    names = (BASE, *(name for name in wanted if name != BASE))
    started = time.monotonic()
    try:
        results, facts = run(args, names)
    except (BenchError, ClusterError, CommandError) as error:
        print(error, file=sys.stderr)
        return 1
    terminal().print(table(results, names))
    figures = {
        **facts,
        **{name: getattr(args, name) for name in ("rounds", "seconds", "scale")},
        "results": [result.as_dict() for result in results],
    }
    keep(figures, args.output)
    if args.plot:
        args.plot.write_bytes(plot.drawn(figures))
    print(f"{time.monotonic() - started:.0f} s; figures in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
