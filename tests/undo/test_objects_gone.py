"""Types and routines in the bin go for good with the last table there that needs them: by age, by hand, at the end."""

import pytest
from fix_undo import Ground
from test_bin import back
from test_objects import IN_BIN, MADE, drop_all
from test_purge import DAY, aged, keep

from undo.bin.entries import pin
from undo.bin.purge import purge
from undo.errors import BinHolds, BinNeeded
from undo.install import uninstall

BINNED = "SELECT name::text FROM hotrollback.binned ORDER BY 1"
ALL = ["amount", "g", "kind", "low", "next_kind", "pair", "span"]


async def names(ground: Ground) -> list[str]:
    return [row[0] for row in await ground.rows(BINNED)]


async def test_with_their_age(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    await aged(ground, 20)
    assert await keep(ground, 10 * DAY) == ["table public.t"]
    assert await names(ground) == ALL
    await pin(ground.db, "t", on=True)
    assert await keep(ground, 10 * DAY) == []
    assert await names(ground) == ALL
    await pin(ground.db, "t", on=False)
    assert await keep(ground, 10 * DAY) == ["table public.t"]
    assert await keep(ground, 10 * DAY) == ["dropped table public.t"]
    assert await names(ground) == []
    assert await ground.db.fetchval(IN_BIN) == 0


async def test_with_too_big_a_bin(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    assert await keep(ground, most=1) == ["table public.t"]
    assert await keep(ground, most=1) == ["dropped table public.t"]
    assert (await names(ground), await ground.db.fetchval(IN_BIN)) == ([], 0)


async def test_with_a_table_that_somebody_dropped_there(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    await ground.db.execute("""DO $$ BEGIN EXECUTE (SELECT format('DROP TABLE %s', b.relid::regclass)
                                                      FROM hotrollback.bin b); END $$""")
    assert await keep(ground) == []
    assert (await names(ground), await ground.db.fetchval(IN_BIN)) == ([], 0)


async def test_a_dry_run_leaves_them(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    await purge(ground.db, dry_run=True)
    assert await names(ground) == ALL


async def test_uninstall(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    with pytest.raises(BinHolds, match=r"still holds tables public\.t, which"):
        await uninstall(ground.db)
    assert await names(ground) == ALL
    await ground.db.execute("""DO $$ BEGIN EXECUTE (SELECT format('DROP TABLE %s', b.relid::regclass)
                                                      FROM hotrollback.bin b); END $$""")
    assert (await uninstall(ground.db))[-1] == "dropped schema hotrollback"
    assert await ground.db.fetchval("SELECT to_regnamespace('hotrollback_bin') IS NULL")


async def test_uninstall_after_all_of_it_was_dropped(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    await ground.db.execute("DROP SCHEMA hotrollback_bin CASCADE")
    assert (await uninstall(ground.db))[-1] == "dropped schema hotrollback"


async def test_uninstall_is_refused_where_a_table_of_now_needs_one(ground: Ground) -> None:
    await ground.given(MADE)
    await drop_all(ground)
    await ground.write("CREATE TYPE kind AS ENUM ('z')", tag="other")
    await back(ground, "t")
    (there,) = await ground.rows("SELECT k::regtype::text FROM (SELECT pg_typeof(k) AS k FROM t) t")
    with pytest.raises(BinNeeded) as refused:
        await uninstall(ground.db)
    assert there[0] in str(refused.value)
    # All else is as it was: what is written is recorded.
    await ground.write("UPDATE t SET v = 'Y'", tag="later")
    assert len(await ground.rows("SELECT FROM hotrollback.change WHERE tag = 'later'")) == 1
    await ground.db.execute(f"ALTER TYPE {there[0]} SET SCHEMA public")
    assert (await uninstall(ground.db))[-1] == "dropped schema hotrollback"
    assert await ground.db.fetchval("SELECT k::text FROM t") == "b"
