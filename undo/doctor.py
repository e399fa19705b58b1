"""What install and the proxy would meet in a database. Looks, and changes nothing.

One check is one function and a row of CHECKS; a check that finds nothing says nothing, but for the
ones whose silence would be wondered about.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from undo.database import Database
from undo.errors import ForeignLog
from undo.finding import USER_TABLES, Finding, named
from undo.log import GIVEN
from undo.origin import check_origin
from undo.rights import rights

__all__ = ["CHECKS", "PUBLICATION", "Finding", "examine", "script"]

Check = Callable[[Database], Awaitable[Sequence[Finding]]]

PUBLICATION: Final = "publication"

_LONG_MINUTES: Final = 5


async def server(db: Database) -> Sequence[Finding]:
    version = await db.fetchval("SELECT pg_catalog.current_setting('server_version')")
    number = int(await db.fetchval("SELECT pg_catalog.current_setting('server_version_num')"))
    if number < 150000:
        return [Finding("refuse", "server", f"PostgreSQL {version} is too old", "use 15 or later")]
    if await db.fetchval("SELECT pg_catalog.pg_is_in_recovery()"):
        return [
            Finding(
                "refuse", "server", "this server is a standby", "name the primary in --upstream"
            )
        ]
    how = "by rewriting" if number >= 180000 else "by rewriting, UPDATE by capture triggers"
    return [Finding("ok", "server", f"PostgreSQL {version}: writes are recorded {how}")]


async def publications(db: Database) -> Sequence[Finding]:
    names = await db.fetchval(
        "SELECT pg_catalog.array_agg(pg_catalog.quote_ident(pubname) ORDER BY pubname)"
        " FROM pg_catalog.pg_publication WHERE puballtables"
    )
    if not names:
        return []
    return [
        Finding(
            "refuse",
            PUBLICATION,
            f"publication {named(names)} is FOR ALL TABLES and would carry the log to subscribers"
            " that have no such table: they stop at its first row",
            "publish tables by name or by schema; or make schema hotrollback on the subscribers"
            " (pg_dump -s -n hotrollback) and install with --accept-publication",
        )
    ]


async def slots(db: Database) -> Sequence[Finding]:
    names = await db.fetchval(
        "SELECT pg_catalog.array_agg(slot_name::pg_catalog.text ORDER BY slot_name)"
        "  FROM pg_catalog.pg_replication_slots"
        " WHERE slot_type = 'logical' AND database = pg_catalog.current_database()"
    )
    if not names:
        return []
    return [
        Finding(
            "warn",
            "logical_slot",
            f"logical replication slot {named(names)}: whoever decodes it sees a row of the log"
            " for every row written",
            "let consumers leave out schema hotrollback",
        )
    ]


async def dumps(db: Database) -> Sequence[Finding]:
    """Roles that can read every table today, and so can dump the database, but not the log."""
    rows = await db.fetch(
        f"""
        WITH tables AS ({USER_TABLES})
        SELECT r.rolname
          FROM pg_catalog.pg_roles r
         WHERE NOT r.rolsuper AND r.rolcanlogin AND r.rolname <> CURRENT_USER
           AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
           AND NOT pg_catalog.pg_has_role(r.oid, 'pg_read_all_data', 'USAGE')
           AND NOT COALESCE((SELECT pg_catalog.has_table_privilege(r.oid, l.oid, 'SELECT')
                      FROM pg_catalog.pg_class l
                      JOIN pg_catalog.pg_namespace n ON n.oid = l.relnamespace
                     WHERE n.nspname = 'hotrollback' AND l.relname = 'change'), false)
           AND (SELECT COALESCE(pg_catalog.bool_and(
                           pg_catalog.has_table_privilege(r.oid, t.oid, 'SELECT')), false)
                  FROM tables t)
         ORDER BY r.rolname
        """
    )
    if not rows:
        return []
    return [
        Finding(
            "warn",
            "pg_dump",
            f"pg_dump of this database by {named([row['rolname'] for row in rows])} will fail for"
            " want of SELECT on the log",
            "pg_dump -N 'hotrollback*' (tables keep CREATE TRIGGER hotrollback_capture in the dump:"
            " restoring it elsewhere reports them as errors and goes on)",
        )
    ]


async def transactions(db: Database) -> Sequence[Finding]:
    rows = await db.fetch(
        """
        SELECT 'session ' || pid || COALESCE(' of ' || usename, '') AS who,
               (EXTRACT(epoch FROM pg_catalog.now() - xact_start) / 60)::pg_catalog.int8 AS minutes
          FROM pg_catalog.pg_stat_activity
         WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
           AND xact_start < pg_catalog.now() - pg_catalog.make_interval(mins => $1)
        UNION ALL
        SELECT 'prepared transaction ' || gid,
               (EXTRACT(epoch FROM pg_catalog.now() - prepared) / 60)::pg_catalog.int8
          FROM pg_catalog.pg_prepared_xacts
         WHERE database = pg_catalog.current_database()
           AND prepared < pg_catalog.now() - pg_catalog.make_interval(mins => $1)
         ORDER BY 2 DESC
        """,
        _LONG_MINUTES,
    )
    return [
        Finding(
            "warn",
            "long_transaction",
            f"{row['who']} has a transaction open for {row['minutes']} minutes: the tables that it"
            " wrote cannot be given capture triggers before it ends",
            "end it, or run install again afterwards",
        )
        for row in rows
    ]


async def counting(db: Database) -> Sequence[Finding]:
    if await db.fetchval("SELECT pg_catalog.current_setting('track_counts')") == "on":
        return []
    return [
        Finding(
            "warn",
            "track_counts",
            "track_counts is off: what functions and procedures wrote cannot be counted, so that"
            " every call leaves a gap",
            "track_counts = on",
        )
    ]


async def code(db: Database) -> Sequence[Finding]:
    """Functions whose writes cannot be told from their text."""
    names = await db.fetchval(
        r"""
        SELECT pg_catalog.array_agg(DISTINCT p.oid::pg_catalog.regprocedure::pg_catalog.text)
          FROM pg_catalog.pg_proc p
          JOIN pg_catalog.pg_language l ON l.oid = p.prolang
          JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
         WHERE l.lanname NOT IN ('c', 'internal', 'sql')
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hotrollback')
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                            WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                              AND d.objid = p.oid AND d.deptype = 'e')
           AND p.prosrc ~* E'\\m(insert|update|delete|merge|copy|truncate)\\M'
           AND (l.lanname <> 'plpgsql' OR p.prosrc ~* E'\\mexecute\\M')
        """
    )
    if not names:
        return []
    return [
        Finding(
            "warn",
            "dynamic_sql",
            f"{named(names)}: which tables they write cannot be told, so install attaches a"
            " capture trigger to every table",
        )
    ]


async def subscriptions(db: Database) -> Sequence[Finding]:
    if not await db.fetchval(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription s"
        " JOIN pg_catalog.pg_database d ON d.oid = s.subdbid"
        " WHERE d.datname = pg_catalog.current_database())"
    ):
        return []
    return [
        Finding(
            "warn",
            "subscription",
            "rows that a subscription applies do not pass the proxy: they are recorded only where"
            " there is a capture trigger",
            "hotrollback install",
        )
    ]


async def log_state(db: Database) -> Sequence[Finding]:
    """Of a log that is installed: whether rows can be written to it, and still can in two days."""
    if not await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.meta') IS NOT NULL"):
        return []
    found = []
    try:
        await check_origin(db)
    except ForeignLog as error:
        found.append(Finding("refuse", "origin", str(error), "hotrollback uninstall, then install"))
    ahead = await db.fetchval(
        """
        SELECT pg_catalog.max((pg_catalog.regexp_match(
                   pg_catalog.pg_get_expr(c.relpartbound, c.oid), 'TO \\(''([^'']+)''\\)'))[1]
                   ::pg_catalog.timestamptz) - pg_catalog.now() < '2 days'::pg_catalog.interval
          FROM pg_catalog.pg_inherits i
          JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'hotrollback.change'::pg_catalog.regclass
        """
    )
    if ahead is not False:
        found.append(
            Finding(
                "warn",
                "partitions",
                "the log has partitions for less than two days: what comes after them is kept"
                " together, and cannot be dropped day by day",
                "run install, and see why the proxy's upkeep does not",
            )
        )
    if not await db.fetchval(
        "SELECT pg_catalog.has_schema_privilege('public', 'hotrollback', 'USAGE')"
        " AND pg_catalog.has_column_privilege('public', 'hotrollback.change', 'relid', 'INSERT')"
    ):
        found.append(
            Finding(
                "warn",
                "log_grants",
                "somebody revoked PUBLIC's rights to write the log: writes of other roles leave"
                " gaps or fail",
                "GRANT USAGE ON SCHEMA hotrollback TO PUBLIC; GRANT INSERT ("
                f"{', '.join(GIVEN)}) ON hotrollback.change TO PUBLIC;",
            )
        )
    rows = await db.fetch(
        "SELECT t.tgrelid::pg_catalog.regclass::pg_catalog.text AS relation"
        "  FROM pg_catalog.pg_trigger t"
        " WHERE t.tgname = 'hotrollback_capture' AND t.tgenabled <> 'A' ORDER BY 1"
    )
    if rows:
        names = [row["relation"] for row in rows]
        found.append(
            Finding(
                "warn",
                "trigger_disabled",
                f"the capture trigger of {named(names)} was disabled, or enabled without ALWAYS",
                "run install",
            )
        )
    return found


CHECKS: Final[tuple[Check, ...]] = (
    server,
    publications,
    slots,
    dumps,
    rights,
    transactions,
    counting,
    code,
    subscriptions,
    log_state,
)


async def examine(db: Database) -> tuple[Finding, ...]:
    """Every check, in order. Changes nothing: they run in a transaction that only reads."""
    found: list[Finding] = []
    transaction: Any = db.transaction(readonly=True)
    async with transaction:
        for check in CHECKS:
            found += await check(db)
    return tuple(found)


def script(findings: Sequence[Finding]) -> tuple[str, ...]:
    """What an operator who is no superuser lacks, as SQL for one who may give it."""
    return tuple(f.remedy for f in findings if f.remedy.startswith(("GRANT ", "ALTER ROLE ")))
