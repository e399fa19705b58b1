"""Whether there is a log, and the cluster and database that it belongs to."""

from undo.database import Database, sqlstate
from undo.errors import ForeignLog, NotInstalled


async def check_installed(db: Database, relation: str = "meta") -> None:
    """Raises NotInstalled, unless the log has this one of its relations."""
    name = f"hotrollback.{relation}"
    if not await db.fetchval("SELECT pg_catalog.to_regclass($1) IS NOT NULL", name):
        raise NotInstalled


async def check_origin(db: Database) -> None:
    """Of a dump or a template the log came along and means nothing here. Raises ForeignLog."""
    identity = await system_identifier(db)
    row = await db.fetchrow(
        "SELECT m.system_identifier, m.database::pg_catalog.int8 AS theirs, d.oid::pg_catalog.int8"
        "  AS ours FROM hotrollback.meta m, pg_catalog.pg_database d"
        " WHERE d.datname = pg_catalog.current_database()"
    )
    if (row["system_identifier"], row["theirs"]) != (identity, row["ours"]):
        raise ForeignLog(
            f"{row['system_identifier']}, database {row['theirs']}",
            f"{identity}, database {row['ours']}",
        )


async def system_identifier(db: Database) -> int:
    """Of the cluster. Where a hardened server does not tell it, what stays the same as long as the
    database does and is not carried by a dump: its oid and that of its newest template."""
    try:
        async with db.transaction():
            return int(
                await db.fetchval("SELECT system_identifier FROM pg_catalog.pg_control_system()")
            )
    except Exception as error:
        if sqlstate(error) != "42501":
            raise
    return int(
        await db.fetchval(
            "SELECT pg_catalog.hashtextextended(pg_catalog.string_agg("
            " d.oid::pg_catalog.text || ':' || d.datname, ',' ORDER BY d.oid), 0)"
            " FROM pg_catalog.pg_database d"
            " WHERE d.datistemplate OR d.datname = pg_catalog.current_database()"
        )
    )
