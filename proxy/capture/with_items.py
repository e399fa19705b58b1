"""The writing items of a statement's WITH: each is logged as a statement of its own would be."""

from dataclasses import dataclass, replace

from proxy.capture.case import Case, Need, why_not
from proxy.capture.plan import Plan, Reason
from proxy.capture.rows import row_names
from proxy.capture.templates import Logged, item_template
from proxy.catalog.relation import Name, Relation
from proxy.sql.splice import Edit
from proxy.sql.statement import Writer
from undo.image import Column


@dataclass(frozen=True, slots=True)
class Items:
    """Temporary tables are nobody's concern: there are no `edits` for them."""

    edits: tuple[Edit, ...]
    relations: tuple[Relation, ...]


def with_items(case: Case) -> Items | Plan | Need:
    """One that cannot be rewritten leaves the whole statement as it is."""
    writers = case.statement.writers
    if not case.safe_encoding:
        return case.watch(Reason.ENCODING)
    if not writers or not case.statement.agreed:
        return case.watch(Reason.WRITABLE_CTE)
    relations = _relations(case)
    if not isinstance(relations, list):
        return relations
    edits: list[Edit] = []
    for number, (writer, relation) in enumerate(zip(writers, relations, strict=True), 1):
        if relation.temporary:
            continue
        logged = _logged(case, writer, relation)
        if not isinstance(logged, Logged):
            return logged
        edits += item_template(logged, writer, case.text, case.known, case.fingerprint, number)
    return Items(tuple(edits), tuple(relations))


def _relations(case: Case) -> list[Relation] | Plan | Need:
    targets = [writer.statement.target for writer in case.statement.writers]
    names: list[Name] = [(target.schema, target.name) for target in targets if target is not None]
    if len(names) != len(targets):
        return case.watch(Reason.SYNTAX)
    missing = tuple(dict.fromkeys(name for name in names if name not in case.known.relations))
    if missing:
        return Need(case.fingerprint, relations=missing)
    found = [case.known.relations[name] for name in names]
    relations = [relation for relation in found if relation is not None and not relation.system]
    return relations if len(relations) == len(found) else case.watch(Reason.RELATION)


def _logged(case: Case, writer: Writer, relation: Relation) -> Logged | Plan | Need:
    inner = writer.statement
    own = replace(case, statement=inner)
    reason = why_not(own, relation)
    if reason is not None:
        return case.watch(reason, relation)
    columns = case.known.columns.get(relation.oid)
    if columns is None:
        return Need(case.fingerprint, columns=(relation.oid,))
    rows = row_names(inner, case.text, columns, inner.alias or relation.name)
    names = _names(writer, relation, columns)
    if rows is None or names is None:
        return case.watch(Reason.WRITABLE_CTE, relation)
    return Logged(inner, relation, columns, names, rows)


def _names(
    writer: Writer, relation: Relation, columns: tuple[Column, ...]
) -> tuple[bytes, ...] | None:
    """Of the columns that it returns; None where they could be told by the server only."""
    inner = writer.statement
    if inner.returning is None:
        # What mentions it is refused, and would not be.
        return None if writer.mentioned else ()
    names: list[str] = []
    for label, star in zip(inner.returning_labels, inner.returning_columns, strict=True):
        if label is None:
            return None
        if not star:
            names.append(label)
        elif label == (inner.alias or relation.name) or not (label or writer.joins):
            names += [column.name for column in sorted(columns, key=lambda each: each.attnum)]
        else:
            return None
    return tuple(name.encode("utf-8", "surrogateescape") for name in names)
