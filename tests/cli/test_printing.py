"""How answers look on a terminal, on a pipe, and to programs."""

import json
from datetime import UTC, datetime

import pytest

from proxy import printing

COLUMNS = ("at", "xid", "tag", "after", "statement")
AT = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
ROWS = [
    (AT, 7, None, '{"price": 1.50, "big": 12345678901234567890.10}', "UPDATE t\n   SET a = 1"),
    (AT, 800, None, None, None),
]


def test_json_keeps_every_digit() -> None:
    """An image goes out as the server made it: a program reads numbers as exactly as it wants."""
    text = printing.as_json(COLUMNS, ROWS, frozenset({"after"}))
    assert '"after": {"price": 1.50, "big": 12345678901234567890.10}' in text
    first, second = json.loads(text)
    assert list(first) == list(COLUMNS)
    assert (first["at"], first["xid"], first["tag"]) == (AT.isoformat(), 7, None)
    assert (second["after"], second["statement"]) == (None, None)


def test_an_empty_list_is_a_list() -> None:
    assert json.loads(printing.as_json(COLUMNS, [], frozenset())) == []


def test_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole values, one line a row, no columns that say nothing."""
    printing.table(COLUMNS, ROWS)
    heads, first, second = capsys.readouterr().out.splitlines()
    assert heads.split() == ["at", "xid", "after", "statement"]
    assert first.split("  ")[0] == "2026-06-01 12:00:00.123Z"
    assert first.rstrip().endswith("UPDATE t SET a = 1")
    assert second.split() == ["2026-06-01", "12:00:00.123Z", "800"]


@pytest.mark.parametrize(("width", "lines"), [("200", 3), ("90", 3), ("40", 8)])
def test_a_terminal_gets_what_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str, lines: int
) -> None:
    """Statements and images are cut; where that is not enough, a line for every value."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", "xterm")
    printing.table(COLUMNS, ROWS)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == lines
