"""From conditions to changes: the selected ones, and all that happened to the same rows since.

Images stay in the log; a change says where its record is.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from undo.database import Database
from undo.image import read_back, same
from undo.log import CHANGE, CREATE, MOVES
from undo.model import Change
from undo.stages.fold import Answer, Link
from undo.stages.select import Chosen, unseen
from undo.tables import Tables, equal

# Rows that were written when the log was full have no images ('-'); a gap tells of them.
_CHANGE: Final = """
SELECT c.tableoid::pg_catalog.int8, c.ctid, c.xid,
       (c.lsn - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8,
       c.relid::pg_catalog.int8, COALESCE(c.new_relid, c.relid)::pg_catalog.int8,
       c.op::pg_catalog.text, c.old_tid, c.new_tid, c.key, c.role::pg_catalog.int8,
       COALESCE(c.stale, false), {selected}, {dead}
  FROM hotrollback.change c
 WHERE c.op IN {ops} AND {where}
"""
ROWS: Final = "('I', 'U', 'D')"
_ALL: Final = "('I', 'U', 'D', 'C', 'B')"


# Taken back and not redone, or the record of an undo: the two cancel each other out.
DEAD: Final = """(
    c.xid IN (SELECT u.xid FROM hotrollback.undo u)
    OR (c.xid, c.lsn) IN (SELECT d.xid, d.lsn FROM hotrollback.undone d
                            JOIN hotrollback.undo u ON u.id = d.undo WHERE u.redone_by IS NULL))"""

_SUMMARIZE: Final = """
SELECT pg_catalog.brin_summarize_new_values(x.indexrelid)
  FROM pg_catalog.pg_inherits i
  JOIN pg_catalog.pg_index x ON x.indrelid = i.inhrelid
 WHERE i.inhparent = 'hotrollback.change'::pg_catalog.regclass
   AND pg_catalog.pg_get_userbyid((SELECT c.relowner FROM pg_catalog.pg_class c
                                    WHERE c.oid = x.indexrelid)) = CURRENT_USER
"""


@dataclass(frozen=True, slots=True)
class Matched:
    changes: list[Change]
    snapshot: str  # whatever was committed after it may be missing
    moves: list[Change]  # tables that are to go, or to come back
    along: list[Change]  # rows that go with them

    @property
    def live(self) -> list[Change]:
        """What was undone already is not selected."""
        return [change for change in self.changes if change.selected]

    @property
    def gone(self) -> frozenset[int]:
        """Tables that the selection made: what else it did to them goes with them."""
        return frozenset(change.relid for change in self.moves if change.op == CREATE)


@dataclass(slots=True)
class Loaded:
    changes: list[Change]  # in LSN order
    snapshot: str  # as Matched has it
    heaps: frozenset[int]  # tables whose changes were looked for
    keys: frozenset[int]
    versions: frozenset[tuple[int, tuple[int, int]]]  # whose successors were looked for
    first: int  # LSN of the first selected change

    @property
    def selected(self) -> list[Change]:
        return [change for change in self.changes if change.selected]


async def summarize(db: Database) -> None:
    """The newest rows are not in the index yet, and are what an incident is about."""
    await db.execute(_SUMMARIZE)


def _read(rows: Iterable[Any]) -> list[Change]:
    return [Change._make(row.values()) for row in rows]


async def match(db: Database, chosen: Chosen) -> Matched:
    """All that the selection matches."""
    snapshot = await db.fetchval("SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text")
    if chosen.redo_of is not None:
        query = _CHANGE.format(selected="true", dead="false", ops=_ALL, where=chosen.where)
    else:
        query = _CHANGE.format(selected=f"NOT {DEAD}", dead=DEAD, ops=_ALL, where=chosen.where)
    found = _read(await db.fetch(query, *chosen.args))
    moves = [change for change in found if change.op in MOVES and change.selected]
    matched = Matched([], snapshot, moves, [])
    gone = matched.gone
    for change in found:
        if change.op not in MOVES:
            (matched.along if change.relid in gone else matched.changes).append(change)
    return matched


async def load(db: Database, chosen: Chosen, tables: Tables, matched: Matched) -> Loaded:
    """What is selected, and the later changes of the same rows."""
    found, live = matched.changes, matched.live
    heaps = _heaps(tables, live)
    first = min((change.lsn for change in live), default=0)
    loaded = Loaded(list(found), matched.snapshot, heaps, frozenset(), frozenset(), first)
    places = {(change.part, change.place) for change in found}
    news = live
    while news:
        keys = frozenset(change.key for change in news if change.key is not None)
        versions = frozenset(
            (change.new_relid, change.new_tid) for change in news if change.new_tid is not None
        )
        if keys <= loaded.keys and versions <= loaded.versions:
            break
        loaded.keys |= keys
        loaded.versions |= versions
        query, args = _followers(chosen, loaded)
        rows = _read(await db.fetch(query, *args))
        news = [change for change in rows if (change.part, change.place) not in places]
        places.update((change.part, change.place) for change in news)
        loaded.changes += news
    loaded.changes.sort(key=lambda change: (change.lsn, change.xid))
    return loaded


def _heaps(tables: Tables, changes: Iterable[Change]) -> frozenset[int]:
    relids = {change.relid for change in changes} | {change.new_relid for change in changes}
    for relid in tuple(relids):
        family = tables.family_of(relid)
        if family is not None:
            relids.update(family.heaps)
    return frozenset(relids)


def _followers(chosen: Chosen, loaded: Loaded) -> tuple[str, list[Any]]:
    """Changes of the same rows that the selection does not match."""
    args = list(chosen.args)

    def given(value: Any) -> str:
        args.append(value)
        return f"${len(args)}"

    heaps = f"{given(sorted(loaded.heaps))}::pg_catalog.oid[]"
    versions = sorted(loaded.versions)
    where = (
        f"c.lsn >= '0/0'::pg_catalog.pg_lsn + {given(loaded.first)}::pg_catalog.int8"
        f" AND (c.relid = ANY ({heaps}) OR c.new_relid = ANY ({heaps}))"
        f" AND (c.key = ANY ({given(sorted(loaded.keys))}::pg_catalog.int4[]) OR c.key IS NULL"
        f" OR (c.relid, c.old_tid) IN (SELECT v.relid, v.tid FROM ROWS FROM ("
        f"pg_catalog.unnest({given([v[0] for v in versions])}::pg_catalog.oid[]),"
        f" pg_catalog.unnest({given([v[1] for v in versions])}::pg_catalog.tid[]))"
        f" AS v(relid, tid)))"
        f" AND COALESCE(({chosen.where}), false) IS FALSE"
    )
    return _CHANGE.format(selected="false", dead=DEAD, ops=ROWS, where=where), args


async def overtaken(db: Database, chosen: Chosen, loaded: Loaded) -> bool:
    """Whether somebody has committed a change of these rows, or one that is selected, since they
    were loaded. To be asked when the rows are locked."""
    given = f"${len(chosen.args) + 1}::pg_catalog.text::pg_catalog.pg_snapshot"
    new = unseen("c", given)
    query = f"SELECT EXISTS (SELECT FROM {CHANGE} c WHERE {new} AND {chosen.where})"
    if await db.fetchval(query, *chosen.args, loaded.snapshot):
        return True
    query, args = _followers(chosen, loaded)
    given = f"${len(args) + 1}::pg_catalog.text::pg_catalog.pg_snapshot"
    query = f"SELECT EXISTS ({query} AND {unseen('c', given)})"
    return bool(await db.fetchval(query, *args, loaded.snapshot))


async def answers(
    db: Database, tables: Tables, partitions: "Partitions", loaded: Loaded, doubts: Collection[Link]
) -> dict[Link, Answer]:
    """What the images say of doubtful links."""
    changes = loaded.changes
    found: dict[Link, Answer] = {}
    groups: dict[tuple[int, int, int], list[Link]] = {}
    for link in doubts:
        before, after = changes[link[0]], changes[link[1]]
        root = tables.roots.get(after.relid)
        if root is None:
            found[link] = Answer.SAME
        else:
            groups.setdefault((root, before.part, after.part), []).append(link)
    for (root, left, right), links in groups.items():
        family = tables.families[root]
        key = "false"
        if family.key is not None:
            key = equal(family.key.columns, family.key.operators, "x", "y")
        rows = await db.fetch(
            f"SELECT d.i, {same(family.columns, 'x', 'y')}, COALESCE({key}, false)"
            f"  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]),"
            f"       pg_catalog.unnest($2::pg_catalog.tid[]),"
            f"       pg_catalog.unnest($3::pg_catalog.tid[])) AS d(i, l, r)"
            f"  JOIN {partitions[left]} a ON a.ctid = d.l"
            f"  JOIN {partitions[right]} b ON b.ctid = d.r"
            f" CROSS JOIN LATERAL {read_back(family.columns, 'a.after')} x"
            f" CROSS JOIN LATERAL {read_back(family.columns, 'b.before')} y",
            list(range(len(links))),
            [changes[link[0]].place for link in links],
            [changes[link[1]].place for link in links],
        )
        for i, equal_rows, equal_keys in rows:
            answer = Answer.SAME if equal_rows else Answer.KEY if equal_keys else Answer.OTHER
            found[links[i]] = answer
    return found


Partitions = dict[int, str]


async def partitions(db: Database) -> Partitions:
    """Partitions of the log as FROM items, by oid."""
    rows = await db.fetch(
        "SELECT i.inhrelid::pg_catalog.int8 AS relid, c.relname::pg_catalog.text AS name"
        "  FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'hotrollback.change'::pg_catalog.regclass"
    )
    return {row["relid"]: f"ONLY hotrollback.{row['name']}" for row in rows}
