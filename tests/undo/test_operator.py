"""Undo by an operator who is no superuser, with the rights that the doctor asks for and no others."""

import pytest
from fix_log import Connect, roles_made
from fix_postgres import Database
from fix_undo import BAD

from undo.doctor import examine, script
from undo.engine import redo, run
from undo.errors import NeedsReplicaRole
from undo.install import install
from undo.model import Outcome
from undo.request import Selection, UndoRequest

TABLES = """
CREATE TABLE plain (id int PRIMARY KEY, v text);
CREATE TABLE watched (id int PRIMARY KEY, v text);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.v := NEW.v || '!'; RETURN NEW; END $$;
CREATE TRIGGER t BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION f();
CREATE TABLE hidden (id int PRIMARY KEY, v text);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON hidden USING (v <> 'secret') WITH CHECK (true);
INSERT INTO plain VALUES (1, 'a'); INSERT INTO watched VALUES (1, 'a');
INSERT INTO hidden VALUES (1, 'a');
ALTER TABLE plain OWNER TO {owner}; ALTER TABLE watched OWNER TO {owner};
ALTER TABLE hidden OWNER TO {owner};
GRANT ALL ON plain, watched, hidden TO app;
"""


@pytest.mark.parametrize("may_silence", [True, False])
async def test_with_the_rights_that_the_doctor_asks_for(
    database: Database, connect: Connect, *, may_silence: bool
) -> None:
    root = await connect()
    async with roles_made(root, database, "Op", "Owner") as (op, owner):
        await root.execute(TABLES.format(owner=owner))
        user = op.strip('"')
        asked = script(await examine(await connect(user)))
        assert asked
        for grant in asked:
            if may_silence or "session_replication_role" not in grant:
                await root.execute(grant)
        operator = await connect(user)
        await install(operator, all_tables=True)

        app = await connect("app", server_settings={"hotrollback.tag": BAD})
        await app.execute("UPDATE plain SET v = 'bad'; UPDATE hidden SET v = 'bad'")
        await app.execute("UPDATE watched SET v = 'bad'")
        undo = UndoRequest(Selection(tag=BAD), by="operator")
        if may_silence:
            assert (await run(operator, undo)).outcome == Outcome.DONE
            for table in ("plain", "watched", "hidden"):
                assert await root.fetchval(f"SELECT v FROM {table}") == "a"
            assert (await redo(operator, None, by="operator")).outcome == Outcome.DONE
            assert await root.fetchval("SELECT v FROM watched") == "bad!"
        else:
            with pytest.raises(NeedsReplicaRole, match=r"public\.watched"):
                await run(operator, undo)
            only = UndoRequest(Selection(tag=BAD, tables=("plain", "hidden")), by="operator")
            assert (await run(operator, only)).outcome == Outcome.DONE
