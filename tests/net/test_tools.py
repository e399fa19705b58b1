"""PostgreSQL's own tools through the proxy: what they print and what they bring is the same, and the
log holds it or a gap says so."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_postgres import Database, Server
from fix_proxy import Proxy

TOOL_SECONDS = 90

CONTENT = r"""
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE author (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, m mood);
CREATE TABLE book (id serial PRIMARY KEY, author int REFERENCES author, title varchar(80),
  price numeric(9,2), cover bytea, tags text[], about jsonb, seen timestamptz,
  twice numeric GENERATED ALWAYS AS (price * 2) STORED);
CREATE INDEX ON book (lower(title));
CREATE TABLE sale (day date NOT NULL, book int) PARTITION BY RANGE (day);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
CREATE TABLE "Odd ""one"" name" ("a\b" text);
INSERT INTO author (name, m) SELECT 'author ' || g, 'wild' FROM generate_series(1, 20) g;
INSERT INTO book (author, title, price, cover, tags, about, seen)
  SELECT 1 + g % 20, nullif('title' || chr(9) || g, 'title' || chr(9) || '7'), g / 7.0,
    sha256(g::text::bytea), ARRAY['a', NULL, g::text], jsonb_build_object('n', g, 'ü', E'\n'),
    '2026-01-01'::timestamptz + g * '1 hour'::interval
  FROM generate_series(1, 500) g;
INSERT INTO sale SELECT '2026-01-01'::date + g, g FROM generate_series(0, 300) g;
INSERT INTO "Odd ""one"" name" VALUES (E'\\.'), (''), (NULL), (E'\r\n');
CREATE VIEW cheap AS SELECT * FROM book WHERE price < 10;
CREATE MATERIALIZED VIEW per_author AS SELECT author, count(*) FROM book GROUP BY author;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN new.title := trim(new.title); RETURN new; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON book FOR EACH ROW EXECUTE FUNCTION touch();
"""
ROWS = {"author": 20, "book": 500, "sale": 301, '"Odd ""one"" name"': 4}

TALK = r"""
\set VERBOSITY verbose
\set SHOW_ALL_RESULTS on
CREATE TABLE t (a int PRIMARY KEY, b text);
\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO t VALUES (1, 'one');
INSERT INTO t VALUES (1, 'again');
SELECT 1/0;
INSERT INTO t VALUES (2, 'two') RETURNING *;
COMMIT;
\set ON_ERROR_ROLLBACK off
BEGIN;
INSERT INTO t VALUES (3, 'three');
INSERT INTO t VALUES (1, 'again');
INSERT INTO t VALUES (4, 'four');
COMMIT;
\copy t from pstdin
10	ten
11	\N
\.
\copy t (a) from stdin with (format csv)
12
1
\.
\copy (select * from t order by a) to stdout with (format csv, header)
COPY t TO STDOUT;
UPDATE t SET b = upper(b) WHERE a < 11 RETURNING a, b \gdesc
UPDATE t SET b = upper(b) WHERE a < 11;
INSERT INTO t VALUES (20, 'x'); DELETE FROM t WHERE a = 20; SELECT count(*) FROM t;
INSERT INTO t VALUES (30, 'gone') \; INSERT INTO t VALUES (1, 'twice') \; SELECT 2;
DELETE FROM t WHERE a = 2 RETURNING b AS found \gset
\echo :found :ROW_COUNT :SQLSTATE
SELECT format('INSERT INTO t VALUES (%s, %L)', g, g) FROM generate_series(40, 42) g \gexec
\set FETCH_COUNT 2
SELECT * FROM t ORDER BY a;
SELECT * FROM no_such_table;
\dt t
"""
BOUND = r"""
INSERT INTO t VALUES ($1, $2) RETURNING a \bind 50 'bound' \g
UPDATE t SET b = $1 WHERE a = $2 \bind 'again' 50 \g
INSERT INTO t VALUES ($1, $2) \bind 50 'twice' \g
INSERT INTO t VALUES ($1, $2) \parse adding
\bind_named adding 51 'named' \g
SELECT name, statement FROM pg_prepared_statements;
\close_prepared adding
\startpipeline
INSERT INTO t VALUES ($1, $2) \bind 60 'piped' \sendpipeline
SELECT count(*) FROM t \bind \sendpipeline
\syncpipeline
INSERT INTO t VALUES ($1, $2) \bind 60 'twice' \sendpipeline
INSERT INTO t VALUES ($1, $2) \bind 61 'not run' \sendpipeline
\endpipeline
SELECT * FROM t ORDER BY a;
"""


def tool(server: Server, url: str, name: str, *args: str, said: str = "") -> tuple[str, str, int]:
    """Its output, its errors and its exit status."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    done = subprocess.run(
        [server.bin / name, *args, *(("-d", url) if name != "pgbench" else (url,))],
        input=said, capture_output=True, text=True, check=False, timeout=TOOL_SECONDS,
        env=environment | {"LC_ALL": "C"},
    )  # fmt: skip
    return done.stdout, done.stderr, done.returncode


def through(proxy: Proxy, name: str, *args: str, said: str = "") -> str:
    """Without any complaint but notes on what it does."""
    out, errors, status = tool(proxy.database.server, proxy.url("postgres"), name, *args, said=said)
    assert status == 0, errors
    assert "rror" not in errors, errors
    return out


def parts(relation: str) -> str:
    """SQL for the table and its partitions."""
    return f"(SELECT relid FROM pg_partition_tree($${relation}$$) UNION SELECT $${relation}$$::regclass)"


def check_log(database: Database, relation: str, op: str, rows: int) -> None:
    """Every row is recorded. COPY into a table without a capture trigger is a gap of its own, which
    stands for rows that came in by COPY and for no others."""
    ((recorded, copied),) = database.psql(
        f"WITH p AS {parts(relation)} SELECT"
        f" (SELECT count(*) FROM hotrollback.change WHERE op = $${op}$$ AND relid IN (TABLE p)),"
        " (SELECT count(*) FROM hotrollback.gap WHERE reason = 'copy' AND relid IN (TABLE p))"
    )
    said = op == "I" and copied > 0 and recorded == 0
    assert recorded == rows or said, (relation, op, recorded, copied)


@pytest.fixture
def proxy(proxy_of_all: Proxy) -> Proxy:
    return proxy_of_all


@pytest.fixture
def other(server: Server) -> Iterator[Database]:
    """A second database, without our log."""
    with server.database() as fresh:
        yield fresh


def test_psql_says_the_same(proxy: Proxy, other: Database) -> None:
    server = proxy.database.server
    script = TALK + (BOUND if server.version >= 18 else "")
    direct = tool(server, other.url(), "psql", "-X", "-a", said=script)
    proxied = tool(server, proxy.url("postgres"), "psql", "-X", "-a", said=script)
    names = (other.name, proxy.database.name)
    assert "two" in direct[0]
    assert "23505" in direct[1]
    for one, its in zip(direct, proxied, strict=True):
        assert str(its).replace(names[1], names[0]) == str(one)
    assert not [event for event in proxy.serving.events() if "fault" in event["event"]]
    check_log(proxy.database, "t", "U", 4 if server.version >= 18 else 3)
    check_log(proxy.database, "t", "D", 2)


def test_pgbench_in_every_protocol(proxy: Proxy) -> None:
    through(proxy, "pgbench", "-i", "-q")
    for protocol in ("simple", "extended", "prepared"):
        said = through(proxy, "pgbench", "-n", "-c", "2", "-t", "15", "-M", protocol)
        assert "number of transactions actually processed: 30/30" in said
        assert "number of failed transactions: 0" in said
    database = proxy.database
    found = database.psql(
        "SELECT (SELECT count(*) FROM pgbench_accounts), (SELECT count(*) FROM pgbench_history),"
        " (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(abalance) FROM pgbench_accounts),"
        " (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches)"
    )
    assert found == [(100_000, 90, True, True)]
    check_log(database, "pgbench_accounts", "I", 100_000)
    check_log(database, "pgbench_accounts", "U", 90)
    check_log(database, "pgbench_tellers", "U", 90)
    check_log(database, "pgbench_history", "I", 90)


def test_a_dump_comes_through(proxy: Proxy, other: Database) -> None:
    """pg_dump reads, psql writes through the proxy; and what pg_dump reads through it is the same."""
    other.psql(CONTENT)
    server = proxy.database.server
    dumped, errors, status = tool(server, other.url(), "pg_dump")
    assert status == 0, errors
    through(proxy, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, said=dumped)
    assert proxy.database.dump() == other.dump()
    own = ("--exclude-schema", "hotrollback", "--exclude-schema", "hotrollback_bin")
    again = tool(server, proxy.database.url(), "pg_dump", *own)
    by_proxy = tool(server, proxy.url("postgres"), "pg_dump", *own)
    assert without_keys(by_proxy[0]) == without_keys(again[0])
    for relation, rows in ROWS.items():
        check_log(proxy.database, relation, "I", rows)


def without_keys(dump: str) -> list[str]:
    """Lines but those that hold a key made for this very dump."""
    return [
        line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    ]


@pytest.mark.parametrize("options", [(), ("--clean", "--if-exists")], ids=["empty", "replaced"])
def test_a_parallel_restore_comes_through(
    proxy: Proxy, other: Database, tmp_path: Path, options: tuple[str, ...]
) -> None:
    other.psql(CONTENT)
    archive = tmp_path / "archive"
    server = proxy.database.server
    _, errors, status = tool(server, other.url(), "pg_dump", "-Fd", "-j", "2", "-f", str(archive))
    assert status == 0, errors
    if options:
        proxy.database.psql(CONTENT)
    through(proxy, "pg_restore", "-j", "2", "--exit-on-error", *options, str(archive))
    assert proxy.database.dump() == other.dump()
    for relation, rows in ROWS.items():
        check_log(proxy.database, relation, "I", rows)
