"""What a client's statement does to what the session relies on. Applied when it is sent, so that
nothing sent after it rests on what was before, and again when its transaction ends."""

from typing import TYPE_CHECKING, Final

from proxy.session.outstanding import EXECUTE, FUNCTION, QUERY
from proxy.sql.kinds import Group, Kind
from proxy.sql.statement import Statement

if TYPE_CHECKING:
    from proxy.session.session import Session

# Settings that change what names mean, who asks, or how values print.
_SETTINGS: Final = frozenset((
    "role", "session_authorization", "search_path", "datestyle", "intervalstyle",
    "extra_float_digits", "row_security", "session_replication_role", "all",
))  # fmt: skip
# Code of users: it may change the schema, settings, and prepared statements.
_OPAQUE: Final = frozenset((Group.PROCEDURE, Group.EXECUTE, Group.UNKNOWN))
_ABORTED: Final = ord("E")
# What may end a transaction.
_RUN: Final = frozenset((QUERY, EXECUTE, FUNCTION))


def aborted(session: "Session") -> bool:
    """A failed transaction, where the server runs nothing; unless what was run since its last
    ReadyForQuery, or is on its way, may have ended it."""
    if session.status != _ABORTED or session.executed:
        return False
    return not any(slot.kind in _RUN for slot in session.outstanding.queue)


def sent(session: "Session", statement: Statement) -> None:
    kind = statement.kind
    group = kind.group
    if group is Group.READER or group is Group.ROW_WRITER:
        if "set_config" in statement.calls:
            session.settings_changed()
    elif group is Group.DDL:
        session.schema_changed()
    elif group in _OPAQUE:
        session.schema_may_have_changed()
        session.settings_changed()
        if group is Group.PROCEDURE:
            session.names.forget_ours()
    elif group is Group.SESSION:
        _session(session, statement)
    elif group is Group.CURSOR:
        _cursor(session, statement)
    elif kind is Kind.ROLLBACK_TO or kind is Kind.ROLLBACK:
        session.off_noted = False
        if session.set_in_transaction:
            session.identity = None
        if session.ddl:
            session.schema_changed()


def unsettles(session: "Session", statement: Statement) -> bool:
    """Whether names may mean something else, or values print otherwise, behind it."""
    kind = statement.kind
    group = kind.group
    if group is Group.DDL or group in _OPAQUE or kind is Kind.DISCARD:
        return True
    if kind in {Kind.SET, Kind.RESET}:
        return statement.setting is None or statement.setting in _SETTINGS
    if kind in {Kind.ROLLBACK, Kind.ROLLBACK_TO}:
        return session.set_in_transaction or session.ddl
    return "set_config" in statement.calls


def _session(session: "Session", statement: Statement) -> None:
    if statement.kind in {Kind.SET, Kind.RESET}:
        if statement.setting is None or statement.setting in _SETTINGS:
            session.settings_changed()
    elif statement.kind is Kind.DISCARD:
        if not session.in_block:  # there it is an error
            session.settings_changed()
            session.names.forget_prepared()
    elif statement.kind is Kind.DEALLOCATE:
        if statement.object_name is None:
            session.names.forget_prepared()
        else:
            session.names.statements.pop(statement.object_name.encode(), None)


def _cursor(session: "Session", statement: Statement) -> None:
    """A cursor counts as one whose query may write if it calls what may write, as far as is known;
    it is a plan's affair to know."""
    known = session.known()
    calls = known.calls if known is not None else {}
    if statement.kind is Kind.DECLARE and any(calls.get(name, True) for name in statement.calls):
        session.writing_cursors.add(statement.object_name)
