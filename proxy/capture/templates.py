"""The logging CTE around an INSERT, UPDATE, DELETE or MERGE.

    WITH <the client's own WITH,> hotrollback_w (..ours) AS (
        <the client's statement> RETURNING ..ours, <the client's list>
    ), hotrollback_l AS (INSERT INTO hotrollback.change .. SELECT .. FROM hotrollback_w)
    SELECT <the client's columns> FROM hotrollback_w

Without a RETURNING of the client's the log's INSERT is the main statement, so that there is no
result to describe. The client's text is spliced, never made anew. Our columns come first: a table
that has got more columns meanwhile cannot shift them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.catalog.cache import Known
from proxy.catalog.relation import Relation
from proxy.sql.kinds import Kind
from proxy.sql.splice import Edit
from proxy.sql.statement import Statement, Writer
from undo.image import Column, image, image_or_null, key_hash, quote_ident
from undo.log import RECORDS_ITSELF

_ROWS: Final = RECORDS_ITSELF.encode()
_OURS = ("relid", "moved", "old_tid", "new_tid", "before", "after", "key")
_TARGETS = "relid, new_relid, op, old_tid, new_tid, key, fingerprint, before, after"


@dataclass(frozen=True, slots=True)
class Logged:
    """A statement whose rows are logged. `names` of the columns that the client's RETURNING gives,
    none where it has none; `rows`: which of `old` and `new` it says of the rows."""

    statement: Statement
    relation: Relation
    columns: Sequence[Column]
    names: Sequence[bytes]
    rows: frozenset[str]


def template(logged: Logged, known: Known, fingerprint: int) -> tuple[Edit, ...]:
    statement = logged.statement
    begin = b", " if statement.with_span is not None else b"WITH "
    begin += _head(logged, _ROWS)
    log = _log(logged, known, fingerprint, RECORDS_ITSELF)
    end = statement.end
    head = Edit(statement.body_start, statement.body_start, begin, _WHY)
    images = _images_edit(logged, known)
    if statement.returning is None:
        return head, images, Edit(end, end, b") " + log, _WHY)
    tail = b"), hotrollback_l AS (" + log + b") " + _clients_columns(logged, _ROWS)
    return head, images, Edit(end, end, tail, _WHY)


def item_template(
    logged: Logged, writer: Writer, text: bytes, known: Known, fingerprint: int, number: int
) -> tuple[Edit, ...]:
    """The same for an item of a WITH, which gets a name of ours; its own is given to what selects
    the client's columns from it:

    `hotrollback_w1 (..) AS (..), hotrollback_l1 AS (INSERT ..), <its name> AS (SELECT ..)`
    """
    end = logged.statement.end
    name = b"%s%d" % (_ROWS, number)
    log = _log(logged, known, fingerprint, name.decode())
    moved = text[writer.start : writer.body]
    tail = b"), hotrollback_l%d AS (" % number + log + b"), "
    return (
        Edit(writer.start, writer.body, _head(logged, name), _WHY),
        _images_edit(logged, known),
        Edit(end, end, tail, _WHY),
        Edit(end, end, moved, "its name", writer.start),
        Edit(end, end, _clients_columns(logged, name), _WHY),
    )


_WHY: Final = "logging CTE"


def _head(logged: Logged, name: bytes) -> bytes:
    listed = [f"hotrollback_{name}" for name in _OURS]
    if not _by_name(logged):
        listed += [f"hotrollback_c{number}" for number in range(1, len(logged.names) + 1)]
    return b"%s (%s) AS (" % (name, ", ".join(listed).encode())


def _by_name(logged: Logged) -> bool:
    """Whether the client's columns keep the names that RETURNING gives them: then the server says
    so when these are no longer what the client was told."""
    return len(set(logged.names)) == len(logged.names)


def _clients_columns(logged: Logged, name: bytes) -> bytes:
    if logged.statement.returning is None:
        return b"SELECT FROM " + name
    quoted = [b'"%s"' % column.replace(b'"', b'""') for column in logged.names]
    if _by_name(logged):
        listed = [b"%s.%s" % (name, column) for column in quoted]
    else:
        listed = [b"hotrollback_c%d AS %s" % pair for pair in enumerate(quoted, 1)]
    return b"SELECT " + b", ".join(listed) + b" FROM " + name


def _images_edit(logged: Logged, known: Known) -> Edit:
    statement = logged.statement
    old, new, declare = _aliases(statement, logged.relation, logged.rows)
    ours = declare + ", ".join(_images(logged, known, old, new))
    if statement.returning is None:
        return Edit(statement.end, statement.end, b" RETURNING " + ours.encode(), "images")
    at = statement.returning_list_start
    return Edit(at, at, ours.encode() + b", ", "images")


def _changes_rows(statement: Statement) -> bool:
    return statement.kind in {Kind.UPDATE, Kind.MERGE} or statement.do_update


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


def _images(logged: Logged, known: Known, old: str, new: str) -> list[str]:
    """Our columns, in the order of _OURS."""
    statement, relation, columns = logged.statement, logged.relation, logged.columns
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
    if statement.kind is Kind.MERGE:
        # Any of its rows may lack either.
        after = image_or_null(columns, new, safe_settings=safe)
        key = f"CASE WHEN {new}.tableoid IS NULL THEN {hashed(old)} ELSE {hashed(new)} END"
    else:
        after = image(columns, new, safe_settings=safe)
        key = hashed(new)
    return [
        f"COALESCE({old}.tableoid, {new}.tableoid)",
        f"CASE WHEN {new}.tableoid OPERATOR(pg_catalog.<>) {old}.tableoid THEN {new}.tableoid END",
        f"{old}.ctid",
        f"{new}.ctid",
        before,
        after,
        key,
    ]


_UPSERT: Final = "CASE WHEN hotrollback_old_tid IS NULL THEN 'I' ELSE 'U' END"
_OPS: Final = {
    Kind.INSERT: "'I'",
    Kind.UPDATE: "'U'",
    Kind.DELETE: "'D'",
    Kind.MERGE: "CASE WHEN hotrollback_new_tid IS NULL THEN 'D'"
    " WHEN hotrollback_old_tid IS NULL THEN 'I' ELSE 'U' END",
}


def _log(logged: Logged, known: Known, fingerprint: int, name: str) -> bytes:
    statement, relation = logged.statement, logged.relation
    op = _UPSERT if statement.do_update else _OPS[statement.kind]
    stale_target, stale = "", ""
    if known.epoch is not None:
        stale_target = ", stale"
        stale = (
            ", CASE WHEN (SELECT last_value FROM hotrollback.epoch)"
            f" OPERATOR(pg_catalog.<>) {known.epoch} THEN (SELECT hotrollback.changed_v1("
            f"{relation.oid}, {relation.shape})) END"
        )
    sql = (
        f"INSERT INTO hotrollback.change ({_TARGETS}{stale_target}) SELECT hotrollback_relid,"
        f" hotrollback_moved, {op}, hotrollback_old_tid, hotrollback_new_tid, hotrollback_key,"
        f" {fingerprint}, hotrollback_before, hotrollback_after{stale} FROM {name}"
    )
    return sql.encode()
