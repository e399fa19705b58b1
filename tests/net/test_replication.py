"""The replication protocol passes unread: PostgreSQL's own tools through the proxy, with capture on."""

import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fix_postgres import Database
from fix_proxy import Proxy
from raw import COPY_DONE, TERMINATE, Raw, compared, query, startup

PATIENCE = 60
TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')"


@pytest.fixture
def proxy(proxy_of_all: Proxy) -> Proxy:
    return proxy_of_all


@pytest.fixture
def tool(proxy: Proxy):
    """tool(name, *args) runs a tool of the server's own version at the proxy's port."""

    def run(name: str, *args: str) -> str:
        program = str(proxy.database.server.bin / name)
        place = ("-h", "127.0.0.1", "-p", str(proxy.port), "-U", "postgres", "-w")
        done = subprocess.run(
            [program, *place, *args], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@contextmanager
def slot(database: Database, name: str) -> Iterator[str]:
    """Dropped afterwards whatever happens: it would keep WAL and the database."""
    try:
        yield name
    finally:
        database.psql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            f" WHERE slot_name = '{name}'"
        )


def test_a_base_backup_with_its_wal(proxy: Proxy, tool, tmp_path: Path) -> None:
    proxy.database.psql(TABLE)
    backup = tmp_path / "backup"
    before = len(sessions(proxy))
    tool("pg_basebackup", "-D", str(backup), "-X", "stream", "-c", "fast")
    verify = str(proxy.database.server.bin / "pg_verifybackup")
    done = subprocess.run(
        [verify, str(backup)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(sessions(proxy)) >= before + 2  # the files, and the WAL beside them


def sessions(proxy: Proxy) -> list[dict]:
    return [e for e in proxy.serving.events() if e["event"] == "replication_session"]


@pytest.mark.parametrize("plugin", ["test_decoding", "pgoutput"])
def test_changes_are_decoded(proxy: Proxy, tool, tmp_path: Path, plugin: str) -> None:
    database = proxy.database
    database.psql(f"{TABLE}; CREATE PUBLICATION p FOR TABLE t; GRANT ALL ON t TO app")
    out = tmp_path / "changes"
    with slot(database, f"wire_{plugin}_{database.name}") as name:
        at = ("-d", database.name, "--slot", name)
        tool("pg_recvlogical", *at, "--create-slot", "--plugin", plugin)
        proxy.psql("INSERT INTO t VALUES (2, 'recorded'); UPDATE t SET v = 'again' WHERE id = 2")
        ((end,),) = database.psql("SELECT pg_current_wal_insert_lsn()::text")
        database.psql("SELECT pg_logical_emit_message(true, 'end', '')")
        options = (
            ("-o", "proto_version=1", "-o", "publication_names=p") if plugin == "pgoutput" else ()
        )
        tool("pg_recvlogical", *at, "--start", "-f", str(out), "--endpos", end, *options)
        assert b"recorded" in out.read_bytes()
        assert b"again" in out.read_bytes()
        tool("pg_recvlogical", *at, "--drop-slot")
        assert database.psql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{name}'") == []


def test_wal_is_received(proxy: Proxy, tool, tmp_path: Path) -> None:
    database = proxy.database
    folder = tmp_path / "wal"
    folder.mkdir()
    with slot(database, f"wire_wal_{database.name}") as name:
        database.psql(f"SELECT pg_create_physical_replication_slot('{name}', true)")
        database.psql(f"{TABLE}; SELECT pg_switch_wal()")
        ((end,),) = database.psql("SELECT pg_current_wal_lsn()::text")
        database.psql("CREATE TABLE more (); SELECT pg_switch_wal()")
        tool("pg_receivewal", "-D", str(folder), "--slot", name, "--endpos", end, "--no-loop")
        tool("pg_receivewal", "--slot", name, "--drop-slot")
    assert list(folder.iterdir())


# -- message by message ----------------------------------------------------------------------------


def conversed(port: int, database: str, replication: str) -> list[object]:
    with Raw(port) as raw:
        raw.send(startup(user="postgres", database=database, replication=replication))
        raw.until("Z")
        for text in ("IDENTIFY_SYSTEM", "SHOW wal_segment_size", "READ_REPLICATION_SLOT nowhere"):
            raw.ask(text)
        raw.ask("START_REPLICATION SLOT nowhere PHYSICAL 0/0")
        if replication == "database":
            raw.ask("BEGIN; INSERT INTO t VALUES (9, 'nine') RETURNING id")
            raw.ask("UPDATE t SET v = 'x' WHERE id = 9; SELECT 1/0")
            raw.ask("ROLLBACK")
        raw.send(TERMINATE)
        raw.rest()
        # The position in the WAL moves on by itself.
        return compared(each for each in raw.trace if b"wal" in each.body or each.kind != "D")


@pytest.mark.parametrize("replication", ["database", "true"])
def test_commands_are_answered_as_by_the_server(proxy: Proxy, replication: str) -> None:
    proxy.database.psql(TABLE)
    direct = conversed(proxy.database.port, proxy.database.name, replication)
    assert conversed(proxy.port, proxy.database.name, replication) == direct
    assert len(direct) > 20


def test_a_walreceiver_is_fed_and_stops_when_it_says_so(proxy: Proxy) -> None:
    database = proxy.database
    ((start,),) = database.psql("SELECT pg_current_wal_lsn()::text")
    with Raw(proxy.port) as raw:
        raw.send(startup(user="postgres", database=database.name, replication="true"))
        raw.until("Z")
        raw.send(query(f"START_REPLICATION PHYSICAL {start}"))
        assert raw.until("W")[-1].kind == "W"
        database.psql(f"{TABLE}; INSERT INTO t VALUES (3, 'walked by')")
        deadline = time.monotonic() + PATIENCE
        came = b""
        while b"walked by" not in came:
            assert time.monotonic() < deadline
            (data,) = raw.until("d")
            if data.body[:1] == b"w":
                came += data.body[25:]
            elif data.body[17:] == b"\1":  # a keepalive that wants an answer
                raw.send(_status(data.body[1:9]))
        raw.send(COPY_DONE)
        assert raw.until("cZ")[-1].kind == "Z"


def _status(position: bytes) -> bytes:
    body = b"r" + position * 3 + struct.pack("!qb", 0, 0)
    return b"d" + struct.pack("!i", len(body) + 4) + body
