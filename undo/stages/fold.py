"""From changes to effects: what the selection did to each row, however often it wrote it.

Pure. A change follows the change that made the row version which it replaced: versions chain by
(relation, tid). Within a transaction a tid is used once, unless the table is truncated in it. What
was recorded in the other order is either a row that an AFTER trigger changed again, recorded before
its first change, or another row in the place of one that is gone. Between transactions a tid may be
used again, or a table rewritten (VACUUM FULL), and the key has to confirm a link. What nothing
confirms is a *doubt*: the caller looks at the images and says what it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from undo.model import Change, Effect, Tid

Version = tuple[int, Tid]
Link = tuple[int, int]  # positions of a change and of the one that may follow it


class Answer(Enum):
    """What the images say of a doubtful link."""

    SAME = auto()  # the later one found exactly what the earlier one left
    KEY = auto()  # the same row, but something unrecorded stands between
    OTHER = auto()  # another row


@dataclass(slots=True)
class Folded:
    effects: list[Effect]
    doubts: list[Link]  # to be answered; then fold again


@dataclass(slots=True)
class _Row:
    """A chain that grows; `broken` holds the positions before which something is missing."""

    members: list[int]
    broken: list[int] | None = None


Known = tuple[Mapping[int, int], Mapping[Link, Answer], list[Link]]  # roots, answers, doubts


def fold(
    changes: Sequence[Change],
    roots: Mapping[int, int],
    answers: Mapping[Link, Answer],
) -> Folded:
    """Effects of the selected changes, in the order of their first change.

    `roots` maps a partition to its topmost table: keys are unique there. The effects are right
    when there are no doubts left.
    """
    doubts: list[Link] = []
    known = (roots, answers, doubts)
    rows = _join(changes, _within(changes, known), known)
    effects = [effect for row in rows if (effect := _effect(changes, row)) is not None]
    return Folded(effects, doubts)


def duplicates(changes: Sequence[Change]) -> set[int]:
    """Positions of changes that were recorded once already: by rewriting and by a trigger that
    was attached at that moment. A move to another partition is one update to the one and a
    delete and an insert to the other; the update is kept, and what is exact before what may not
    be."""
    olds = [(c.xid, c.relid, c.old_tid) for c in changes if c.old_tid is not None]
    news = [(c.xid, c.new_relid, c.new_tid) for c in changes if c.new_tid is not None]
    if len(set(olds)) == len(olds) and len(set(news)) == len(news):
        return set()
    turns = _turns(changes)
    seen: dict[tuple[int, bool, Version, int], int] = {}
    extra: set[int] = set()
    best_first = sorted(
        range(len(changes)), key=lambda i: (changes[i].stale, changes[i].op != "U", i)
    )
    for position in best_first:
        change = changes[position]
        ends = [
            (change.xid, is_new, version, turns[position, is_new])
            for is_new, version in ((False, _old(change)), (True, _new(change)))
            if version is not None
        ]
        if any(end in seen for end in ends):
            extra.add(position)
        else:
            seen.update(dict.fromkeys(ends, position))
    return extra


def _turns(changes: Sequence[Change]) -> dict[tuple[int, bool], int]:
    """How often a version had been made and replaced by turns when a change made or replaced it: to
    make it once more after it was replaced, in the same transaction, is not the same again."""
    found: dict[tuple[int, bool], int] = {}
    last: dict[tuple[int, Version], tuple[bool, int]] = {}
    for position, change in enumerate(changes):
        for is_new, version in ((False, _old(change)), (True, _new(change))):
            if version is None:
                continue
            was_new, turn = last.get((change.xid, version), (is_new, 0))
            turn += was_new is not is_new
            last[change.xid, version] = (is_new, turn)
            found[position, is_new] = turn
    return found


def _old(change: Change) -> Version | None:
    return (change.relid, change.old_tid) if change.old_tid is not None else None


def _new(change: Change) -> Version | None:
    return (change.new_relid, change.new_tid) if change.new_tid is not None else None


def _within(changes: Sequence[Change], known: Known) -> list[list[int]]:
    """The pieces of chains that one transaction made, by the order of their first record."""
    extra = duplicates(changes)
    positions = [i for i in range(len(changes)) if i not in extra] if extra else range(len(changes))
    heads, follows = _links(changes, positions, known)
    if not follows:
        return [[head] for head in heads]
    pieces: list[list[int]] = []
    for head in heads:
        piece = [head]
        while (after := follows.get(piece[-1])) is not None:
            piece.append(after)
        pieces.append(piece)
    pieces.sort(key=lambda piece: min(changes[i].lsn for i in piece))
    return pieces


def _links(
    changes: Sequence[Change], positions: Sequence[int], known: Known
) -> tuple[list[int], dict[int, int]]:
    """Which changes follow none of their transaction, and which follows which. What was recorded
    before the one that seems to have made its version comes last: that one may have made it for
    another, and otherwise the images have to say so."""
    makers: dict[tuple[int, int, Tid], list[int]] = {}
    for position in positions:
        change = changes[position]
        if change.new_tid is not None:
            makers.setdefault((change.xid, change.new_relid, change.new_tid), []).append(position)
    follows: dict[int, int] = {}
    heads: list[int] = []
    early: list[tuple[int, list[int]]] = []
    for position in positions:
        change = changes[position]
        made = []
        if change.old_tid is not None:
            made = makers.get((change.xid, change.relid, change.old_tid), [])
        before = [i for i in made if i < position and i not in follows]
        if before:
            follows[before[-1]] = position
        elif made and made[0] != position:
            early.append((position, made))
        else:
            heads.append(position)
    for position, made in early:
        after = next((i for i in made if i > position and i not in follows), None)
        if after is not None and _answer((after, position), known) is Answer.SAME:
            follows[after] = position
        else:
            heads.append(position)
    heads.sort()
    return heads, follows


def _join(changes: Sequence[Change], pieces: Iterable[list[int]], known: Known) -> list[_Row]:
    """Pieces of different transactions that belong to one row, put behind one another."""
    roots = known[0]
    rows: list[_Row] = []
    by_version: dict[Version, _Row] = {}
    by_key: dict[tuple[int, int], _Row] = {}
    taken_back: dict[tuple[int, int], _Row] = {}  # rows that an undo deleted, or its redo
    for piece in pieces:
        head = changes[piece[0]]
        row = None
        if head.op != "I":
            row = _predecessor(changes, piece[0], by_version, by_key, known)
        elif head.dead and head.key is not None:
            # The row that an undo deleted comes back with its redo, and the reverse.
            row = taken_back.pop((roots.get(head.relid, head.relid), head.key), None)
        if row is None:
            row = _Row(piece)
            rows.append(row)
        else:
            row.members += piece
        tail = changes[piece[-1]]
        if tail.new_tid is not None:
            by_version[tail.new_relid, tail.new_tid] = row
            if tail.key is not None:
                by_key[roots.get(tail.new_relid, tail.new_relid), tail.key] = row
        elif tail.dead and tail.key is not None:
            taken_back[roots.get(tail.relid, tail.relid), tail.key] = row
    return rows


def _predecessor(
    changes: Sequence[Change],
    head: int,
    by_version: Mapping[Version, _Row],
    by_key: Mapping[tuple[int, int], _Row],
    known: Known,
) -> _Row | None:
    change = changes[head]
    version = _old(change)
    row = by_version.get(version) if version is not None else None
    if row is not None:
        tail = changes[row.members[-1]]
        if change.key is not None and tail.key == change.key:
            return row
        # A row that moved on has left its old versions behind.
        if _new(tail) == version and _answered(row, head, known):
            return row
    if change.key is None:
        return None
    # The version is unknown: the table was rewritten since, or something was not recorded.
    row = by_key.get((known[0].get(change.relid, change.relid), change.key))
    if row is None or changes[row.members[-1]].op == "D":
        return None
    begun = changes[row.members[0]]
    same = change.op == "D" and begun.op == "I" and begun.xid == change.xid
    if same and _answer((row.members[-1], head), known) is Answer.KEY:
        # A trigger put another row under the key before it was written down that one had gone.
        return None
    return row if _answered(row, head, known) else None


def _answered(row: _Row, head: int, known: Known) -> bool:
    answer = _answer((row.members[-1], head), known)
    if answer is Answer.KEY:
        row.broken = [*(row.broken or ()), head]
    return answer is not Answer.OTHER


def _answer(link: Link, known: Known) -> Answer:
    """What was said of it; that it holds, until it is."""
    _, answers, doubts = known
    if link not in answers:
        doubts.append(link)
    return answers.get(link, Answer.SAME)


def _effect(changes: Sequence[Change], row: _Row) -> Effect | None:
    members = row.members
    if len(members) == 1:  # most are
        (only,) = members
        if not changes[only].selected:
            return None
        return Effect((only,), (only,), only, only, only, None, torn=False, broken=False)
    chosen = [i for i in members if changes[i].selected]
    if not chosen:
        return None
    first, last = chosen[0], chosen[-1]
    start, end = members.index(first), members.index(last)
    others = [i for i in members[start:] if not changes[i].selected and not changes[i].dead]
    between = set(members[start : end + 1])
    tail = members[-1]
    if changes[tail].dead and changes[tail].op == "D" and changes[last].op != "D":
        # Deleted by an undo and, if it is there, inserted by the redo as a row of no known place.
        tail = last
    broken = any(i in between and i != first for i in row.broken or ())
    return Effect(
        members=tuple(members),
        changes=tuple(chosen),
        first=first,
        last=last,
        tail=tail,
        later=others[-1] if others else None,
        torn=broken or any(i in between for i in others),
        broken=broken,
    )
