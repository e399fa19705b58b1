"""How figures are kept: ratios with their spread, and what one has to know to compare them.

Not: what is measured, pictures.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Self

from rich.console import Console
from targets import Bed, filesystem

from proxy.compiled import COMPILED

HERE = Path(__file__).parent
LOCAL = HERE / "results" / "local"
WIDTH = 150  # of a table where no terminal says how wide it is
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of figures of the same rounds: the median over the rounds, the lowest and the highest."""

    ratio: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float], to: Sequence[float]) -> Self:
        ratios = [ours / theirs for ours, theirs in zip(figures, to, strict=True)]
        return cls(median(ratios), min(ratios), max(ratios))

    @property
    def spread(self) -> str:
        return f"{self.low:.2f}..{self.high:.2f}"


def circumstances(ground: Bed) -> dict[str, Any]:
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
        "compiled": COMPILED,
        "python": platform.python_version(),
        "postgresql": ground.ask("SHOW server_version"),
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "filesystem": filesystem(ground.cluster.data),
        **{name: ground.ask(f"SHOW {name}") for name in DURABILITY},
    }


def keep(figures: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")


def terminal() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
