"""The table of statements: leading words -> Kind.

What is not in it is UNKNOWN and treated as opaque, so that a statement of a later PostgreSQL is
never taken for harmless.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final


class Group(Enum):
    """What an undo log must know of a statement."""

    ROW_WRITER = auto()  # INSERT, UPDATE, DELETE, MERGE
    READER = auto()  # writes only by functions that it calls or a writing WITH
    TRUNCATE = auto()
    COPY_IN = auto()
    DDL = auto()
    PROCEDURE = auto()  # code that may write anything and may commit: DO, CALL
    EXECUTE = auto()  # of what an SQL PREPARE prepared
    EXPLAIN = auto()
    PREPARE = auto()  # nothing is run yet
    CURSOR = auto()
    TRANSACTION = auto()
    SESSION = auto()  # settings, locks, notifications
    MAINTENANCE = auto()  # changes no row as a query sees it
    UNKNOWN = auto()

    __hash__ = object.__hash__  # Enum's own is a Python function, and these are keys of tables


class Kind(Enum):
    """`words` as they are in the table; `tag` as the server would answer where the two are the
    same; `in_block` whether it may run in a transaction block, and so beside other statements."""

    INSERT = "INSERT", Group.ROW_WRITER
    UPDATE = "UPDATE", Group.ROW_WRITER
    DELETE = "DELETE", Group.ROW_WRITER
    MERGE = "MERGE", Group.ROW_WRITER
    SELECT = "SELECT", Group.READER
    COPY_TO = "COPY TO", Group.READER
    COPY_FROM = "COPY FROM", Group.COPY_IN
    TRUNCATE = "TRUNCATE", Group.TRUNCATE

    CREATE = "CREATE", Group.DDL
    CREATE_TABLE = "CREATE TABLE", Group.DDL
    CREATE_INDEX = "CREATE INDEX", Group.DDL
    CREATE_TABLE_AS = "CREATE TABLE AS", Group.DDL
    SELECT_INTO = "SELECT INTO", Group.DDL
    ALTER = "ALTER", Group.DDL
    DROP = "DROP", Group.DDL
    COMMENT = "COMMENT", Group.DDL
    GRANT = "GRANT", Group.DDL
    REVOKE = "REVOKE", Group.DDL
    SECURITY_LABEL = "SECURITY LABEL", Group.DDL
    REASSIGN = "REASSIGN OWNED", Group.DDL
    IMPORT = "IMPORT", Group.DDL
    REFRESH = "REFRESH", Group.DDL
    CREATE_DATABASE = "CREATE DATABASE", Group.DDL, False
    DROP_DATABASE = "DROP DATABASE", Group.DDL, False
    ALTER_DATABASE = "ALTER DATABASE", Group.DDL, False  # SET TABLESPACE; others could
    CREATE_TABLESPACE = "CREATE TABLESPACE", Group.DDL, False
    DROP_TABLESPACE = "DROP TABLESPACE", Group.DDL, False
    CREATE_SUBSCRIPTION = "CREATE SUBSCRIPTION", Group.DDL, False  # unless without a slot
    ALTER_SUBSCRIPTION = "ALTER SUBSCRIPTION", Group.DDL, False
    DROP_SUBSCRIPTION = "DROP SUBSCRIPTION", Group.DDL, False
    CONCURRENTLY = "CONCURRENTLY", Group.DDL, False  # CREATE, DROP INDEX; DETACH PARTITION

    ALTER_SYSTEM = "ALTER SYSTEM", Group.MAINTENANCE, False
    VACUUM = "VACUUM", Group.MAINTENANCE, False
    ANALYZE = "ANALYZE", Group.MAINTENANCE
    REINDEX = "REINDEX", Group.MAINTENANCE, False  # SCHEMA, DATABASE, CONCURRENTLY; others could
    CLUSTER = "CLUSTER", Group.MAINTENANCE
    CLUSTER_ALL = "CLUSTER ALL", Group.MAINTENANCE, False
    CHECKPOINT = "CHECKPOINT", Group.MAINTENANCE

    DO = "DO", Group.PROCEDURE
    CALL = "CALL", Group.PROCEDURE
    PREPARE = "PREPARE", Group.PREPARE
    EXECUTE = "EXECUTE", Group.EXECUTE
    EXPLAIN = "EXPLAIN", Group.EXPLAIN
    DECLARE = "DECLARE CURSOR", Group.CURSOR
    FETCH = "FETCH", Group.CURSOR
    MOVE = "MOVE", Group.CURSOR
    CLOSE = "CLOSE CURSOR", Group.CURSOR

    BEGIN = "BEGIN", Group.TRANSACTION
    START = "START TRANSACTION", Group.TRANSACTION
    COMMIT = "COMMIT", Group.TRANSACTION
    ROLLBACK = "ROLLBACK", Group.TRANSACTION
    ROLLBACK_TO = "ROLLBACK TO", Group.TRANSACTION
    SAVEPOINT = "SAVEPOINT", Group.TRANSACTION
    RELEASE = "RELEASE", Group.TRANSACTION
    PREPARE_TRANSACTION = "PREPARE TRANSACTION", Group.TRANSACTION
    COMMIT_PREPARED = "COMMIT PREPARED", Group.TRANSACTION, False
    ROLLBACK_PREPARED = "ROLLBACK PREPARED", Group.TRANSACTION, False
    SET_TRANSACTION = "SET TRANSACTION", Group.TRANSACTION
    SET_CONSTRAINTS = "SET CONSTRAINTS", Group.TRANSACTION

    SET = "SET", Group.SESSION
    RESET = "RESET", Group.SESSION
    SHOW = "SHOW", Group.SESSION
    DISCARD = "DISCARD", Group.SESSION
    DEALLOCATE = "DEALLOCATE", Group.SESSION
    LISTEN = "LISTEN", Group.SESSION
    UNLISTEN = "UNLISTEN", Group.SESSION
    NOTIFY = "NOTIFY", Group.SESSION
    LOAD = "LOAD", Group.SESSION
    LOCK = "LOCK TABLE", Group.SESSION

    UNKNOWN = "", Group.UNKNOWN

    __hash__ = object.__hash__

    def __init__(self, words: str, group: Group, in_block: bool = True) -> None:  # noqa: FBT001, FBT002
        self.tag = words.encode()
        self.group = group
        self.in_block = in_block


# Leading words; the longest row that fits counts. What words alone do not tell is in `find_kind`.
_ROWS: Final[tuple[tuple[bytes, Kind], ...]] = (
    (b"insert", Kind.INSERT),
    (b"update", Kind.UPDATE),
    (b"delete", Kind.DELETE),
    (b"merge", Kind.MERGE),
    (b"select", Kind.SELECT),
    (b"values", Kind.SELECT),
    (b"table", Kind.SELECT),
    (b"(", Kind.SELECT),
    (b"copy", Kind.COPY_FROM),
    (b"truncate", Kind.TRUNCATE),
    (b"create", Kind.CREATE),
    (b"create database", Kind.CREATE_DATABASE),
    (b"create tablespace", Kind.CREATE_TABLESPACE),
    (b"create subscription", Kind.CREATE_SUBSCRIPTION),
    (b"create index concurrently", Kind.CONCURRENTLY),
    (b"create unique index concurrently", Kind.CONCURRENTLY),
    (b"alter", Kind.ALTER),
    (b"alter database", Kind.ALTER_DATABASE),
    (b"alter subscription", Kind.ALTER_SUBSCRIPTION),
    (b"alter system", Kind.ALTER_SYSTEM),
    (b"drop", Kind.DROP),
    (b"drop database", Kind.DROP_DATABASE),
    (b"drop tablespace", Kind.DROP_TABLESPACE),
    (b"drop subscription", Kind.DROP_SUBSCRIPTION),
    (b"drop index concurrently", Kind.CONCURRENTLY),
    (b"comment", Kind.COMMENT),
    (b"grant", Kind.GRANT),
    (b"revoke", Kind.REVOKE),
    (b"security label", Kind.SECURITY_LABEL),
    (b"reassign", Kind.REASSIGN),
    (b"import", Kind.IMPORT),
    (b"refresh", Kind.REFRESH),
    (b"vacuum", Kind.VACUUM),
    (b"analyze", Kind.ANALYZE),
    (b"analyse", Kind.ANALYZE),
    (b"reindex", Kind.REINDEX),
    (b"cluster", Kind.CLUSTER),
    (b"checkpoint", Kind.CHECKPOINT),
    (b"do", Kind.DO),
    (b"call", Kind.CALL),
    (b"prepare", Kind.PREPARE),
    (b"execute", Kind.EXECUTE),
    (b"explain", Kind.EXPLAIN),
    (b"declare", Kind.DECLARE),
    (b"fetch", Kind.FETCH),
    (b"move", Kind.MOVE),
    (b"close", Kind.CLOSE),
    (b"begin", Kind.BEGIN),
    (b"start transaction", Kind.START),
    (b"commit", Kind.COMMIT),
    (b"commit prepared", Kind.COMMIT_PREPARED),
    (b"end", Kind.COMMIT),
    (b"rollback", Kind.ROLLBACK),
    (b"rollback to", Kind.ROLLBACK_TO),
    (b"rollback work to", Kind.ROLLBACK_TO),
    (b"rollback transaction to", Kind.ROLLBACK_TO),
    (b"rollback prepared", Kind.ROLLBACK_PREPARED),
    (b"abort", Kind.ROLLBACK),
    (b"savepoint", Kind.SAVEPOINT),
    (b"release", Kind.RELEASE),
    (b"set", Kind.SET),
    (b"set transaction", Kind.SET_TRANSACTION),
    (b"set local transaction", Kind.SET_TRANSACTION),
    (b"set session transaction", Kind.SET_TRANSACTION),
    (b"set constraints", Kind.SET_CONSTRAINTS),
    (b"reset", Kind.RESET),
    (b"show", Kind.SHOW),
    (b"discard", Kind.DISCARD),
    (b"deallocate", Kind.DEALLOCATE),
    (b"listen", Kind.LISTEN),
    (b"unlisten", Kind.UNLISTEN),
    (b"notify", Kind.NOTIFY),
    (b"load", Kind.LOAD),
    (b"lock", Kind.LOCK),
)
_LONGEST: Final = 4
_BY_WORDS: Final = {tuple(words.split()): kind for words, kind in _ROWS}
_SINGLE: Final = {
    words[0]: kind
    for words, kind in _BY_WORDS.items()
    if len(words) == 1 and not any(w[0] == words[0] for w in _BY_WORDS if len(w) > 1)
}


def find_kind(words: Sequence[bytes]) -> Kind:
    """By the first words (or the opening parenthesis) of a statement, folded to lower case."""
    kind = _SINGLE.get(words[0]) if words else None
    if kind is not None:
        return kind
    for length in range(min(_LONGEST, len(words)), 0, -1):
        kind = _BY_WORDS.get(tuple(words[:length]))
        if kind is not None:
            return kind
    return Kind.UNKNOWN
