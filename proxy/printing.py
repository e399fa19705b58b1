"""How answers look: tables for people, JSON for programs. Not: where they come from."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from undo.model import ColumnDiff, Fitted, Lock, RowDiff, Trigger, Untouched

# Columns that stand in one line, cut off where there is no room for them.
_CUT: Final = frozenset({"statement", "before", "after"})
_LEAST: Final = 24  # characters that are left of them
_GAP: Final = 2  # between two columns


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
    """For people: without the columns that say nothing; row by row where a table has no room."""
    cells = [[_cell(name, v) for name, v in zip(columns, row, strict=True)] for row in rows]
    used = [n for n in range(len(columns)) if not cells or any(row[n] for row in cells)]
    widths = [max([len(columns[n]), *(_width(row[n]) for row in cells)]) for n in used]
    least = [min(w, _LEAST) if columns[n] in _CUT else w for n, w in zip(used, widths, strict=True)]
    screen = Console(highlight=False)
    width = screen.width if screen.is_terminal else sum(widths) + len(widths) * _GAP
    if sum(least) + len(least) * _GAP > width:
        _records(screen, [columns[n] for n in used], [[row[n] for n in used] for row in cells])
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for n in used:
        numeric = any(isinstance(row[n], int) and not isinstance(row[n], bool) for row in rows)
        justify: Literal["right", "left"] = "right" if numeric else "left"
        made.add_column(Text(columns[n]), justify=justify, no_wrap=True, overflow="ellipsis")
    for row in cells:
        made.add_row(*(Text(row[n]) for n in used))
    Console(highlight=False, width=width).print(made)


def _width(text: str) -> int:
    return max((cell_len(line) for line in text.splitlines()), default=0)


def _cell(name: str, value: Any) -> str:
    return _line(shown(value)) if name in _CUT else shown(value)


def _records(screen: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    margin = max(map(len, columns))
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            if value:
                say(screen, f"{name:{margin}}  {value}")
        say(screen, "")


def _line(text: str) -> str:
    return " ".join(text.split())


def report(found: Mapping[str, Any], *, redo: bool) -> None:
    """An undo's or a redo's, for people."""
    screen = Console(highlight=False)
    say(screen, _headline(found, redo=redo), style=_STYLES.get(found["outcome"], ""))
    written = [each for each in found["tables"] if not each["moved"]]
    if written:
        names = ("relation", "inserts", "updates", "deletes", "skipped")
        headings = ("table", "brought back", "set back", "taken away", "left alone")
        table(headings, [tuple(each[name] for name in names) for each in written])
    for each in found["tables"]:
        if each["moved"]:
            say(screen, f"{each['relation']} was {each['moved']}, the whole table")
    _differences(screen, found["diff"])
    _list(screen, "conflict", found["conflicts"], _conflict)
    _list(screen, "open transaction", found["open"], _open)
    _list(screen, "gap", found["gaps"], _gap)
    _list(screen, "sequence", found["sequences"], lambda each: Fitted(**each))
    _list(screen, "thing", found["untouched"], lambda each: Untouched(**each), "not touched")
    if found["outcome"] == "preview":
        _list(screen, "trigger", found["triggers"], lambda each: Trigger(**each))
        _list(screen, "lock", found["locks"], lambda each: Lock(**each))
        if found["seconds"]:
            say(screen, f"It took {found['seconds']} s, and was rolled back.")
        for statement in found["statements"]:
            say(screen, statement)
    else:
        _list(screen, "statement", found["statements"], str, "of DDL that ran")


def _differences(screen: Console, found: Sequence[Any]) -> None:
    for relation, rows in groupby(found, lambda row: row["relation"]):
        _list(screen, "row", list(rows), _difference, f"of {relation}")


def _difference(found: Mapping[str, Any]) -> RowDiff:
    return RowDiff(**{**found, "columns": tuple(ColumnDiff(**c) for c in found["columns"])})


_STYLES: Final = {"done": "bold green", "conflicts": "bold red", "gaps": "bold red"}
_MOST: Final = 20


def _headline(found: Mapping[str, Any], *, redo: bool) -> str:
    selected = _counted(found["selected_transactions"], "transaction")
    parts = f" in {_counted(found['batches'], 'batch', 'batches')}" if found["batches"] else ""
    done = f"Undo {found['undo_id']} took back {'an undo' if redo else selected}{parts}."
    if found["undo_id"] is None:
        done = "Everything was left alone; nothing was changed."
    told = found["message"]
    told = f"{told[:1].upper()}{told[1:]}."
    return {
        "done": done,
        "nothing": told,
        "preview": f"Would take back {selected}{parts}; nothing was changed.",
        "conflicts": f"{told} Decide with --on-conflict.",
        "gaps": told,
    }[found["outcome"]]


def _counted(number: int, noun: str, many: str = "") -> str:
    return f"{number} {noun if number == 1 else many or noun + 's'}"


def _list(screen: Console, noun: str, found: Sequence[Any], line_of: Any, which: str = "") -> None:
    if found:
        say(screen, f"{_counted(len(found), noun)}{f' {which}' if which else ''}:")
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


def _open(found: Mapping[str, Any]) -> str:
    who = f"session {found['session']}" if found["session"] else f"backend {found['pid']}"
    if found["gid"] is not None:
        who = f"prepared transaction {found['gid']!r}"
    writes = ", ".join(found["relations"]) or "nothing that is known"
    return f"{who}, role {found['role']}, since {found['since']}: writes {writes}; left as it is"


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
