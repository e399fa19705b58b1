"""Tables that were dropped are in the bin: listed, brought back, and what an undo then says."""

import pytest
from fix_log import roles_made
from fix_undo import BAD, Ground

from undo.bin.entries import entries, find, pin
from undo.bin.restore import Restored, restore
from undo.errors import (
    AmbiguousInBin,
    NameTaken,
    NoRole,
    NoSchema,
    NotInBin,
    OnlyValues,
    UsageError,
)
from undo.model import Kind, Outcome

SETUP = """
CREATE SCHEMA shop;
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE town (id int PRIMARY KEY); INSERT INTO town VALUES (1);
CREATE TABLE shop.person (id serial PRIMARY KEY, name text UNIQUE, town int REFERENCES town,
                          boss int REFERENCES shop.person, note text CHECK (note <> ''));
INSERT INTO shop.person (name, town, boss, note) VALUES ('Ada', 1, NULL, 'x'), ('Bob', 1, 1, 'y');
CREATE INDEX by_note ON shop.person (lower(note)) WHERE note IS NOT NULL;
CREATE TRIGGER own BEFORE UPDATE ON shop.person FOR EACH ROW EXECUTE FUNCTION g();
ALTER TABLE shop.person ENABLE ROW LEVEL SECURITY;
CREATE POLICY y ON shop.person FOR SELECT TO app USING (id > 0);
COMMENT ON TABLE shop.person IS 'people'; COMMENT ON COLUMN shop.person.note IS 'a note';
GRANT SELECT ON shop.person TO app; GRANT UPDATE (note) ON shop.person TO app;
CREATE TABLE pet (id int PRIMARY KEY, owner int REFERENCES shop.person); INSERT INTO pet VALUES (1, 2);
CREATE TABLE part (k int PRIMARY KEY, v text) PARTITION BY RANGE (k);
CREATE TABLE part_a PARTITION OF part FOR VALUES FROM (0) TO (10) PARTITION BY LIST (k);
CREATE TABLE part_a1 PARTITION OF part_a FOR VALUES IN (1);
CREATE TABLE part_b PARTITION OF part FOR VALUES FROM (10) TO (20);
INSERT INTO part VALUES (1, 'a'), (11, 'b');
ANALYZE
"""


def spared(statement: str) -> str:
    """As a proxy runs it."""
    return "CALL hotrollback.run_ddl_v1('" + statement.replace("'", "''") + "')"


async def back(ground: Ground, name: str, new_name: str | None = None) -> Restored:
    return await restore(ground.db, name, new_name=new_name, by="test")


@pytest.mark.given(SETUP)
async def test_what_is_in_it(ground: Ground) -> None:
    await ground.write(spared("DROP TABLE pet"), user="postgres")
    await ground.write(spared("ALTER TABLE shop.person DROP COLUMN note, DROP COLUMN town"))
    await ground.write("CREATE TABLE made (id int); INSERT INTO made VALUES (1)", tag="made")
    undo = await ground.undo(tag="made")
    await pin(ground.db, "pet", on=True)
    taken, kept, dropped = await entries(ground.db)
    assert [(e.kind, e.label, e.why, e.tag, e.role, e.pinned) for e in (taken, kept, dropped)] == [
        ("table", "public.made", f"undo {undo.undo_id}", None, "postgres", False),
        ("values", "shop.person.(town, note)", "dropped or retyped", BAD, "postgres", False),
        ("table", "public.pet", "dropped", BAD, "postgres", True),
    ]
    assert dropped.rows == 1
    assert all(entry.bytes > 0 for entry in (kept, dropped))
    assert kept.xid != dropped.xid
    for name in ("pet", "public.pet", "PUBLIC.Pet", dropped.id):
        assert await find(ground.db, name) == dropped
    for name in ("person.note", "shop.person.town", kept.id):
        assert await find(ground.db, name) == kept
    for name in ("shop.person", "note", "nothing", '"PET"', "1", "a.b.c.d", "'"):
        with pytest.raises(NotInBin):
            await find(ground.db, name)


async def test_the_role_is_the_one_that_was_set(ground: Ground) -> None:
    await ground.given("CREATE TABLE t (id int, v text); CREATE TABLE u (id int);"
                       "ALTER TABLE t OWNER TO app; ALTER TABLE u OWNER TO app")  # fmt: skip
    await ground.write(
        "SET ROLE app;" + spared("ALTER TABLE t DROP COLUMN v") + ";" + spared("DROP TABLE u")
    )
    assert [(e.label, e.role) for e in await entries(ground.db)] == [
        ("public.u", "app"),
        ("public.t.v", "app"),
    ]


@pytest.mark.given(SETUP)
async def test_a_table_comes_back_with_all_that_was_its_own(ground: Ground) -> None:
    before = await ground.content()
    await ground.write(spared("DROP TABLE shop.person CASCADE"))
    done = await back(ground, "person")
    assert done.tables == ["shop.person"]
    assert done.renamed == []
    ((what, remedy),) = done.missing
    assert what == "foreign keys of others to it (pet_owner_fkey of public.pet)"
    assert remedy.startswith("the undo of transaction ")
    lacking = sorted(set(before) - set(await ground.content()))
    assert len(lacking) == 1
    assert "ADD CONSTRAINT pet_owner_fkey FOREIGN KEY" in lacking[0]
    assert await entries(ground.db) == ()
    # What went with it is the undo's, which knows that the table is there again.
    report = await ground.undo()
    assert report.outcome is Outcome.DONE, report.message
    assert await ground.content() == before


@pytest.mark.given(SETUP)
async def test_partitions_come_along(ground: Ground) -> None:
    before = await ground.content()
    await ground.write(spared("DROP TABLE part"))
    assert len(await entries(ground.db)) == 4
    done = await back(ground, "part")
    assert sorted(done.tables) == [
        "public.part",
        "public.part_a",
        "public.part_a1",
        "public.part_b",
    ]
    assert (done.missing, await ground.content()) == ([], before)
    await ground.write(spared("DROP TABLE part_b"), tag="other")
    done = await back(ground, "part_b")
    assert (done.missing, await ground.content()) == ([], before)


@pytest.mark.given(SETUP)
async def test_under_another_name(ground: Ground) -> None:
    """Whatever has its names by now."""
    await ground.write(spared("DROP TABLE shop.person CASCADE") + ";" + spared("DROP TABLE part"))
    await ground.write("CREATE TABLE shop.person (id serial PRIMARY KEY, name text)", tag="other")
    with pytest.raises(NameTaken, match=r"shop\.person is there already"):
        await back(ground, "shop.person")
    with pytest.raises(NameTaken):
        await back(ground, "shop.person", "public.town")
    with pytest.raises(NoSchema, match='"nowhere"'):
        await back(ground, "shop.person", "nowhere.person")
    for wrong in ("a b", "a.b.c", ""):
        with pytest.raises(UsageError, match="no name for a table"):
            await back(ground, "shop.person", wrong)
    done = await back(ground, "shop.person", "Human")
    assert done.tables == ["shop.human"]
    assert sorted(done.renamed) == [
        ("person_id_seq", "person_id_seq_1"),
        ("person_pkey", "person_pkey_1"),
    ]
    assert await ground.rows(
        "INSERT INTO shop.human (name, boss) VALUES ('Cyd', 1) RETURNING id"
    ) == [(3,)]
    (key,) = [line for line in await ground.content() if "boss_fkey" in line]
    assert key.endswith("person_boss_fkey FOREIGN KEY (boss) REFERENCES shop.human(id);")
    done = await back(ground, "part", 'shop."Part"')
    assert max(done.tables) == 'shop."Part"'
    assert done.missing == []
    assert await ground.rows('SELECT * FROM shop."Part" ORDER BY 1') == [(1, "a"), (11, "b")]


@pytest.mark.given(SETUP)
async def test_what_it_hangs_on_may_be_gone(ground: Ground) -> None:
    await ground.write(spared("DROP TABLE pet, shop.person, town, part_b"))
    done = await back(ground, "pet")
    assert [what for what, _ in done.missing] == [
        "foreign key pet_owner_fkey to shop.person, which is in the bin"
    ]
    ((_, statement),) = done.missing
    done = await back(ground, "person", "human")
    assert [what.split(",")[0] for what, _ in done.missing] == [
        "foreign key person_town_fkey to public.town"
    ]
    await ground.db.execute(statement.replace("shop.person", "shop.human"))
    await ground.db.execute("DROP TABLE part")
    done = await back(ground, "part_b")
    assert done.missing[0][0].startswith("its parent public.part: ")
    assert await ground.rows("SELECT * FROM part_b") == [(11, "b")]


async def test_names_that_several_have(ground: Ground) -> None:
    await ground.given("CREATE TABLE z (id int)")
    for number in range(2):
        await ground.write(f"CREATE TABLE t AS SELECT {number} AS n;" + spared("DROP TABLE t"))
    newest, oldest = await entries(ground.db)
    with pytest.raises(AmbiguousInBin, match=rf"{newest.id} \(table public.t, .*{oldest.id} \("):
        await back(ground, "t")
    await back(ground, oldest.id)
    assert await ground.rows("SELECT * FROM t") == [(0,)]
    assert [entry.id for entry in await entries(ground.db)] == [newest.id]


@pytest.mark.given(SETUP)
async def test_its_schema_is_gone(ground: Ground) -> None:
    await ground.write(spared("DROP SCHEMA shop CASCADE"))
    with pytest.raises(NoSchema, match='"shop"'):
        await back(ground, "person")
    done = await back(ground, "person", "public.person")
    assert done.tables == ["public.person"]


async def test_values_come_back_with_an_undo_only(ground: Ground) -> None:
    await ground.given("CREATE TABLE t (id int, v text)")
    await ground.write(spared("ALTER TABLE t DROP COLUMN v"))
    with pytest.raises(OnlyValues, match=r"public\.t\.v are values"):
        await back(ground, "t.v")


async def test_the_undo_of_a_drop_that_was_taken_back_already(ground: Ground) -> None:
    await ground.given("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    before = await ground.content()
    await ground.write(spared("DROP TABLE t"))
    after = await ground.content()
    restored = await back(ground, "t")
    report = await ground.undo()
    assert report.outcome is Outcome.NOTHING
    assert report.message == f"nothing is left to undo: undo {restored.undo_id} did it"
    assert await ground.content() == before
    # The restoring itself is taken back as any undo.
    assert (await ground.redo(restored.undo_id)).outcome is Outcome.DONE
    assert await ground.content() == after
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await ground.content() == before


async def test_rows_before_the_drop_are_undone_when_it_is_back(ground: Ground) -> None:
    await ground.given("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    before = await ground.content()
    await ground.write("BEGIN; INSERT INTO t VALUES (2);" + spared("DROP TABLE t") + "; COMMIT")
    await back(ground, "t")
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await ground.content() == before


async def test_the_redo_of_an_undo_whose_table_was_brought_back(ground: Ground) -> None:
    await ground.given("CREATE TABLE z (id int)")
    await ground.write("CREATE TABLE t AS SELECT 1 AS n; INSERT INTO z VALUES (1)")
    undone = await ground.undo()
    await back(ground, "t")
    before = await ground.content()
    report = await ground.redo(undone.undo_id)
    assert report.outcome is Outcome.CONFLICTS
    assert [(c.relation, c.kind, c.detail) for c in report.conflicts] == [
        ("public.t", Kind.SCHEMA, "it was brought back from the bin already")
    ]
    assert await ground.content() == before


async def test_statistics_go_along(ground: Ground) -> None:
    """Which are in a schema of their own, that may go, too."""
    await ground.given(
        "CREATE SCHEMA s; CREATE TABLE t (a int, b int); CREATE STATISTICS st ON a, b FROM t;"
        "CREATE STATISTICS s.st ON a, b FROM t"
    )
    await ground.write("BEGIN;" + spared("DROP TABLE t") + "; DROP SCHEMA s; COMMIT")
    await ground.write(
        "CREATE TABLE t (a int, b int); CREATE STATISTICS st ON a, b FROM t", tag="x"
    )
    done = await back(ground, "t", "u")
    assert done.renamed == [("st", "st_1"), ("st", "st_2")]
    assert await ground.rows("SELECT stxnamespace::regnamespace::text, stxname FROM pg_statistic_ext"
                             " WHERE stxrelid = 'u'::regclass ORDER BY 2") == [
        ("public", "st_1"), ("public", "st_2")]  # fmt: skip


OWNED = """
CREATE TABLE owned (id serial PRIMARY KEY, v text, n int);
INSERT INTO owned (v) VALUES ('x');
CREATE STATISTICS owned_stats ON v, n FROM owned;
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY theirs ON owned FOR SELECT TO app, {b}; CREATE POLICY its ON owned TO {b};
ALTER TABLE owned OWNER TO {a}; ALTER STATISTICS owned_stats OWNER TO {b};
GRANT SELECT ON owned TO {c} WITH GRANT OPTION; GRANT SELECT ON owned TO PUBLIC;
GRANT UPDATE (v) ON owned TO {b} WITH GRANT OPTION; GRANT USAGE ON owned_id_seq TO {b};
SET ROLE {c}; GRANT SELECT ON owned TO {b} WITH GRANT OPTION; RESET ROLE;
SET ROLE {b}; GRANT SELECT ON owned TO app; GRANT UPDATE (v) ON owned TO {c}; RESET ROLE;
SET ROLE {a}; REVOKE DELETE ON owned FROM {a}; RESET ROLE
"""
HELD = "SELECT count(*) FROM pg_shdepend WHERE refobjid = ANY ($1::regrole[]::oid[])"


@pytest.mark.parametrize("way", ["restore", "undo"])
async def test_it_holds_no_role(ground: Ground, way: str) -> None:
    async with roles_made(ground.db, ground.database, "a", "b", "c") as (a, b, c):
        await ground.given(OWNED.format(a=a, b=b, c=c))
        before = await ground.content()
        await ground.write(spared("DROP TABLE owned"))
        assert await ground.db.fetchval(HELD, [a, b, c]) == 0
        if way == "restore":
            assert (await back(ground, "owned")).missing == []
        else:
            assert (await ground.undo()).outcome is Outcome.DONE
        assert await ground.content() == before


async def test_an_owner_keeps_what_it_may_where_the_log_s_may_too(ground: Ground) -> None:
    """Whoever moves it becomes its owner for a time: what it was granted is not the owner's."""
    await ground.given("""
        CREATE TYPE kind AS ENUM ('a'); CREATE TABLE owned (k kind);
        ALTER TABLE owned OWNER TO app; GRANT SELECT ON owned TO postgres;
        ALTER TYPE kind OWNER TO app; GRANT USAGE ON TYPE kind TO postgres""")
    before = await ground.content()
    await ground.write(spared("DROP TABLE owned"))
    await ground.write(spared("DROP TYPE kind"))
    assert (await ground.undo()).outcome is Outcome.DONE
    assert await ground.content() == before


@pytest.mark.parametrize("way", ["restore", "undo"])
async def test_roles_that_are_gone_are_named(ground: Ground, way: str) -> None:
    async with roles_made(ground.db, ground.database, "a", "b", "c") as (a, b, c):
        await ground.given(OWNED.format(a=a, b=b, c=c))
        before = await ground.content()
        await ground.write(spared("DROP TABLE owned"))
        await ground.db.execute(f"DROP ROLE {a}; DROP ROLE {b}")
        if way == "restore":
            missing = [what for what, _ in (await back(ground, "owned")).missing]
            assert missing == [f"what role {role.strip(chr(34))} had there" for role in (a, b)]
            policies = await ground.db.fetch(
                "SELECT polroles::regrole[]::text[] AS r FROM pg_policy"
            )
            assert [row["r"] for row in policies] == [["app"]]
        else:
            with pytest.raises(NoRole):
                await ground.undo()
        await ground.db.execute(f"CREATE ROLE {a}; CREATE ROLE {b}")
        if way == "undo":
            assert (await ground.undo()).outcome is Outcome.DONE
            assert await ground.content() == before


WRITTEN_BEFORE = {
    "one by one": "INSERT INTO shop.person (name) VALUES ('Cid'); UPDATE town SET id = 2 WHERE id = 9;"
                  + spared("DROP TABLE pet") + ";" + spared("DROP TABLE shop.person"),
    "with their schema": "BEGIN; " + spared("DROP TABLE pet") + "; DELETE FROM shop.person WHERE name = 'Bob';"
                         "INSERT INTO shop.person (name, town) VALUES ('Cid', 1);"
                         + spared("DROP SCHEMA shop CASCADE") + "; COMMIT",
    "with a new sequence": "BEGIN; ALTER TABLE pet ADD COLUMN more serial;" + spared("DROP TABLE pet") + "; COMMIT",
}  # fmt: skip


@pytest.mark.parametrize("way", WRITTEN_BEFORE)
@pytest.mark.given(SETUP)
async def test_what_was_written_before_is_taken_back_too(ground: Ground, way: str) -> None:
    before = await ground.content()
    await ground.write(WRITTEN_BEFORE[way])
    after = await ground.content()
    await ground.there_and_back(before, after)
