"""`hotrollback undo` and `redo`: what they print, ask, and end with."""

import json
import os
import pty
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fix_postgres import Database, install_into
from fix_proxy import Proxy, Serve

from proxy.demo.command import Serving, environment, program

SCHEMA = """
CREATE TABLE products (id int PRIMARY KEY, name text, price numeric);
INSERT INTO products SELECT n, 'product ' || n, n FROM generate_series(1, 9) n;
GRANT ALL ON products TO app;
"""
BAD = "UPDATE products SET price = 0 WHERE id < 4; DELETE FROM products WHERE id = 9"
PRICES = "SELECT id::int, price::int FROM products ORDER BY id"


@pytest.fixture
def shop(database: Database, serve: Serve) -> Proxy:
    """A shop that a deploy has just damaged."""
    database.psql(SCHEMA)
    install_into(database)
    proxy = serve()
    proxy.psql(BAD, tag="deploy-42")
    return proxy


def undo(proxy: Proxy, *args: str) -> tuple[int, dict[str, Any]]:
    done = proxy.cli("undo", *args, "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def test_at_a_time_of_this_machine(shop: Proxy) -> None:
    due = datetime.now() + timedelta(seconds=2)  # noqa: DTZ005 (as people give it)
    done = shop.cli("undo", "--tag", "deploy-42", "--yes", "--at", f"{due:%Y-%m-%d %H:%M:%S.%f}")
    assert datetime.now() >= due  # noqa: DTZ005
    assert done.stderr.startswith(f"--at {due.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
    assert shop.database.psql(PRICES) == [(n, n) for n in range(1, 10)]


def test_from_preview_to_redo(shop: Proxy) -> None:
    """What a person does: looks, undoes, finds that it was done, and takes it back."""
    damaged = shop.database.psql(PRICES)
    looked = shop.cli("undo", "--tag", "deploy-42", "--dry-run")
    assert looked.stdout.startswith("Would take back 1 transaction; nothing was changed.\n")
    assert "UPDATE public.products SET price = '3' WHERE id = '3';\n" in looked.stdout
    assert "INSERT INTO public.products" in looked.stdout
    assert "  public.products: RowExclusiveLock and 3 rows\n" in looked.stdout
    shown = shop.cli("undo", "--tag", "deploy-42", "--dry-run", "--diff").stdout
    assert "4 rows of public.products:\n  ~ id=1: price 0 -> 1\n" in shown
    assert "  + id=9: id 9, name product 9, price 9\n" in shown
    assert shop.database.psql(PRICES) == damaged

    done = shop.cli(
        "undo",
        "--database",
        shop.database.name,
        "--tag",
        "deploy-42",
        "--yes",
        "--reason",
        "it's wrong",
    )
    heading, names, figures, *untouched = done.stdout.splitlines()
    assert untouched[0] == "1 thing not touched:"
    assert untouched[1].startswith("  outside: what applications did besides")
    assert heading.endswith(" took back 1 transaction.")
    assert names.split("  ")[0] == "table"
    assert figures.split() == ["public.products", "1", "3", "0", "0"]
    assert shop.database.psql(PRICES) == [(n, n) for n in range(1, 10)]

    again = shop.cli("undo", "--tag", "deploy-42", "--yes")
    assert again.stdout.startswith("Nothing is left to undo: undo ")

    why = ("--reason", "prices were 0")
    redone = shop.cli("redo", "last", "--database", shop.database.name, "--yes", *why)
    assert redone.stdout.splitlines()[0].endswith(" took back an undo.")
    assert shop.database.psql(PRICES) == damaged

    redo, first = json.loads(shop.cli("show", "undos", "--json").stdout)
    assert (first["what"], first["inserted"], first["updated"]) == ("tag deploy-42", 1, 3)
    assert (redo["redo_of"], first["redone_by"]) == (first["id"], redo["id"])
    assert (redo["reason"], first["reason"]) == ("prices were 0", "it's wrong")
    (tag,) = json.loads(shop.cli("show", "tags", "--json").stdout)
    assert tag["undone"] == 0


def test_programs_get_the_report(shop: Proxy) -> None:
    status, report = undo(shop, "--tag", "deploy-42", "--yes")
    assert (status, report["outcome"], report["exit_code"]) == (0, "done", 0)
    assert report["tables"] == [
        {
            "relation": "public.products",
            "inserts": 1,
            "updates": 3,
            "deletes": 0,
            "skipped": 0,
            "moved": "",
        }
    ]
    (changed, *_) = json.loads(shop.cli("show", "changes", "--tag", "deploy-42", "--json").stdout)
    assert changed["undone"] == report["undo_id"]


def test_conflicts_end_with_3_and_change_nothing(shop: Proxy) -> None:
    shop.psql("UPDATE products SET price = 7 WHERE id = 2")
    before = shop.database.psql(PRICES)
    status, report = undo(shop, "--tag", "deploy-42", "--yes")
    assert (status, report["outcome"]) == (3, "conflicts")
    (conflict,) = report["conflicts"]
    assert (conflict["relation"], conflict["kind"]) == ("public.products", "later_change")
    told = shop.cli("undo", "--tag", "deploy-42", "--yes", check=False)
    assert "1 conflict:\n  public.products " in told.stdout
    assert f"by transaction {conflict['xid']}" in told.stdout
    assert shop.database.psql(PRICES) == before
    status, report = undo(shop, "--tag", "deploy-42", "--yes", "--on-conflict", "skip")
    assert (status, report["tables"][0]["skipped"]) == (0, 1)
    assert shop.database.psql(PRICES)[1] == (2, 7)


def test_gaps_end_with_4_and_change_nothing(shop: Proxy) -> None:
    shop.psql("COMMENT ON ROLE app IS 'gap'", user="postgres", tag="deploy-42")
    before = shop.database.psql(PRICES)
    status, report = undo(shop, "--tag", "deploy-42", "--yes")
    assert (status, report["outcome"], report["gaps"][0]["reason"]) == (4, "gaps", "ddl")
    told = shop.cli("undo", "--tag", "deploy-42", "--yes", check=False)
    assert "1 gap:\n  transaction " in told.stdout
    assert shop.database.psql(PRICES) == before
    status, report = undo(shop, "--tag", "deploy-42", "--yes", "--accept-gaps")
    assert (status, len(report["gaps"])) == (0, 1)
    assert shop.database.psql(PRICES) == [(n, n) for n in range(1, 10)]


def test_one_row_and_whoever_is_still_writing(shop: Proxy) -> None:
    """Who is open is named and left; after --wait, selected."""
    with psycopg.connect(
        shop.url(), options="-c hotrollback.tag=deploy-42", application_name="slow job"
    ) as slow:
        slow.execute("UPDATE products SET price = 0 WHERE id = 5")
        report = json.loads(
            shop.cli("undo", "--table", "products", "--key", "id=2", "--yes", "--json").stdout
        )
        (left,) = report["open"]
        assert (report["outcome"], report["tables"][0]["updates"]) == ("done", 1)
        assert (left["application"], left["relations"]) == ("slow job", ["public.products"])
        told = shop.cli("undo", "--tag", "deploy-42", "--dry-run")
        assert "1 open transaction:\n  session " in told.stdout
        assert "writes public.products; left as it is\n" in told.stdout
        late = shop.cli("undo", "--tag", "deploy-42", "--wait", "200ms", "--yes", check=False)
        assert late.returncode == 1
        assert "did not end within 0.2s: session " in late.stderr
        others = shop.cli(
            *("undo", "--tag", "deploy-42", "--except-application", "slow job"),
            *("--dry-run", "--wait", "--json"),
        )
        assert json.loads(others.stdout)["open"] == []
    status, report = undo(shop, "--tag", "deploy-42", "--wait", "--yes")
    assert (status, report["open"]) == (0, [])
    assert shop.database.psql(PRICES) == [(n, n) for n in range(1, 10)]


def test_the_past_of_a_table_and_of_a_row(shop: Proxy) -> None:
    """As psql, the command line and programs see it; nothing is changed."""
    now = "SELECT id::text, price::text FROM products ORDER BY id"
    shop.cli("restore-point", "before")
    at = shop.database.psql("SELECT clock_timestamp()::text")[0][0]
    was = shop.database.psql(now)
    shop.psql("UPDATE products SET price = price + 100 WHERE id < 3", tag="late")
    changed = shop.database.psql(now)
    for moment in (at, "restore point before"):
        rows = json.loads(shop.cli("as-of", moment, "products", "--json").stdout)
        assert sorted((str(row["id"]), str(row["price"])) for row in rows) == sorted(was)
    heads, *lines = shop.cli("as-of", at, "products").stdout.splitlines()
    assert heads.split()[:2] == ["id", "name"]
    assert len(lines) == len(was)
    newest, *_ = json.loads(shop.cli("history", "products", "1", "--json").stdout)
    assert (newest["tag"], newest["op"]) == ("late", "update")
    assert newest["changed"].startswith("price: ")
    assert (newest["before"]["id"], newest["statement"][:15]) == (1, "UPDATE products")
    assert "late" in shop.cli("history", "products", "id=1").stdout
    with psycopg.connect(
        host=str(shop.admin), port=6433, dbname="hotrollback", autocommit=True
    ) as console:
        command = f"SHOW TABLE products AS OF '{at}'"
        found = console.pgconn.exec_(command.encode())
        assert (found.fname(0), found.ntuples) == (b"id", len(was))
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="not known before it runs"):
            console.execute(command, prepare=True)
        assert len(console.execute(f"{command} AS JSON", prepare=True).fetchall()) == len(was)
    late = shop.cli("as-of", "2020-01-01 00:00Z", "products", check=False)
    assert (late.returncode, "is not in the log (any more)" in late.stderr) == (1, True)
    ahead = shop.cli("as-of", "2120-01-01 00:00Z", "products", check=False)
    assert (ahead.returncode, "is still to come: here it is 2" in ahead.stderr) == (1, True)
    assert shop.database.psql(now) == changed


UNKNOWN = {
    "no change and no gap has the tag 'nope'": ("--tag", "nope"),
    'no session "1.2" is known': ("--session", "1.2"),
    "nothing is recorded of transaction 1": ("--xid", "1"),
    'no restore point "nope" is known': ("--restore-point", "nope"),
    'no table "nope" is known here': ("--table", "nope"),
    'no role "nobody" is known here': ("--role", "nobody"),
}


def test_what_is_not_known_is_said(shop: Proxy) -> None:
    damaged = shop.database.psql(PRICES)
    for said, selector in UNKNOWN.items():
        done = shop.cli("undo", *selector, "--yes", check=False)
        assert said in done.stderr
        assert (done.returncode, done.stdout) == (1, "")
    assert "no undo 99 is known" in shop.cli("redo", "99", "--yes", check=False).stderr
    assert shop.database.psql(PRICES) == damaged


def test_selectors_find_what_show_says(shop: Proxy) -> None:
    """An id, a time and a session go from one command to the other as they are."""
    shop.cli("undo", "--tag", "deploy-42", "--yes")
    shop.cli("restore-point", "before the night")
    shop.psql("UPDATE products SET price = price + 100 WHERE id = 5")
    again = shop.cli("restore-point", "before the night", check=False)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    (last, *_) = json.loads(
        shop.cli("show", "transactions", "--where", "after.price = 105", "--json").stdout
    )
    for selector in (
        ("--xid", str(last["xid"])),
        ("--session", last["session"]),
        ("--from", last["at"], "--to", last["at"]),
        ("--restore-point", "before the night", "--table", "products", "--role", "app"),
    ):
        status, report = undo(shop, *selector, "--yes")
        assert (status, report["outcome"]) == (0, "done"), selector
        assert shop.database.psql(PRICES)[4] == (5, 5)
        shop.cli("redo", str(report["undo_id"]), "--yes")
        assert shop.database.psql(PRICES)[4] == (5, 105)


def test_capture_is_switched(shop: Proxy) -> None:
    assert shop.cli("capture", "off").stdout == "capture is off\n"
    shop.psql("UPDATE products SET price = 1 WHERE id = 6", tag="unseen")
    status, report = undo(shop, "--tag", "unseen", "--yes")
    assert (status, report["gaps"][0]["reason"]) == (4, "capture_off")
    assert shop.cli("capture", "on").stdout == "capture is on\n"
    shop.psql("UPDATE products SET price = 2 WHERE id = 6", tag="seen")
    assert undo(shop, "--tag", "seen", "--yes")[0] == 0
    assert shop.database.psql(PRICES)[5] == (6, 1)


# -- asking --------------------------------------------------------------------------------------


def answered(proxy: Proxy, answer: str, *args: str) -> tuple[int, str]:
    """Run a command on a terminal, and answer what it asks."""
    ours, theirs = pty.openpty()
    command = [program(), *args, "--admin", str(proxy.admin)]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
        text=True,
    ) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        said, _ = process.communicate(timeout=60)
        os.close(ours)
        return process.returncode, said


def test_a_person_is_shown_and_asked(shop: Proxy) -> None:
    damaged = shop.database.psql(PRICES)
    status, said = answered(shop, "n\n", "undo", "--tag", "deploy-42")
    assert status == 1
    assert "Would take back 1 transaction" in said
    assert said.endswith("Do it? [y/N] Nothing was changed.\n")
    assert shop.database.psql(PRICES) == damaged
    status, said = answered(shop, "y\n", "undo", "--tag", "deploy-42")
    assert status == 0
    assert " took back 1 transaction." in said
    assert shop.database.psql(PRICES) == [(n, n) for n in range(1, 10)]


def test_nobody_to_ask_is_a_wrong_use(shop: Proxy) -> None:
    damaged = shop.database.psql(PRICES)
    done = shop.cli("undo", "--tag", "deploy-42", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "say --yes" in done.stderr
    assert shop.database.psql(PRICES) == damaged


def test_all_that_is_left_alone_is_no_undo(shop: Proxy) -> None:
    shop.database.psql(
        "UPDATE products SET price = 77 WHERE id < 4; INSERT INTO products VALUES (9)"
    )
    done = shop.cli("undo", "--tag", "deploy-42", "--on-conflict", "skip", "--yes")
    assert done.stdout.startswith("Everything was left alone; nothing was changed.\n")


# -- what comes between ----------------------------------------------------------------------------

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_what_nobody_waits_for_is_given_up(shop: Proxy, by: signal.Signals) -> None:
    damaged = shop.database.psql(PRICES)
    command = [program(), "undo", "--tag", "deploy-42", "--yes", "--admin", str(shop.admin)]
    with psycopg.connect(shop.database.url()) as other:
        other.execute("SELECT FROM products WHERE id = 2 FOR UPDATE")
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment()) as process:
            wait_for(shop, [(1,)])
            process.send_signal(by)
            _, said = process.communicate(timeout=20)
        wait_for(shop, [(0,)])
    if by is signal.SIGINT:
        assert (process.returncode, said[:44]) == (
            130,
            b"hotrollback: interrupted: it is given up and",
        )
    assert shop.database.psql(PRICES) == damaged
    assert json.loads(shop.cli("show", "undos", "--json").stdout) == []
    assert undo(shop, "--tag", "deploy-42", "--yes")[0] == 0


def wait_for(proxy: Proxy, waiting: list[tuple[int]]) -> None:
    deadline = time.monotonic() + 20
    while proxy.database.psql(_WAITING) != waiting:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_that_is_down_is_said_once(tmp_path: Path) -> None:
    with Serving("postgresql://u@127.0.0.1:1/d", tmp_path) as serving:
        done = serving.call("show", "tags", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("is the server behind the proxy up?") == 1


def test_a_plan_that_another_person_has_seen(shop: Proxy, tmp_path: Path) -> None:
    path = str(tmp_path / "plan.json")
    shop.cli("undo", "--tag", "deploy-42", "--dry-run", "--reason", "it's", "--save-plan", path)
    plan = json.loads(Path(path).read_text())
    assert plan["command"] == "UNDO TAG 'deploy-42' REASON 'it''s'"
    for wrong in (
        ("--tag", "x", "--plan", path),
        ("--tag", "deploy-42", "--yes", "--save-plan", path),
    ):
        assert shop.cli("undo", *wrong, "--json", check=False).returncode == 2
    shop.psql("UPDATE products SET name = 'other' WHERE id = 1")
    before = shop.database.psql("SELECT * FROM products ORDER BY id")
    refused = shop.cli("undo", "--plan", path, "--yes", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the plan no longer holds: 1 conflict" in refused.stderr
    assert refused.stderr.count("Nothing was changed") == 1
    assert shop.database.psql("SELECT * FROM products ORDER BY id") == before

    again = (
        "undo",
        "--tag",
        "deploy-42",
        "--on-conflict",
        "merge",
        "--dry-run",
        "--save-plan",
        path,
    )
    shop.cli(*again)
    done = json.loads(shop.cli("undo", "--plan", path, "--yes", "--json").stdout)
    assert (done["outcome"], len(done["conflicts"])) == ("done", 1)
    assert shop.database.psql(PRICES) == [(n, n) for n in range(1, 10)]


def test_the_undo_as_a_script(shop: Proxy, tmp_path: Path) -> None:
    path = str(tmp_path / "undo.sql")
    damaged = shop.database.psql(PRICES)
    shop.cli("undo", "--tag", "deploy-42", "--sql", path)
    assert shop.database.psql(PRICES) == damaged
    psql = [str(shop.database.server.bin / "psql"), "-X", "-1", "-v", "ON_ERROR_STOP=1"]
    subprocess.run([*psql, "-f", path, shop.database.url()], check=True, capture_output=True)
    assert shop.database.psql(PRICES) == [(n, n) for n in range(1, 10)]
    none = shop.cli("undo", "--tag", "deploy-42", "--sql", path, check=False)
    assert none.returncode == 3
    assert "4 conflicts:" in none.stdout
