"""Who a session is and how it prints values: asked on its own connection before its first write.

The names that a statement uses mean different relations to different roles and search paths, so
everything that is learnt is kept by `Identity.key`.
"""

from dataclasses import dataclass

# One row; must never raise, since it may run inside the client's transaction. Of what a search_path
# may lead elsewhere nothing stands bare: no operator, and no IN, which is one.
IDENTITY_SQL = b"""
SELECT pg_catalog.quote_ident(CURRENT_USER)::pg_catalog.regrole::pg_catalog.oid,
       pg_catalog.array_to_string(pg_catalog.current_schemas(true), ','),
       (SELECT (EXTRACT(epoch FROM a.backend_start) * 1000000)::pg_catalog.int8
          FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a),
       pg_catalog.current_setting('extra_float_digits')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 1
       AND pg_catalog.current_setting('IntervalStyle') OPERATOR(pg_catalog.<>) 'sql_standard'
       AND pg_catalog.current_setting('DateStyle') OPERATOR(pg_catalog.~) '^ISO',
       pg_catalog.pg_is_in_recovery(),
       l.change IS NOT NULL,
       pg_catalog.has_schema_privilege(l.schema, 'USAGE')
       AND pg_catalog.has_column_privilege(l.change, 'relid', 'INSERT')
       AND EXISTS (SELECT FROM pg_catalog.pg_class c
                     JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) c.oid
                    WHERE i.inhparent OPERATOR(pg_catalog.=) l.change AND NOT i.inhdetachpending
                      AND c.relnamespace OPERATOR(pg_catalog.=) l.schema
                      AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY[pg_catalog.concat('change_',
                          pg_catalog.to_char(pg_catalog.timezone('UTC',
                          pg_catalog.clock_timestamp()), 'YYYYMMDD')),
                          'change_later']::pg_catalog.name[])),
       CASE WHEN pg_catalog.has_sequence_privilege(l.epoch, 'SELECT')
            THEN pg_catalog.pg_sequence_last_value(l.epoch) END,
       CASE WHEN pg_catalog.has_sequence_privilege(l.fences, 'SELECT')
            THEN pg_catalog.pg_sequence_last_value(l.fences) END IS NOT NULL,
       EXISTS (SELECT FROM pg_catalog.pg_event_trigger e
                 JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) e.evtfoid
                WHERE p.pronamespace OPERATOR(pg_catalog.=) l.schema
                  AND e.evtevent OPERATOR(pg_catalog.=) 'sql_drop')
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger e
                         JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) e.evtfoid
                        WHERE CASE WHEN p.pronamespace OPERATOR(pg_catalog.=) l.schema
                              THEN e.evtenabled OPERATOR(pg_catalog.=) 'D'
                              ELSE e.evtenabled OPERATOR(pg_catalog.<>) 'D'
                                   AND e.evtevent OPERATOR(pg_catalog.<>) 'login' END)
  FROM (SELECT (SELECT n.oid FROM pg_catalog.pg_namespace n
                 WHERE n.nspname OPERATOR(pg_catalog.=) 'hotrollback')) AS s(oid)
 CROSS JOIN LATERAL (SELECT s.oid,
       (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.=) 'change'
           AND c.relnamespace OPERATOR(pg_catalog.=) s.oid),
       (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.=) 'epoch'
           AND c.relnamespace OPERATOR(pg_catalog.=) s.oid),
       (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.=) 'fences'
           AND c.relnamespace OPERATOR(pg_catalog.=) s.oid)) AS l(schema, change, epoch, fences)
"""


Key = tuple[int, str, bool, bool]


@dataclass(frozen=True, slots=True)
class Identity:
    """What the answers depend on, of the session as it is now."""

    role: int
    schemas: str
    started: int  # backend start, microseconds since 1970
    safe_settings: bool  # floats, intervals and ranges print in a form that reads back exactly
    in_recovery: bool
    installed: bool
    writable: bool  # the role may write the log
    epoch: int | None  # hotrollback.epoch; None where no event trigger counts DDL
    fences: bool  # there are some, for whomever
    spares: bool  # event triggers record DDL, and no others look at it

    @property
    def key(self) -> Key:
        return (self.role, self.schemas, self.safe_settings, self.spares)

    def vouches_for(self, other: "Identity") -> bool:
        """Whether what this one was told now would be told to the other one, of the same key, too.
        Only where event triggers count DDL: what a search_path leads to has not changed then."""
        return self.spares and self.epoch is not None and self.facts == other.facts

    @property
    def facts(self) -> tuple[bool, bool, bool, int | None, bool]:
        """What may change although the session does nothing."""
        return (self.in_recovery, self.installed, self.writable, self.epoch, self.fences)


def read(row: list[bytes | None]) -> Identity:
    """From the row that IDENTITY_SQL gives in text format."""
    role, schemas, started, safe, recovery, installed, writable, epoch, fences, spares = row
    return Identity(
        role=int(role or 0),
        schemas=(schemas or b"").decode("utf-8", "surrogateescape"),
        started=int(started or 0),
        safe_settings=safe == b"t",
        in_recovery=recovery == b"t",
        installed=installed == b"t",
        writable=writable == b"t",
        epoch=int(epoch) if epoch is not None else None,
        fences=fences == b"t",
        spares=spares == b"t",
    )


# Of a session that could not be asked: there may be a log, and it cannot be written.
UNKNOWN = Identity(
    role=0,
    schemas="",
    started=0,
    safe_settings=False,
    in_recovery=False,
    installed=True,
    writable=False,
    epoch=None,
    fences=False,
    spares=False,
)
