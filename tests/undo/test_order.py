"""The order of writing, from what has to be done and the foreign keys between the tables."""

from collections.abc import Mapping

import pytest

from undo.stages.order import Sequence, Work, order
from undo.tables import Family, ForeignKey, Heap, Tables

NAMES = {"p": 1, "c": 2, "g": 3}


def foreign_key(
    child: str, parent: str, *, deferrable: bool = False, delete: str = "a", update: str = "a"
) -> ForeignKey:
    return ForeignKey(
        f"{child}_{parent}_fkey",
        *(NAMES[child], child, frozenset({NAMES[child]}), ("p",)),
        *(NAMES[parent], parent, frozenset({NAMES[parent]})),
        *(("id",), ("OPERATOR(pg_catalog.=)",)),
        *(deferrable, delete, update),
        full=False,
        temporal=False,
    )


def tables(*keys: ForeignKey, acting: str = "") -> Tables:
    families = {
        relid: Family(
            *(relid, name, False, ()),
            {relid: Heap(relid, name, ("a trigger",) if name == acting else (), ())},
            (),
        )
        for name, relid in NAMES.items()
    }
    return Tables(families, {relid: relid for relid in NAMES.values()}, keys)


INSERTS = Work(inserts=1, updates=0, deletes=0, movers=0)
DELETES = Work(inserts=0, updates=0, deletes=1, movers=0)


def ordered(
    known: Tables, work: Mapping[str, Work], *, collisions: bool = False
) -> tuple[list[str], Sequence]:
    by_root = {NAMES[name]: w for name, w in work.items()}
    sequence = order(known, by_root, collisions=collisions)
    names = {relid: name for name, relid in NAMES.items()}
    return [names[root] for root in sequence.parents_first], sequence


def silent(sequence: Sequence) -> set[str]:
    return {name for name, relid in NAMES.items() if relid in sequence.silent}


def test_parents_come_first() -> None:
    known = tables(foreign_key("c", "p"), foreign_key("g", "c"))
    names, sequence = ordered(known, {"g": INSERTS, "c": INSERTS, "p": DELETES})
    assert names == ["p", "c", "g"]
    assert silent(sequence) == set()
    assert not sequence.deletes_first


def test_tables_with_triggers_are_silent() -> None:
    _, sequence = ordered(tables(acting="c"), {"c": INSERTS, "p": INSERTS})
    assert silent(sequence) == {"c"}


@pytest.mark.parametrize(
    ("deferrable", "delete", "quiet"),
    [(False, "a", {"p", "c"}), (True, "a", set()), (True, "r", {"p", "c"})],
)
def test_circles(*, deferrable: bool, delete: str, quiet: set[str]) -> None:
    known = tables(
        foreign_key("c", "p", deferrable=deferrable, delete=delete),
        foreign_key("p", "c", deferrable=deferrable, delete=delete),
    )
    names, sequence = ordered(known, {"p": DELETES, "c": DELETES})
    assert sorted(names) == ["c", "p"]
    assert silent(sequence) == quiet


def test_a_circle_does_not_silence_who_is_not_in_it() -> None:
    known = tables(foreign_key("c", "p"), foreign_key("p", "c"), foreign_key("g", "c"))
    names, sequence = ordered(known, {"p": INSERTS, "c": INSERTS, "g": INSERTS})
    assert names[-1] == "g"
    assert silent(sequence) == {"p", "c"}


@pytest.mark.parametrize(
    ("deferrable", "update", "quiet"),
    [
        (False, "a", {"p", "c"}),
        (False, "c", {"p", "c"}),
        (True, "c", {"p", "c"}),
        (True, "a", set()),
    ],
)
def test_keys_that_change_under_their_children(
    *, deferrable: bool, update: str, quiet: set[str]
) -> None:
    known = tables(foreign_key("c", "p", deferrable=deferrable, update=update))
    rekeyed = Work(0, 1, 0, 0, rekeyed=frozenset({0}))
    _, sequence = ordered(known, {"p": rekeyed, "c": Work(0, 1, 0, 0, repointed=frozenset({0}))})
    assert silent(sequence) == quiet


def test_rows_that_are_parked_are_not_missed() -> None:
    known = tables(foreign_key("c", "p"))
    _, sequence = ordered(known, {"p": Work(0, 1, 0, movers=1)}, collisions=True)
    assert silent(sequence) == {"p"}
    assert sequence.deletes_first


def test_deletes_first_breaks_what_refers_in_between() -> None:
    known = tables(foreign_key("c", "p"))
    moved = Work(0, 1, 0, 0, repointed=frozenset({0}))
    both = Work(1, 0, 1, 0)
    _, sequence = ordered(known, {"p": both, "c": moved}, collisions=True)
    assert silent(sequence) == {"p", "c"}
    _, sequence = ordered(known, {"p": both, "c": moved})
    assert silent(sequence) == set()


def test_a_table_that_restricts_itself() -> None:
    known = tables(foreign_key("p", "p", delete="r"))
    assert silent(ordered(known, {"p": DELETES})[1]) == {"p"}
    assert silent(ordered(known, {"p": INSERTS})[1]) == set()
