"""Writes docs/commands.md from the table of commands: python -m proxy.admin.reference > FILE"""

import sys
from collections.abc import Sequence
from typing import Final

from proxy.admin.clauses import AS_JSON, Clause
from proxy.admin.command import Command
from proxy.admin.commands import COMMANDS
from proxy.admin.commands.undo import REPORT_JSON

_HEAD: Final = """\
# Commands

The admin console is a virtual database `hotrollback` on a Unix socket in the directory of
`serve --admin DIR`, for any client of PostgreSQL: `psql -h DIR -p 6433 hotrollback`. Whoever may
open the socket, which is the user that runs the proxy, may do everything. The command line is its
client: `hotrollback show tags` sends `SHOW TAGS`. It finds the socket by `--admin DIR`,
`HOTROLLBACK_ADMIN` or `admin` in the config file.

- Clauses stand in any order and combine with AND. What may be repeated takes a list: `XID 1, 2`; on
  the command line the flag is given several times.
- Texts are written as `'text'`, or without quotes if they are one word.
- A time is `'2026-01-31 09:10:00'`, with a zone if need be (`+02`, `Z`), or a time of day, which
  means the latest moment that had it. Without a zone it is the console session's `TimeZone`, on the
  command line this machine's; it is echoed in UTC.
- To UNDO a transaction is inside FROM and TO when it committed there, if the server kept that
  (`track_commit_timestamp = on` when it committed); otherwise when its last record is. SHOW takes
  each record by when it was made.
- EXCEPT leaves out what the same selector alone would select. What has no tag is not left out by
  EXCEPT TAG.
- Of a transaction that has not ended nothing is in the log yet: UNDO names those that have written
  there and may belong to the selection, prepared ones too. What rules one out is its session,
  number, application, the tables that it has locked, or that the role that logged in may not act as
  ROLE; its tag and its rows are not known.
- SHOW TABLE gives the rows of now with every later recorded change taken back, undos too. It fails
  and says why where that would not be what was there: after gaps, changed columns, writes around
  capture, or before the log begins. By time a transaction is later when it committed later, if the
  server kept that, otherwise when its last record is; a restore point is exact.
- The same is a function in the database, for whoever may SELECT the whole table and sees all of its
  rows: `SELECT * FROM hotrollback.as_of('2026-01-31 09:10', NULL::shop.orders)` and
  `hotrollback.as_of_restore_point('name', NULL::shop.orders)`.
- Lists come newest first, 100 rows if no LIMIT is given.
- In a prepared statement `$1` may stand for any value.
- UNDO, REDO, RESTORE POINT, RESTORE, PURGE, PIN, CAPTURE, RELOAD and SHUTDOWN refuse to run inside
  a transaction block: they could not be rolled back.
- `--json` prints a list of objects, whose keys are the columns below; times are ISO 8601 in UTC.

Exit codes of the command line: 0 done, 1 failed, 2 usage, 3 conflicts (nothing was changed), 4 gaps
that were not accepted (nothing was changed).

<!-- Written by `python -m proxy.admin.reference`: change proxy/admin/clauses.py or commands/. -->
"""

_REPORT: Final = """\
`AS JSON`, and `--json` on the command line, give the whole report as one object: `outcome`
(`done`, `nothing`, `preview`, `conflicts` or `gaps`), `exit_code`, `undo_id`, `xid`,
`selected_transactions`, `tables` (`relation`, `inserts`, `updates`, `deletes`, `skipped`),
`conflicts`, `gaps`, `statements` (the inverse SQL, in a dry run), `open` (transactions that had not
ended, may belong to the selection and were left), `seconds` (from the first look to the last row;
in a dry run those of the real run that was rolled back: the commit is not in it), `untouched`
(`kind`, `name`, `detail`: what an undo leaves alone and the selection is likely to have touched:
sequences of the tables that it inserted into, materialized views over its tables, notifies, large
objects and doings outside of the database that the catalog tells of), `message`.

In a dry run also `digest` (of all rows as they are, where they are and what they become, of the
conflicts and of the policies: `PLAN 'digest'` behind the same clauses does this or fails),
`triggers` (`relation`, `name`, `kind`, `fires`: those that what is written calls;
users' triggers and rules are kept silent, and foreign keys of such tables are checked by the undo
itself) and `locks` (`relation`, `mode` as in `pg_locks`, the strongest; `rows` locked). With `DIFF`
`diff` (`relation`, `key`, `op`: `insert`, `update` or `delete`, `columns`: `column`, `now`, `then`,
as text).
"""


def page() -> str:
    return "\n".join([_HEAD, *(_section(command) for command in COMMANDS)])


def _section(command: Command) -> str:
    parts = [f"## {command.name}\n", f"{command.help[0].upper()}{command.help[1:]}.\n"]
    if command.clauses:
        rows = [(f"`{c.syntax}`", _flag(c), c.help) for c in command.clauses]
        parts.append(_table(("clause", "flag", "meaning"), rows))
    columns = [(f"`{c.name}`", c.type.name, c.told) for c in command.columns]
    parts.append(_table(("column", "type", "meaning"), columns))
    if command.json_columns == REPORT_JSON:
        parts.append(_REPORT)
    return "\n".join(parts)


def _flag(clause: Clause) -> str:
    if clause is AS_JSON:
        return "`--json`"
    if clause.positional:
        return f"`{clause.field.upper()}`"
    return f"`{clause.flag}`" if clause.flag else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in r] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
