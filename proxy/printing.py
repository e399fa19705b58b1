"""How answers look: tables for people, JSON for programs. Not: where they come from."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Columns that stand in one line, cut off where there is no room for them.
_CUT: Final = frozenset({"statement", "before", "after"})


def as_json(columns: Sequence[str], rows: Iterable[Sequence[Any]], raw: frozenset[str]) -> str:
    """A list of objects. Columns in `raw` are JSON already and stay as they are, digit by digit."""
    objects = []
    for row in rows:
        pairs = [
            f"{json.dumps(name)}: {value if name in raw and value is not None else _json(value)}"
            for name, value in zip(columns, row, strict=True)
        ]
        objects.append("{" + ", ".join(pairs) + "}")
    return "[" + ",\n ".join(objects) + "]"


def _json(value: Any) -> str:
    if isinstance(value, datetime):
        return json.dumps(value.astimezone(UTC).isoformat())
    return json.dumps(value, ensure_ascii=False)


def shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """For people: on a pipe without a width of its own, as wide as it needs to be."""
    screen = Console(highlight=False)
    made = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(columns):
        numeric = any(isinstance(row[at], int) and not isinstance(row[at], bool) for row in rows)
        cut = name in _CUT
        made.add_column(
            Text(name),
            justify="right" if numeric else "left",
            no_wrap=cut,
            overflow="ellipsis" if cut else "fold",
        )
    for row in rows:
        cells = zip(columns, row, strict=True)
        made.add_row(*(Text(_line(shown(v)) if n in _CUT else shown(v)) for n, v in cells))
    if screen.is_terminal:
        screen.print(made)
    else:
        screen.print(made, width=max(screen.measure(made).maximum, 1), crop=False)


def _line(text: str) -> str:
    return " ".join(text.split())


def report(found: Mapping[str, Any]) -> None:
    """An undo's, for people."""
    screen = Console(highlight=False)
    say(screen, _headline(found), style=_STYLES.get(found["outcome"], ""))
    if found["tables"]:
        names = ("relation", "inserts", "updates", "deletes", "skipped")
        headings = ("table", "brought back", "set back", "taken away", "left alone")
        table(headings, [tuple(each[name] for name in names) for each in found["tables"]])
    _list(screen, "conflict", found["conflicts"], _conflict)
    _list(screen, "gap", found["gaps"], _gap)
    if found["outcome"] == "preview":
        for statement in found["statements"]:
            say(screen, f"\n{statement};")


_STYLES: Final = {"done": "bold green", "conflicts": "bold red", "gaps": "bold red"}
_MOST: Final = 20


def _headline(found: Mapping[str, Any]) -> str:
    selected = _counted(found["selected_transactions"], "transaction")
    said = {
        "done": f"Undo {found['undo_id']} took back {selected}.",
        "nothing": "Nothing is left to undo.",
        "preview": f"Would take back {selected}; nothing was changed.",
        "conflicts": "Nothing was changed: others changed some of the rows since."
        " Decide with --on-conflict skip or force.",
        "gaps": "Nothing was changed: some of the writes are not recorded."
        " Undo the rest with --accept-gaps.",
    }[found["outcome"]]
    return f"{said} {found['message']}".rstrip()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list(screen: Console, noun: str, found: Sequence[Any], line_of: Any) -> None:
    if found:
        say(screen, f"{_counted(len(found), noun)}:")
    for each in found[:_MOST]:
        say(screen, f"  {line_of(each)}")
    if len(found) > _MOST:
        say(screen, f"  and {len(found) - _MOST} more: --json has all")


def _conflict(found: Mapping[str, Any]) -> str:
    said = f"{found['relation']} {found['key'] or ''}: {found['kind'].replace('_', ' ')}"
    if found["xid"] is not None:
        said += f" by transaction {found['xid']}"
        said += f", session {found['session']}" if found["session"] else ""
        said += f", tag {found['tag']}" if found["tag"] else ""
        said += f", at {found['at']}" if found["at"] else ""
    return said + (f" ({found['detail']})" if found["detail"] else "")


def _gap(found: Mapping[str, Any]) -> str:
    where = found["relation"] or "any table"
    statement = _line(found["statement"] or "statement not known")
    return f"transaction {found['xid']}, {where}: {found['reason']}: {statement[:120]}"


def out(text: str) -> None:
    """A line of the answer, as it is."""
    sys.stdout.write(f"{text}\n")


def say(screen: Console, text: str, style: str = "") -> None:
    screen.print(text, style=style, markup=False, soft_wrap=True)


def tell(text: str) -> None:
    """What is not part of the answer."""
    sys.stderr.write(f"{text}\n")
