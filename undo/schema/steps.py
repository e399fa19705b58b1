"""What is done to each component of a command, in which order. Pure."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from undo import path
from undo.schema.component import PARTS, Component, Delta, Image
from undo.schema.kinds import KINDS
from undo.schema.there import There
from undo.schema.words import Statements, run_as

# Said of where and when, not of what it is.
NOT_COMPARED: Final = frozenset({"populated", "columns", "refers", "inherited", "local"})
# Rows are in it: it is not dropped but moved, and not made but brought back.
BINNED: Final = "table"
# What follows a table there that needs it.
MOVED: Final = frozenset({"enum", "domain", "range", "composite type", "function", "procedure"})


def changed(delta: Delta) -> frozenset[str]:
    """The fields that the command changed, or all of them."""
    now, then = _image(delta.now), _image(delta.then)
    fields = frozenset({*now, *then}) - NOT_COMPARED
    if delta.now is None or delta.then is None:
        return fields
    return frozenset(f for f in fields if now.get(f) != then.get(f))


def _image(one: Component | None) -> Image:
    return one.image if one else {}


def value(one: Component, field: str) -> Any:
    """As it is compared. The server lists columns of statistics in the table's order."""
    found = one.image.get(field)
    if one.kind == "statistics" and field == "definition":
        return sorted(str(found).replace(",", "").split())
    return found


def problems(deltas: Sequence[Delta], there: There) -> list[tuple[Delta, str]]:
    """What is in the way of taking it back; nothing if all is as the command left it."""
    going = {d.now.name for d in deltas if d.now and d.then is None}
    going |= _back(deltas, there)
    found = ((d, _problem(d, there, going)) for d in deltas)
    return [(delta, text) for delta, text in found if text]


def _problem(delta: Delta, there: There, going: Container[tuple[Any, ...]]) -> str:
    left, then = delta.now, delta.then
    if left is None:
        taken = there.named(then) if then else None
        if taken is None or taken.name in going or _came_back(taken, then):
            return ""
        return f"there is another {taken.label} by now"
    if left.kind == "other":
        return ""
    found = there.find(left)
    if found is None:
        return f"{left.label} is not there any more"
    later = sorted(f for f in changed(delta) if value(found, f) != value(left, f))
    return f"{left.label} was altered since ({', '.join(later)})" if later else ""


def _came_back(taken: Component, then: Component | None) -> bool:
    """Whether it is the same, by its place in the catalog: brought back from the bin."""
    return then is not None and taken.id == then.id and taken.kind in {*MOVED, "attribute"}


def _back(deltas: Sequence[Delta], there: There) -> set[tuple[Any, ...]]:
    """Names of indexes that are their parents' until the partition is detached."""
    apart = {there.oid(d.any) for d in deltas if d.differs("parents")}
    return {one.name for one in there.components if one.image.get("of") in apart - {None}}


def renames(deltas: Iterable[Delta], there: There, *, parts: bool) -> list[Statements]:
    found = []
    for delta in _ordered(deltas):
        if delta.now is None or delta.then is None or (delta.kind in PARTS) != parts:
            continue
        one = there.find(delta.now)
        # Even what a child has for itself, too, is named with its parent's.
        if one is not None and "inherited" not in one.image:
            wanted = _wanted(one, delta)
            statements = KINDS[delta.kind].rename(one, wanted)
            if statements:
                found.append(statements)
    return found


def drops(deltas: Sequence[Delta], there: There) -> list[Statements]:
    """Of what the command made. What goes with its relation is not dropped apart, and what a table
    has had for itself since it left its parent becomes the parent's again."""
    going = {d.now.relid for d in deltas if d.then is None and d.now and d.now.whole}
    going |= _returning(deltas, there)
    found = []
    for delta in reversed(_ordered(deltas)):
        one = delta.now
        if delta.then is not None or one is None or one.kind == BINNED:
            continue
        if one.kind == "other":
            continue
        present = there.find(one)
        if present is not None and (one.whole or one.relid not in going):
            found.append(KINDS[one.kind].drop(present))
    return found


def moves(deltas: Sequence[Delta], there: There) -> dict[str, str]:
    """What is run in place of a drop where only what is in the bin needs what is dropped: by the
    drop's own statement."""
    found = {}
    for delta in deltas:
        if delta.then is None and delta.now is not None and delta.kind in MOVED:
            one = there.find(delta.now)
            if one is not None:
                (drop,) = KINDS[one.kind].drop(one)
                place = f"{one.id.classid}, {one.id.objid}"
                found[drop] = f"SELECT hotrollback.bin_object_v1({place})"
    return found


def _returning(deltas: Iterable[Delta], there: There) -> set[int]:
    """Tables that get a parent back and have not yet."""
    found = set()
    for delta in deltas:
        one = there.find(delta.now) if delta.now else None
        if one is None or delta.then is None or not one.whole:
            continue
        if not set(delta.then.image.get("parents", ())) <= set(one.image.get("parents", ())):
            found.add(one.relid)
    return found


def drops_of_others(deltas: Iterable[Delta]) -> list[Statements]:
    """Of what nobody keeps images of, so that nobody sees whether it is there."""
    return [
        KINDS["other"].drop(d.now) for d in deltas if d.now and d.kind == "other" and d.then is None
    ]


def alters(deltas: Iterable[Delta], there: There, *, last: bool = False) -> list[Statements]:
    """Whatever is not of the command stays as it is."""
    found = []
    for delta in _ordered(deltas):
        if delta.then is None or (delta.now is None and not last):
            continue
        one = there.named(delta.then)
        if one is not None:
            kind = KINDS[delta.kind]
            statements = (kind.last if last else kind.alter)(
                _owned(one, there), _wanted(one, delta)
            )
            if statements:
                found.append(_careful(one, there, statements))
    return found


def _owned(one: Component, there: There) -> Component:
    """With its owner, who needs not to be named where he grants."""
    return replace(one, owner=there.owner(one) or "")


def _wanted(one: Component, delta: Delta) -> Image:
    then, fields = _image(delta.then), changed(delta)
    kept = {name: value for name, value in one.image.items() if name not in fields}
    return {**kept, **{name: then[name] for name in fields if name in then}}


def before_columns(deltas: Iterable[Delta], there: There) -> list[Statements]:
    rank = KINDS["column"].rank
    return creates((d for d in deltas if KINDS[d.kind].rank < rank), there)


def creates(deltas: Iterable[Delta], there: There) -> list[Statements]:
    """Of what the command dropped and is not there yet, as far as its relation is."""
    found = []
    for delta in _ordered(deltas):
        one = delta.then
        if one is None or delta.now is not None or there.named(one) is not None:
            continue
        if _inherited(one):
            continue
        on = there.on(one)
        if on is None and one.relid and not one.whole:
            continue
        if one.id in there.binned:
            found.append([f"SELECT hotrollback.unbin_object_v1({one.id.classid}, {one.id.objid})"])
            continue
        one = replace(_owned(one, there), on=on or one.on)
        found.append(_careful(one, there, KINDS[one.kind].create(one)))
    return found


# Kinds whose definitions call functions when they are made: a default for the rows that are there,
# a check of them.
_CALLING: Final = frozenset({"column", "constraint"})


def _careful(one: Component, there: There, statements: Statements) -> Statements:
    """A foreign key calls nothing, and takes a right on the other table that its owner may lack."""
    if one.kind not in _CALLING or one.image.get("type") == "f":
        return statements
    owner = there.owner(one)
    if owner is None or not one.on or not statements:
        return statements
    return run_as(owner, path.along(one.on, statements))


def anew(deltas: Iterable[Delta], there: There) -> list[tuple[Statements, Statements]]:
    """What has another definition still: how it may be replaced, and how it is made again, with all
    that belongs to it."""
    found = []
    for delta in _ordered(deltas):
        if delta.now is None or delta.then is None:
            continue
        one, kind = there.named(delta.then), KINDS[delta.kind]
        fields = changed(delta).intersection(kind.anew)
        if one is None or all(value(one, f) == value(delta.then, f) for f in fields):
            continue
        if _inherited(one):
            continue
        then = replace(one, image=_wanted(one, delta))
        again = _careful(one, there, [*kind.drop(one), *kind.create(then)])
        if one.whole:
            parts = (p for p in there.components if p.relid == one.relid and p is not one)
            for part in sorted(parts, key=lambda p: KINDS[p.kind].rank):
                again += KINDS[part.kind].create(part)
        found.append((kind.replace(one, then.image) if kind.replace else [], again))
    return found


def gone_along(deltas: Sequence[Delta], first: There, now: There) -> list[Statements]:
    """What the server dropped with a column that was made anew, made again."""
    tables = {d.any.relid for d in deltas if d.kind == "column" and d.differs("generated")}
    ours = {one.id for d in deltas if d.now and (one := first.find(d.now)) is not None}
    found = []
    for lost in sorted(first.components, key=lambda c: (KINDS[c.kind].rank, c.id)):
        along = lost.relid in tables and lost.kind in _ALONG and lost.id not in ours
        if along and now.find(lost) is None:
            again = replace(_owned(lost, now), on=now.on(lost) or lost.on)
            found.append(_careful(again, now, KINDS[lost.kind].create(again)))
    return found


_ALONG: Final = frozenset({"constraint", "index", "statistics"})


def _inherited(one: Component) -> bool:
    """It comes, goes and is named with its parent's."""
    return "inherited" in one.image and not one.image.get("local")


def beside(deltas: Sequence[Delta], first: There, now: There) -> tuple[list[Component], str]:
    """What is there besides what should be, and what is not there any more and should be."""
    ours = {found.id for d in deltas if d.now and (found := first.find(d.now)) is not None}
    kept = [one for one in first.components if one.relid and one.id not in ours]
    missing = [one for one in kept if now.find(one) is None]
    expected = {one.name for one in kept} | {d.then.name for d in deltas if d.then}
    known = {one.id for one in kept}
    more = [
        one
        for one in now.components
        if one.relid
        and one.kind in _ATTACHED
        and one.name not in expected
        and one.id not in known
        and one.relid in {k.relid for k in kept}
    ]
    return more, f"{missing[0].label} would go with it" if missing else ""


_ATTACHED: Final = frozenset({"constraint", "index", "trigger"})


def unlike(deltas: Iterable[Delta], there: There) -> str:
    """What is not as it was before the command; nothing if all is."""
    for delta in deltas:
        if delta.kind == "other":
            continue
        one = there.named(delta.any)
        if delta.then is None:
            left = there.ids.get(delta.now.id) if delta.now else None
            if one is not None and left is not None and left.kind == delta.kind:
                return f"{one.label} is still there"
            continue
        if one is None:
            return f"{delta.then.label} is not there"
        other = sorted(f for f in changed(delta) if value(one, f) != value(delta.then, f))
        if other:
            return f"{one.label} is not what it was: {', '.join(other)}"
    return ""


def _ordered(deltas: Iterable[Delta]) -> list[Delta]:
    return sorted(deltas, key=lambda d: (KINDS[d.kind].rank, _turn(d), d.any.id))


def _turn(delta: Delta) -> int:
    """Among constraints: a foreign key needs another one, and a primary key makes columns NOT NULL
    under a name of its own where they are not yet."""
    if delta.kind != "constraint":
        return 0
    return {"n": 0, "f": 2}.get(str(delta.any.image.get("type")), 1)
