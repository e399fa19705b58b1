"""DDL: an event trigger records it, and it is asked afterwards whether one did; what would destroy
something is run by a procedure of ours, which keeps that first.
"""

from typing import Final

from proxy.capture.case import Case, Need, reads_text, tables
from proxy.capture.plan import PASS, How, Plan, Reason, Wrapped
from proxy.sql.kinds import Kind
from proxy.sql.splice import Edit, length
from proxy.sql.statement import Statement
from undo.log import SCHEMA

# What may destroy tables, columns or the places of sequences, or what tables in the bin are made
# of: kind and object -> words of which one must be there, too, if there are any. They may be names;
# then the procedure does nothing but run the statement.
_DESTROYS: Final[dict[tuple[Kind, bytes], frozenset[str]]] = {
    **{(Kind.DROP, what): frozenset() for what in (
        b"table", b"schema", b"sequence", b"type", b"domain", b"extension",
        b"function", b"procedure", b"routine", b"aggregate", b"collation",
        b"operator", b"text", b"cast", b"conversion", b"language", b"procedural", b"access",
        b"server", b"foreign", b"owned",
    )},
    (Kind.REASSIGN, b"owned"): frozenset(),  # no event trigger is told of it
    (Kind.DROP, b"view"): frozenset(("cascade",)),
    (Kind.ALTER, b"table"): frozenset(("drop", "type")),
    (Kind.ALTER, b"foreign"): frozenset(("drop", "type")),
    (Kind.ALTER, b"type"): frozenset(("drop", "attribute")),
    (Kind.ALTER, b"domain"): frozenset(("drop", "add", "validate", "set")),
}  # fmt: skip
# The tables themselves are made, and nothing is asked about others.
_MAKERS: Final = frozenset(
    (Kind.CREATE_TABLE, Kind.CREATE_TABLE_AS, Kind.SELECT_INTO, Kind.CREATE_INDEX)
)


def ddl(case: Case) -> Plan | Need:
    statement = case.statement
    if statement.temporary:
        return PASS
    if statement.kind in _MAKERS:
        return schema(case)
    named = tables(case)
    if isinstance(named, Need):
        return named
    if named is not None and not named:
        return PASS
    return schema(case, tuple(table.oid for table in named or ()))


def schema(case: Case, relids: tuple[int, ...] = ()) -> Plan:
    """Whatever its names mean."""
    statement, number = case.statement, case.fingerprint
    if not statement.kind.in_block:
        retracted = statement.kind is Kind.CONCURRENTLY and case.known.epoch is not None
        return Plan(How.ANNOUNCE, number, Reason.DDL, relids=relids, retracted=retracted)
    if statement.kind is Kind.REFRESH or SCHEMA in statement.idents:
        # The rows of a materialized view are not kept; and nobody looks behind the end of the log.
        return Plan(How.NOTE, number, Reason.DDL, relids=relids)
    watched = case.watch(Reason.DDL)
    return _spared(case, watched) if _may_destroy(case) else watched


def _may_destroy(case: Case) -> bool:
    statement = case.statement
    needed = _DESTROYS.get((statement.kind, b"".join(statement.words[1:2])))
    if needed is None or not case.known.spares or not case.safe_encoding:
        return False
    found = not needed or not needed.isdisjoint(statement.idents)
    return found and not reads_text(statement)


def _spared(case: Case, watched: Plan) -> Plan:
    statement, text = case.statement, case.text
    own = statement.slice(text)
    wrapped = Wrapped(own, length(text[: statement.start]))
    call = b"CALL hotrollback.run_ddl_v1(E'%s')" % _escaped(own)
    edit = Edit(statement.start, statement.end, call, "spares what it destroys")
    return Plan(
        How.SPARE, watched.fingerprint, Reason.DDL, edits=(edit,), wrapped=wrapped, watch=True,
        doubted=watched.doubted,
    )  # fmt: skip


def _escaped(text: bytes) -> bytes:
    """For E'..', which means the same whatever standard_conforming_strings is."""
    return text.replace(b"\\", b"\\\\").replace(b"'", b"''")


def spelling(statement: Statement, text: bytes) -> bytes:
    """What the server can be asked to parse to hear of errors of grammar in one statement of
    several, at the places that they have among all of them."""
    before = b" " * length(text[: statement.start])
    rest = text[statement.end :].lstrip()
    return before + statement.slice(text) + (b";" if rest.startswith(b";") else b"")
