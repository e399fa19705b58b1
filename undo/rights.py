"""What the operator's role lacks where it is no superuser: each right with the statement that gives
it, and what does not work without it.
"""

from collections.abc import Sequence

from undo.database import Database
from undo.finding import USER_TABLES, Finding, named
from undo.log import EVENT_TRIGGERS


async def rights(db: Database) -> Sequence[Finding]:
    """What the operator role lacks, each with the statement that gives it."""
    found = []
    who = await db.fetchrow(
        "SELECT rolsuper, rolname::pg_catalog.text AS name,"
        " pg_catalog.quote_ident(rolname) AS role,"
        " pg_catalog.quote_ident(pg_catalog.current_database()) AS database,"
        " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS creates,"
        " pg_catalog.has_parameter_privilege('session_replication_role', 'SET') AS replicas,"
        " pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS sees, rolbypassrls AS bypasses,"
        " pg_catalog.to_regnamespace('hotrollback') IS NOT NULL AS installed"
        " FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER"
    )
    if who["rolsuper"]:
        return [Finding("ok", "rights", f"{who['name']} is a superuser: no right is missing")]
    role = who["role"]
    if not who["creates"] and not who["installed"]:
        found.append(
            Finding(
                "refuse",
                "rights",
                f"{who['name']} may not create a schema in this database",
                f"GRANT CREATE ON DATABASE {who['database']} TO {role};",
            )
        )
    owners = await db.fetch(
        f"""
        SELECT pg_catalog.quote_ident(r.rolname) AS owner,
               pg_catalog.array_agg(t.relation ORDER BY t.relation) AS relations
          FROM ({USER_TABLES}) t
          JOIN pg_catalog.pg_roles r ON r.oid = t.relowner
         WHERE NOT pg_catalog.pg_has_role(t.relowner, 'USAGE')
         GROUP BY r.rolname ORDER BY r.rolname
        """
    )
    found += [
        Finding(
            "warn",
            "rights",
            f"{who['name']} is no member of {row['owner']}, who owns {named(row['relations'])}:"
            " it can neither attach capture triggers to them nor undo what was written to them",
            f"GRANT {row['owner']} TO {role};",
        )
        for row in owners
    ]
    forced = await db.fetchval(
        f"SELECT pg_catalog.array_agg(t.relation ORDER BY t.relation) FROM ({USER_TABLES}) t"
        " JOIN pg_catalog.pg_class c ON c.oid = t.oid WHERE c.relforcerowsecurity"
    )
    if forced and not who["bypasses"]:
        found.append(
            Finding(
                "warn",
                "rights",
                f"{who['name']} is bound by the row-level security of {named(forced)} (FORCE):"
                " what was written there cannot be undone",
                f"ALTER ROLE {role} BYPASSRLS;",
            )
        )
    if not who["sees"]:
        found.append(
            Finding(
                "warn",
                "rights",
                f"{who['name']} does not see other roles' transactions: long ones, which stand in"
                " the way of capture triggers, are not found here",
                f"GRANT pg_read_all_stats TO {role};",
            )
        )
    if not who["replicas"]:
        found.append(
            Finding(
                "warn",
                "rights",
                f"{who['name']} may not SET session_replication_role: rows of tables with triggers"
                " of their own cannot be undone",
                f"GRANT SET ON PARAMETER session_replication_role TO {role};",
            )
        )
    if not await _followed(db):
        found.append(
            Finding(
                "warn",
                "event_trigger",
                f"{who['name']} may not create event triggers: new and altered tables are followed"
                " only by the proxy's hourly upkeep, and capture triggers are slower by a third",
                "let a superuser run install once",
            )
        )
    return found or [Finding("ok", "rights", f"{who['name']} has every right that it needs")]


async def _followed(db: Database) -> bool:
    count: int = await db.fetchval(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_event_trigger"
        " WHERE evtname = ANY ($1::pg_catalog.text[]::pg_catalog.name[]) AND evtenabled = 'A'",
        list(EVENT_TRIGGERS),
    )
    return count == len(EVENT_TRIGGERS)
