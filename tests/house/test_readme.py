"""What the README tells users to type can be typed."""

import re
import shlex
from pathlib import Path

import pytest

from proxy.cli import parser

ROOT = Path(__file__).parents[2]
TOLD = [
    line
    for name in ("README.md", "docs/gaps.md", "bench/README.md")
    for line in re.findall(
        r"^(?:    )?(hotrollback [a-z].*)$", (ROOT / name).read_text(), re.MULTILINE
    )
]


def test_the_readme_tells_something() -> None:
    assert {line.split()[1] for line in TOLD} >= {
        "demo",
        "install",
        "serve",
        "undo",
        "redo",
        "show",
    }


@pytest.mark.parametrize("line", TOLD)
def test_every_command_is_one(line: str) -> None:
    """With flags that there are; the parser ends the process otherwise."""
    _, *words = shlex.split(line, comments=True)
    assert parser().parse_args(words)
