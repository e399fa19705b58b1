"""A plan as a file: the command that was previewed and the digest of what it would do, for another
person to review and for `undo --plan` to do. Not: how a digest is made.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Command
from proxy.admin.grammar import Call, GrammarError, parse, render

_VERSION: Final = 1
# What may be given again with a plan: nothing of it decides about rows.
_BESIDE: Final = frozenset(
    clause.field
    for clause in (clauses.DRY_RUN, clauses.DIFF, clauses.AT, clauses.REASON, clauses.AS_JSON)
)


class BadPlan(Exception):
    """A file that is no plan, or flags that are at odds with it."""


def write(path: str, call: Call, report: Mapping[str, Any]) -> None:
    """The call without what is only for looking. Raises BadPlan."""
    if report["outcome"] != "preview":
        return  # the report says why there is nothing to plan
    if report["digest"] is None:
        raise BadPlan("a plan is done in one transaction: leave out --batch")
    values = {k: v for k, v in call.values.items() if k not in {"dry_run", "diff", "at", "plan"}}
    plan = {
        "version": _VERSION,
        "command": render(Call(call.command, values)),
        "digest": report["digest"],
        "report": report,
    }
    try:
        Path(path).write_text(json.dumps(plan, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise BadPlan(f"cannot write {path}: {error.strerror}") from error


def read(path: str, command: Command, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the planned call, and the digest. Raises BadPlan."""
    beside = {name for name in given if name not in _BESIDE}
    if beside:
        raise BadPlan(f"--plan says what to undo, and how: leave out {', '.join(sorted(beside))}")
    try:
        plan = json.loads(Path(path).read_text())
        (call,) = parse(plan["command"])
        digest, version = plan["digest"], plan["version"]
    except OSError as error:
        raise BadPlan(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, GrammarError) as error:
        raise BadPlan(f"{path} is no plan: undo --dry-run --save-plan writes one") from error
    if call.command is not command or not isinstance(digest, str) or version != _VERSION:
        raise BadPlan(f"{path} is no plan of this version: undo --dry-run --save-plan writes one")
    return {**call.values, **given, clauses.PLAN.field: digest}
