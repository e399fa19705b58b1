"""What a client's statement does to what the session relies on. Applied when it is sent, so that
nothing sent after it rests on what was before, and again when its transaction ends."""

from typing import TYPE_CHECKING, Final

from proxy.sql.kinds import Group, Kind
from proxy.sql.statement import Statement

if TYPE_CHECKING:
    from proxy.session.session import Session

# Settings that change what names mean, who asks, or how values print.
_SETTINGS: Final = frozenset((
    "role", "session_authorization", "search_path", "datestyle", "intervalstyle",
    "extra_float_digits", "row_security", "session_replication_role", "all",
))  # fmt: skip


def sent(session: "Session", statement: Statement) -> None:
    kind = statement.kind
    group = kind.group
    if group is Group.READER or group is Group.ROW_WRITER:
        if "set_config" in statement.calls:
            session.settings_changed()
    elif group is Group.DDL:
        session.schema_changed()
    elif group in {Group.PROCEDURE, Group.EXECUTE, Group.UNKNOWN}:
        session.schema_changed()
        session.settings_changed()
    elif group is Group.SESSION:
        _session(session, statement)
    elif kind is Kind.ROLLBACK_TO or kind is Kind.ROLLBACK:
        if session.set_in_transaction:
            session.identity = None
        if session.ddl:
            session.schema_changed()


def _session(session: "Session", statement: Statement) -> None:
    if statement.kind in {Kind.SET, Kind.RESET}:
        if statement.setting is None or statement.setting in _SETTINGS:
            session.settings_changed()
    elif statement.kind is Kind.DISCARD:
        session.settings_changed()
        session.names.forget_prepared()
    elif statement.kind is Kind.DEALLOCATE and statement.object_name is None:
        session.names.forget_prepared()
