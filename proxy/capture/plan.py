"""What is sent instead of a statement or around it, and why it is not rewritten."""

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from proxy.catalog.relation import Relation
from proxy.sql.splice import Edit


class Reason(StrEnum):
    """Why a write is not captured by rewriting. Gap records and `show capture` use these words."""

    FUNCTION = "function"  # a volatile function of a user may write anything
    PROCEDURE = "procedure"  # CALL, DO: code that may write, and may commit in between
    COPY = "copy"  # COPY FROM has no RETURNING
    TRUNCATE = "truncate"  # rows vanish without being looked at
    WRITABLE_CTE = "writable_cte"  # a data-modifying WITH beside the main statement
    DDL = "ddl"  # the schema changes
    LOST = "lost"  # a table, a column's values, or an object of which no image is kept
    EXECUTE = "execute"  # EXECUTE of a prepared statement
    EXPLAIN = "explain"  # EXPLAIN ANALYZE runs what it explains
    CURSOR = "cursor"  # FETCH runs the functions of its query
    LARGE_OBJECT = "large_object"
    VIEW = "view"  # the image of a view's row is not that of its base row
    FOREIGN_TABLE = "foreign_table"
    RULES = "rules"
    ROW_SECURITY = "row_security"  # RETURNING would change which rows are touched
    INHERITANCE = "inheritance"  # children's rows come cut down to the parent's columns
    NO_SELECT = "no_select"  # RETURNING needs SELECT on every column
    NO_OLD = "no_old"  # before PostgreSQL 18 RETURNING does not give the old row
    TRIGGERS = "triggers"  # users' triggers may write other tables
    CASCADE = "cascade"  # a foreign key action writes tables without a capture trigger
    DEFERRED = "deferred_trigger"  # a trigger that runs at commit may write other tables
    CURRENT_QUERY = "current_query"  # the statement's text may become data
    RELATION = "unknown_relation"
    UNSETTLED = "same_message"  # names mean something else since a statement of the same message
    SYNTAX = "not_understood"
    ENCODING = "encoding"  # client text whose bytes cannot be looked at safely
    TOO_LONG = "too_long"  # over the statement limit: not analysed
    RETURNING = "returning"  # the columns that it returns could not be learnt in time
    STALE = "stale_catalog"  # the table changed between being looked at and being written
    LOG_FULL = "log_full"  # the log is too big: rows are counted, images not kept
    EVENT_TRIGGER = "event_trigger"  # the event trigger that follows DDL failed
    TRIGGER_MISSING = (
        "trigger_missing"  # the capture trigger was there, and was not when it counted
    )
    LOG_UNAVAILABLE = "log_unavailable"  # the log could not be written, and writes go on
    CAPTURE_OFF = "capture_off"


class How(Enum):
    PASS = auto()  # writes nothing that an undo would take back
    REWRITE = auto()  # the logging CTE
    SPARE = auto()  # the argument of a procedure of ours that keeps what it destroys; watched
    TRIGGER = auto()  # recorded by triggers; verified afterwards
    WATCH = auto()  # sent as it is; what it wrote is compared with what was recorded
    NOTE = auto()  # a gap that is known before it runs, in its own transaction
    ANNOUNCE = auto()  # the same, committed before it runs
    REFUSE = auto()  # an error instead

    __hash__ = object.__hash__  # Enum's is made of the name, in Python


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A statement of the client's that is run by one of ours, to put right what the server says."""

    text: bytes
    at: int  # characters before it in the client's message


@dataclass(frozen=True, slots=True)
class Plan:
    how: How
    fingerprint: int = 0
    reason: Reason | None = None
    relation: Relation | None = None
    edits: tuple[Edit, ...] = ()  # REWRITE, SPARE; offsets are in the message's text
    watch: bool = False  # compare also what was written besides
    late: bool = False  # and once more when the transaction commits
    relids: tuple[int, ...] = ()  # NOTE, ANNOUNCE: the tables that it is about
    refuse: bool = False  # what the comparison finds is an error
    captured: bool = False  # REWRITE: sent as it is, triggers would record it
    doubted: bool = False  # capture triggers may let pass some of it
    retracted: bool = False  # ANNOUNCE: the gap goes when what was done is recorded
    wrapped: Wrapped | None = None  # SPARE

    def in_transaction(self) -> "Plan":
        """The same where a transaction is open, in which nothing can be committed before it."""
        return replace(self, how=How.NOTE)

    def in_message(self) -> "Plan":
        """The same among others of a message, before which nothing can be committed."""
        return self.in_transaction() if self.how is How.ANNOUNCE else self

    def beside(self, *, rewritten: bool) -> "Plan":
        """The same in a message of which something is not rewritten: a capture trigger looks at the
        whole of it. So what is captured is left to triggers; if anything stays `rewritten`, what
        is theirs is compared."""
        if self.how is How.REWRITE and self.captured:
            return replace(self, how=How.WATCH, edits=(), doubted=rewritten)
        if rewritten and self.how is How.TRIGGER and self.reason is not Reason.TRUNCATE:
            return replace(self, watch=True, doubted=True)
        return replace(self, doubted=True) if rewritten else self

    def unspared(self) -> "Plan":
        """The same as the client wrote it: what it destroys is a gap."""
        if self.how is not How.SPARE:
            return self
        return replace(self, how=How.WATCH, edits=(), wrapped=None)

    def without_log(self) -> "Plan":
        return replace(self, reason=Reason.LOG_UNAVAILABLE)

    def refused(self, *, certain: bool) -> "Plan":
        """The same where gaps are refused; `certain`: before it runs."""
        return replace(self, how=How.REFUSE) if certain else replace(self, refuse=True)


PASS = Plan(How.PASS)
