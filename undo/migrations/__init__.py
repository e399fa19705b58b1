"""The numbered steps that make the log's schema, in SQL files beside this one. Forward only: a file
that was released is never changed; functions carry a version, so that an older proxy finds its own.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All of them, in order; they are numbered from 1 without holes."""
    found = []
    for entry in files(__name__).iterdir():
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, entry.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


def current() -> int:
    """The version of the schema that this program works with."""
    return migrations()[-1].number
