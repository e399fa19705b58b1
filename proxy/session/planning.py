"""From a statement to a plan: asks what is not known, one question at a time, then lets `choose` decide."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from proxy.capture.around import Own
from proxy.capture.choose import Need, choose, may_write
from proxy.capture.plan import PASS, How, Plan, Reason
from proxy.catalog import identity, relation
from proxy.catalog.cache import Known
from proxy.session import asking
from proxy.session.outstanding import Asked
from proxy.sql.statement import Statement
from undo.image import read_columns

if TYPE_CHECKING:
    from proxy.session.session import Session


class Hold(NamedTuple):
    """The plan waits for an answer; these messages ask for it."""

    out: list[bytes]


Describe = Callable[[asking.Done], list[bytes]]


def plan(
    session: "Session", statement: Statement, text: bytes, describe: Describe | None
) -> Plan | Hold:
    """`describe` asks what the statement returns; None where that cannot be asked."""
    known = session.known()
    if known is None:
        if not may_write(statement):
            return PASS
        return Hold(identify(session))
    who = session.identity
    if who is None or not who.installed or who.in_recovery:
        return PASS
    choice = choose(
        statement,
        text,
        known,
        safe_encoding=session.safe_encoding,
        in_block=session.in_block,
    )
    if isinstance(choice, Need):
        if choice.returning and describe is None:
            choice = Plan(How.WATCH, choice.fingerprint, Reason.RETURNING)
        else:
            return Hold(_ask(session, choice, known, describe))
    if choice.how is not How.PASS:
        session.around.statement_seen(session.login.database, choice.fingerprint, statement.slice(text))
        if not who.writable:
            session.around.gap_unrecorded(session, choice)
            return PASS
    return choice


def identify(session: "Session") -> list[bytes]:
    return asking.ask(session, [Own(identity.IDENTITY_SQL, ())], _identified(session))


def _ask(
    session: "Session", need: Need, known: Known, describe: Describe | None
) -> list[bytes]:
    if need.relations:
        own = Own(relation.RELATIONS_SQL, (relation.question(need.relations),))
        return asking.ask(session, [own], _related(session, need, known))
    if need.columns:
        own = Own(relation.COLUMNS_SQL, (relation.oids(need.columns),))
        return asking.ask(session, [own], _columned(session, need, known))
    if need.calls:
        own = Own(relation.VOLATILE_SQL, (json.dumps(need.calls).encode(),))
        return asking.ask(session, [own], _called(session, need, known))
    if describe is None:
        raise AssertionError("a description was needed where none can be had")
    return describe(_returned(session, need, known))


def _identified(session: "Session") -> asking.Done:
    def done(asked: Asked) -> None:
        if not asked.cut:
            if asked.rows:
                session.identity = identity.read(asked.rows[0])
            else:
                session.identity = identity.UNKNOWN
            session.knowledge.installed = session.identity.installed
            session.around.session_seen(session)
        session.resume()

    return done


def _related(session: "Session", need: Need, known: Known) -> asking.Done:
    def done(asked: Asked) -> None:
        if not asked.cut:
            found = relation.read(asked.rows[0][0]) if asked.rows else []
            known.relations.update(dict.fromkeys(need.relations))
            known.relations.update(zip(need.relations, found, strict=False))
        session.resume()

    return done


def _columned(session: "Session", need: Need, known: Known) -> asking.Done:
    def done(asked: Asked) -> None:
        if not asked.cut:
            columns = read_columns(asked.rows)
            for oid in need.columns:
                known.columns[oid] = columns.get(oid, ())
        session.resume()

    return done


def _called(session: "Session", need: Need, known: Known) -> asking.Done:
    def done(asked: Asked) -> None:
        if not asked.cut:
            answer = asked.rows[0][0] if asked.rows else None
            # Without an answer every one of them may write.
            volatile = set(json.loads(answer or b"[]")) if asked.rows else set(need.calls)
            for name in need.calls:
                known.calls[name] = name in volatile
        session.resume()

    return done


def _returned(session: "Session", need: Need, known: Known) -> asking.Done:
    def done(asked: Asked) -> None:
        if not asked.cut:
            names = tuple(asked.columns) if asked.columns is not None else None
            known.returning[need.text] = names
        session.resume()

    return done
