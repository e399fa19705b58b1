"""From changes to effects, against rows whose history is known because it was made up here."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undo.model import Change, Effect
from undo.stages.fold import Answer, duplicates, fold

TABLE = 100


@dataclass(slots=True)
class Log:
    """Writes the changes of made up rows; a tid is used once unless it is said to be used again."""

    changes: list[Change] = field(default_factory=list)
    lsn: int = 0
    tid: int = 0

    def write(
        self, op: str, xid: int, key: int | None, old: int | None = None, *, selected: bool = False,
        dead: bool = False, new: int | None = None,
    ) -> int | None:  # fmt: skip
        """The tid of the row version that it makes."""
        self.lsn += 1
        if op != "D" and new is None:
            self.tid += 1
            new = self.tid
        place = (0, len(self.changes) + 1)
        self.changes.append(
            Change(
                *(1, place, xid, self.lsn, TABLE, TABLE, op),
                *((0, old) if old is not None else None, (0, new) if new is not None else None),
                *(key, 10, False, selected, dead),
            )
        )
        return new if op != "D" else None

    def effects(self, answers: dict | None = None) -> list[Effect]:
        folded = fold(self.changes, {}, answers or {})
        assert folded.doubts == [] or answers is not None
        return folded.effects


@dataclass(slots=True)
class Row:
    key: int
    keyed: bool
    tid: int | None = None
    history: list[int] = field(default_factory=list)  # positions


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),  # row
        st.sampled_from("UUUD"),
        st.booleans(),  # in a new transaction
        st.booleans(),  # selected
    ),
    max_size=40,
)


@given(steps=STEPS, keyed=st.booleans())
def test_every_row_gets_its_own_history(steps: list, *, keyed: bool) -> None:
    """Whatever transactions the changes were in. Rows that are written after they were deleted are
    inserted again, as other rows."""
    log = Log()
    rows: list[Row] = []
    now: dict[int, Row] = {}
    xid, chosen = 1, False
    for number, wanted, new_transaction, selected in steps:
        if new_transaction or not log.changes:
            xid, chosen = xid + 1, selected
        row = now.get(number)
        op = wanted if row is not None else "I"
        if row is None:
            row = now[number] = Row(number, keyed)
            rows.append(row)
        row.history.append(len(log.changes))
        key = row.key if keyed else None
        row.tid = log.write(op, xid, key, row.tid if op != "I" else None, selected=chosen)
        if op == "D":
            del now[number]
    # Links between transactions are in doubt where there is no key to confirm them.
    answers = {
        (a, b): Answer.SAME
        for row in rows
        for a, b in zip(row.history, row.history[1:], strict=False)
    }
    expected = {}
    for row in rows:
        mine = [i for i in row.history if log.changes[i].selected]
        if mine:
            since = row.history[row.history.index(mine[0]) :]
            others = [i for i in since if i not in mine]
            expected[mine[0]] = (
                *(tuple(mine), mine[-1], row.history[-1]),
                *(others[-1] if others else None, any(i < mine[-1] for i in others)),
            )
    found = {e.first: (e.changes, e.last, e.tail, e.later, e.torn) for e in log.effects(answers)}
    assert found == expected


def test_within_a_transaction_versions_tell_the_order() -> None:
    """A row that an AFTER trigger changed again is recorded before its first change."""
    log = Log()
    log.write("U", 5, 1, 11, selected=True, new=12)
    log.write("U", 5, 1, 10, selected=True, new=11)
    (effect,) = log.effects({(1, 0): Answer.SAME})
    assert (effect.first, effect.last, effect.torn) == (1, 0, False)


@pytest.mark.parametrize("answer", [Answer.KEY, Answer.OTHER])
def test_a_truncated_table_uses_its_tids_again(answer: Answer) -> None:
    log = Log()
    log.write("D", 5, 1, 10, selected=True)
    log.write("I", 5, 1, selected=True, new=10)
    assert fold(log.changes, {}, {}).doubts == [(1, 0)]
    effects = log.effects({(1, 0): answer})
    assert [(effect.first, effect.last) for effect in effects] == [(0, 0), (1, 1)]


def test_and_again_in_the_same_transaction() -> None:
    """A row that was there, one that was inserted, changed and truncated, one that was inserted."""
    log = Log()
    log.write("D", 5, 1, 10, selected=True)
    log.write("I", 5, 2, selected=True, new=10)
    log.write("U", 5, 2, 10, selected=True, new=11)
    log.write("D", 5, 2, 11, selected=True)
    log.write("I", 5, 3, selected=True, new=10)
    log.write("D", 5, 3, 10, selected=True)
    assert duplicates(log.changes) == set()
    effects = log.effects({(1, 0): Answer.OTHER})
    assert [effect.changes for effect in effects] == [(0,), (1, 2, 3), (4, 5)]


def test_a_row_that_was_recorded_twice_counts_once() -> None:
    log = Log()
    log.write("U", 5, 1, 10, selected=True, new=11)
    log.write("U", 5, 1, 10, selected=True, new=11)
    assert duplicates(log.changes) == {1}
    (effect,) = log.effects()
    assert effect.changes == (0,)


def test_of_two_records_the_exact_one_counts() -> None:
    log = Log()
    log.write("U", 5, 1, 10, selected=True, new=11)
    log.write("U", 5, 1, 10, selected=True, new=11)
    log.changes[0] = log.changes[0]._replace(stale=True)
    (effect,) = log.effects()
    assert effect.changes == (1,)


def test_a_move_that_was_recorded_twice_counts_once() -> None:
    """By rewriting as an update of two relations, by triggers as a delete and an insert."""
    log = Log()
    log.write("D", 5, 1, 10, selected=True)
    log.write("I", 5, 1, selected=True, new=1)
    log.write("U", 5, 1, 10, selected=True, new=1)
    log.changes[1] = log.changes[1]._replace(relid=200, new_relid=200)
    log.changes[2] = log.changes[2]._replace(new_relid=200)
    assert duplicates(log.changes) == {0, 1}


@pytest.mark.parametrize(
    ("answer", "chains", "torn"),
    [(Answer.SAME, 1, False), (Answer.KEY, 1, True), (Answer.OTHER, 2, False)],
)
def test_doubts_are_asked_and_answered(answer: Answer, chains: int, *, torn: bool) -> None:
    """The table was rewritten in between: the version is unknown, the key is not."""
    log = Log()
    log.write("U", 5, 1, 10, selected=True, new=11)
    log.write("U", 6, 1, 77, selected=True, new=78)
    assert fold(log.changes, {}, {}).doubts == [(0, 1)]
    effects = log.effects({(0, 1): answer})
    assert (len(effects), any(e.torn for e in effects)) == (chains, torn)


@pytest.mark.parametrize(("answer", "chains"), [(Answer.SAME, 1), (Answer.KEY, 2)])
def test_what_an_after_trigger_puts_in_a_deleted_rows_place_is_another_row(
    answer: Answer, chains: int
) -> None:
    """It is recorded before it is that the row was deleted."""
    log = Log()
    log.write("I", 5, 1, selected=True, new=11)
    log.write("D", 5, 1, 10, selected=True)
    effects = log.effects({(0, 1): answer})
    assert (len(effects), any(e.torn for e in effects)) == (chains, False)


def test_a_tid_that_was_used_again_is_another_row() -> None:
    log = Log()
    log.write("I", 5, 1, selected=True, new=10)
    log.write("D", 6, 1, 10)
    log.write("I", 7, 2, selected=True, new=10)
    log.write("U", 8, 2, 10, new=11)
    effects = log.effects()
    assert [(e.first, e.tail, e.later) for e in effects] == [(0, 1, 1), (2, 3, 3)]


@pytest.mark.parametrize("history", ["UuR", "UuRr", "IuRr", "DuR"])
def test_what_was_undone_and_redone_is_not_in_the_way(history: str) -> None:
    """A change, its undo, its redo: dead ones are part of the row's history, and of nothing else."""
    inverse = {"U": "U", "I": "D", "D": "I"}
    log = Log()
    first = history[0]
    tid: int | None = log.write(first, 5, 1, 10 if first != "I" else None, selected=True)
    op = first
    for number, _ in enumerate(history[1:]):
        op = inverse[op]
        tid = log.write(op, 6 + number, 1, tid, dead=True)
    (effect,) = [e for e in log.effects() if log.changes[e.first].selected]
    assert (effect.first, effect.last, effect.later, effect.torn) == (0, 0, None, False)
