"""Which server a case runs on, in the everyday run: each on one of them, by turns."""

import re
import zlib
from collections.abc import Sequence

VERSION = re.compile(r"\bpg(\d+)\b")


def by_turns(tests: Sequence[str]) -> set[str]:
    """Of the ids of tests, those to run: of a case that is there for several versions of
    PostgreSQL one, and of the next case of the same file the next one. Files begin differently."""
    versions: dict[tuple[str, str], list[str]] = {}
    for test in tests:
        versions.setdefault(case_of(test), []).append(test)
    kept: set[str] = set()
    turns: dict[str, int] = {}
    for (file, _), same in versions.items():
        turn = turns.setdefault(file, zlib.crc32(file.encode()))
        kept.add(same[turn % len(same)])
        turns[file] += len(same) > 1
    return kept


def case_of(test: str) -> tuple[str, str]:
    """Its file, and what it is whatever the version."""
    file, _, name = test.partition("::")
    return file, VERSION.sub("pg", name)
