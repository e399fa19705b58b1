"""analyse() takes whatever a client sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sql.analyse import analyse

_WORDS = r"""insert into update delete from merge select values table with recursive as not
    materialized ( ) [ ] , ; . * only set using where returning on conflict do nothing current of
    old new create temp function begin atomic end case copy to truncate explain analyze prepare
    declare cursor for close all set local time zone session reset discard deallocate execute call
    $1 'x' $$y$$ 1 t "T" U&"u" :: over filter operator + <#> search cycle overriding value alter
    drop database concurrently lock ' " /* -- \ """
WORDS = st.sampled_from(_WORDS.split())


@given(st.lists(WORDS, max_size=30).map(" ".join), st.booleans())
def test_never_raises_for_words(text, scs):
    data = text.encode()
    analysis = analyse(data, scs)
    at = 0
    for statement in analysis.statements:
        assert at <= statement.start <= statement.body_start or not statement.understood
        assert statement.end <= len(data)
        at = statement.end
        if statement.returning is not None:
            assert statement.returning_start < statement.returning[0] <= statement.returning[1]


@given(st.binary(max_size=60), st.booleans())
def test_never_raises_for_bytes(data, scs):
    analyse(data, scs)


def test_the_same_text_is_read_once():
    assert analyse(b"SELECT 'once'") is analyse(b"SELECT 'once'")
    assert analyse(rb"SELECT 'a\'") is not analyse(
        rb"SELECT 'a\'", standard_conforming_strings=False
    )


def test_long_texts_are_not_kept():
    text = b"SELECT '" + b"x" * 20_000 + b"'"
    assert analyse(text) is not analyse(text)


@pytest.mark.parametrize(
    "prefix", [b"SELECT " + b"(" * 5000 + b"1" + b")" * 5000, b"SELECT 1" + b"+1" * 20_000]
)
def test_deep_and_long_texts(prefix):
    assert analyse(prefix).error is None


def test_other_values_are_not_asked_of_the_second_reader(monkeypatch):
    """It takes most of the time that reading does."""
    assert (
        analyse(b"UPDATE accounts SET balance = balance + 1 WHERE id = 4711").statements[0].agreed
    )
    monkeypatch.setattr("proxy.sql.meaning._DIALECT", None)
    for n in range(2, 5):
        text = b"UPDATE accounts SET balance = balance + %d WHERE id = 4711" % n
        assert analyse(text).statements[0].agreed
    with pytest.raises(AttributeError):
        analyse(b"UPDATE only_here SET balance = 1")
