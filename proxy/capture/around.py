"""Statements of ours that stand around a client's: what is told, compared and noted.

Each is a text with parameters, for the extended protocol, and can be written inline, into a simple
query. Values are numbers and words of ours, never the client's.
"""

from dataclasses import dataclass

from proxy.capture.plan import How, Plan, Reason


@dataclass(frozen=True, slots=True)
class Own:
    text: bytes
    values: tuple[bytes | None, ...]

    def inline(self) -> bytes:
        text = self.text
        for number, value in reversed(list(enumerate(self.values, 1))):
            literal = b"NULL" if value is None else b"'" + value + b"'"
            text = text.replace(b"$%d" % number, literal)
        return text


_TELL = (
    b"SELECT pg_catalog.set_config('hotrollback.statement', $1::pg_catalog.text, true)"
)
_MARK = b"SELECT hotrollback.mark_v1($1::pg_catalog.int8)"
_CHECK = b"SELECT hotrollback.check_v1($1::pg_catalog.text, NULL)"
_VERIFY = b"SELECT hotrollback.verify_v1($1::pg_catalog.oid[], $2::pg_catalog.text, NULL)"
_NOTE = (
    b"SELECT hotrollback.note_v1($1::pg_catalog.int8, $2::pg_catalog.oid,"
    b" $3::pg_catalog.text, NULL)"
)


def _number(value: int) -> bytes:
    return b"%d" % value


def note(fingerprint: int, reason: Reason, relid: int | None = None) -> Own:
    oid = None if relid is None else _number(relid)
    return Own(_NOTE, (_number(fingerprint), oid, reason.value.encode()))


def before(plan: Plan) -> tuple[Own, ...]:
    if plan.how is How.WATCH or plan.watch:
        return (Own(_MARK, (_number(plan.fingerprint),)),)
    if plan.how is How.TRIGGER:
        return (Own(_TELL, (_number(plan.fingerprint),)),)
    if plan.how is How.NOTE and plan.reason is not None:
        return (note(plan.fingerprint, plan.reason, plan.relation and plan.relation.oid),)
    return ()


def after(plan: Plan) -> tuple[Own, ...]:
    own: list[Own] = []
    if plan.how is How.TRIGGER and plan.relation is not None:
        oids = b"{" + b",".join(map(_number, plan.relation.heaps)) + b"}"
        own.append(Own(_VERIFY, (oids, Reason.TRIGGER_MISSING.value.encode())))
    if plan.how is How.WATCH or plan.watch:
        reason = plan.reason or Reason.FUNCTION
        own.append(Own(_CHECK, (reason.value.encode(),)))
    return tuple(own)
