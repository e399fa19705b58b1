"""THE TABLE of clauses: what may follow a command, in the console and as a flag.

A new clause is a row here and its name in the commands that take it.
"""

from dataclasses import dataclass
from typing import Final

from proxy.admin import values
from proxy.admin.values import Optional, Several, Value
from undo.policies import POLICIES


@dataclass(frozen=True, slots=True)
class Clause:
    words: tuple[str, ...]  # none: what stands directly behind the command's words
    field: str
    value: Value
    flag: str  # of the command line; empty: it has none
    metavar: str
    help: str
    # It must be given; on the command line it stands in its place, without a flag.
    positional: bool = False
    optional: bool = False  # of a positional one: it may be left out all the same

    @property
    def needed(self) -> bool:
        return self.positional and not self.optional

    @property
    def repeats(self) -> bool:
        return isinstance(self.value, Several)

    @property
    def syntax(self) -> str:
        """As the help shows it."""
        more = ", ..." if self.repeats else ""
        shown = f"[{self.metavar}]" if isinstance(self.value, Optional) else self.metavar + more
        return " ".join([*self.words, *([shown] if self.metavar else [])])


def _clause(
    words: str,
    field: str,
    value: Value,
    metavar: str,
    told: str,
    *,
    flag: str | None = None,
    positional: bool = False,
    optional: bool = False,
) -> Clause:
    positional = positional or not words
    made = "--" + words.lower().replace(" ", "-") if flag is None else flag
    return Clause(
        *(tuple(words.split()), field, value, "" if positional else made, metavar, told),
        positional=positional,
        optional=optional,
    )


DATABASE: Final = _clause(
    "IN DATABASE",
    "database",
    values.TEXT,
    "d",
    "in this database; without it, the one that the upstream's URL names",
    flag="--database",
)
SESSION: Final = _clause(
    "SESSION", "session", values.TEXT, "'id'", "of the session PID.MICROS, as SHOW SESSIONS has it"
)
TAG: Final = _clause("TAG", "tag", values.TEXT, "'x'", "written under this tag")
XID: Final = _clause("XID", "xids", values.NUMBERS, "n", "of these transactions")
FROM: Final = _clause("FROM", "since", values.TIME, "'time'", "at this time or later")
TO: Final = _clause("TO", "until", values.TIME, "'time'", "at this time or earlier")
RESTORE_POINT: Final = _clause(
    "TO RESTORE POINT",
    "restore_point",
    values.TEXT,
    "'name'",
    "all that came after this restore point",
    flag="--restore-point",
)
TABLE: Final = _clause(
    "TABLE",
    "tables",
    values.TABLES,
    "t",
    "rows of these tables, DDL that touched them, and what cascades and triggers wrote because of"
    " them",
)
ROLE: Final = _clause(
    "ROLE", "role", values.TEXT, "r", "written by this role, and what its statements set off"
)
APPLICATION: Final = _clause(
    "APPLICATION", "application", values.TEXT, "a", "of sessions with this application_name"
)
STATEMENT: Final = _clause(
    "STATEMENT",
    "statement",
    values.TEXT,
    "'text'",
    "whose statement contains this text; with % or _ it is a pattern for LIKE",
)
WHERE: Final = _clause(
    "WHERE",
    "where",
    values.WHERE,
    "condition",
    "what a row was or became: after.price = 0 AND before.note IS NOT NULL",
)
KEY: Final = _clause(
    "KEY",
    "key",
    values.KEY,
    "'value' | (column = 'value', ...)",
    "of the one row of the one TABLE that has or had this primary key, and nothing that was written"
    " because of it; its values are read as the columns' types",
)
ADDRESS: Final = _clause(
    "ADDRESS",
    "address",
    values.TEXT,
    "'address'",
    "of sessions whose client was at this address or in this network (10.1.0.0/16)",
)
FINGERPRINT: Final = _clause(
    "FINGERPRINT",
    "fingerprints",
    values.SIGNED,
    "n",
    "of the statements with these fingerprints, as SHOW CHANGES has them",
)
LIMIT: Final = _clause("LIMIT", "limit", values.NUMBER, "n", "at most so many rows, the newest")
SELECTORS: Final = (
    *(SESSION, TAG, XID, FROM, TO, RESTORE_POINT, TABLE, KEY, ROLE, APPLICATION, ADDRESS),
    *(STATEMENT, FINGERPRINT),
)
EXCEPTIONS: Final = (
    _clause("EXCEPT SESSION", "except_sessions", values.TEXTS, "'id'", "not of these sessions"),
    _clause("EXCEPT TAG", "except_tags", values.TEXTS, "'x'", "not written under these tags"),
    _clause("EXCEPT XID", "except_xids", values.NUMBERS, "n", "not of these transactions"),
    _clause(
        "EXCEPT TABLE",
        "except_tables",
        values.TABLES,
        "t",
        "not rows of these tables, nor DDL that touched them, nor what cascades and triggers wrote"
        " because of them",
    ),
    _clause(
        "EXCEPT ROLE",
        "except_roles",
        values.TEXTS,
        "r",
        "not written by these roles, nor what their statements set off",
    ),
    _clause(
        "EXCEPT APPLICATION",
        "except_applications",
        values.TEXTS,
        "a",
        "not of sessions with these application_names",
    ),
)
WAIT: Final = _clause(
    "WAIT",
    "wait",
    values.WAIT,
    "'time'",
    "wait for the transactions that are open now and may belong to the selection, at most so long,"
    " and only then look for what is selected; without it they are named and left",
)
AT: Final = _clause(
    "AT",
    "at",
    values.COMING,
    "'time'",
    "begin then, and look only then for what is selected; a time of day is the next one: '02:30'",
)
ON_CONFLICT: Final = _clause(
    "ON CONFLICT",
    "policy",
    values.POLICY,
    "policy",
    f"what to do about rows that others changed since: {', '.join(POLICIES)} (default: abort)",
)
ON_CONFLICT_OF: Final = _clause(
    "ON CONFLICT OF",
    "policies",
    values.TABLE_POLICIES,
    "'t=policy'",
    "of single tables another one",
)
IGNORE: Final = _clause(
    "IGNORE",
    "ignore",
    values.COLUMNS,
    "t.column",
    "columns that change by themselves (updated_at, a version): whoever changed them is in nobody's"
    " way, and in rows that are there they stay as they are",
)
ACCEPT_GAPS: Final = _clause(
    "ACCEPT GAPS", "accept_gaps", values.PRESENCE, "", "go on although some writes are not recorded"
)
TRUST_LOG: Final = _clause(
    "TRUST LOG",
    "trust_log",
    values.PRESENCE,
    "",
    "believe the log also of roles that may not (or no longer) do what it says they did",
)
DRY_RUN: Final = _clause(
    "DRY RUN", "dry_run", values.PRESENCE, "", "do all of it, show what it did, and roll it back"
)
DIFF: Final = _clause(
    "DIFF",
    "diff",
    values.PRESENCE,
    "",
    "show each row as it is before the undo and after it: some of each table, all in JSON",
)
PLAN: Final = _clause(
    "PLAN",
    "plan",
    values.TEXT,
    "'digest'",
    "do exactly what the dry run with the same clauses and this digest showed, or fail and change"
    " nothing; on the command line --plan FILE, written by --dry-run --save-plan FILE",
    flag="",
)
FENCE: Final = _clause(
    "FENCE",
    "fence",
    values.PRESENCE,
    "",
    "refuse further writes of its TAG, ROLE and APPLICATION until the undo ends; it begins when"
    " transactions that wrote before have ended",
)
BATCH: Final = _clause(
    "BATCH",
    "batch",
    values.NUMBER,
    "n",
    "in transactions of about n rows, the newest first, each complete in itself; one that was cut"
    " off is continued by the same command",
)
RATE: Final = _clause(
    "RATE", "rate", values.NUMBER, "n", "with BATCH: at most n rows a second, on an average"
)
MAX_LAG: Final = _clause(
    "MAX LAG",
    "max_lag",
    values.DURATION,
    "'time'",
    "with BATCH: wait while a standby lags more than this",
)
LOCK_TIMEOUT: Final = _clause(
    "LOCK TIMEOUT",
    "lock_timeout",
    values.DURATION,
    "'time'",
    "wait at most so long for a row that is locked; then let go of all rows and try again, a few"
    " times, after growing pauses (without it: 30 seconds, once)",
)
RESET_SEQUENCES: Final = _clause(
    "RESET SEQUENCES",
    "sequences",
    values.PRESENCE,
    "",
    "when it is done, set the sequences of tables whose rows went behind the rows that are left;"
    " writers of these tables wait meanwhile, and what is taken and not stored is given again",
)
REASON: Final = _clause("REASON", "reason", values.TEXT, "'text'", "why: it is kept, and shown")
AS_JSON: Final = _clause(
    "AS JSON", "as_json", values.PRESENCE, "", "the report as one JSON value", flag=""
)
AS_SQL: Final = _clause(
    "AS SQL",
    "as_sql",
    values.PRESENCE,
    "",
    "a dry run that answers with a script for psql, which does the same to the rows or aborts; on"
    " the command line --sql FILE",
    flag="",
)
UNDO_ID: Final = _clause(
    "", "undo_id", values.UNDO_ID, "n | LAST", "the number of an undo, or last", flag=""
)
NAME: Final = _clause("", "name", values.TEXT, "'name'", "its name", flag="")

SCRIPT: Final = _clause(
    "",
    "script",
    values.SCRIPT,
    "'statements'",
    "the migration; on the command line the file that holds it, or - for standard input",
    flag="",
)

AS_OF: Final = _clause(
    "AS OF",
    "moment",
    values.WHEN,
    "'time' | RESTORE POINT 'name'",
    "the moment, or restore point, whose rows are shown; on the command line 'restore point NAME'",
    positional=True,
)
THE_TABLE: Final = _clause("", "table", values.TABLE, "t", "the table")
THE_COLUMN: Final = _clause("", "column", values.COLUMN, "t.column", "the column")
ITS_TABLE: Final = _clause("TABLE", "table", values.TABLE, "t", "the table", positional=True)
ITS_KEY: Final = _clause(
    "KEY",
    "key",
    values.KEY,
    KEY.metavar,
    "the row's primary key; its values are read as the columns' types",
    positional=True,
)

IN_BIN: Final = _clause(
    "",
    "entry",
    values.TABLE,
    "'name'",
    "what it was called, table, schema.table, or table.column of values; or its id in SHOW BIN",
)
IN_BIN_OR_ALL: Final = _clause(
    "",
    "entry",
    values.TABLE,
    "'name'",
    f"{IN_BIN.help}; without it, everything that is not pinned",
    optional=True,
)
AS_NAME: Final = _clause(
    "AS", "new_name", values.TABLE, "'name'", "under another name, or schema.name"
)
OLDER_THAN: Final = _clause(
    "OLDER THAN", "older_than", values.AGE, "'30d'", "only what is in the bin for so long"
)
SHOW_ONLY: Final = _clause(
    "DRY RUN", "dry_run", values.PRESENCE, "", "tell what would go, and change nothing"
)
