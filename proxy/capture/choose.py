"""From a statement and what is known to a plan, or to what must be asked first.

Kinds of statement are rows of `_PLANNERS`; a kind that has no row writes nothing that an undo takes
back (`sql.kinds` says what group it is of), or is opaque and falls to the comparison of what it
wrote with what was recorded: truthful before it is complete.
"""

import re
from collections.abc import Callable, Collection
from typing import Final

from proxy.capture.case import Case, Need, by_trigger, looks_rewritten, reads_text, tables, why_not
from proxy.capture.ddl import ddl
from proxy.capture.plan import PASS, How, Plan, Reason
from proxy.capture.rows import row_names
from proxy.capture.templates import Logged, template
from proxy.capture.with_items import Items, with_items
from proxy.catalog.cache import Known
from proxy.catalog.relation import Name, Relation
from proxy.sql.kinds import Group, Kind
from proxy.sql.shape import fingerprint
from proxy.sql.statement import Statement

# Built-in functions that write rows of the catalog's large objects.
_LARGE_OBJECT_CALLS: Final = frozenset((
    "lo_create", "lo_creat", "lo_from_bytea", "lo_put", "lo_unlink", "lo_import", "lowrite",
    "lo_truncate", "lo_truncate64",
))  # fmt: skip
# What a text of code calls that may be one of them; complete_v1 looks for the same in functions.
_LARGE_OBJECTS: Final = re.compile(rb"\b(?:lo_[a-z]|lowrite\b)", re.IGNORECASE)


Planner = Callable[[Case], Plan | Need]


def choose(
    statement: Statement,
    text: bytes,
    known: Known,
    *,
    safe_encoding: bool,
    in_block: bool,
    writing_cursors: Collection[str | None] = (),
) -> Plan | Need:
    number = statement.fingerprint or fingerprint(statement.slice(text))
    case = Case(statement, text, known, safe_encoding, in_block, writing_cursors, number)
    return _PLANNERS.get(statement.kind.group, _pass)(case)


def may_write(statement: Statement, writing_cursors: Collection[str | None] = ()) -> bool:
    """Whether it is worth asking the session who it is; cheap, and never false for a writer."""
    group = statement.kind.group
    if group is Group.READER:
        return bool(statement.calls) or statement.ctes_write or not statement.understood
    if group is Group.CURSOR:
        return bool(writing_cursors) or bool(statement.calls)
    if group is Group.EXPLAIN:
        return statement.analyze
    return group in _PLANNERS


def _pass(_case: Case) -> Plan:
    return PASS


def _calls(case: Case) -> Need | bool:
    """Whether it calls a function that may write."""
    known = case.known.calls
    missing = tuple(sorted(name for name in case.statement.calls if name not in known))
    if missing:
        return Need(case.fingerprint, calls=missing)
    return any(known[name] for name in case.statement.calls)


def _reader(case: Case) -> Plan | Need:
    if not case.statement.understood:
        return case.watch(Reason.SYNTAX)
    if not case.statement.calls.isdisjoint(_LARGE_OBJECT_CALLS):
        return case.watch(Reason.LARGE_OBJECT)
    calls = _calls(case)
    if isinstance(calls, Need):
        return calls
    if case.statement.ctes_write:
        return _writing_with(case, None, calls=calls)
    return case.watch(Reason.FUNCTION) if calls else PASS


def _relation(case: Case) -> Relation | Need | None:
    target = case.statement.target
    if target is None:
        return None
    name: Name = (target.schema, target.name)
    if name not in case.known.relations:
        return Need(case.fingerprint, relations=(name,))
    return case.known.relations[name]


def _row_writer(case: Case) -> Plan | Need:
    statement = case.statement
    if not case.safe_encoding:
        return case.watch(Reason.ENCODING)
    if not statement.understood or statement.target is None:
        return case.watch(Reason.SYNTAX)
    relation = _relation(case)
    if isinstance(relation, Need):
        return relation
    if relation is None:
        return case.watch(Reason.RELATION)
    if relation.system:
        # Whoever writes the catalog by hand changes the schema; the log is not its own subject.
        note = relation.schema == "pg_catalog"
        return Plan(How.NOTE, case.fingerprint, Reason.DDL, relation) if note else PASS
    calls = _calls(case)
    if isinstance(calls, Need):
        return calls
    if statement.ctes_write:
        return _writing_with(case, relation, calls=calls)
    if relation.temporary:
        return case.watch(Reason.FUNCTION) if calls or relation.triggers else PASS
    unseen = relation.implicit and not relation.captured
    elsewhere = calls or relation.writes_elsewhere or unseen
    reason = why_not(case, relation)
    if relation.captured and (reason is not None or by_trigger(case, relation, calls=calls)):
        return case.trigger(_elsewhere(relation), relation, elsewhere=elsewhere)
    if reason is not None:
        return case.watch(reason, relation)
    return _rewrite(case, relation, watch=elsewhere)


def _elsewhere(relation: Relation) -> Reason:
    """The word for what such a relation's writes may do besides."""
    if relation.deferred:
        return Reason.DEFERRED
    if relation.triggers:
        return Reason.TRIGGERS
    if relation.rules:
        return Reason.RULES
    if relation.cascades_uncaptured:
        return Reason.CASCADE
    return Reason.FUNCTION


def _rewrite(case: Case, relation: Relation, *, watch: bool) -> Plan | Need:
    logged = _logged(case, relation)
    if not isinstance(logged, Logged):
        return logged
    edits = template(logged, case.known, case.fingerprint)
    reason = _elsewhere(relation)
    return Plan(
        How.REWRITE, case.fingerprint, reason, relation, edits, watch, late=relation.deferred,
        captured=relation.captured,
    )  # fmt: skip


def _logged(case: Case, relation: Relation) -> Logged | Plan | Need:
    known = case.known
    columns = known.columns.get(relation.oid)
    if columns is None:
        return Need(case.fingerprint, columns=(relation.oid,))
    names: tuple[bytes, ...] = ()
    if case.statement.returning is not None:
        text = case.statement.slice(case.text)
        if text not in known.returning:
            return Need(case.fingerprint, returning=True, text=text, relation=relation)
        described = known.returning[text]
        if described is None:
            return case.watch(Reason.RETURNING, relation)
        names = described
    target = case.statement.alias or relation.name
    rows = row_names(case.statement, case.text, columns, target)
    if rows is None:
        return case.watch(Reason.SYNTAX, relation)
    return Logged(case.statement, relation, columns, names, rows)


def _writing_with(case: Case, main: Relation | None, *, calls: bool) -> Plan | Need:
    """Items of its WITH write; `main` is what it writes itself."""
    if reads_text(case.statement):
        return case.watch(Reason.CURRENT_QUERY, main)
    items = with_items(case)
    if not isinstance(items, Items):
        return items
    relations = (*items.relations, *((main,) if main is not None else ()))
    captured = all(relation.captured or relation.temporary for relation in relations)
    relation = main if main is not None else relations[0]
    if captured and any(by_trigger(case, each, calls=calls) for each in relations):
        return case.watch(Reason.WRITABLE_CTE, relation)
    edits = items.edits
    if main is not None and not main.temporary:
        reason = why_not(case, main)
        if reason is not None:
            return case.watch(reason, main)
        own = _logged(case, main)
        if not isinstance(own, Logged):
            return own
        edits += template(own, case.known, case.fingerprint)
    if not edits:
        return case.watch(Reason.WRITABLE_CTE, relation)
    return Plan(
        How.REWRITE, case.fingerprint, Reason.WRITABLE_CTE, relation, edits,
        watch=calls
        or any(each.temporary or each.writes_elsewhere or each.implicit for each in relations),
        late=any(each.deferred for each in relations), captured=captured,
    )  # fmt: skip


def _truncate(case: Case) -> Plan | Need:
    """Tables that only this session sees are nobody's concern."""
    named = tables(case)
    if isinstance(named, Need):
        return named
    if named is not None and not named:
        return PASS
    relids = {oid for table in named or () for oid in table.heaps}
    if "cascade" in case.statement.idents:
        relids.update(oid for table in named or () for oid in table.referrers)
    captured = named is not None and all(table.captured for table in named)
    how = How.TRIGGER if captured else How.NOTE
    return Plan(how, case.fingerprint, Reason.TRUNCATE, relids=tuple(sorted(relids)))


def _copy(case: Case) -> Plan | Need:
    relation = _relation(case)
    if isinstance(relation, Need):
        return relation
    if relation is not None and relation.temporary and not relation.writes_elsewhere:
        return PASS
    if relation is not None and (relation.foreign or relation.kind == "f"):
        return case.watch(Reason.FOREIGN_TABLE, relation)
    if relation is not None and relation.captured and relation.kind in "rp":
        return case.trigger(Reason.COPY, relation, elsewhere=relation.writes_elsewhere)
    return case.watch(Reason.COPY, relation)


def _procedure(case: Case) -> Plan | Need:
    """Where no transaction block is open it may commit inside: nothing may stand beside it then,
    and what was recorded cannot be compared."""
    if case.in_block or case.statement.cannot_commit:
        return case.watch(Reason.PROCEDURE)
    if case.statement.kind is Kind.CALL and case.statement.calls:
        known = case.known.commits
        missing = tuple(sorted(name for name in case.statement.calls if name not in known))
        if missing:
            return Need(case.fingerprint, procedures=missing)
        if not any(known[name] for name in case.statement.calls):
            return case.watch(Reason.PROCEDURE)
    announced = Plan(How.ANNOUNCE, case.fingerprint, Reason.PROCEDURE)
    if looks_rewritten(case.text) or _LARGE_OBJECTS.search(case.text):
        return announced
    if case.known.complete is None:
        return Need(case.fingerprint, complete=True)
    return PASS if case.known.complete else announced


def _cursor(case: Case) -> Plan | Need:
    """Declaring it runs nothing yet; with HOLD, the commit runs the rest of it."""
    statement = case.statement
    if statement.kind is not Kind.DECLARE:
        return case.watch(Reason.CURSOR) if case.writing_cursors else PASS
    calls = _calls(case)
    if isinstance(calls, Need):
        return calls
    if calls and "hold" in statement.idents:
        return Plan(How.NOTE, case.fingerprint, Reason.CURSOR)
    return PASS


def _execute(case: Case) -> Plan:
    return case.watch(Reason.EXECUTE)


def _explain(case: Case) -> Plan:
    return case.watch(Reason.EXPLAIN) if case.statement.analyze else PASS


def _unknown(case: Case) -> Plan:
    return case.watch(Reason.SYNTAX)


_PLANNERS: Final[dict[Group, Planner]] = {
    Group.READER: _reader,
    Group.ROW_WRITER: _row_writer,
    Group.DDL: ddl,
    Group.TRUNCATE: _truncate,
    Group.COPY_IN: _copy,
    Group.PROCEDURE: _procedure,
    Group.CURSOR: _cursor,
    Group.EXECUTE: _execute,
    Group.EXPLAIN: _explain,
    Group.UNKNOWN: _unknown,
}
