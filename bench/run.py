"""pgbench through PostgreSQL alone, PgBouncer, and this proxy with capture off and on.

    python bench/run.py                  all workloads, about 20 minutes
    python bench/run.py --quick          the same workloads once, one second each
    python bench/run.py --only update --clients 1

Rounds are interleaved: in each, every target runs the same workload in turn, so that a slow minute
of the machine falls on all of them. A ratio is the median, over the rounds, of the target's time
per transaction to direct PostgreSQL's in the same round: 1.5 means one and a half times as long.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from targets import STARTERS, Bed, BenchError, Target, available, bed

from proxy.demo.cluster import ClusterError
from proxy.demo.command import CommandError

HERE = Path(__file__).parent
LOCAL = HERE / "results" / "local" / "latest.json"
SCRIPTS = {
    "select": ["-S"],
    "tpcb": ["-b", "tpcb-like"],
    "update": ["-f", str(HERE / "update.sql")],
}
MODES = ("simple", "extended", "prepared")
CLIENTS = (1, 8)
WARM_UP_TRANSACTIONS = 300
BASE = "direct"
WIDTH = 140  # of the table where no terminal says how wide it is

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

    def ratio(self, target: str) -> float:
        """Time per transaction to the base's, median over the rounds; both ran in each round."""
        pairs = zip(self.tps[BASE], self.tps[target], strict=True)
        return median(base / ours for base, ours in pairs)

    def as_dict(self) -> dict[str, object]:
        targets = {
            name: {"tps": figures, "median": self.median(name), "ratio": self.ratio(name)}
            for name, figures in self.tps.items()
        }
        work = self.workload
        return {
            "script": work.script,
            "mode": work.mode,
            "clients": work.clients,
            "targets": targets,
        }


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
        ground.vacuum()
        # Each round begins with another target: none is always the first after the vacuum.
        first = number % len(ground.targets)
        for target in ground.targets[first:] + ground.targets[:first]:
            tps = pgbench(ground, target, workload, args.scale, "-T", str(args.seconds))
            measured.tps[target.name].append(tps)
    return measured


def table(results: list[Measured], names: tuple[str, ...]) -> Table:
    shown = Table(title="transactions per second, and time per transaction as a ratio to direct")
    shown.add_column("workload", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right")
        if name != BASE:
            shown.add_column("ratio", justify="right")
    previous = None
    for result in results:
        work = result.workload
        if previous not in (None, work.script):
            shown.add_section()
        previous = work.script
        row = [f"{work.script} {work.mode} x{work.clients}"]
        for name in names:
            row.append(f"{result.median(name):,.0f}")
            if name != BASE:
                row.append(f"{result.ratio(name):.2f}")
        shown.add_row(*row)
    return shown


def circumstances(ground: Bed, args: argparse.Namespace) -> dict[str, object]:
    """What somebody needs to know to compare these figures with others."""
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"],
        check=False,
        capture_output=True,
        text=True,
    )
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "hotrollback": version("hotrollback"),
        "python": platform.python_version(),
        "postgresql": ground.tool("psql", "plain", "-XAtc", "SHOW server_version").strip(),
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "scale": args.scale,
    }


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
    parser.add_argument("--clients", action="append", type=int, help="may repeat")
    parser.add_argument("--target", action="append", choices=STARTERS, help="beside direct")
    parser.add_argument("--output", type=Path, default=LOCAL, help=f"default {LOCAL}")
    args = parser.parse_args()
    if args.quick:
        args.rounds = args.seconds = 1
    return args


def main() -> int:
    args = arguments()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    wanted = tuple(args.target or available())
    names = (BASE, *(name for name in wanted if name != BASE))
    workloads = [
        Workload(*choice)
        for choice in product(args.only or SCRIPTS, args.mode or MODES, args.clients or CLIENTS)
    ]
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="hotrollback-bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # PgBouncer reads its configuration as another user
            with bed(folder, args.scale, names) as ground, Progress(console=console) as progress:
                task = progress.add_task("pgbench", total=len(workloads))
                results = []
                for workload in workloads:
                    results.append(measure(ground, workload, args))
                    progress.advance(task)
                facts = circumstances(ground, args)
    except (BenchError, ClusterError, CommandError) as error:
        print(error, file=sys.stderr)
        return 1
    console.print(table(results, names))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figures = {**facts, "results": [result.as_dict() for result in results]}
    args.output.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(f"{time.monotonic() - started:.0f} s; figures in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
