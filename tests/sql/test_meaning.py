"""The second reader: it must agree, and its disagreement must count."""

import sys
import time

import pytest

from proxy.sql import meaning
from proxy.sql.analyse import analyse
from proxy.sql.kinds import Kind
from proxy.sql.lexer import lex
from proxy.sql.statement import Statement


def one(text: bytes) -> Statement:
    (statement,) = analyse(text).statements
    return statement


FULL = (
    b'WITH w AS (SELECT 1) INSERT INTO s."T" AS a (b) SELECT my_f(x) FROM w'
    b" ON CONFLICT (b) DO UPDATE SET b = 2 RETURNING b, c"
)


def test_meaning():
    meant = meaning.meaning(FULL)
    assert meant == meaning.Meaning(
        kind=Kind.INSERT,
        schema="s",
        name="T",
        alias="a",
        only=False,
        has_with=True,
        writes_in_with=False,
        returning=2,
        conflict="update",
        functions=frozenset({"my_f"}),
        writers=(),
    )
    assert meaning.difference(one(FULL), meant) is None


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (b'DELETE FROM s."T"', "kind"),
        (FULL.replace(b'"T"', b"t"), "target"),
        (FULL.replace(b"AS a", b""), "alias"),
        (FULL.replace(b"WITH w AS (SELECT 1)", b""), "with"),
        (FULL.replace(b", c", b""), "returning"),
        (FULL.replace(b"RETURNING b, c", b""), "returning"),
        (FULL.replace(b"UPDATE SET b = 2", b"NOTHING"), "conflict"),
        (FULL.replace(b"my_f", b"other_f"), "functions"),
        (FULL.replace(b"(SELECT 1)", b"(DELETE FROM x)"), "writing with"),
    ],
)
def test_a_difference_is_seen(other, differs):
    meant = meaning.meaning(other)
    assert meant is not None
    assert meaning.difference(one(FULL), meant) == differs


# Valid, but beyond the grammar of sqlglot.
@pytest.mark.parametrize(
    "text",
    [
        b"UPDATE t SET a = 1 WHERE CURRENT OF c",
        b"UPDATE t SET a = 1 RETURNING WITH (OLD AS o) o.a, '(', \",\"",
        b"UPDATE t SET a = interval '1 day' * 2 AT TIME ZONE 'utc'",
    ],
)
def test_where_it_cannot_parse_the_places_of_tokens_decide(text):
    assert meaning.meaning(text) is None
    assert one(text).agreed
    tokens = lex(text)
    assert meaning.same_places(text, tokens)
    moved = [token._replace(end=token.end + 1) for token in tokens]
    assert not meaning.same_places(text, [*moved[:-1], tokens[-1]])
    assert not meaning.same_places(text, [token for token in tokens if token.word != b"set"])


def test_a_constant_that_ends_elsewhere_is_no_agreement():
    # Read with backslashes, as the server does with standard_conforming_strings off.
    text = rb"UPDATE backslash_test SET a = 'x\' RETURNING ''' WHERE CURRENT OF c"
    (statement,) = analyse(text, False).statements  # noqa: FBT003
    assert statement.understood
    assert statement.returning is None
    assert not statement.agreed


def test_a_doubt_about_backslashes_is_not_remembered_for_the_shape():
    assert not analyse(rb"UPDATE doubt_test SET a = 'x\''", False).statements[0].agreed  # noqa: FBT003
    assert one(b"UPDATE doubt_test SET a = 'plain'").agreed
    assert not analyse(rb"UPDATE doubt_test SET a = 'y\''", False).statements[0].agreed  # noqa: FBT003


def test_an_answer_holds_for_all_statements_of_a_shape(monkeypatch):
    asked = []
    real = meaning.meaning
    monkeypatch.setattr(meaning, "meaning", lambda text: asked.append(text) or real(text))
    texts = [b"UPDATE shape_test SET a = %d WHERE b = 'x%d'" % (n, n) for n in range(20)]
    assert all(one(text).agreed for text in texts)
    assert len(asked) == 1


def test_long_statements_are_asked_without_their_values(monkeypatch):
    asked = []
    real = meaning.meaning
    monkeypatch.setattr(meaning, "meaning", lambda text: asked.append(text) or real(text))
    text = b"INSERT INTO long_test (a, b) VALUES " + b", ".join([b"(1, 'x''y')"] * 20_000)
    assert one(text).agreed
    assert [len(piece) < 100 for piece in asked] == [True]


# By how often something is repeated; what sqlglot is asked about as often as is short enough.
REPEATED = [
    (400, lambda n: b"DELETE FROM t USING a" + b" JOIN b" * n),
    (200, lambda n: b"DELETE FROM t USING a" + b" JOIN f(x.on)" * n),
    (200, lambda n: b"DELETE FROM t USING a" + b" JOIN b /* on */" * n),
    (100, lambda n: b"INSERT INTO t SELECT * FROM a" + b", LATERAL (SELECT 1" * n + b")" * n),
    (1500, lambda n: b"UPDATE t SET a = " + b"(" * n + b"1" + b")" * n),
    (900, lambda n: b"UPDATE t SET a = " + b"NOT " * n + b"true"),
    (1000, lambda n: b"UPDATE t SET a = b" + b"[1]" * n),
    (900, lambda n: b"UPDATE t SET a = " + b"b[" * n + b"1" + b"]" * n),
    (600, lambda n: b"INSERT INTO t VALUES (1" + b", $1)" + b", (1, $1)" * n),
]


@pytest.mark.parametrize(("most", "text"), REPEATED)
def test_no_text_keeps_it_busy(most, text):
    """What the thread has computed, whoever else was busy meanwhile. It takes some hundredths of a
    second; what doubles with each word would never end, and a square takes as long as this."""
    before = time.thread_time()
    one(text(most))
    assert time.thread_time() - before < 2


def calls(text):
    done = 0

    def count(*_):
        nonlocal done
        done += 1

    sys.setprofile(count)
    try:
        one(text)
    finally:
        sys.setprofile(None)
    return done


@pytest.mark.parametrize(("_most", "text"), REPEATED)
def test_a_long_text_takes_work_by_its_length(_most, text):
    assert calls(text(8_000)) < 2.5 * calls(text(4_000))


@pytest.mark.parametrize(
    "text",
    [
        b"insert into t values ($1,$2)",
        b"insert into t(a,b) values ($1,$2),($3,'x$y$',$4)",
        b"update t set a=$1,b=$2 where id=any($3)",
    ],
)
def test_parameters_without_blanks_are_no_dollar_quotes(text):
    assert analyse(text).statements[0].agreed
