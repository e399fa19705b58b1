"""`hotrollback bin`: what it prints, and that everything goes through the console."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fix_postgres import Database, install_into
from fix_proxy import Proxy, Serve

SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');
CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t, w text); INSERT INTO u VALUES (1, 1, 'b');
ANALYZE;
"""
DROPS = """
SET hotrollback.tag = 'migration';
CALL hotrollback.run_ddl_v1('DROP TABLE t CASCADE');
CALL hotrollback.run_ddl_v1('ALTER TABLE u DROP COLUMN w')
"""


@pytest.fixture
def shop(database: Database, serve: Serve) -> Proxy:
    """After a migration that dropped a table and a column."""
    database.psql(SCHEMA)
    install_into(database)
    proxy = serve()
    database.psql(DROPS)
    return proxy


def listed(proxy: Proxy) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(proxy.cli("bin", "list", "--json").stdout)
    return found


def test_from_the_list_to_the_purge(shop: Proxy) -> None:
    """What a person does."""
    values, table = listed(shop)
    assert list(table) == [
        *("id", "name", "kind", "why", "at", "xid", "session", "tag", "role", "rows", "bytes"),
        *("pinned", "expires"),
    ]
    assert [(e["name"], e["kind"], e["why"], e["tag"], e["pinned"]) for e in (table, values)] == [
        ("public.t", "table", "dropped", "migration", False),
        ("public.u.w", "values", "dropped or retyped", "migration", False),
    ]
    assert (table["role"], table["rows"], table["expires"]) == ("postgres", 1, None)
    told = shop.cli("bin", "list").stdout
    assert told.splitlines()[0].split()[:4] == ["id", "name", "kind", "why"]
    assert shop.cli("bin", "pin", "t").stdout == "public.t is pinned\n"
    would = shop.cli("bin", "purge", "--dry-run").stdout
    assert would.startswith(f"would go  public.u.w  {values['bytes']}  \n")
    assert len(listed(shop)) == 2
    gone = shop.cli("bin", "purge").stdout.splitlines()
    assert [line.split("  ")[:3] for line in gone] == [
        ["gone", "public.u.w", str(values["bytes"])],
        ["bin before", "", str(values["bytes"] + table["bytes"])],
        ["bin after", "", str(table["bytes"])],
    ]
    assert [(e["name"], e["pinned"]) for e in listed(shop)] == [("public.t", True)]
    assert shop.cli("bin", "unpin", "public.t").stdout == "public.t is not pinned any more\n"
    assert "gone" not in shop.cli("bin", "purge", "--older-than", "1d").stdout
    done = shop.cli("bin", "restore", "t", "--as", "again").stdout.splitlines()
    assert done[0].startswith("brought back  public.again  as undo ")
    assert done[1].startswith("missing  foreign keys of others to it (u_t_fkey of public.u)  the ")
    assert shop.database.psql("SELECT id::int, v FROM again") == [(1, "a")]
    assert shop.cli("bin", "list").stderr == "nothing found\n"
    assert "xids " in shop.cli("show", "undos").stdout


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("restore", "nothing"), "nothing in the bin is or was called 'nothing'"),
        (("restore", "t", "--as", "u"), "public.u is there already: bring it back under another"),
        (("restore", "t", "--as", "s.t"), 'schema "s" is not there'),
        (("restore", "u.w"), "public.u.w are values of a column"),
        (("pin", "a b"), "nothing in the bin is or was called 'a b'"),
        (("purge", "t", "--database", "nowhere"), 'database "nowhere" does not exist'),
    ],
    ids=" ".join,
)
def test_what_cannot_be(shop: Proxy, args: tuple[str, ...], error: str) -> None:
    before = listed(shop)
    done = shop.cli("bin", *args, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert error in done.stderr
    assert listed(shop) == before


def test_it_is_said_before_it_goes(database: Database, serve: Serve, tmp_path: Path) -> None:
    """In the proxy's log, and by SHOW BIN."""
    database.psql(SCHEMA)
    install_into(database)
    database.psql(DROPS)
    config = tmp_path / "conf.toml"
    config.write_text('retention = "10d"\nmax_bin_size = "1B"\n')
    proxy = serve("--config", str(config))
    said: list[str] = []
    deadline = time.monotonic() + 30
    while len(said) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
        events = proxy.serving.events()
        said = [e["did"] for e in events if "goes for good at " in e.get("did", "")]
    assert [line.partition(" (")[0] for line in said] == ["table public.t", "values of public.u.w"]
    values, table = listed(proxy)
    assert all(line.split(" at ")[1][:19] == e["expires"][:19].replace("T", " ")
               for line, e in zip(said, (table, values), strict=True))  # fmt: skip
    proxy.cli("bin", "pin", "t")
    assert [entry["expires"] is None for entry in listed(proxy)] == [False, True]
