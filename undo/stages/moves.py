"""Whole tables: what the selection made is moved away with all that it holds, and a redo brings it
back. What others have to do with it by now is a conflict, found before anything moves.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from undo.database import Database
from undo.errors import NoRole
from undo.log import CREATE
from undo.model import Conflict, Kind, Move, Resolution
from undo.policies import POLICIES
from undo.report import TableReport
from undo.request import UndoRequest
from undo.stages.load import DEAD, ROWS, Matched
from undo.stages.rules import Rules
from undo.stages.select import SESSION_OF, Chosen


@dataclass(slots=True)
class Moves:
    """What is moved, in the order of the log."""

    away: list[Move] = field(default_factory=list)
    back: list[Move] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    stopped: bool = False
    left: frozenset[int] = frozenset()  # tables that stay, as the policy says
    along: set[int] = field(default_factory=set)  # transactions that are to be taken back, too
    names: dict[int, str] = field(default_factory=dict)

    def reports(self) -> tuple[TableReport, ...]:
        return (
            *(TableReport(self.names[c.relid], moved="taken away") for c in self.away),
            *(TableReport(self.names[c.relid], moved="brought back") for c in self.back),
        )

    def statements(self) -> tuple[str, ...]:
        return (
            *(f"ALTER TABLE {self.names[c.relid]} SET SCHEMA hotrollback_bin" for c in self.away),
            *(f"-- and from there {self.names[c.relid]} comes back" for c in self.back),
        )


# Whether a role (d.role) may do with a table (c) what its owner may.
_OWNS: Final = """EXISTS (
    SELECT FROM pg_catalog.pg_roles r
     WHERE r.oid = d.role AND pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'))"""

# What is there of the tables that the selection made, and what stands in the way of moving them.
_MADE: Final = f"""
SELECT c.oid::pg_catalog.int8 AS relid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
       NOT {_OWNS} AS denied,
       EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)
       AND NOT EXISTS (SELECT FROM hotrollback.change b -- with which it came back from the bin
                        WHERE b.relid = d.relid AND b.op = 'B'
                          AND b.lsn < '0/0'::pg_catalog.pg_lsn + d.lsn) AS below,
       needs.name AS needs, other.*
  FROM ROWS FROM (pg_catalog.unnest({{relids}}::pg_catalog.oid[]),
                  pg_catalog.unnest({{roles}}::pg_catalog.oid[]),
                  pg_catalog.unnest({{lsns}}::pg_catalog.int8[])) AS d(relid, role, lsn)
  JOIN pg_catalog.pg_class c ON c.oid = d.relid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname <> 'hotrollback_bin'
  LEFT JOIN LATERAL (
       SELECT pg_catalog.pg_describe_object(p.classid, p.objid, 0) AS name
         FROM pg_catalog.pg_depend p
         LEFT JOIN pg_catalog.pg_constraint k
           ON p.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = p.objid
         LEFT JOIN pg_catalog.pg_rewrite w
           ON p.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = p.objid
         LEFT JOIN pg_catalog.pg_trigger t
           ON p.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = p.objid
         LEFT JOIN pg_catalog.pg_policy y
           ON p.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND y.oid = p.objid
         LEFT JOIN pg_catalog.pg_attrdef f -- of a generated column
           ON p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = p.objid
        WHERE p.deptype = 'n' AND p.refobjid IN (c.oid, c.reltype)
          -- What a publication names is noted when it goes (unpublish_v1).
          AND p.classid <> 'pg_catalog.pg_publication_rel'::pg_catalog.regclass
          AND p.refclassid = CASE WHEN p.refobjid = c.oid
                                  THEN 'pg_catalog.pg_class'::pg_catalog.regclass
                                  ELSE 'pg_catalog.pg_type'::pg_catalog.regclass END
          AND COALESCE(k.conrelid, w.ev_class, t.tgrelid, y.polrelid, f.adrelid, 0)
              <> ALL ({{relids}}::pg_catalog.oid[])
          AND NOT hotrollback.belongs_v1(p.objid, {{relids}}::pg_catalog.oid[])
        LIMIT 1) AS needs ON true
  LEFT JOIN LATERAL (
       SELECT c.xid, c.at, c.tag, {SESSION_OF} AS session
         FROM hotrollback.change c
        WHERE c.lsn >= '0/0'::pg_catalog.pg_lsn + d.lsn AND c.relid = d.relid
          AND c.op IN {ROWS} AND NOT {DEAD} AND COALESCE(({{where}}), false) IS FALSE
        ORDER BY c.lsn DESC LIMIT 1) AS other ON true
"""

_BINNED: Final = """
SELECT b.relid::pg_catalog.int8 AS relid, pg_catalog.format('%I.%I', b.schema, b.name) AS name,
       n.oid IS NULL AS homeless,
       EXISTS (SELECT FROM pg_catalog.pg_class c
                WHERE c.relnamespace = n.oid AND c.relname = b.name
                  AND c.oid <> ALL ($2::pg_catalog.oid[])) AS taken
  FROM hotrollback.bin b
  JOIN pg_catalog.pg_class c ON c.oid = b.relid
  LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = b.schema
 WHERE b.relid = ANY ($1::pg_catalog.oid[])
"""

_RESTORED: Final = """
SELECT c.oid::pg_catalog.int8, pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY ($1::pg_catalog.oid[]) AND n.nspname <> 'hotrollback_bin'
"""


async def moves_of(
    db: Database, chosen: Chosen, matched: Matched, request: UndoRequest, rules: Rules
) -> Moves:
    """What is to be moved; what is not there any more is not."""
    moves = Moves()
    # What happened to a table first says whether it was there before.
    firsts: dict[int, Move] = {}
    for change in matched.moves:
        firsts.setdefault(change.relid, change)
    made = {relid: change for relid, change in firsts.items() if change.op == CREATE}
    if made:
        await _away(db, chosen, made, request, rules, moves)
    binned = {relid: change for relid, change in firsts.items() if change.op != CREATE}
    if binned:
        await _back(db, binned, rules, moves)
    return moves


async def _away(
    db: Database,
    chosen: Chosen,
    made: dict[int, Move],
    request: UndoRequest,
    rules: Rules,
    moves: Moves,
) -> None:
    await _lock(db, made, request)
    first = len(chosen.args) + 1
    query = _MADE.format(
        where=chosen.where, relids=f"${first}", roles=f"${first + 1}", lsns=f"${first + 2}"
    )
    roles = [change.role for change in made.values()]
    rows = await db.fetch(
        query, *chosen.args, list(made), roles, [change.lsn for change in made.values()]
    )
    for row in rows:
        change = made[row["relid"]]
        moves.names[change.relid] = row["name"]
        found: list[Conflict] = []
        if row["denied"] and not request.trust_log:
            detail = "who made it does not own it (any more): the record may be forged"
            found.append(_conflict(row["name"], Kind.PRIVILEGE, detail))
        if row["below"]:
            found.append(_conflict(row["name"], Kind.SCHEMA, "it belongs to another table by now"))
        if row["needs"] is not None:
            found.append(_conflict(row["name"], Kind.REFERENCED, f"{row['needs']} needs it"))
        if row["xid"] is not None:
            found.append(
                _conflict(row["name"], Kind.LATER_CHANGE, "others have written to the table", row)
            )
        _decide(moves, moves.away, change, found, rules)


_LOCKED: Final = f"""
SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', n.nspname, c.relname), ', ')
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                  pg_catalog.unnest($2::pg_catalog.oid[])) AS d(relid, role)
  JOIN pg_catalog.pg_class c ON c.oid = d.relid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE $3::pg_catalog.bool OR {_OWNS}
"""


async def _lock(db: Database, made: dict[int, Move], request: UndoRequest) -> None:
    """Before the look at who has written to them: from then on nobody does. Not what somebody only
    says to have made."""
    roles = [change.role for change in made.values()]
    names = await db.fetchval(_LOCKED, list(made), roles, request.trust_log)
    if names:
        await db.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")


async def _back(db: Database, binned: dict[int, Move], rules: Rules, moves: Moves) -> None:
    going = [change.relid for change in moves.away]
    for row in await db.fetch(_BINNED, list(binned), going):
        change = binned.pop(row["relid"])
        moves.names[change.relid] = row["name"]
        found = []
        if row["homeless"]:
            found.append(_conflict(row["name"], Kind.SCHEMA, "its schema is gone"))
        if row["taken"]:
            found.append(
                _conflict(row["name"], Kind.UNIQUE, "its name belongs to another relation")
            )
        _decide(moves, moves.back, change, found, rules)
    there = dict(await db.fetch(_RESTORED, list(binned)))
    for change in binned.values():
        name = there.get(change.relid)
        moves.names[change.relid] = name or f"relation {change.relid}"
        kind, detail = (
            (Kind.GONE, "it was dropped meanwhile, or purged from the bin")
            if name is None
            else (Kind.SCHEMA, "it was brought back from the bin already")
        )
        found = [_conflict(moves.names[change.relid], kind, detail)]
        _decide(moves, moves.back, change, found, rules)


def _conflict(name: str, kind: Kind, detail: str, by: Any = None) -> Conflict:
    """`by`: the record that is in the way."""
    who = {field: by[field] for field in ("xid", "session", "tag", "at")} if by else {}
    return Conflict(name, None, str(kind), None, None, None, detail=detail, **who)


def _decide(
    moves: Moves, goes: list[Move], change: Move, found: list[Conflict], rules: Rules
) -> None:
    resolutions = set()
    for conflict in found:
        resolution = POLICIES[rules.policy_of(change.relid)](Kind(conflict.kind))
        if resolution is Resolution.TAKE_ALONG and conflict.xid is not None:
            moves.along.add(conflict.xid)
        resolutions.add(resolution)
    moves.conflicts += found
    # A whole table is not taken apart by columns.
    if resolutions - {Resolution.DROP, Resolution.OVERWRITE}:
        moves.stopped = True
    elif Resolution.DROP in resolutions:
        moves.left |= {change.relid}
    else:
        goes.append(change)


def _last(moves: Moves, gone: Container[int]) -> list[Move]:
    """Those that wait until their rows are written. `gone`: those that go with their rows."""
    return [change for change in moves.away if change.relid not in gone]


async def move(db: Database, moves: Moves, gone: Container[int]) -> None:
    """Before rows are written: foreign keys would hold them. Where tables go last nothing comes
    back before that: it may have their names."""
    for change in moves.away:
        await db.execute("SELECT hotrollback.bin_keys_v1($1)", change.relid)
    await _bin(db, [change for change in moves.away if change.relid in gone])
    if not _last(moves, gone):
        await _bring_back(db, moves)


async def move_last(db: Database, moves: Moves, gone: Container[int]) -> None:
    last = _last(moves, gone)
    await _bin(db, last)
    if last:
        await _bring_back(db, moves)


async def _bin(db: Database, away: Iterable[Move]) -> None:
    for change in away:
        await db.execute("SELECT hotrollback.bin_v1($1, NULL)", change.relid)


_NAMED: Final = "SELECT $1::pg_catalog.oid::pg_catalog.regclass::pg_catalog.text"


async def _bring_back(db: Database, moves: Moves) -> None:
    """Before rows are looked at: those changed before their table went are there again."""
    for change in moves.back:
        gone = await db.fetchval("SELECT hotrollback.unbin_v1($1)", change.relid)
        if gone:
            raise NoRole(await db.fetchval(_NAMED, change.relid), ", ".join(gone))


async def tie(db: Database, moves: Moves) -> None:
    """To what they refer to and are parts of, when the rows are written that they refer to."""
    for change in moves.back:
        await db.execute("SELECT hotrollback.unbin_keys_v1($1)", change.relid)
