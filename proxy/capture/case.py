"""A statement and what is known where it will run; what must be asked first; and why it is not
rewritten, where that is so. Not: what is done with it then (choose).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from proxy.capture.plan import How, Plan, Reason
from proxy.catalog import capabilities
from proxy.catalog.cache import Known
from proxy.catalog.relation import Name, Relation
from proxy.sql.kinds import Kind
from proxy.sql.statement import Statement
from undo.log import RECORDS_ITSELF

# Bytes of a text that are not looked at for every row.
_LONG: Final = 8192


@dataclass(frozen=True, slots=True)
class Need:
    """What must be asked before a plan can be made; one kind of question at a time."""

    fingerprint: int
    relations: tuple[Name, ...] = ()
    columns: tuple[int, ...] = ()
    calls: tuple[str, ...] = ()
    procedures: tuple[str, ...] = ()
    complete: bool = False  # whether triggers record whatever is written
    returning: bool = False  # the names of the columns that the statement returns
    text: bytes = b""
    relation: Relation | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One statement and what is known where it will run."""

    statement: Statement
    text: bytes  # the message's text; the statement's offsets point into it
    known: Known
    safe_encoding: bool
    in_block: bool  # a transaction block is open
    writing_cursors: Collection[str | None]  # cursors whose queries may write
    fingerprint: int

    def watch(self, reason: Reason, relation: Relation | None = None) -> Plan:
        """The server does not count what is written on another one: that cannot be compared."""
        if reason is Reason.FOREIGN_TABLE:
            return Plan(How.NOTE, self.fingerprint, reason, relation)
        late = relation is not None and relation.deferred
        return Plan(
            How.WATCH,
            self.fingerprint,
            reason,
            relation,
            late=late,
            doubted=looks_rewritten(self.text),
        )

    def trigger(self, reason: Reason, relation: Relation, *, elsewhere: bool) -> Plan:
        """`elsewhere`: it may write other relations, too."""
        doubted = looks_rewritten(self.text)
        return Plan(
            How.TRIGGER, self.fingerprint, reason, relation, watch=elsewhere or doubted,
            late=relation.deferred, doubted=doubted,
        )  # fmt: skip


def tables(case: Case) -> list[Relation] | Need | None:
    """What the statement names, without tables that only this session sees; None if that is not
    known of all of them."""
    names = tuple((target.schema, target.name) for target in case.statement.targets)
    missing = tuple(name for name in names if name not in case.known.relations)
    if missing:
        return Need(case.fingerprint, relations=missing)
    found = [case.known.relations[name] for name in names]
    if not found or None in found:
        return None
    return [table for table in found if table is not None and not table.temporary]


def looks_rewritten(text: bytes) -> bool:
    """Whether capture triggers take it for one that records itself, and let pass what it writes."""
    return RECORDS_ITSELF.encode() in text


def reads_text(statement: Statement) -> bool:
    """Whether the text of the client's message is data to it."""
    return "current_query" in statement.calls


def by_trigger(case: Case, relation: Relation, *, calls: bool) -> bool:
    """Whether its capture trigger should record a statement that could be rewritten: a trigger lets
    pass all that a rewritten statement writes, also by the functions that it calls; and looks at
    its text for each row."""
    long = case.statement.end - case.statement.start > _LONG
    return calls or relation.volatile or relation.implicit or long


def why_not(case: Case, relation: Relation) -> Reason | None:
    """The first row that holds says why the statement is not rewritten."""
    statement = case.statement
    merge = statement.kind is Kind.MERGE
    old = merge or statement.kind is Kind.UPDATE or statement.do_update
    rows: tuple[tuple[bool, Reason], ...] = (
        (relation.foreign or relation.kind == "f", Reason.FOREIGN_TABLE),
        (relation.kind == "v", Reason.VIEW),
        (relation.kind not in "rp", Reason.RELATION),
        (relation.rules, Reason.RULES),
        (relation.row_security, Reason.ROW_SECURITY),
        (relation.query_seen or reads_text(statement), Reason.CURRENT_QUERY),
        (not relation.selectable, Reason.NO_SELECT),
        (
            relation.inherited and not statement.target_only and statement.kind is not Kind.INSERT,
            Reason.INHERITANCE,
        ),
        (old and not capabilities.returns_old(case.known.version), Reason.NO_OLD),
        # The server refuses it, and would not once it stands in a WITH.
        (merge and statement.recursive, Reason.SYNTAX),
        (not statement.agreed, Reason.SYNTAX),
    )
    return next((reason for holds, reason in rows if holds), None)
