"""In which order tables are written, which rows are parked meanwhile, and where the server's own
triggers must be silent. Pure.

Two sequences, each right for what the other is not. Rows come before rows go: then foreign keys
hold at every moment. Rows go before rows come: needed where a value that must be unique passes
from one row of the undo to another. A foreign key that the sequence would break in between, or
that would act on a changed key, is checked by the undo itself instead (`silent`): the triggers of
both its tables are off while these are written.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from undo.log import DELETE, INSERT, UPDATE
from undo.tables import ForeignKey, Tables


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done in one family."""

    inserts: int
    updates: int
    deletes: int
    movers: int  # of the updates: rows that are deleted and inserted again
    rekeyed: frozenset[int] = frozenset()  # positions of foreign keys whose parent's key changes
    repointed: frozenset[int] = frozenset()  # positions of those whose child refers elsewhere


@dataclass(frozen=True, slots=True)
class Sequence:
    parents_first: tuple[int, ...]  # roots; for deletes it is read backwards
    deletes_first: bool
    silent: frozenset[int]

    def steps(self, roots: Collection[int]) -> Iterator[tuple[str, int]]:
        """What is done, as an op letter, and to which of these families; one after the other."""
        forwards = [root for root in self.parents_first if root in roots]
        for op in (DELETE, UPDATE, INSERT) if self.deletes_first else (INSERT, UPDATE, DELETE):
            for root in reversed(forwards) if op == DELETE else forwards:
                yield op, root


def order(tables: Tables, work: Mapping[int, Work], *, collisions: bool) -> Sequence:
    """`collisions`: some unique value passes from row to row."""
    edges = [
        (position, tables.roots.get(key.parent, 0), tables.roots.get(key.child, 0), key)
        for position, key in enumerate(tables.foreign_keys)
    ]
    links = {(parent, child) for _, parent, child, _ in edges if parent in work and child in work}
    sequence, circular = _parents_first(sorted(work), links)
    silent = {
        root for root in work if any(heap.acting for heap in tables.families[root].heaps.values())
    }
    for position, parent, child, key in edges:
        hazards = (
            parent in work and position in work[parent].rekeyed and not _waits(key),
            parent in work and work[parent].movers > 0,
            (parent, child) in circular and not _deferred(key),
            parent == child and parent in work and _clashes_with_itself(work[parent], key),
            collisions
            and parent in work
            and child in work
            and _between(work[parent], work[child], position)
            and not _deferred(key),
        )
        if any(hazards):
            silent.update(root for root in (parent, child) if root in work)
    return Sequence(tuple(sequence), collisions, frozenset(silent))


def _deferred(key: ForeignKey) -> bool:
    """Checked at the end, as far as it is asked: RESTRICT never waits."""
    return key.deferrable and key.on_delete != "r"


def _waits(key: ForeignKey) -> bool:
    """A changed key is looked at only at the end, and nothing is done about it."""
    return key.deferrable and key.on_update == "a"


def _clashes_with_itself(work: Work, key: ForeignKey) -> bool:
    return (key.on_delete == "r" and work.deletes > 0) or bool(work.movers)


def _between(parent: Work, child: Work, position: int) -> bool:
    """With deletes first: rows refer to what is gone already, or not there yet."""
    return position in child.repointed and parent.deletes + parent.inserts + parent.movers > 0


def _parents_first(
    roots: Iterable[int], links: set[tuple[int, int]]
) -> tuple[list[int], set[tuple[int, int]]]:
    """Every parent before its children, and the links of circles, where that cannot be."""
    circular = {(p, c) for p, c in links if p != c and p in _below(c, links)}
    left = list(roots)
    sequence: list[int] = []
    while left:
        free = [
            root
            for root in left
            if not any(c == root and p in left and p != root for p, c in links - circular)
        ]
        sequence += free
        left = [root for root in left if root not in free]
    return sequence, circular


def _below(root: int, links: set[tuple[int, int]]) -> set[int]:
    """Children, their children, and so on."""
    found: set[int] = set()
    new = {root}
    while new:
        new = {c for p, c in links if p in new} - found
        found |= new
    return found
