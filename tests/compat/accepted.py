"""Differences between a suite's direct and its proxied run that are accepted, each with its reason.

A file of `accepted/` has blocks of three parts: `# why`, the name of the test in brackets, and what
differs, line by line. Lines are compared without numbers, since oids and the like shift them. A
suite without a file accepts nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).with_name("accepted")
_NUMBER = re.compile(r"\d+")


def _plain(line: str) -> str:
    return _NUMBER.sub("0", line.rstrip())


def read(suite: str) -> dict[str, set[str]]:
    """By test, the lines that may differ."""
    found: dict[str, set[str]] = {}
    path = FOLDER / f"{suite}.txt"
    name = ""
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1]
            found.setdefault(name, set())
        elif line and not line.startswith("#"):
            found[name].add(_plain(line))
    return found


def judge(suite: str, found: Mapping[str, list[str]], *, complete: bool) -> int:
    """Prints what is not accepted; the exit status."""
    accepted = read(suite)
    status = 0
    for name, lines in sorted(found.items()):
        rest = [line for line in lines if _plain(line) not in accepted.get(name, ())]
        if rest:
            status = 1
            print(f"\n[{name}] {len(rest)} lines differ")
            print("\n".join(rest))
    gone = sorted(set(accepted) - set(found)) if complete else []
    for name in gone:
        status = 1
        print(f"\n[{name}] is accepted to differ, and does not any more")
    return status
