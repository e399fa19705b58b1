"""From a statement to a plan: asks what is not known, one question at a time, lets `choose` decide,
and then what the operator has decided: capture off, gaps refused, a log that fails."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.capture import around
from proxy.capture.around import Own
from proxy.capture.case import Case, Need
from proxy.capture.choose import choose, may_write
from proxy.capture.ddl import schema, spelling
from proxy.capture.plan import PASS, How, Plan, Reason
from proxy.catalog import identity, relation
from proxy.catalog.cache import Known
from proxy.session import asking
from proxy.session.names import Prepared
from proxy.session.outstanding import Asked
from proxy.sql.kinds import Group
from proxy.sql.statement import Statement
from undo.image import read_columns

if TYPE_CHECKING:
    from proxy.session.session import Session


class Hold(NamedTuple):
    """The plan waits for an answer; these messages ask for it."""

    out: list[bytes]


Describe = Callable[[asking.Done], list[bytes]]

# Plans that depend on nothing but the text and what is known.
_LASTING: Final = frozenset((Group.ROW_WRITER, Group.READER))
# Kinds whose plans depend on what names mean.
_BY_NAME: Final = _LASTING | {Group.TRUNCATE, Group.COPY_IN, Group.DDL}


def plan(
    session: "Session",
    statement: Statement,
    text: bytes,
    describe: Describe | None,
    prepared: Prepared | None = None,
    told: bytes | None = None,
) -> Plan | Hold:
    """`describe` asks what the statement returns; None where that cannot be asked. What is found is
    kept in `prepared`. `told`: what the client wrote, where it is not this text."""
    choice = _choose(session, statement, text, describe, prepared)
    if choice is None:
        return _blind(session, statement, text)
    if isinstance(choice, Hold) or choice.how is How.PASS:
        return choice
    _seen(session, choice, statement, text, told)
    return choice.refused(certain=_certain(choice)) if session.around.reject else choice


def plan_unsettled(session: "Session", statement: Statement, text: bytes) -> Plan | Hold:
    """Where nothing of the catalog is known for certain: what it writes is compared."""
    if not may_write(statement, session.writing_cursors) or statement.temporary:
        return PASS
    if statement.kind.group not in _BY_NAME:
        return plan(session, statement, text, None)
    known = session.known()
    if known is None:
        return Hold(identify(session))
    who = session.identity
    if who is None or not who.installed or who.in_recovery:
        return PASS
    if not session.recording:
        return _blind(session, statement, text)
    found = _unsettled(
        Case(
            statement,
            text,
            known,
            session.safe_encoding,
            session.in_block,
            session.writing_cursors,
            statement.fingerprint,
        )
    )
    _seen(session, found, statement, text)
    return found.refused(certain=found.how is How.NOTE) if session.around.reject else found


def _unsettled(case: Case) -> Plan:
    """Of TRUNCATE it cannot be told afterwards what it did."""
    if case.statement.kind.group is Group.DDL:
        return schema(case).in_message()
    if case.statement.kind.group is Group.TRUNCATE:
        return Plan(How.NOTE, case.fingerprint, Reason.TRUNCATE)
    return case.watch(Reason.UNSETTLED)


def spelled(session: "Session", statement: Statement, text: bytes, chosen: Plan) -> Plan | Hold:
    """One of several, which would hide an error of grammar in a constant: then all of them would be
    refused by the server."""
    known = session.known()
    if chosen.how is not How.SPARE or known is None:
        return chosen
    spelt = spelling(statement, text)
    if spelt in known.spelled:
        return chosen if known.spelled[spelt] else chosen.unspared()

    def done(asked: Asked) -> None:
        if not asked.told and not asked.cut:
            known.spelled[spelt] = asked.error is None
        session.resume()

    return Hold(asking.describe_text(session, spelt, done, speaks=session.in_block))


def warm(session: "Session", statement: Statement, prepared: Prepared) -> list[bytes] | None:
    """Asks what can be asked before the statement is there, so that its pipeline need not wait."""
    found = _choose(session, statement, prepared.text, None, prepared)
    return found.out if isinstance(found, Hold) else None


def _choose(
    session: "Session",
    statement: Statement,
    text: bytes,
    describe: Describe | None,
    prepared: Prepared | None,
) -> Plan | Hold | None:
    """None where nothing can be recorded now, by the operator's will or for want of a log."""
    if not may_write(statement, session.writing_cursors):
        return PASS
    known = session.known()
    if known is None:
        return Hold(identify(session))
    who = session.identity
    if who is None or not who.installed or who.in_recovery:
        return PASS
    if not session.recording:
        return None
    if prepared is not None and prepared.plan is not None and prepared.known is known:
        return prepared.plan
    choice = choose(
        statement,
        text,
        known,
        safe_encoding=session.safe_encoding,
        in_block=session.in_block,
        writing_cursors=session.writing_cursors,
    )
    if isinstance(choice, Need):
        if choice.returning and describe is None:
            return Plan(How.WATCH, choice.fingerprint, Reason.RETURNING, choice.relation)
        return Hold(_ask(session, choice, known, describe))
    if prepared is not None and statement.kind.group in _LASTING:
        prepared.plan, prepared.known = choice, known
    return choice


def _seen(
    session: "Session", choice: Plan, statement: Statement, text: bytes, told: bytes | None = None
) -> None:
    told = statement.slice(text) if told is None else told
    session.around.statement_seen(session.login.database, choice.fingerprint, told)


def _certain(choice: Plan) -> bool:
    """Whether it is known before it runs that what it writes is not recorded."""
    if choice.how in {How.NOTE, How.ANNOUNCE}:
        return not choice.retracted
    relation_ = choice.relation
    return (
        choice.how is How.WATCH
        and relation_ is not None
        and relation_.kind != "v"
        and not relation_.captured
    )


_OPAQUE: Final = frozenset((
    Group.ROW_WRITER, Group.COPY_IN, Group.TRUNCATE, Group.DDL, Group.PROCEDURE, Group.EXECUTE,
    Group.UNKNOWN, Group.CURSOR,
))  # fmt: skip


def _surely_writes(session: "Session", statement: Statement) -> bool:
    """As far as the text and what was learnt before tell."""
    group = statement.kind.group
    if group is Group.READER:
        known = session.known()
        calls = known.calls if known is not None else {}
        return statement.ctes_write or any(calls.get(name, False) for name in statement.calls)
    if group is Group.EXPLAIN:
        return statement.analyze
    return group in _OPAQUE and not statement.temporary


def _blind(session: "Session", statement: Statement, text: bytes) -> Plan:
    """Nothing but a gap can be kept of it: one a transaction says that capture was off in it; the
    log that cannot be written is told by the proxy's own connection, or to the client."""
    if not _surely_writes(session, statement):
        return PASS
    who = session.identity
    log = who is not None and who.writable and not session.mistrusting
    reason = Reason.CAPTURE_OFF if not session.around.capturing() else Reason.LOG_UNAVAILABLE
    found = Plan(How.NOTE, statement.fingerprint, reason)
    if reason is Reason.CAPTURE_OFF and log:
        if session.off_noted:
            return PASS
        session.off_noted = session.in_block
        alone = not statement.kind.in_block or (
            statement.kind.group is Group.PROCEDURE and not statement.cannot_commit
        )
        if alone and not session.in_block:
            found = Plan(How.ANNOUNCE, statement.fingerprint, reason)
        _seen(session, found, statement, text)
        return found
    if session.around.fail and session.around.capturing():
        return Plan(How.REFUSE, statement.fingerprint, reason)
    session.around.gap_unrecorded(session, found)
    return PASS


def unread(session: "Session", reason: Reason) -> list[bytes]:
    """Before a message that is not read: a gap, if it can be had; or its refusal. In a pipeline no
    Sync of ours may end the transaction."""
    who = session.identity
    if who is None or not who.installed or who.in_recovery:
        return []
    if not session.recording:
        session.around.gap_unrecorded(session, Plan(How.NOTE, 0, Reason.LOG_UNAVAILABLE))
        return []
    if session.around.reject:
        owns = list(around.before(Plan(How.REFUSE, 0, reason)))
        return asking.ask(session, owns, lambda _asked: session.resume(), speaks=True)
    waiting = asking.drain(session)
    if waiting is None and reason is Reason.LARGE_OBJECT:
        waiting = before_fence(session)
    if waiting is not None:
        return waiting
    alone = asking.synced(session)
    own = around.note(Plan(How.NOTE, 0, reason), alone=True)
    return asking.run_alone(session, own) if alone else asking.run(session, own)


def before_fence(session: "Session") -> list[bytes] | None:
    """Before a message that none of ours can be part of: whether a fence keeps it back is asked
    first, where there is any. None: it does not."""
    who = session.identity
    if session.let_through or who is None or not who.fences:
        session.let_through = False
        return None

    def done(asked: Asked) -> None:
        session.let_through = asked.answer is not None
        session.resume()

    return asking.ask(session, [around.FENCE], done, speaks=True)


def identify(session: "Session") -> list[bytes]:
    return asking.ask(session, [Own(identity.IDENTITY_SQL, ())], _identified(session))


def _ask(session: "Session", need: Need, known: Known, describe: Describe | None) -> list[bytes]:
    if need.relations:
        own = Own(relation.RELATIONS_SQL, (relation.question(need.relations),))
        return asking.ask(session, [own], _related(session, need, known))
    if need.columns:
        own = Own(relation.COLUMNS_SQL, (relation.oids(need.columns),))
        return asking.ask(session, [own], _columned(session, need, known))
    if need.calls:
        own = Own(relation.VOLATILE_SQL, (json.dumps(need.calls).encode(),))
        return asking.ask(session, [own], _called(session, need.calls, known.calls))
    if need.procedures:
        own = Own(relation.COMMITS_SQL, (json.dumps(need.procedures).encode(),))
        return asking.ask(session, [own], _called(session, need.procedures, known.commits))
    if need.complete:
        own = Own(relation.COMPLETE_SQL, ())
        return asking.ask(session, [own], _completed(session, known))
    if describe is None:
        raise AssertionError("a description was needed where none can be had")
    return describe(_returned(session, need, known))


def _identified(session: "Session") -> asking.Done:
    def done(asked: Asked) -> None:
        row = asked.answer
        if row is not None:
            session.identify(identity.read(row))
        elif not asked.told and not asked.cut:
            session.identify(identity.UNKNOWN)
        session.resume()

    return done


def _in_vain(session: "Session", asked: Asked) -> bool:
    """Nothing was learnt. Unless the client has been told of it, the log is not to be relied on."""
    if asked.error is None and not asked.cut:
        return False
    if not asked.told and not asked.cut:
        session.log_failed()
    return True


def _related(session: "Session", need: Need, known: Known) -> asking.Done:
    def done(asked: Asked) -> None:
        if not _in_vain(session, asked):
            found = relation.read(asked.rows[0][0]) if asked.rows else []
            known.relations.update(dict.fromkeys(need.relations))
            known.relations.update(zip(need.relations, found, strict=False))
        session.resume()

    return done


def _columned(session: "Session", need: Need, known: Known) -> asking.Done:
    def done(asked: Asked) -> None:
        if not _in_vain(session, asked):
            columns = read_columns(asked.rows)
            for oid in need.columns:
                known.columns[oid] = columns.get(oid, ())
        session.resume()

    return done


def _called(session: "Session", names: tuple[str, ...], answers: dict[str, bool]) -> asking.Done:
    def done(asked: Asked) -> None:
        if not _in_vain(session, asked):
            answer = asked.rows[0][0] if asked.rows else None
            # Without an answer every one of them may.
            found = set(json.loads(answer or b"[]")) if asked.rows else set(names)
            for name in names:
                answers[name] = name in found
        session.resume()

    return done


def _completed(session: "Session", known: Known) -> asking.Done:
    def done(asked: Asked) -> None:
        if not _in_vain(session, asked):
            who = session.identity
            fenced = who is not None and who.fences  # then it has to be asked before it runs
            known.complete = bool(asked.rows) and asked.rows[0][0] == b"t" and not fenced
        session.resume()

    return done


def _returned(session: "Session", need: Need, known: Known) -> asking.Done:
    def done(asked: Asked) -> None:
        if not asked.cut:
            names = tuple(asked.columns) if asked.columns is not None else None
            known.returning[need.text] = names
        session.resume()

    return done
