"""THE TABLE of clauses: what may follow a command, in the console and as a flag.

A new clause is a row here and its name in the commands that take it.
"""

from dataclasses import dataclass
from typing import Final

from proxy.admin import values
from proxy.admin.values import Several, Value
from undo.policies import POLICIES


@dataclass(frozen=True, slots=True)
class Clause:
    words: tuple[str, ...]  # none: what stands directly behind the command's words
    field: str
    value: Value
    flag: str  # of the command line; empty: it has none
    metavar: str
    help: str

    @property
    def repeats(self) -> bool:
        return isinstance(self.value, Several)

    @property
    def syntax(self) -> str:
        """As the help shows it."""
        more = ", ..." if self.repeats else ""
        return " ".join([*self.words, *([self.metavar + more] if self.metavar else [])])


def _clause(
    words: str, field: str, value: Value, metavar: str, told: str, *, flag: str | None = None
) -> Clause:
    made = "--" + words.lower().replace(" ", "-") if flag is None else flag
    return Clause(tuple(words.split()), field, value, made, metavar, told)


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
    "rows of these tables, and what cascades and triggers wrote because of them",
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
LIMIT: Final = _clause("LIMIT", "limit", values.NUMBER, "n", "at most so many rows, the newest")
SELECTORS: Final = (SESSION, TAG, XID, FROM, TO, RESTORE_POINT, TABLE, ROLE, APPLICATION)
ON_CONFLICT: Final = _clause(
    "ON CONFLICT",
    "policy",
    values.word_of(*POLICIES),
    "policy",
    f"what to do about rows that others changed since: {', '.join(POLICIES)} (default: abort)",
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
AS_JSON: Final = _clause(
    "AS JSON", "as_json", values.PRESENCE, "", "the report as one JSON value", flag=""
)
UNDO_ID: Final = _clause(
    "", "undo_id", values.UNDO_ID, "n | LAST", "the number of an undo, or last", flag=""
)
NAME: Final = _clause("", "name", values.TEXT, "'name'", "its name", flag="")

# Of the design, and not yet to be had: said so instead of "syntax error".
LATER: Final = {
    ("BATCH",): "BATCH is not supported yet: an undo is one transaction",
    ("RATE",): "RATE is not supported yet: an undo is one transaction",
}
