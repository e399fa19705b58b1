"""One grammar: what is rendered reads back; what is wrong is told with its place."""

from datetime import UTC, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin import moments, values
from proxy.admin.clauses import Clause
from proxy.admin.command import Permission
from proxy.admin.commands import COMMANDS
from proxy.admin.grammar import Call, GrammarError, parse, render
from undo.filters import Condition
from undo.policies import POLICIES

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
NUMBERS = st.integers(1, 10**18 - 1)
YES, NO = st.just(value=True), st.just(value=False)
CONDITIONS = st.builds(
    lambda side, column, operator, value: Condition(
        side,
        column,
        operator,
        "" if operator.endswith("NULL") else value[0],
        numeric=value[1] and operator in {"=", "<>", "<", "<=", ">", ">="},
    ),
    st.sampled_from(("before", "after")),
    TEXTS,
    st.sampled_from(
        ("=", "<>", "<", "<=", ">", ">=", "LIKE", "NOT LIKE", "IS NULL", "IS NOT NULL")
    ),
    st.tuples(TEXTS, NO) | st.tuples(st.integers().map(str), YES),
)
SEVERAL_TEXTS = st.lists(TEXTS, min_size=1).map(tuple)
VALUES = {
    values.TEXT: TEXTS,
    values.SCRIPT: TEXTS,
    values.NUMBER: NUMBERS,
    values.NUMBERS: st.lists(NUMBERS, min_size=1).map(tuple),
    values.TEXTS: SEVERAL_TEXTS,
    values.TABLES: SEVERAL_TEXTS,
    values.COLUMNS: SEVERAL_TEXTS,
    values.TABLE_POLICIES: st.lists(
        st.tuples(TEXTS.filter(lambda text: text == text.strip()), st.sampled_from([*POLICIES])),
        min_size=1,
    ).map(tuple),
    values.SIGNED: st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1).map(tuple),
    values.KEY: st.lists(st.tuples(TEXTS | st.just(""), TEXTS), min_size=1).map(tuple),
    values.TABLE: TEXTS,
    values.COLUMN: TEXTS,
    values.WHEN: st.datetimes(timezones=st.none() | st.just(UTC))
    | st.times()
    | st.builds(values.Point, TEXTS),
    values.WAIT: st.none() | st.integers(1, 86400).map(float),
    values.AGE: st.integers(0, 86400).map(float),
    values.DURATION: st.integers(1, 86400).map(float),
    values.TIME: st.datetimes(timezones=st.none() | st.just(UTC)) | st.times(),
    values.WHERE: st.lists(CONDITIONS, min_size=1).map(tuple),
    values.UNDO_ID: st.none() | NUMBERS,
    values.PRESENCE: YES,
}


def value_of(clause: Clause) -> st.SearchStrategy:
    if clause.value.choices:
        return st.sampled_from(clause.value.choices)
    return VALUES[clause.value]


@st.composite
def calls(draw: st.DrawFn) -> Call:
    command = draw(st.sampled_from(COMMANDS))
    needed = [clause for clause in command.clauses if clause.needed]
    others = [clause for clause in command.clauses if not clause.needed]
    chosen = draw(st.lists(st.sampled_from(others), unique=True)) if others else []
    return Call(command, {c.field: draw(value_of(c)) for c in [*needed, *chosen]})


@given(calls())
def test_what_is_rendered_reads_back(call: Call) -> None:
    assert parse(render(call)) == [call]


@given(st.lists(calls(), max_size=4))
def test_several_commands_in_one_text(several: list[Call]) -> None:
    assert parse(" ;; ".join(render(call) for call in several) + ";") == several


@given(st.text(alphabet="UNDOTAGundo 'x$1,;.()-\"/*=5\n"))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except GrammarError as error:
        refused = error
    else:
        return
    assert 0 <= refused.at <= len(text)


def only(text: str) -> dict[str, object]:
    (call,) = parse(text)
    return dict(call.values)


def test_selectors_in_any_order_and_any_case() -> None:
    wanted = {"tag": "deploy-42", "xids": (1, 2, 3), "policy": "skip", "dry_run": True}
    assert only("UNDO TAG 'deploy-42' XID 1, 2, 3 ON CONFLICT skip DRY RUN") == wanted
    assert only("undo xid 1 dry run xid 2,3 on conflict SKIP tag 'deploy-42'") == wanted


def test_words_need_no_quotes() -> None:
    assert only("UNDO TAG deploy") == {"tag": "deploy"}
    assert only("SHOW CHANGES ROLE app") == {"role": "app"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("42", (("", "42"),)),
        ("-42", (("", "-42"),)),
        ("'a''b'", (("", "a'b"),)),
        ("abc", (("", "abc"),)),
        ("('42')", (("", "42"),)),
        ("(42, -3)", (("", "42"), ("", "-3"))),
        ("(id = 42, \"Line\" = 'x')", (("id", "42"), ("Line", "x"))),
        ("(ID = 42)", (("id", "42"),)),
    ],
)
def test_keys(text: str, key: tuple) -> None:
    assert only(f"UNDO TABLE t KEY {text} DRY RUN") == {
        "tables": ("t",),
        "key": key,
        "dry_run": True,
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("42", (("", "42"),)),
        ("a b", (("", "a b"),)),
        ("a=b c", (("", "a=b c"),)),
        ("id=42", (("id", "42"),)),
        ("ID = 42, \"Line\"='x,''y'", (("id", "42"), ("Line", "x,'y"))),
        ("(id=42,line=-3)", (("id", "42"), ("line", "-3"))),
    ],
)
def test_keys_of_a_flag(text: str, key: tuple) -> None:
    assert values.KEY.text(text) == key


def test_the_past() -> None:
    point = {"table": "shop.orders", "moment": values.Point("before")}
    assert only("SHOW TABLE shop.orders AS OF RESTORE POINT 'before'") == point
    assert only("SHOW TABLE AS OF '09:10' orders") == {"table": "orders", "moment": time(9, 10)}
    assert values.WHEN.text("restore point before deploy") == values.Point("before deploy")
    assert only("SHOW HISTORY TABLE t KEY 5") == {"table": "t", "key": (("", "5"),)}


def test_waiting_with_and_without_an_end() -> None:
    assert only("UNDO TAG x WAIT DRY RUN") == {"tag": "x", "wait": None, "dry_run": True}
    assert only("UNDO TAG x WAIT '1.5min'") == {"tag": "x", "wait": 90.0}
    assert only("UNDO WAIT 30 TAG x") == {"tag": "x", "wait": 30.0}


def test_exceptions_take_lists() -> None:
    assert only("UNDO TAG x EXCEPT TAG a, 'b' EXCEPT XID 7") == {
        "tag": "x",
        "except_tags": ("a", "b"),
        "except_xids": (7,),
    }
    assert only("UNDO FINGERPRINT -5, 7") == {"fingerprints": (-5, 7)}


def test_a_session_needs_no_quotes() -> None:
    assert only("UNDO SESSION 123.1764000000000001") == {"session": "123.1764000000000001"}


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("products", ("products",)),
        ('shop.products, "My Table"', ("shop.products", '"My Table"')),
        ("'shop.products'", ("shop.products",)),
        ('"a.b"."c""d"', ('"a.b"."c""d"',)),
    ],
)
def test_tables_stay_as_they_are_written(text: str, tables: tuple[str, ...]) -> None:
    assert only(f"UNDO TABLE {text}") == {"tables": tables}


def test_to_a_time_and_to_a_restore_point() -> None:
    assert only("UNDO TO RESTORE POINT 'a' TO '2026-01-31 09:10'") == {
        "restore_point": "a",
        "until": datetime(2026, 1, 31, 9, 10),  # noqa: DTZ001 (without a zone, as it is written)
    }


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("09:10", time(9, 10)),
        ("9:10:30", time(9, 10, 30)),
        ("2026-01-31T09:10:00Z", datetime(2026, 1, 31, 9, 10, tzinfo=UTC)),
        (
            "2026-01-31 09:10+02",
            datetime(2026, 1, 31, 9, 10, tzinfo=timezone(timedelta(hours=2))),
        ),
        (
            "2026-01-31 09:10:00.5-05:30",
            datetime(
                *(2026, 1, 31, 9, 10, 0, 500000),
                tzinfo=timezone(-timedelta(hours=5, minutes=30)),
            ),
        ),
    ],
)
def test_times(text: str, moment: moments.Moment) -> None:
    assert only(f"SHOW GAPS FROM '{text}'") == {"since": moment}


NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def test_a_time_of_day_is_the_latest_such_moment() -> None:
    zone = timezone(timedelta(hours=2))  # there it is 14:00
    assert moments.instant(time(13, 0), zone, NOON) == datetime(2026, 6, 1, 11, 0, tzinfo=UTC)
    assert moments.instant(time(15, 0), zone, NOON) == datetime(2026, 5, 31, 13, 0, tzinfo=UTC)


def test_what_is_waited_for_is_the_next_such_moment() -> None:
    zone = timezone(timedelta(hours=2))
    assert moments.coming(time(15, 0), zone, NOON) == datetime(2026, 6, 1, 13, 0, tzinfo=UTC)
    assert moments.coming(time(14, 0), zone, NOON) == NOON
    assert moments.coming(time(13, 0), zone, NOON) == datetime(2026, 6, 2, 11, 0, tzinfo=UTC)
    day = datetime(2026, 6, 5, 12, 0)  # noqa: DTZ001
    assert moments.coming(day, zone, NOON) == datetime(2026, 6, 5, 10, 0, tzinfo=UTC)


def test_a_bare_time_is_of_the_zone_that_asks() -> None:
    zone = timezone(timedelta(hours=-5))
    bare = datetime(2026, 6, 1, 12, 0)  # noqa: DTZ001
    assert moments.instant(bare, zone, NOON) == datetime(2026, 6, 1, 17, 0, tzinfo=UTC)
    assert moments.instant(NOON, zone, NOON) == NOON


@pytest.mark.parametrize(
    ("text", "near", "said", "hint"),
    [
        ("UNDOO TAG 'x'", "UNDOO", "syntax error at or near 'UNDOO'", "did you mean UNDO?"),
        ("SHOW TAGZ", "TAGZ", "syntax error at or near 'TAGZ'", "did you mean TAGS?"),
        ("SHOW", "", "something after SHOW expected at the end of the command", ""),
        ("UNDO TGA 'x'", "TGA", "syntax error at or near 'TGA'", "did you mean TAG or"),
        ("UNDO TAG deploy-42", "-", "syntax error at or near '-'", "it may be: UNDO [IN DATABASE"),
        ("UNDO TAG", "", "a text ('...') expected at the end of the command", ""),
        ("UNDO TAG ''", "''", "the text must not be empty", ""),
        ("UNDO TAG 'x' TAG 'y'", "TAG 'y'", "TAG 'x' is given twice", ""),
        ("UNDO TAG x WAIT 'soon'", "'soon'", "'soon' is no time to wait", ""),
        ("SHOW TABLE t", "", "AS OF 'time' | RESTORE POINT 'name' expected at the end", ""),
        ("SHOW TABLE AS OF '09:10'", "", "a table expected at the end", ""),
        ("SHOW TABLE t AS OF RESTORE 'x'", "'x'", "POINT expected behind RESTORE", ""),
        ("SHOW HISTORY TABLE t", "", "KEY 'value' | (column = 'value', ...) expected", ""),
        ("UNDO TABLE t KEY (a 1)", "a", "= expected behind a", ""),
        ("UNDO TABLE t KEY (1", "", ") or , expected at the end", ""),
        ("UNDO FINGERPRINT -x", "x", "a whole number expected", ""),
        ("UNDO XID one", "one", "'one' is not a whole number", ""),
        ("UNDO XID 1,", "", "a whole number expected at the end of the command", ""),
        ("UNDO FROM '25:00'", "'25:00'", "'25:00' is not a time: write", ""),
        ("UNDO TAG 'x", "'x", "unterminated quoted string", ""),
        ("UNDO ON CONFLICT skpi", "skpi", "did you mean skip?", ""),
        ("REDO", "", "the number of an undo, or LAST expected at the end", ""),
        ("SHOW CHANGES WHERE price = 0", "price", "a condition is before.COLUMN or", ""),
    ],
)
def test_what_is_wrong_is_said(text: str, near: str, said: str, hint: str) -> None:
    with pytest.raises(GrammarError) as refused:
        parse(text)
    assert said in str(refused.value)
    assert refused.value.at == (text.rindex(near) if near else len(text))
    assert refused.value.hint.startswith(hint)
    assert refused.value.sqlstate == "42601"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_says_what_it_takes_and_gives(command) -> None:
    assert command.permission in Permission
    assert command.columns
    assert len({column.name for column in command.columns}) == len(command.columns)
    assert len({clause.field for clause in command.clauses}) == len(command.clauses)
    assert command.help


def test_only_what_shows_is_for_those_who_look() -> None:
    assert {c.words[0] for c in COMMANDS if c.permission is Permission.LOOK} == {"SHOW"}
