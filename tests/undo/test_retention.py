"""Partitions of the log are there before they are needed, go when they must, and nobody waits."""

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import asyncpg
import pytest
from fix_log import Connect
from hypothesis import given
from hypothesis import strategies as st

from undo import retention
from undo.doctor import examine
from undo.install import install
from undo.retention import (
    DAYS_AHEAD,
    Partition,
    days,
    drop_expired,
    ensure_partitions,
    expired,
    partitions,
    upkeep,
)

NOW = datetime.now(UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)
# How many days ago the partitions begin that there must be.
NEEDED = {(TODAY - day).days for day in days(NOW, DAYS_AHEAD)}


async def with_past(log: asyncpg.Connection, *ago: int, rows: int = 1) -> None:
    """Partitions of so many days ago, with rows in them, and what lives beside those."""
    for days_ago in ago:
        day = TODAY - days_ago * DAY
        name = f"hotrollback.change_{day:%Y%m%d}"
        if not await log.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
            await log.execute(
                f"CREATE TABLE {name} PARTITION OF hotrollback.change"
                f" FOR VALUES FROM ('{day} 00:00+00') TO ('{day + DAY} 00:00+00')"
            )
        noon = f"{day} 12:00+00"
        await log.execute(
            "INSERT INTO hotrollback.change (at, relid, op, after)"
            f" SELECT '{noon}', 1, 'I', to_json(repeat(n::text, 100))"
            f"   FROM generate_series(1, {rows}) n;"
            f"INSERT INTO hotrollback.gap (at, reason) VALUES ('{noon}', 'copy');"
            "INSERT INTO hotrollback.session (pid, started, ended, role, proxy)"
            f" VALUES ({days_ago}, '{day} 11:00+00', '{noon}', 'app', 'p'),"
            f"        ({days_ago + 1000000000}, '{day} 11:00+00', NULL, 'app', 'p');"
            "WITH u AS (INSERT INTO hotrollback.undo (at, by, request)"
            f"           VALUES ('{noon}', 'me', '{{}}') RETURNING id)"
            "INSERT INTO hotrollback.undone (undo, xid, lsn) SELECT id, 1, '0/1' FROM u"
        )


async def names(log: asyncpg.Connection) -> set[int]:
    """How many days ago the partitions began."""
    return {(TODAY - partition.begins).days for partition in await partitions(log)}


async def beside(log: asyncpg.Connection) -> dict[str, int]:
    return {
        table: await log.fetchval(f"SELECT count(*) FROM hotrollback.{table}")
        for table in ("gap", "session", "undone", "undo")
    }


async def test_two_weeks_are_made_ahead(log: asyncpg.Connection) -> None:
    there = await partitions(log)
    assert [p.begins for p in there] == list(days(NOW, DAYS_AHEAD))
    assert all(p.attached and not p.pending and not p.full for p in there)
    assert await ensure_partitions(log) == ()


async def bounds(log: asyncpg.Connection) -> dict[str, str]:
    rows = await log.fetch(
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'hotrollback.change'::regclass"
    )
    return {row["relname"]: row["bounds"] for row in rows}


async def test_without_upkeep_writes_go_on(log: asyncpg.Connection) -> None:
    """A capture trigger outlives the proxy."""
    later = (await bounds(log))["change_later"]
    assert later.startswith(f"FOR VALUES FROM ('{TODAY + (DAYS_AHEAD + 1) * DAY} 00:00:00+00')")
    await log.execute(
        "INSERT INTO hotrollback.change (at, relid, op) VALUES (now() + interval '5 years', 1, 'I')"
    )


async def test_later_days_move_on(log: asyncpg.Connection, connect: Connect) -> None:
    """Tomorrow one more day is made; writers do not wait for it, and it waits for no writer long."""
    writer = await connect("app")
    await ensure_partitions(log, DAYS_AHEAD + 2)
    assert (await bounds(log))["change_later"].startswith(
        f"FOR VALUES FROM ('{TODAY + (DAYS_AHEAD + 3) * DAY} 00:00:00+00')"
    )
    await writer.execute("BEGIN; INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I')")
    (line,) = await ensure_partitions(log, DAYS_AHEAD + 3)
    assert line.startswith("partition change_later could not be detached yet")
    await writer.execute("INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I'); COMMIT")
    (line,) = await ensure_partitions(log, DAYS_AHEAD + 3)
    assert line.startswith("made 1 partitions")
    assert (await bounds(log))["change_later"].startswith(
        f"FOR VALUES FROM ('{TODAY + (DAYS_AHEAD + 4) * DAY} 00:00:00+00')"
    )
    assert await ensure_partitions(log, DAYS_AHEAD + 3) == ()


async def test_upkeep_that_comes_late(log: asyncpg.Connection) -> None:
    """Today's rows are in the partition of later days: it becomes today's, with what is in it."""
    for partition in await partitions(log):
        await log.execute(f"DROP TABLE hotrollback.{partition.name}")
    await log.execute(
        "ALTER TABLE hotrollback.change DETACH PARTITION hotrollback.change_later;"
        "ALTER TABLE hotrollback.change ATTACH PARTITION hotrollback.change_later"
        f" FOR VALUES FROM ('{TODAY - 3 * DAY} 00:00:00+00') TO (MAXVALUE);"
        "INSERT INTO hotrollback.change (at, relid, op)"
        " VALUES (now() - interval '2 days', 1, 'I'), (now(), 2, 'I')"
    )
    lines = await ensure_partitions(log)
    assert "change_later was in use" in " ".join(lines)
    there = await bounds(log)
    assert there[f"change_{TODAY:%Y%m%d}"] == (
        f"FOR VALUES FROM ('{TODAY - 3 * DAY} 00:00:00+00') TO ('{TODAY + DAY} 00:00:00+00')"
    )
    assert len(there) == DAYS_AHEAD + 2
    assert await log.fetchval("SELECT count(*) FROM hotrollback.change") == 2
    assert await ensure_partitions(log) == ()


async def test_rows_go_to_their_day(log: asyncpg.Connection) -> None:
    await with_past(log, 1)
    await log.execute(
        f"INSERT INTO hotrollback.change (at, relid, op) VALUES ('{TODAY} 00:00+00', 1, 'I'),"
        f" ('{TODAY + DAY} 00:00+00', 1, 'I')"
    )
    rows = await log.fetch(
        "SELECT tableoid::regclass::text AS name, count(*) FROM hotrollback.change"
        " GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        (f"hotrollback.change_{TODAY - DAY:%Y%m%d}", 1),
        (f"hotrollback.change_{TODAY:%Y%m%d}", 1),
        (f"hotrollback.change_{TODAY + DAY:%Y%m%d}", 1),
    ]


async def test_partition_that_was_made_and_not_attached(log: asyncpg.Connection) -> None:
    """As one that was cut off between the two leaves it."""
    name = f"hotrollback.change_{TODAY + 3 * DAY:%Y%m%d}"
    await log.execute(f"ALTER TABLE hotrollback.change DETACH PARTITION {name}")
    assert len(await ensure_partitions(log)) == 1
    assert all(p.attached for p in await partitions(log))


async def test_missing_partitions_are_an_alarm_two_days_before(log: asyncpg.Connection) -> None:
    def of(name: str) -> str:
        return f"DROP TABLE hotrollback.change_{name}"

    for n in range(DAYS_AHEAD, 2, -1):
        await log.execute(of(f"{TODAY + n * DAY:%Y%m%d}"))
    assert "partitions" not in {finding.subject for finding in await examine(log)}
    await log.execute(of(f"{TODAY + 2 * DAY:%Y%m%d}"))
    await log.execute(of(f"{TODAY + 1 * DAY:%Y%m%d}"))
    assert "partitions" in {finding.subject for finding in await examine(log)}


async def test_attaching_does_not_wait_for_writers(
    log: asyncpg.Connection, connect: Connect
) -> None:
    """Nor they for it: readers and writers have transactions open on the log."""
    for n in (1, 3):
        await log.execute(f"DROP TABLE hotrollback.change_{TODAY + n * DAY:%Y%m%d}")
    writer, reader = await connect("app"), await connect()
    await writer.execute("BEGIN; INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I')")
    await reader.execute("BEGIN; SELECT count(*) FROM hotrollback.change")
    began = time.monotonic()
    assert len(await ensure_partitions(log)) == 1
    assert time.monotonic() - began < 1
    await writer.execute("INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I'); COMMIT")


async def test_retention(log: asyncpg.Connection) -> None:
    """What ended before it goes, with gaps, sessions and undone entries; the rest stays."""
    await with_past(log, 12, 11, 10, 9, 0)
    lines = await drop_expired(log, timedelta(days=10), None)
    assert await names(log) == {10, 9, *NEEDED}
    assert await beside(log) == {"gap": 3, "session": 6, "undone": 3, "undo": 5}
    assert [line.split(" (")[0] for line in lines] == [
        f"dropped partition change_{TODAY - 12 * DAY:%Y%m%d}",
        f"dropped partition change_{TODAY - 11 * DAY:%Y%m%d}",
        f"removed 2 gaps from before {TODAY - 10 * DAY}",
        f"removed 4 sessions from before {TODAY - 10 * DAY}",
        f"removed 2 entries of undos from before {TODAY - 10 * DAY}",
    ]
    assert await drop_expired(log, timedelta(days=10), None) == ()


async def test_living_session_stays(log: asyncpg.Connection) -> None:
    await with_past(log, 12)
    pid = log.get_server_pid()
    await log.execute(
        "INSERT INTO hotrollback.session (pid, started, role, proxy)"
        f" VALUES ({pid}, now() - '20 days'::interval, 'app', 'p')"
    )
    await drop_expired(log, timedelta(days=1), None)
    rows = await log.fetch("SELECT pid FROM hotrollback.session")
    assert [row["pid"] for row in rows] == [pid]


async def test_nothing_is_dropped_unless_it_is_said(log: asyncpg.Connection) -> None:
    await with_past(log, 400)
    assert await drop_expired(log, None, None) == ()


async def test_dropping_does_not_wait_for_writers(
    log: asyncpg.Connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that has written the log puts it off; who writes meanwhile does not wait; and
    the next upkeep finishes what was begun, and goes on with the others."""
    monkeypatch.setattr(retention, "_LOCK_TIMEOUT_MS", 300)
    await with_past(log, 12, 11)
    writer, other = await connect("app"), await connect("app")
    await writer.execute("BEGIN; INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I')")
    dropping = asyncio.create_task(upkeep(log, retention=10 * DAY, max_log_size=None))
    slowest = 0.0
    while not dropping.done():
        began = time.monotonic()
        await other.execute("INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I')")
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.01)
    assert slowest < 0.2
    (line,) = await dropping
    assert line.startswith(f"partition change_{TODAY - 12 * DAY:%Y%m%d} could not be detached yet")
    lines = await upkeep(log, retention=10 * DAY, max_log_size=None)
    assert lines[0].startswith(f"dropped partition change_{TODAY - 12 * DAY:%Y%m%d}")
    assert lines[1].startswith(f"partition change_{TODAY - 11 * DAY:%Y%m%d} could not be detached")
    await writer.execute("INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I'); COMMIT")
    await upkeep(log, retention=10 * DAY, max_log_size=None)
    assert await names(log) == NEEDED


async def test_log_that_is_too_big_loses_its_oldest_days(log: asyncpg.Connection) -> None:
    await with_past(log, 3, 2, 1, 0, rows=2000)
    sizes = {(TODAY - p.begins).days: p.size for p in await partitions(log)}
    total = sum(sizes.values())
    await drop_expired(log, None, total - sizes[3] - 1)
    assert await names(log) == NEEDED | {1}
    assert not any(p.full for p in await partitions(log))


async def test_full_log_is_a_gap_and_no_outage(log: asyncpg.Connection, connect: Connect) -> None:
    """Only today is left: writes go on and are counted, what they wrote is not kept."""
    await log.execute(
        "CREATE TABLE t (id integer PRIMARY KEY, v text); GRANT ALL ON t TO app;"
        "SELECT hotrollback.attach_v1('t'::regclass)"
    )
    lines = await upkeep(log, retention=None, max_log_size=1)
    assert lines[-1].endswith("what is written until tomorrow is not kept, and is a gap")
    assert [p.begins for p in await partitions(log) if p.full] == [TODAY]
    app = await connect("app")
    rewritten = (
        "WITH w AS (INSERT INTO t SELECT n, 'x' FROM generate_series(1, 3) n RETURNING *)"
        " INSERT INTO hotrollback.change (relid, op, after)"
        " SELECT 't'::regclass, 'I', row_to_json(w.*) FROM w"
    )
    assert await app.execute(rewritten) == "INSERT 0 3"
    await app.execute("BEGIN; UPDATE t SET v = 'y'; DELETE FROM t; COMMIT")
    rows = await log.fetch(
        "SELECT op::text, count(*), count(before) + count(after) + count(key) AS kept"
        " FROM hotrollback.change WHERE op <> 'C' GROUP BY op"
    )
    assert [tuple(row) for row in rows] == [("-", 12, 0)]
    gaps = await log.fetch(
        "SELECT reason, relid::regclass::text, role::regrole::text FROM hotrollback.gap"
    )
    assert [tuple(row) for row in gaps] == [("log_full", "t", "app")] * 2
    # As soon as there is room again, all is kept.
    lines = await upkeep(log, retention=None, max_log_size=2**40)
    assert lines == (f"partition change_{TODAY:%Y%m%d} keeps what is written",)
    await app.execute("INSERT INTO t VALUES (9, 'z')")
    last = await log.fetchrow("SELECT op::text, after::text FROM hotrollback.change WHERE op = 'I'")
    assert tuple(last) == ("I", '{"id":9,"v":"z"}')


async def test_log_becomes_full_while_it_is_written(
    log: asyncpg.Connection, connect: Connect
) -> None:
    """An open transaction puts it off; other writers wait for moments only."""
    writer, other = await connect("app"), await connect("app")
    await writer.execute("BEGIN; INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I')")
    running = asyncio.create_task(upkeep(log, retention=None, max_log_size=1))
    slowest = 0.0
    while not running.done():
        began = time.monotonic()
        await other.execute("INSERT INTO hotrollback.change (relid, op) VALUES (1, 'I')")
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.01)
    assert slowest < 0.5
    assert "cannot be changed: the table was in use" in (await running)[0]
    await writer.execute("COMMIT")
    await upkeep(log, retention=None, max_log_size=1)
    assert [p.begins for p in await partitions(log) if p.full] == [TODAY]


async def test_upkeep_of_others_is_left_to_them(log: asyncpg.Connection, connect: Connect) -> None:
    other = await connect()
    await with_past(log, 12)
    await other.execute(f"SELECT pg_advisory_lock({retention.LOCK_INSTALL})")
    assert await upkeep(log, retention=DAY, max_log_size=None) == ()
    assert 12 in await names(log)
    await other.close()
    assert await upkeep(log, retention=DAY, max_log_size=None) != ()


async def test_upkeep_without_a_log(db: asyncpg.Connection) -> None:
    assert await upkeep(db, retention=DAY, max_log_size=1) == ()


async def test_capture_functions_of_dropped_tables_are_swept(log: asyncpg.Connection) -> None:
    await install(log, all_tables=True)
    await log.execute("CREATE TABLE t (id integer); DROP TABLE t")
    count = "SELECT count(*) FROM pg_proc WHERE proname ~ '^capture_[0-9]+$'"
    assert await log.fetchval(count) == 1
    await upkeep(log, retention=None, max_log_size=None)
    assert await log.fetchval(count) == 0


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda now: 1 < now.year < 9999))
def test_days_reach_from_an_hour_back_to_the_last_one_ahead(now: datetime) -> None:
    wanted = days(now, DAYS_AHEAD)
    assert wanted[0] == (now - timedelta(hours=1)).date()
    assert wanted[-1] == now.date() + DAYS_AHEAD * DAY
    assert all(after - before == DAY for before, after in pairwise(wanted))


@given(
    sizes=st.lists(st.integers(0, 100), min_size=1, max_size=20),
    keep=st.none() | st.integers(0, 20),
    most=st.none() | st.integers(0, 500),
)
def test_expired_is_a_prefix_of_the_past(
    sizes: list[int], keep: int | None, most: int | None
) -> None:
    """The oldest, no more of them than it takes, and never today."""
    now = datetime(2026, 6, 15, 12, tzinfo=UTC)
    first = date(2026, 6, 15) - (len(sizes) - 1) * DAY
    there = tuple(
        Partition(f"p{n}", first + n * DAY, size, attached=True, pending=False, full=False)
        for n, size in enumerate(sizes)
    )
    gone = expired(there, now, None if keep is None else keep * DAY, most)
    assert gone == there[: len(gone)]
    assert len(gone) < len(there)
    old = sum(1 for p in there[:-1] if keep is not None and (now.date() - p.ends).days >= keep)
    assert len(gone) >= old
    if most is not None:
        left = sum(sizes[len(gone) :])
        assert left <= most or len(gone) == len(there) - 1
        if len(gone) > old:
            assert left + sizes[len(gone) - 1] > most
