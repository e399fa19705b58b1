"""Commands that go to a running proxy: flags made from the table of clauses, one console command
sent, its answer printed. Not: a second grammar, what commands do.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any, Final

from config import Settings
from proxy import console_client, plan_file, printing
from proxy.admin import clauses
from proxy.admin.clauses import Clause
from proxy.admin.command import Command, Permission
from proxy.admin.commands import COMMANDS
from proxy.admin.grammar import Call, render
from proxy.admin.moments import BadInput, coming, instant
from proxy.admin.table import JSON
from proxy.admin.values import COMING, SCRIPT, Optional, Presence
from proxy.asking import confirmed, require_terminal
from undo.model import EXIT_CODES, Outcome

SELECTORS: Final = frozenset(clause.field for clause in clauses.SELECTORS)
FAILURES: Final = (console_client.NoConsole, console_client.Refused)
BadPlan = plan_file.BadPlan


def families() -> dict[str, list[Command]]:
    """Commands by the first word of the command line; where it has several, a second word tells."""
    found: dict[str, list[Command]] = {}
    for command in COMMANDS:
        found.setdefault(command.family, []).append(command)
    alone = {w: "-".join(m[0].words).lower() for w, m in found.items() if len(m) == 1}
    return {word if m[0].word else alone.get(word, word): m for word, m in found.items()}


# -- flags -------------------------------------------------------------------------------------


def add_flags(to: argparse.ArgumentParser, command: Command) -> None:
    for clause in command.clauses:
        if clause.positional:
            to.add_argument(
                clause.field,
                metavar=_metavar(clause),
                type=_type(clause),
                nargs="?" if clause.optional else None,
                help=_told(clause),
            )
        elif clause.flag:
            _add_flag(to, clause)
    to.add_argument("--json", action="store_true", help="print JSON for programs")
    if asks_first(command):
        to.add_argument("--yes", action="store_true", help="do not ask")
    if clauses.PLAN in command.clauses:
        to.add_argument(
            "--sql",
            metavar="FILE",
            help="change nothing, and write a script for psql that does it",
        )
        to.add_argument(
            "--save-plan",
            metavar="FILE",
            help="with --dry-run: write down what was asked and what it would do, for --plan",
        )
        to.add_argument(
            "--plan",
            dest="plan_file",
            metavar="FILE",
            help="do exactly what the dry run showed that wrote this file; fail, and change"
            " nothing, if anything about it has changed since",
        )


def asks_first(command: Command) -> bool:
    return clauses.DRY_RUN in command.clauses


def _add_flag(to: argparse.ArgumentParser, clause: Clause) -> None:
    if isinstance(clause.value, Presence):
        to.add_argument(clause.flag, dest=clause.field, action="store_true", help=_told(clause))
        return
    left_out: dict[str, Any] = {}
    if isinstance(clause.value, Optional):
        left_out = {"nargs": "?", "const": clause.value.otherwise, "default": argparse.SUPPRESS}
    to.add_argument(
        clause.flag,
        dest=clause.field,
        metavar=_metavar(clause),
        type=_type(clause),
        action="append" if clause.repeats else "store",
        **left_out,
        help=_told(clause) + ("; may be given several times" if clause.repeats else ""),
    )


def _told(clause: Clause) -> str:
    return clause.help.replace("%", "%%")


def _metavar(clause: Clause) -> str:
    if clause.value.choices:
        return "|".join(clause.value.choices)
    return clause.field.upper() if not clause.flag else clause.flag[2:].upper()


def _type(clause: Clause) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return clause.value.text(text)
        except BadInput as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def selector_flags(command: Command) -> list[str]:
    return [clause.flag for clause in command.clauses if clause.field in SELECTORS]


def selects_nothing(command: Command, args: argparse.Namespace) -> bool:
    """An undo without any selector would be one of everything."""
    selectors = [clause for clause in command.clauses if clause.field in SELECTORS]
    return bool(
        command.json_columns
        and selectors
        and all(getattr(args, clause.field) is None for clause in selectors)
    )


def values_of(args: argparse.Namespace, command: Command) -> dict[str, Any]:
    """What was given. Times become instants, and those without a zone are echoed in UTC."""
    found: dict[str, Any] = {}
    now = datetime.now(UTC)
    for clause in command.clauses:
        value: Any = getattr(args, clause.field, None)
        if isinstance(clause.value, Optional):
            if not hasattr(args, clause.field):
                continue
        elif (clause.words or clause.optional) and (value is None or value is False):
            continue
        if isinstance(value, datetime | time):
            at = (coming if clause.value is COMING else instant)(value, None, now)
            if value.tzinfo is None:
                printing.tell(f"{clause.flag or clause.field} {at:%Y-%m-%d %H:%M:%S} UTC")
            value = at
        if clause.value is SCRIPT:
            value = _read(value)
        found[clause.field] = tuple(value) if clause.repeats else value
    return found


def _read(path: str) -> str:
    """Raises BadPlan."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPlan(f"cannot read {path}: {error}") from error


# -- running -----------------------------------------------------------------------------------


def run(settings: Settings, command: Command, args: argparse.Namespace) -> int:
    """Raises FAILURES, asking.NobodyToAsk."""
    values = values_of(args, command)
    if asks_first(command):
        if getattr(args, "save_plan", None) and clauses.DRY_RUN.field not in values:
            raise BadPlan("--save-plan goes with --dry-run")
        if getattr(args, "sql", None):
            return _script(settings, command, values, args)
        if getattr(args, "plan_file", None):
            values = plan_file.read(args.plan_file, command, values)
        return _undo(settings, command, values, args)
    if command.json_columns:  # its columns are known from its rows alone
        values[clauses.AS_JSON.field] = True
    answer = console_client.run(settings, render(Call(command, values)), printing.tell)
    if command.json_columns:
        _print_objects([row[0] for row in answer.rows], args)
    elif args.json:
        raw = frozenset(column.name for column in command.columns if column.type is JSON)
        printing.out(printing.as_json(answer.columns, answer.rows, raw))
    elif command.permission is Permission.LOOK or command.must:
        printing.table(answer.columns, answer.rows)
        if not answer.rows:
            printing.tell("nothing found")
    else:
        for row in answer.rows:
            printing.out("  ".join(printing.shown(value) for value in row))
    if command.must:
        place = [column.name for column in command.columns].index(command.must)
        if not all(row[place] for row in answer.rows):
            return EXIT_CODES[Outcome.GAPS]
    return 0


def _print_objects(rows: list[str], args: argparse.Namespace) -> None:
    if args.json:
        printing.out("[" + ",\n ".join(rows) + "]")
        return
    # Numbers as they are written, digit by digit.
    objects = [json.loads(row, parse_float=str, parse_constant=str) for row in rows]
    if objects:
        columns = list(objects[0])
        printing.table(columns, [[_plain(each[c]) for c in columns] for each in objects])
    else:
        printing.tell("nothing found")


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _undo(
    settings: Settings, command: Command, values: dict[str, Any], args: argparse.Namespace
) -> int:
    if not (args.yes or values.get(clauses.DRY_RUN.field)):
        require_terminal()
        preview = _report(settings, command, {**values, clauses.DRY_RUN.field: True})
        if preview["outcome"] != "preview":
            return _print_report(command, preview, args)
        printing.report({**preview, "statements": ()}, redo=_is_redo(command))
        if not confirmed("Do it?"):
            return 1
    report = _report(settings, command, values)
    if getattr(args, "save_plan", None):
        plan_file.write(args.save_plan, Call(command, values), report)
    return _print_report(command, report, args)


def _script(
    settings: Settings, command: Command, values: dict[str, Any], args: argparse.Namespace
) -> int:
    """What stands in the way of a script is reported as of a dry run."""
    call = Call(command, {**values, clauses.AS_SQL.field: True})
    try:
        answer = console_client.run(settings, render(call), printing.tell)
    except console_client.Refused:
        report = _report(settings, command, {**values, clauses.DRY_RUN.field: True})
        if report["outcome"] == "preview":
            raise
        return _print_report(command, report, args)
    try:
        with Path(args.sql).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for (line,) in answer.rows)
    except OSError as error:
        raise BadPlan(f"cannot write {args.sql}: {error.strerror}") from error
    printing.tell(f"written: psql -1 -v ON_ERROR_STOP=1 -f {args.sql} does it; nothing was changed")
    return 0


def _report(settings: Settings, command: Command, values: Mapping[str, Any]) -> dict[str, Any]:
    call = Call(command, {**values, clauses.AS_JSON.field: True})
    answer = console_client.run(settings, render(call), lambda _: None)
    found: dict[str, Any] = json.loads(answer.rows[0][0])
    return found


def _is_redo(command: Command) -> bool:
    return clauses.UNDO_ID in command.clauses


def _print_report(command: Command, report: Mapping[str, Any], args: argparse.Namespace) -> int:
    if args.json:
        printing.out(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        printing.report(report, redo=_is_redo(command))
    return int(report["exit_code"])
