"""A list of roles and secrets, line by line."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scram_ends import verifier

from proxy.auth import users
from proxy.auth.secret import Lack, Password, Verifier
from proxy.auth.users import BadList


def test_a_list_as_pgbouncer_has_it() -> None:
    found = users.read(
        f"""; roles of the shop
"app" "{verifier("x")}"
"till" "pencil" a remark

  "old"\t"md5{"0" * 32}"
"with ""quotes"" in it" "a""b"\r
"later" "  \u2028 "
;"gone" "x"
""",
    )
    assert isinstance(found.secret("app"), Verifier)
    assert found.secret("till") == Password("pencil")
    assert found.secret("old") is Lack.UNKNOWN
    assert found.secret('with "quotes" in it') == Password('a"b')
    assert found.secret("later") == Password("  \u2028 ")
    assert found.secret("gone") is Lack.UNKNOWN
    assert len(found.secrets) == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('"a" "x"\napp pencil\n', 'line 2 is not "role" "secret"'),
        ('"app"\n', "line 1 is not"),
        ('"app" "pencil\n', "line 1 is not"),
        ('"app""pencil"\n', "line 1 is not"),
        ('"app" "pen"cil"\n', "line 1 is not"),
        ('"" "pencil"\n', "line 1 is not"),
        ('"app" "pencil\0"\n', "line 1 has a NUL"),
        ('\n"app" "SCRAM-SHA-256$pencil"\n', "line 2: the secret begins with SCRAM-SHA-256"),
        ('"app" "pencil"\n\n"app" "other"\n', "line 3 names a role that line 1 has named"),
    ],
)
def test_a_line_that_cannot_be_meant_is_named_and_not_shown(text: str, why: str) -> None:
    with pytest.raises(BadList) as refused:
        users.read(text)
    assert why in str(refused.value)
    assert "pencil" not in str(refused.value)


def test_a_list_is_not_shown() -> None:
    assert "pencil" not in repr(users.read('"app" "pencil"'))


printable = st.text(
    st.characters(exclude_characters="\n\0\r", exclude_categories=["Cs"]), min_size=1
)


@given(st.dictionaries(printable, printable.map(lambda text: "p" + text), max_size=5))
def test_what_is_quoted_is_read_again(given_: dict[str, str]) -> None:
    lines = [
        '"{}" "{}"'.format(*(part.replace('"', '""') for part in pair)) for pair in given_.items()
    ]
    assert users.read("\n".join(lines)).secrets == {
        role: Password(text) for role, text in given_.items()
    }


@given(st.text(max_size=200))
def test_any_text_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(BadList):
        users.read(text)
