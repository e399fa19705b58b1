"""What each selector and each exception fits, in the log itself: changes and gaps."""

import pytest
from fix_undo import TWO_TABLES, Ground, changed

from undo import errors
from undo.image import PINNED_SETTINGS
from undo.model import Outcome
from undo.naming import there
from undo.request import Selection, UndoRequest
from undo.stages.select import resolve

SESSION = """
INSERT INTO hotrollback.session (pid, started, role, application_name, client_addr, proxy)
SELECT pid, backend_start, usename, $2, $3, 'test' FROM pg_stat_activity WHERE pid = $1
RETURNING pid || '.' || (extract(epoch FROM started) * 1000000)::int8
"""


async def fits(ground: Ground, selection: Selection) -> tuple[list[int], list[str]]:
    """Rows of t whose changes are selected, and reasons of the gaps that are."""
    async with ground.db.transaction():
        for name, value in PINNED_SETTINGS:
            await ground.db.execute("SELECT set_config($1, $2, true)", name, value)
        chosen = await resolve(ground.db, selection)
        found = await ground.db.fetch(
            "SELECT DISTINCT coalesce(c.before, c.after) ->> 'id' AS id FROM hotrollback.change c"
            f" WHERE {chosen.where}",
            *chosen.args,
        )
        gaps = await ground.db.fetch(
            f"SELECT c.reason FROM hotrollback.gap c WHERE {chosen.gaps_where} ORDER BY 1",
            *chosen.args,
        )
    return sorted(int(row["id"]) for row in found), [row["reason"] for row in gaps]


async def test_who_and_what_and_who_not(ground: Ground) -> None:
    """What is not known to be excepted is not: no tag, no session; a gap of no known table."""
    await ground.given(TWO_TABLES)
    office, home, nobody = [await ground.connect() for _ in range(3)]
    one = await ground.db.fetchval(SESSION, office.get_server_pid(), "office", "10.1.2.3")
    await ground.db.fetchval(SESSION, home.get_server_pid(), "home", "::ffff:192.168.7.1")
    await office.execute(
        "SET hotrollback.tag = 'x'; SET hotrollback.statement = '7'; UPDATE t SET v = 1 WHERE id = 1"
    )
    await home.execute("SET hotrollback.statement = '-8'; UPDATE t SET v = 1 WHERE id = 2")
    await nobody.execute("UPDATE t SET v = 1 WHERE id = 3")
    await nobody.execute("SET ROLE app; UPDATE t SET v = 1 WHERE id = 4")
    await office.execute(
        "INSERT INTO hotrollback.gap (relid, reason) VALUES (NULL, 'any'), ('s'::regclass, 'other')"
    )
    await ground.db.execute(
        "INSERT INTO hotrollback.statement (fingerprint, text)"
        " VALUES (7, 'UPDATE t SET price'), (-8, 'UPDATE t SET name')"
    )
    third = await ground.db.fetchval(
        "SELECT xid FROM hotrollback.change WHERE after ->> 'id' = '3' AND relid = 't'::regclass"
    )
    t = {"tables": ("t",)}
    everything = [1, 2, 3, 4]
    for selectors, wanted in (
        ({"address": "10.1.2.3"}, ([1], ["any", "other"])),
        ({"address": "10.1.0.0/16", **t}, ([1], ["any"])),
        ({"address": "192.168.7.1"}, ([2], [])),
        ({"statement": "price"}, ([1], ["any", "other"])),
        ({"statement": "UPDATE t%name"}, ([2], ["any", "other"])),
        ({"fingerprints": (7,)}, ([1], ["any", "other"])),
        ({"fingerprints": (-8, 7), **t}, ([1, 2], ["any"])),
        ({**t, "except_tags": ("x",)}, ([2, 3, 4], [])),
        ({**t, "except_sessions": (one,)}, ([2, 3, 4], [])),
        ({**t, "except_applications": ("home", "office")}, ([3, 4], [])),
        ({**t, "except_applications": ("home",)}, ([1, 3, 4], ["any"])),
        ({**t, "except_xids": (third,)}, ([1, 2, 4], ["any"])),
        ({**t, "except_roles": ("app",)}, ([1, 2, 3], ["any"])),
        ({"tables": ("t", "s"), "except_tables": ("s",)}, (everything, ["any"])),
        ({**t, "tag": "x", "except_tables": ("t",)}, ([], ["any"])),
    ):
        assert await fits(ground, Selection(**selectors)) == wanted, selectors
    for selectors, error in (
        ({"except_tags": ("x",)}, errors.NothingSelected),
        ({"except_tags": ("nobody's",), **t}, errors.UnknownTag),
        ({"except_tables": ("nothing",), **t}, errors.UnknownRelation),
        ({"address": "10.9.9.9"}, errors.UnknownAddress),
        ({"address": "next door"}, errors.BadFilter),
        ({"statement": "nobody's"}, errors.UnknownStatement),
    ):
        with pytest.raises(error):
            await resolve(ground.db, Selection(**selectors))
    await ground.undo(tables=("t",), except_tags=("x",))
    assert await changed(ground) == ([1], [])
    request = UndoRequest(
        Selection(since=None, tables=("t",), key=(("id", "1"),), except_xids=(5,))
    )
    assert Selection.read(request.as_dict()["selection"]) == request.selection
    assert request.selection.words() == "tables t, key id = 1, except xids 5"


async def test_what_is_excepted_takes_along_what_it_set_off(ground: Ground) -> None:
    await ground.given(
        "CREATE TABLE p (id int PRIMARY KEY);"
        "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);"
        "CREATE TABLE log (id int);"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO log VALUES (OLD.id); RETURN NULL; END $$;"
        "CREATE TRIGGER t AFTER DELETE ON p FOR EACH ROW EXECUTE FUNCTION f();"
        "INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (11, 1), (12, 2);"
        "GRANT ALL ON p, c TO app"
    )
    await ground.write("SET hotrollback.statement = '41'; DELETE FROM p WHERE id = 1", user="app")
    await ground.write("SET hotrollback.statement = '42'; DELETE FROM c WHERE id = 12")
    everything = {"tables": ("p", "c", "log")}
    for selectors, ids in (
        ({**everything, "except_tables": ("p",)}, [12]),
        ({**everything, "except_roles": ("app",)}, [12]),
        ({**everything, "except_tables": ("log",)}, [1, 11, 12]),
    ):
        found, _ = await fits(ground, Selection(**selectors))
        assert found == ids, selectors


KEYS = """
CREATE TABLE t (id numeric PRIMARY KEY, v int);
CREATE TABLE line (doc int, "No" date, v int, PRIMARY KEY ("No", doc));
CREATE TABLE part (id int, region text, v int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE part_n PARTITION OF part FOR VALUES IN ('n');
CREATE TABLE part_s PARTITION OF part FOR VALUES IN ('s');
CREATE TABLE bare (id int);
CREATE TABLE gone (id int PRIMARY KEY);
INSERT INTO t VALUES (1, 0), (2, 0), (3, 0);
INSERT INTO line VALUES (1, '2026-02-01', 0), (2, '2026-02-01', 0);
INSERT INTO part VALUES (1, 'n', 0), (2, 'n', 0);
"""


async def test_one_row_by_its_key(ground: Ground) -> None:
    """Typed by the server; under every key that the row had, and no other row of the table."""
    await ground.given(KEYS)
    await ground.write("INSERT INTO gone VALUES (1); DROP TABLE gone")
    before = await ground.dump()
    await ground.write(
        "UPDATE t SET id = 7 WHERE id = 1; UPDATE t SET v = 1; UPDATE line SET v = 1;"
        "UPDATE part SET region = 's' WHERE id = 1; UPDATE part SET v = 1"
    )
    count = (
        "SELECT count(*)::int FROM hotrollback.change c WHERE c.op IN ('I', 'U', 'D') AND {}".format
    )
    for table, key, wanted in (
        ("t", (("", "1"),), 1),
        ("t", (("", "7.000"),), 2),
        ("public.t", (("id", " 2"),), 1),
        ("line", (("", "Feb 1 2026"), ("", "2")), 1),
        ("line", (("doc", "2"), ("No", "2026-02-01")), 1),
        ("part", (("", "n"), ("", "1")), 1),
        ("part", (("id", "1"), ("region", "s")), 2),
        ("part_s", (("id", "1"), ("region", "s")), 2),
        ("part_n", (("id", "1"), ("region", "s")), 0),
        ("t", (("", "99"),), 0),
    ):
        chosen = await resolve(ground.db, Selection(tables=(table,), key=key))
        found = await ground.db.fetchval(count(chosen.where), *chosen.args)
        assert found == wanted, (table, key)
    for table, key, said in (
        ("t", (("", "x"),), "invalid input syntax for type numeric"),
        ("t", (("", "1"), ("", "2")), r"KEY \(id = numeric\)"),
        ("line", (("", "1"),), r"KEY \(No = date, doc = integer\)"),
        ("line", (("no", "2026-02-01"), ("doc", "1")), r"KEY \(No = date"),
        ("bare", (("id", "1"),), "no primary key"),
        ("gone", (("id", "1"),), "not there any more"),
    ):
        with pytest.raises(errors.BadFilter, match=said):
            await resolve(ground.db, Selection(tables=(table,), key=key))
    for tables in ((), ("t", "line")):
        with pytest.raises(errors.BadFilter, match="one table"):
            await resolve(ground.db, Selection(tables=tables, key=(("id", "1"),)))
    report = await ground.undo(tables=("t",), key=(("", "7"),))
    assert report.outcome == Outcome.DONE
    assert await ground.rows("SELECT id::int, v FROM t ORDER BY 1") == [(1, 0), (2, 1), (3, 1)]
    await ground.undo(tables=("t", "line", "part"))
    assert await ground.dump() == before


async def test_a_dropped_table_by_its_name(ground: Ground) -> None:
    """It is in the bin, under another one."""
    await ground.given("CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone VALUES (1), (2)")
    before = await ground.dump()
    await ground.write(
        "DELETE FROM gone WHERE id = 1; CALL hotrollback.run_ddl_v1('DROP TABLE gone')"
    )
    after = await ground.dump()
    with pytest.raises(errors.BadFilter, match='"gone" is not there any more: it was dropped'):
        await there(ground.db, "gone")
    await ground.there_and_back(before, after, tables=("gone",))
