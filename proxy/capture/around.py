"""Statements of ours that stand around a client's: what is told, compared and noted, or refused.

Each is a text with parameters, for the extended protocol, and can be written inline, into a simple
query. Values are numbers and words of ours, never the client's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.capture.plan import How, Plan, Reason


@dataclass(frozen=True, slots=True)
class Own:
    text: bytes
    values: tuple[bytes | None, ...] = ()
    refuses: bool = False  # its error is meant for the client

    def inline(self) -> bytes:
        text = self.text
        for number, value in reversed(list(enumerate(self.values, 1))):
            literal = b"NULL" if value is None else b"'" + value + b"'"
            text = text.replace(b"$%d" % number, literal)
        return text


_TELL: Final = b"SELECT hotrollback.tell_v1($1::pg_catalog.int8)"
_MARK: Final = b"SELECT hotrollback.mark_v1($1::pg_catalog.int8)"
_CHECK: Final = (
    b"SELECT hotrollback.check_v1($1::pg_catalog.text, $2::pg_catalog.bool, $3::pg_catalog.bool)"
)
_LATE: Final = (
    b"SELECT hotrollback.check_late_v1("
    b"$1::pg_catalog.text, $2::pg_catalog.bool, $3::pg_catalog.bool)"
)
_VERIFY: Final = (
    b"SELECT hotrollback.verify_v1($1::pg_catalog.oid[], $2::pg_catalog.text, $3::pg_catalog.bool)"
)
_NOTE: Final = (
    b"SELECT hotrollback.note_v1($1::pg_catalog.int8, $2::pg_catalog.oid[], $3::pg_catalog.text)"
)
_ANNOUNCE: Final = (
    b"SELECT hotrollback.announce_v1("
    b"$1::pg_catalog.int8, $2::pg_catalog.oid[], $3::pg_catalog.text)"
)
FENCE: Final = Own(b"SELECT hotrollback.fence_v1()")
_REFUSE: Final = b"SELECT hotrollback.refuse_v1($1::pg_catalog.text, $2::pg_catalog.oid)"
# Where nothing of ours can be called.
_NO_LOG: Final = (
    b"DO LANGUAGE plpgsql $hotrollback$BEGIN RAISE EXCEPTION USING ERRCODE = 'RB003',"
    b" MESSAGE = 'the undo log of this database cannot be written',"
    b" HINT = 'The proxy is set to on_log_error = fail: repair the log, or CAPTURE OFF lets"
    b" writes through unrecorded.'; END$hotrollback$"
)


def _number(value: int) -> bytes:
    return b"%d" % value


def _array(oids: Sequence[int]) -> bytes:
    return b"{" + b",".join(map(_number, oids)) + b"}"


def _word(plan: Plan) -> bytes:
    return (plan.reason or Reason.FUNCTION).value.encode()


def _bool(value: bool) -> bytes:  # noqa: FBT001
    return b"t" if value else b"f"


def note(plan: Plan, *, alone: bool = False) -> Own:
    """`alone`: in a transaction of its own, before a message that it cannot keep from running."""
    relids = plan.relids or ((plan.relation.oid,) if plan.relation is not None else ())
    oids = _array(relids) if relids else None
    return Own(_ANNOUNCE if alone else _NOTE, (_number(plan.fingerprint), oids, _word(plan)))


def _refusal(plan: Plan) -> Own:
    if plan.reason is Reason.LOG_UNAVAILABLE:
        return Own(_NO_LOG, refuses=True)
    relids = plan.relids or ((plan.relation.oid,) if plan.relation is not None else (0,))
    return Own(_REFUSE, (_word(plan), _number(relids[0])), refuses=True)


def before(plan: Plan) -> tuple[Own, ...]:
    if plan.how is How.REFUSE:
        return (_refusal(plan),)
    if plan.how is How.WATCH or plan.watch:
        return (Own(_MARK, (_number(plan.fingerprint),)),)
    if plan.how is How.TRIGGER:
        return (Own(_TELL, (_number(plan.fingerprint),)),)
    if plan.how is How.NOTE:
        return (note(plan),)
    return ()


def after(plan: Plan) -> tuple[Own, ...]:
    own: list[Own] = []
    refuse = _bool(plan.refuse)
    heaps = plan.relids or (plan.relation.heaps if plan.relation is not None else ())
    if plan.how is How.TRIGGER and heaps:
        truncate = plan.reason is Reason.TRUNCATE
        word = Reason.TRUNCATE if truncate else Reason.TRIGGER_MISSING
        values = (_array(heaps), word.value.encode(), refuse)
        own.append(Own(_VERIFY, values, refuses=plan.refuse))
    if plan.how is How.WATCH or plan.watch:
        values = (_word(plan), refuse, _bool(plan.doubted))
        own.append(Own(_CHECK, values, refuses=plan.refuse))
        if plan.late:
            own.append(Own(_LATE, values))
    return tuple(own)
