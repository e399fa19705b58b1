"""The figures of run.py as a picture: a bar for each workload and target, with its spread.

    python bench/plot.py bench/results/local/latest.json latest.svg

A bar is time per transaction to direct PostgreSQL's, so direct is the line at 1.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pygal import Bar
from pygal.style import Style

BAR_WIDTH = 11
SMALLEST = 800
STYLE = Style(background="white", plot_background="white")


def machine(figures: Mapping[str, Any]) -> str:
    return f"{figures['cpus']} cores, fsync {figures['fsync']}"


def bar(found: Mapping[str, float]) -> dict[str, Any]:
    return {"value": round(found["ratio"], 2), "ci": {"low": found["low"], "high": found["high"]}}


def drawn(figures: Mapping[str, Any]) -> bytes:
    """An SVG that loads nothing from elsewhere."""
    results = figures["results"]
    names = [name for name in results[0]["targets"] if name != "direct"]
    chart = Bar(
        js=(),
        style=STYLE,
        title=f"time per transaction (direct: 1); {machine(figures)}",
        width=max(SMALLEST, BAR_WIDTH * (len(names) + 1) * len(results)),
        x_label_rotation=30,
        legend_at_bottom_columns=4,
        truncate_legend=-1,
        legend_at_bottom=True,
        include_x_axis=True,
    )
    chart.x_labels = [f"{work['script']} {work['mode']} x{work['clients']}" for work in results]
    for name in names:
        chart.add(name, [bar(work["targets"][name]) for work in results])
    svg: bytes = chart.render()
    return svg


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", type=Path, help="JSON that run.py wrote")
    parser.add_argument("picture", type=Path, help="SVG to write")
    args = parser.parse_args()
    args.picture.write_bytes(drawn(json.loads(args.figures.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
