"""Each row of an undo as it is before it and after it: the columns that differ."""

from undo.database import Database
from undo.image import quote_ident, quote_literal, read_back
from undo.log import DELETE, INSERT, UPDATE
from undo.model import ColumnDiff, RowDiff
from undo.stages.rows import Laid, Rows

_VERBS = {INSERT: "insert", UPDATE: "update", DELETE: "delete"}


async def differences(db: Database, laid: Laid) -> tuple[RowDiff, ...]:
    """Of all rows that are written, table by table."""
    found: list[RowDiff] = []
    for rows in sorted(laid.rows.values(), key=lambda rows: rows.family.name):
        found += [_row(rows, *row) for row in await db.fetch(_query(rows))]
    return tuple(found)


def _row(
    rows: Rows, op: str, key: str | None, now: list[str | None], then: list[str | None]
) -> RowDiff:
    names = [c.name for c in rows.columns if c.written]
    there = op == UPDATE
    return RowDiff(
        rows.family.name,
        key,
        _VERBS[op],
        tuple(
            ColumnDiff(name, old, new)
            for name, old, new in zip(names, now, then, strict=True)
            if old != new or not there
        ),
    )


def _query(rows: Rows) -> str:
    """The row as it is is told by its image, as one that is forced over is not what was left."""
    columns = [c for c in rows.columns if c.written]
    names = [quote_ident(c.name) for c in columns]
    key = "NULL::pg_catalog.text"
    unique = rows.family.key
    if unique is not None and {c.name for c in rows.columns}.issuperset(unique.columns):
        parts = ", ".join(
            f"pg_catalog.format('%s=%s', {quote_literal(name)},"
            f" CASE WHEN e.op = 'I' THEN w.{quote_ident(name)} ELSE r.{quote_ident(name)} END)"
            for name in unique.columns
        )
        key = f"pg_catalog.concat_ws(', ', {parts})"

    def values(alias: str) -> str:
        parts = ", ".join(
            f"CASE WHEN pg_catalog.num_nulls({alias}.{name}) = 0"
            f" THEN pg_catalog.format('%s', {alias}.{name}) END"
            for name in names
        )
        return f"ARRAY[{parts}]::pg_catalog.text[]"

    return (
        f"SELECT e.op::pg_catalog.text, {key}, {values('r')}, {values('w')}"
        f"  FROM {rows.effects} e"
        f"  LEFT JOIN {rows.want} w ON w.{rows.n} = e.n AND e.op <> 'D'"
        f"  LEFT JOIN {rows.now} m ON m.n = e.n AND e.op <> 'I'"
        f"  LEFT JOIN LATERAL {read_back(rows.columns, 'm.image')} r ON true"
        f" WHERE e.active AND e.root = {rows.family.root} ORDER BY e.n"
    )
