"""Differences between a suite's direct and its proxied run that are accepted, each with its reason.

A file of `accepted/` has blocks of three parts: `# why`, the name of the test in brackets (with a
question mark behind it where it does not differ in every run), and what differs, line by line. Lines
are compared without numbers, since oids and the like shift them. A suite without a file accepts
nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).with_name("accepted")
_NUMBER = re.compile(r"\d+")


def _plain(line: str) -> str:
    return _NUMBER.sub("0", line.rstrip())


@dataclass(frozen=True, slots=True)
class Accepted:
    """`always`: where the test does not differ any more, that is to be said."""

    always: bool
    lines: set[str] = field(default_factory=set)


def read(suite: str) -> dict[str, Accepted]:
    """By test."""
    found: dict[str, Accepted] = {}
    path = FOLDER / f"{suite}.txt"
    name = ""
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1].removesuffix("?")
            found.setdefault(name, Accepted(always=not line.endswith("?]")))
        elif line and not line.startswith("#"):
            found[name].lines.add(_plain(line))
    return found


def judge(suite: str, found: Mapping[str, list[str]], *, complete: bool) -> int:
    """Prints what is not accepted; the exit status."""
    accepted = read(suite)
    status = 0
    for name, lines in sorted(found.items()):
        known = accepted[name].lines if name in accepted else set()
        rest = [line for line in lines if _plain(line) not in known]
        if rest:
            status = 1
            print(f"\n[{name}] {len(rest)} lines differ")
            print("\n".join(rest))
    always = {name for name, known in accepted.items() if known.always}
    gone = sorted(always - set(found)) if complete else []
    for name in gone:
        status = 1
        print(f"\n[{name}] is accepted to differ, and does not any more")
    return status
