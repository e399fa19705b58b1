"""Event triggers of users that know nothing of ours: they see what the client sends, and fail for nothing else."""

import asyncio

import psycopg
import pytest
from fix_session import Inside, inside
from fix_undo import BAD, Ground

from undo.install import install
from undo.model import Outcome

# None of them says where its table is; one refuses what we do besides.
LOGS = "INSERT INTO audit VALUES (TG_TAG, current_query())"
REFUSES = "IF TG_TAG IN ('CREATE TRIGGER', 'ALTER TABLE') THEN RAISE EXCEPTION 'no % here', TG_TAG; END IF"
WATCHERS = {
    "logs": ("ddl_command_end", LOGS),
    "refuses": ("ddl_command_end", f"{LOGS}; {REFUSES}"),
    "refuses before": ("ddl_command_start", f"{REFUSES}; {LOGS}"),
}
WATCHED = """
CREATE TABLE audit (tag text, query text); GRANT ALL ON audit TO app; GRANT CREATE ON SCHEMA public TO app;
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN {body}; END$$
"""
# Its own event trigger is told before ours, or after it.
NAMES = ("aaa", "zzz")
SENT = (
    "CREATE TABLE made (id int PRIMARY KEY, v text)",
    "INSERT INTO made VALUES (1, 'a')",
    "CREATE INDEX by_v ON made (v)",
    "UPDATE made SET v = 'b'",
)


async def watched(ground: Ground, watcher: str, name: str) -> None:
    event, body = WATCHERS[watcher]
    await ground.given(WATCHED.format(body=body))
    await ground.db.execute(f"CREATE EVENT TRIGGER {name} ON {event} EXECUTE FUNCTION watch()")


async def send(proxy: Inside, *statements: str) -> list[str]:
    def sent() -> list[str]:
        with proxy.connect("app", BAD) as client:
            told = [client.execute(text.encode()).statusmessage or "" for text in statements]
            return [*told, client.execute("SHOW session_replication_role").fetchone()[0]]

    return await asyncio.to_thread(sent)


@pytest.mark.parametrize("watcher", WATCHERS)
@pytest.mark.parametrize("name", NAMES)
async def test_it_is_told_of_the_clients_alone(ground: Ground, watcher: str, name: str) -> None:
    await watched(ground, watcher, name)
    with inside(ground.database) as proxy:
        said = await send(proxy, *SENT)
        assert said == ["CREATE TABLE", "INSERT 0 1", "CREATE INDEX", "UPDATE 1", "origin"]
        assert await ground.rows("SELECT reason, statement FROM hotrollback.gap") == []
    assert await ground.rows("SELECT * FROM audit") == [
        ("CREATE TABLE", SENT[0]),
        ("CREATE INDEX", SENT[2]),
    ]
    if "refuses" not in watcher:
        await ground.db.execute(f"ALTER EVENT TRIGGER {name} DISABLE")
        assert (await ground.undo()).outcome is Outcome.DONE
        assert await ground.rows("SELECT to_regclass('made') IS NULL") == [(True,)]


async def test_what_it_refuses_is_refused(ground: Ground) -> None:
    await watched(ground, "refuses", "zzz")
    with inside(ground.database) as proxy:
        await send(proxy, SENT[0])
        with pytest.raises(psycopg.errors.RaiseException, match="no ALTER TABLE here"):
            await send(proxy, "ALTER TABLE made ADD c int")
        assert await ground.rows("SELECT reason, statement FROM hotrollback.gap") == []


@pytest.mark.parametrize("watcher", WATCHERS)
async def test_install_attaches_nevertheless(ground: Ground, watcher: str) -> None:
    event, body = WATCHERS[watcher]
    await ground.db.execute(WATCHED.format(body=body))
    await ground.db.execute(f"CREATE EVENT TRIGGER zzz ON {event} EXECUTE FUNCTION watch()")
    assert (await install(ground.db)).missing == ()
