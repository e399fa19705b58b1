"""What goes from the bin: by hand, by age and by size; what then is said by an undo."""

from datetime import UTC, datetime, timedelta

import pytest
from fix_log import Connect
from fix_undo import BAD, Ground

from undo.bin.entries import Entry, day_after, entries, pin, size
from undo.bin.expire import due
from undo.bin.purge import purge
from undo.errors import NotInstalled, NotReversible, StillNeeded
from undo.log import LOCK_UNDO
from undo.model import Kind, Outcome
from undo.retention import upkeep

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
IN_BIN = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
    " AND relnamespace = 'hotrollback_bin'::regnamespace"
)
SETUP = """
CREATE TABLE z (id int);
CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) VALUES ('a'), ('b');
CREATE TABLE u (id int PRIMARY KEY, v text, w text); INSERT INTO u VALUES (1, 'x', 'y');
CREATE TABLE part (k int) PARTITION BY LIST (k); CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1)
"""


def spared(statement: str) -> str:
    """As a proxy runs it."""
    return "CALL hotrollback.run_ddl_v1('" + statement.replace("'", "''") + "')"


async def binned(ground: Ground) -> list[str]:
    return [entry.label for entry in await entries(ground.db)]


@pytest.mark.given(SETUP)
async def test_a_purged_table_is_gone_for_an_undo(ground: Ground) -> None:
    await ground.write(spared("DROP TABLE t"))
    before = await ground.dump()
    (only,) = await entries(ground.db)
    (would,) = await purge(ground.db, "t", dry_run=True)
    assert (would.entry, would.left, await binned(ground)) == (only, "", ["public.t"])
    (done,) = await purge(ground.db, "t")
    assert (done.entry, done.left) == (only, "")
    assert (await binned(ground), await ground.rows(IN_BIN)) == ([], [])
    report = await ground.undo()
    assert report.outcome is Outcome.CONFLICTS
    assert [(c.kind, c.detail) for c in report.conflicts] == [
        (Kind.GONE, "it was dropped meanwhile, or purged from the bin")
    ]
    assert await ground.dump() == before


@pytest.mark.given(SETUP)
async def test_purged_values_are_not_kept_any_more(ground: Ground) -> None:
    await ground.write(spared("ALTER TABLE u DROP COLUMN v"))
    before = await ground.dump()
    await purge(ground.db, "u.v")
    with pytest.raises(NotReversible, match=r"the values of column public\.u\.v are not kept any"):
        await ground.undo()
    assert await ground.dump() == before


@pytest.mark.given(SETUP)
async def test_all_of_it_but_what_is_pinned(ground: Ground) -> None:
    await ground.write(spared("DROP TABLE t") + ";" + spared("ALTER TABLE u DROP COLUMN v"))
    await ground.write(spared("DROP TABLE part") + ";" + spared("ALTER TABLE u DROP COLUMN w"))
    await pin(ground.db, "t", on=True)
    await pin(ground.db, "u.w", on=True)
    assert await purge(ground.db, older_than=DAY) == ()
    done = await purge(ground.db)
    assert sorted(each.entry.label for each in done) == [
        "public.part",
        "public.part1",
        "public.u.v",
    ]
    assert sorted(await binned(ground)) == ["public.t", "public.u.w"]
    await pin(ground.db, "u.w", on=False)
    await ground.db.execute("UPDATE hotrollback.kept SET at = at - '2 days'::interval")
    assert [each.entry.label for each in await purge(ground.db, older_than=DAY)] == ["public.u.w"]
    # A name is meant, pinned or not.
    assert [each.entry.label for each in await purge(ground.db, "t")] == ["public.t"]
    assert await ground.rows(IN_BIN) == []


@pytest.mark.given(SETUP)
async def test_partitions_go_with_their_table(ground: Ground) -> None:
    await ground.write(spared("DROP TABLE part"))
    await purge(ground.db, "part", older_than=DAY)
    assert len(await binned(ground)) == 2
    await purge(ground.db, "part")
    assert await binned(ground) == []


@pytest.mark.given(SETUP)
async def test_what_others_need_does_not_go(ground: Ground) -> None:
    await ground.write(spared("DROP TABLE t, u"))
    old = {e.label: f'hotrollback_bin."{e.held}_{e.name}"' for e in await entries(ground.db)}
    await ground.db.execute(f"CREATE VIEW v AS SELECT * FROM {old['public.t']}")
    with pytest.raises(StillNeeded, match=r"public\.t cannot go: view v needs it"):
        await purge(ground.db, "t")
    told = {each.entry.label: each.left for each in await purge(ground.db)}
    assert told == {
        "public.u": "",
        "public.t": "public.t cannot go: view v needs it, and is not in the bin",
    }
    assert await binned(ground) == ["public.t"]
    await ground.db.execute("DROP VIEW v")
    assert [each.left for each in await purge(ground.db)] == [""]


async def test_what_is_in_the_bin_goes_along(ground: Ground) -> None:
    """Here a default that takes its numbers from the other table's sequence."""
    await ground.given(SETUP + "; ALTER TABLE u ALTER id SET DEFAULT nextval('t_id_seq')")
    await ground.write(spared("DROP TABLE u") + ";" + spared("DROP TABLE t CASCADE"))
    assert [each.left for each in await purge(ground.db, "t")] == [""]
    assert await binned(ground) == ["public.u"]


@pytest.mark.given(SETUP)
async def test_not_while_an_undo_runs(
    ground: Ground, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undo.bin.purge._LOCK_TIMEOUT_MS", 50)
    await ground.write(spared("DROP TABLE t"))
    other = await connect()
    await other.execute(f"SELECT pg_advisory_lock({LOCK_UNDO})")
    (done,) = await purge(ground.db)
    assert done.left.startswith("it is in use")
    await other.close()
    assert await binned(ground) == ["public.t"]


# -- by itself -------------------------------------------------------------------------------------


async def keep(
    ground: Ground, retention: timedelta | None = None, most: int | None = None
) -> list[str]:
    lines = await upkeep(ground.db, retention=retention, max_log_size=None, max_bin_size=most)
    return [line.partition(" (")[0] for line in lines if "in the bin" in line]


async def aged(ground: Ground, days: int) -> None:
    """All that was done so far was done days ago."""
    at = f"'{NOW - days * DAY}'::timestamptz"
    day = (NOW - days * DAY).date()
    await ground.db.execute(
        f"CREATE TABLE hotrollback.change_{day:%Y%m%d} PARTITION OF hotrollback.change"
        f" FOR VALUES FROM ('{day} 00:00+00') TO ('{day + DAY} 00:00+00');"
        + "".join(
            f"UPDATE hotrollback.{table} SET at = {at};"
            for table in ("change", "command", "bin", "kept")
        )
        + f"UPDATE hotrollback.meta SET installed = {at}"
    )


@pytest.mark.given(SETUP)
async def test_what_no_undo_can_reach_goes(ground: Ground) -> None:
    await ground.write(spared("DROP TABLE t") + ";" + spared("ALTER TABLE u DROP COLUMN v"))
    await aged(ground, 20)
    await ground.write(spared("DROP TABLE part"))
    await ground.write(spared("ALTER TABLE u DROP COLUMN w"))
    everything = await binned(ground)
    assert await keep(ground) == []
    assert await keep(ground, 30 * DAY) == []
    # A day before the records go it is said, once.
    told = ["table public.t", "values of public.u.v"]
    tomorrow = NOW + DAY / 2 - day_after(NOW - 20 * DAY)
    assert sorted(await keep(ground, tomorrow)) == told
    assert await keep(ground, tomorrow) == []
    said = {entry.label: entry.goes for entry in await entries(ground.db)}
    assert said["public.t"] == said["public.u.v"] == NOW + DAY / 2
    assert await binned(ground) == everything
    # And unsaid where it goes no more.
    await keep(ground, 30 * DAY)
    assert [entry.goes for entry in await entries(ground.db)] == [None] * 5
    # The records go: it is said, and the next upkeep drops them.
    assert sorted(await keep(ground, 10 * DAY)) == told
    assert await ground.rows(
        "SELECT count(*) FROM hotrollback.command WHERE at < now() - '1 day'::interval"
    ) == [(0,)]
    assert await binned(ground) == everything
    # What is pinned stays, and is said anew when it is not any more.
    await pin(ground.db, "u.v", on=True)
    await pin(ground.db, "u.v", on=False)
    assert await keep(ground, 10 * DAY) == ["dropped table public.t", "values of public.u.v"]
    await pin(ground.db, "u.v", on=True)
    assert await keep(ground, 10 * DAY) == []
    assert await binned(ground) == [label for label in everything if label != "public.t"]
    await pin(ground.db, "u.v", on=False)
    assert await keep(ground, 10 * DAY) == ["values of public.u.v"]
    assert await keep(ground, 10 * DAY) == ["dropped values of public.u.v"]
    assert await keep(ground, 10 * DAY) == []


@pytest.mark.given(SETUP)
async def test_what_is_too_much_goes(ground: Ground) -> None:
    for table in ("part", "t", "u"):
        await ground.write(spared(f"DROP TABLE {table}"), tag=f"{BAD} {table}")
    whole = size(await entries(ground.db))
    assert await keep(ground, most=whole) == []
    assert await keep(ground, most=whole - 1) == [
        "table public.part1",
        "table public.part",
        "table public.t",
    ]
    assert len(await binned(ground)) == 4
    lines = await upkeep(ground.db, retention=None, max_log_size=None, max_bin_size=whole - 1)
    assert [line.partition(" (")[0] for line in lines] == [
        "dropped table public.part1", "dropped table public.part", "dropped table public.t"
    ]  # fmt: skip
    assert all(
        line.endswith(f"the bin has {whole} bytes, more than max_bin_size ({whole - 1})")
        for line in lines
    )
    assert await binned(ground) == ["public.u"]
    await pin(ground.db, "u", on=True)
    assert await keep(ground, most=1) == []


@pytest.mark.given(SETUP)
async def test_what_is_in_use_is_left_for_the_next(
    ground: Ground, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undo.retention._LOCK_TIMEOUT_MS", 50)
    await ground.write(spared("DROP TABLE t"))
    await keep(ground, most=1)
    (entry,) = await entries(ground.db)
    reader = await connect()
    await reader.execute(f'BEGIN; SELECT FROM hotrollback_bin."{entry.held}_t"')
    lines = await upkeep(ground.db, retention=None, max_log_size=None, max_bin_size=1)
    assert "could not be dropped yet: it is in use" in lines[0]
    await reader.execute("COMMIT")
    assert await keep(ground, most=1) == ["dropped table public.t"]


@pytest.mark.given(SETUP)
async def test_what_somebody_dropped_there_is_forgotten(ground: Ground) -> None:
    await ground.write(spared("DROP TABLE t") + ";" + spared("ALTER TABLE u DROP COLUMN v"))
    await ground.db.execute("DROP SCHEMA hotrollback_bin CASCADE")
    assert await binned(ground) == []
    assert await keep(ground, most=1) == []
    assert (
        await ground.rows("SELECT FROM hotrollback.bin UNION ALL SELECT FROM hotrollback.kept")
        == []
    )


@pytest.mark.given(SETUP)
async def test_the_log_of_an_older_version_has_none(ground: Ground) -> None:
    await ground.db.execute("ALTER TABLE hotrollback.kept RENAME TO later")
    assert await upkeep(ground.db, retention=DAY, max_log_size=None, max_bin_size=1) == ()
    with pytest.raises(NotInstalled):
        await entries(ground.db)


def test_the_oldest_go_first_and_no_more_than_it_takes() -> None:
    def entry(number: int, **more) -> Entry:
        return Entry(
            kind="table", id=str(number), table="t", listed=None, held=number, relid=number, schema="s",
            name="t", columns=(), at=NOW - number * DAY, xid=1, session=None, tag=None, role=None,
            undo=None, rows=0, bytes=10, **{"pinned": False, "goes": None, **more},
        )  # fmt: skip

    found = (entry(1), entry(2), entry(3, pinned=True), entry(4))
    assert list(due(found, NOW, frozenset(), None, 40)) == []
    assert list(due(found, NOW, frozenset(), None, 39)) == ["4"]
    assert list(due(found, NOW, frozenset(), None, 29)) == ["4", "2"]
    assert list(due(found, NOW, frozenset(), None, 1)) == ["4", "2", "1"]
    # What goes anyhow makes room; what is pinned takes it.
    assert list(due(found, NOW, frozenset("13"), None, 30)) == ["1"]
    assert list(due(found, NOW, frozenset("13"), None, 29)) == ["1", "4"]
