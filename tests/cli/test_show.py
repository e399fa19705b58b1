"""`hotrollback show`: finding who did what, with and without a tag."""

import asyncio
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fix_proxy import Proxy

from proxy import cli


@dataclass(frozen=True, slots=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def show(proxy: Proxy, *args: str) -> Done:
    """`hotrollback show` in this process: there is much to ask."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main(["show", *args, "--admin", str(proxy.admin)])
    return Done(status, out.getvalue(), err.getvalue())


def shown(proxy: Proxy, *args: str) -> list[dict[str, Any]]:
    done = show(proxy, *args, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def culprit(proxy: Proxy) -> int:
    """The transaction that set prices to 0."""
    (xid,) = {row["xid"] for row in shown(proxy, "changes", "--where", "after.price = 0")}
    return int(xid)


CULPRIT = (
    ("--table", "products", "--where", "after.price = 0"),
    ("--where", "before.price <> 0 AND after.price = 0 AND after.name LIKE 'prod%'"),
    ("--where", "after.price < 0.5"),
    ("--statement", "price = 0"),
    ("--statement", "update%set price%"),
    ("--role", "postgres", "--table", "public.products", "--where", "after.id IS NOT NULL"),
    ("--application", "night job"),
)


@pytest.mark.parametrize("filters", CULPRIT, ids=" ".join)
def test_a_culprit_without_a_tag(shop: Proxy, filters: tuple[str, ...]) -> None:
    """By table, role, application, statement text, and by what a row became."""
    (found,) = shown(shop, "transactions", *filters)
    assert found["xid"] == culprit(shop)
    assert (found["updates"], found["relations"]) == (2, "public.products")
    assert (found["role"], found["application"]) == ("postgres", "night job")
    assert found["tag"] is None
    assert found["statement"] == "UPDATE products SET price = 0 WHERE id IN (3, 4)"


def test_a_culprit_by_time(shop: Proxy) -> None:
    (found,) = shown(shop, "transactions", "--xid", str(culprit(shop)))
    at = datetime.fromisoformat(found["at"])
    edge = timedelta(milliseconds=1)
    window = ("--from", str(at - edge), "--to", str(at + edge))
    assert [row["xid"] for row in shown(shop, "transactions", *window)] == [found["xid"]]
    assert shown(shop, "changes", "--to", str(at - timedelta(hours=1))) == []


def test_changes_are_rows_before_and_after(shop: Proxy) -> None:
    found = shown(shop, "changes", "--where", "after.price = 0")
    assert {(row["op"], row["before"]["id"], row["after"]["price"]) for row in found} == {
        ("update", 3, 0),
        ("update", 4, 0),
    }
    (deleted,) = shown(shop, "changes", "--where", "before.id = 20")
    assert (deleted["op"], deleted["tag"], deleted["after"]) == ("delete", "deploy-42", None)
    assert list(deleted) == [
        *("at", "xid", "session", "tag", "role", "relation", "op", "before", "after"),
        *("undone", "fingerprint", "statement"),
    ]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("after.note IS NULL", [1]),
        ("before.note = 'x' AND after.note IS NULL", [1]),
        ("after.note IS NULL AND after.id <> 1", []),
        ("after.id >= 3 AND after.price <= 0", [3, 4]),
        ("after.name > 'product 3'", [4]),
        ("after.name NOT LIKE '%4' AND after.price = 0", [3]),
        ("after.name = 3", []),  # a text is no number
    ],
)
def test_conditions_on_images(shop: Proxy, where: str, ids: list[int]) -> None:
    found = shown(shop, "changes", "--table", "products", "--where", where)
    assert sorted(row["after"]["id"] for row in found) == ids


def test_rows_by_key_statement_and_exception(shop: Proxy) -> None:
    (row,) = shown(shop, "changes", "--table", "products", "--key", "20")
    assert (row["op"], row["before"]["id"]) == ("delete", 20)
    alike = shown(shop, "changes", f"--fingerprint={row['fingerprint']}")
    assert {each["statement"] for each in alike} == {row["statement"]}
    everybody = {each["xid"] for each in shown(shop, "transactions")}
    others = {each["xid"] for each in shown(shop, "transactions", "--except-tag", "deploy-42")}
    tagged = {each["xid"] for each in shown(shop, "transactions", "--tag", "deploy-42")}
    assert others == everybody - tagged != everybody
    assert shown(shop, "changes", "--address", "127.0.0.0/8") == shown(shop, "changes")


def test_newest_first_and_limited(shop: Proxy) -> None:
    every = shown(shop, "changes")
    assert [row["at"] for row in every] == sorted((row["at"] for row in every), reverse=True)
    done = show(shop, "changes", "--json", "--limit", "1")
    assert json.loads(done.stdout) == every[:1]
    assert "only the newest 1 are shown" in done.stderr


def test_tags(shop: Proxy) -> None:
    (found,) = shown(shop, "tags")
    assert (found["tag"], found["roles"]) == ("deploy-42", "app, postgres")
    assert (found["inserts"], found["updates"], found["deletes"]) == (0, 1, 1)
    assert (found["transactions"], found["gaps"], found["undone"]) == (3, 1, 0)
    assert found["first"] < found["last"]


def test_gaps(shop: Proxy) -> None:
    (found,) = shown(shop, "gaps", "--tag", "deploy-42")
    assert found["reason"] == "ddl"
    assert found["statement"].startswith("COMMENT ON ROLE app")
    assert {"xid", "at", "session", "tag", "role", "relation"} < set(found)
    assert shown(shop, "gaps", "--table", '"My Orders"', "--application", "till") == []


def test_sessions(shop: Proxy) -> None:
    found = {row["application"]: row for row in shown(shop, "sessions")}
    till = found["till"]
    assert (till["role"], till["database"], till["open"]) == ("app", shop.database.name, False)
    assert till["started"] < till["ended"]
    assert till["address"] == "127.0.0.1"
    (row,) = shown(shop, "transactions", "--session", till["session"])
    assert (row["relations"], row["inserts"]) == ('public."My Orders"', 1)
    assert [r["session"] for r in shown(shop, "sessions", "--session", till["session"])] == [
        till["session"]
    ]
    assert {row["tags"] for row in shown(shop, "sessions", "--tag", "deploy-42")} == {"deploy-42"}


async def test_sessions_that_are_open(shop: Proxy) -> None:
    def readers() -> list[dict[str, Any]]:
        return shown(shop, "sessions", "--application", "reader")

    connection = await shop.connect("app", server_settings={"application_name": "reader"})
    try:
        (found,) = await asyncio.to_thread(readers)
        assert (found["session"], found["open"], found["role"]) == (None, True, "app")
        await connection.execute('UPDATE "My Orders" SET product = product')
        (found,) = await asyncio.to_thread(readers)
        assert found["open"]
        assert found["session"].startswith(f"{connection.get_server_pid()}.")
    finally:
        await connection.close()


@pytest.mark.parametrize("what", ["undos", "capture", "stats", "config", "version", "help"])
def test_the_others_are_lists_of_objects_too(shop: Proxy, what: str) -> None:
    found = shown(shop, what)
    assert what == "undos" or found


def test_capture_says_how_each_table_is_recorded(shop: Proxy) -> None:
    found = {row["relation"]: row["how"] for row in shown(shop, "capture")}
    expected = "rewrite, trigger" if shop.database.server.version >= 18 else "trigger"
    assert found == {"public.products": expected, 'public."My Orders"': expected}


def test_for_people(shop: Proxy) -> None:
    """On a pipe as wide as it needs to be, without columns that are empty."""
    done = show(shop, "changes", "--where", "before.id = 20")
    heads, row = done.stdout.splitlines()
    assert heads.split() == [
        *("at", "xid", "session", "tag", "role", "relation", "op", "before"),
        *("fingerprint", "statement"),
    ]
    assert row.rstrip().endswith("DELETE FROM products WHERE id = 20")


def test_nothing_found_is_said(shop: Proxy) -> None:
    done = show(shop, "changes", "--where", "after.id = -1")
    assert done.stderr == "nothing found\n"


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (("--tag", "nope"), "no change and no gap has the tag 'nope'"),
        (("--session", "1.2"), 'no session "1.2" is known'),
        (("--session", "what"), 'no session "what" is known'),
        (("--table", "nope"), 'no table "nope" is known here'),
        (("--role", "nobody"), 'no role "nobody" is known here'),
        (("--application", "nope"), 'no session of an application "nope" is known'),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "the window ends"),
        (("--database", "nope"), 'database "nope" does not exist'),
        (("--database", "postgres"), "the undo log is not installed in this database"),
    ],
)
def test_what_is_not_known_is_said(shop: Proxy, filters: tuple[str, ...], said: str) -> None:
    done = show(shop, "changes", *filters)
    assert said in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_bare_times_are_this_machines_and_echoed_in_utc(shop: Proxy) -> None:
    here = datetime.now(UTC).astimezone().replace(microsecond=0) - timedelta(hours=1)
    done = show(shop, "changes", "--from", f"{here:%Y-%m-%d %H:%M:%S}")
    assert done.stderr == f"--from {here.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
    done = show(shop, "changes", "--from", here.isoformat())
    assert done.stderr == ""
