"""Edits and the way back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sql.splice import Edit, apply


def test_edits_at_one_place_stay_in_order():
    text, _ = apply(b"abc", [Edit(3, 3, b"!", ""), Edit(1, 1, b"1", ""), Edit(1, 1, b"2", "")])
    assert text == b"a12bc!"


def test_replacing():
    text, back = apply(b"hello world", [Edit(0, 5, b"bye", "shorter")])
    assert text == b"bye world"
    assert back.back(1) is None
    assert back.back(4) == 6


@pytest.mark.parametrize(
    "edits",
    [[(0, 2), (1, 3)], [(2, 1)], [(0, 9)]],
)
def test_edits_that_do_not_fit_are_refused(edits):
    with pytest.raises(ValueError, match="overlap"):
        apply(b"abc", [Edit(start, end, b"", "") for start, end in edits])


def test_positions_are_characters_from_one():
    original = "SELECT 'äö', x".encode()
    at = original.index(b"x")
    text, back = apply(original, [Edit(7, 7, "'文', ".encode(), ""), Edit(at, at, b"y, ", "")])
    shown = text.decode()
    assert back.back(shown.index("x") + 1) == original.decode().index("x") + 1
    assert back.back(shown.index("文") + 1) is None
    assert back.back(shown.index("y") + 1) is None
    assert back.back(len(shown) + 1) == len(original.decode()) + 1
    assert back.back(len(shown) + 2) is None
    assert back.back(0) is None


def test_the_end_belongs_to_the_last_piece():
    _, back = apply(b"abc", [Edit(3, 3, b" RETURNING 1", "")])
    assert back.back(4) is None
    assert back.back(16) is None


def test_other_encodings():
    original = "é, x".encode("latin-1")
    text, back = apply(original, [Edit(0, 0, b"a ", "")])
    assert back.back(text.index(b"x") + 1, "latin-1") == 4
    original = "日本, x".encode("euc_jp")
    _, back = apply(original, [Edit(0, 0, b"a ", "")])
    assert back.back(7, "euc_jp") == 5


def test_no_edits():
    text, back = apply(b"abc", [])
    assert text == b"abc"
    assert [back.back(n) for n in (1, 3, 4, 5)] == [1, 3, 4, None]
    assert apply(b"", [])[0] == b""


@given(
    st.text(min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.text(max_size=5)), max_size=4),
)
def test_every_character_of_the_client_finds_its_way_back(text, inserts):
    original = text.encode("utf-8", "replace")
    text = original.decode()
    edits = [
        Edit(len(text[:at].encode()), len(text[:at].encode()), put.encode("utf-8", "replace"), "")
        for at, put in inserts
    ]
    edited, back = apply(original, edits)
    found = [back.back(n + 1) for n in range(len(edited.decode()))]
    assert [n for n in found if n is not None] == list(range(1, len(text) + 1))
    assert all(edited.decode()[n] == text[o - 1] for n, o in enumerate(found) if o is not None)
