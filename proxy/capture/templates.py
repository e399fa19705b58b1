"""The logging CTE around an INSERT, UPDATE or DELETE.

    WITH <the client's own WITH,> hotrollback_w (..ours, ..the client's) AS (
        <the client's statement> RETURNING ..ours, <the client's list>
    ), hotrollback_l AS (INSERT INTO hotrollback.change .. SELECT .. FROM hotrollback_w)
    SELECT <the client's columns by name> FROM hotrollback_w

Without a RETURNING of the client's the log's INSERT is the main statement, so that there is no
result to describe. The client's text is spliced, never made anew. Our columns come first: a table
that has got more columns meanwhile cannot shift them.
"""

from collections.abc import Sequence

from proxy.catalog.cache import Known
from proxy.catalog.relation import Relation
from proxy.sql.kinds import Kind
from proxy.sql.splice import Edit
from proxy.sql.statement import Statement
from undo.image import Column, image, image_or_null, key_hash, quote_ident

_OURS = ("relid", "moved", "old_tid", "new_tid", "before", "after", "key")
_TARGETS = "relid, new_relid, op, old_tid, new_tid, key, fingerprint, before, after"


def template(
    statement: Statement,
    relation: Relation,
    columns: Sequence[Column],
    known: Known,
    names: Sequence[bytes],
    fingerprint: int,
    *,
    rows: frozenset[str],
) -> tuple[Edit, ...]:
    """`names` of the columns that the client's RETURNING gives; none where it has none. `rows`:
    which of `old` and `new` it says of the rows."""
    old, new, declare = _aliases(statement, relation, rows)
    ours = declare + ", ".join(_images(statement, relation, columns, known, old, new))
    head = b", " if statement.with_span is not None else b"WITH "
    listed = [f"hotrollback_{name}" for name in _OURS]
    listed += [f"hotrollback_c{number}" for number in range(1, len(names) + 1)]
    head += b"hotrollback_w (%s) AS (" % ", ".join(listed).encode()
    logged = _log(statement, known, fingerprint).encode()
    if statement.returning is None:
        why = "logging CTE"
        return (
            Edit(statement.body_start, statement.body_start, head, why),
            Edit(
                statement.end, statement.end, b" RETURNING " + ours.encode() + b") " + logged, why
            ),
        )
    at = statement.returning_list_start
    outer = b", ".join(
        b'hotrollback_c%d AS "%s"' % (number, name.replace(b'"', b'""'))
        for number, name in enumerate(names, 1)
    )
    return (
        Edit(statement.body_start, statement.body_start, head, "logging CTE"),
        Edit(at, at, ours.encode() + b", ", "images"),
        Edit(
            statement.end,
            statement.end,
            b"), hotrollback_l AS (" + logged + b") SELECT " + outer + b" FROM hotrollback_w",
            "logging CTE",
        ),
    )


def _changes_rows(statement: Statement) -> bool:
    return statement.kind is Kind.UPDATE or statement.do_update


def _aliases(
    statement: Statement, relation: Relation, rows: frozenset[str]
) -> tuple[str, str, str]:
    """The names of the row before and after, and what declares them at the head of RETURNING."""
    if not _changes_rows(statement):
        own = quote_ident(statement.alias or relation.name)
        return own, own, ""
    if statement.returning_aliases is not None:
        old, new = statement.returning_aliases
        return quote_ident(old), quote_ident(new), ""
    old = "old" if "old" in rows else "hotrollback_o"
    new = "new" if "new" in rows else "hotrollback_n"
    ours = [f"{row} AS {name}" for row, name in (("OLD", old), ("NEW", new)) if row != name.upper()]
    return old, new, f"WITH ({', '.join(ours)}) " if ours else ""


def _images(
    statement: Statement,
    relation: Relation,
    columns: Sequence[Column],
    known: Known,
    old: str,
    new: str,
) -> list[str]:
    """Our columns, in the order of _OURS."""
    safe = known.safe_settings
    by_name = {column.name: column for column in columns}
    keys = [by_name[name] for name in relation.key if name in by_name]

    def hashed(alias: str) -> str:
        return key_hash(keys, alias) or "NULL::pg_catalog.int4"

    none = "NULL::pg_catalog.json"
    if statement.kind is Kind.DELETE:
        picture = image(columns, old, safe_settings=safe)
        return [f"{old}.tableoid", "NULL::pg_catalog.oid", f"{old}.ctid", "NULL::pg_catalog.tid",
                picture, none, hashed(old)]  # fmt: skip
    if not _changes_rows(statement):
        picture = image(columns, new, safe_settings=safe)
        return [f"{new}.tableoid", "NULL::pg_catalog.oid", "NULL::pg_catalog.tid", f"{new}.ctid",
                none, picture, hashed(new)]  # fmt: skip
    before = image_or_null(columns, old, safe_settings=safe)
    after = image(columns, new, safe_settings=safe)
    return [
        f"COALESCE({old}.tableoid, {new}.tableoid)",
        f"CASE WHEN {new}.tableoid OPERATOR(pg_catalog.<>) {old}.tableoid THEN {new}.tableoid END",
        f"{old}.ctid",
        f"{new}.ctid",
        before,
        after,
        hashed(new),
    ]


def _log(statement: Statement, known: Known, fingerprint: int) -> str:
    if statement.do_update:
        op = "CASE WHEN hotrollback_old_tid IS NULL THEN 'I' ELSE 'U' END"
    else:
        op = {Kind.INSERT: "'I'", Kind.UPDATE: "'U'", Kind.DELETE: "'D'"}[statement.kind]
    stale_target, stale = "", ""
    if known.epoch is not None:
        stale_target = ", stale"
        stale = (
            ", CASE WHEN (SELECT last_value FROM hotrollback.epoch)"
            f" OPERATOR(pg_catalog.<>) {known.epoch} THEN true END"
        )
    return (
        f"INSERT INTO hotrollback.change ({_TARGETS}{stale_target}) SELECT hotrollback_relid,"
        f" hotrollback_moved, {op}, hotrollback_old_tid, hotrollback_new_tid, hotrollback_key,"
        f" {fingerprint}, hotrollback_before, hotrollback_after{stale} FROM hotrollback_w"
    )
