"""What is read of the statements that write no rows themselves."""

import pytest

from proxy.sql.analyse import analyse
from proxy.sql.kinds import Kind
from proxy.sql.statement import Statement


def one(text: bytes) -> Statement:
    (statement,) = analyse(text).statements
    return statement


@pytest.mark.parametrize(
    ("text", "setting", "local"),
    [
        (b"SET search_path TO a, b", "search_path", False),
        (b"SET SESSION Search_Path = a", "search_path", False),
        (b"SET LOCAL \"Hotrollback\".Tag = 'x'", "hotrollback.tag", True),
        (b"SET TIME ZONE 'UTC'", "timezone", False),
        (b"SET LOCAL TIME ZONE 'UTC'", "timezone", True),
        (b"SET ROLE x", "role", False),
        (b"SET SESSION ROLE x", "role", False),
        (b"SET SESSION AUTHORIZATION x", "session_authorization", False),
        (b"SET NAMES 'x'", "client_encoding", False),
        (b"SET SCHEMA 'x'", "search_path", False),
        (b"RESET ALL", "all", False),
        (b"RESET SESSION AUTHORIZATION", "session_authorization", False),
        (b"SHOW a.b", "a.b", False),
        (b'SET U&"x" = 1', None, False),
    ],
)
def test_settings(text, setting, local):
    statement = one(text)
    assert (statement.setting, statement.setting_local) == (setting, local)


@pytest.mark.parametrize(
    ("text", "name", "inner"),
    [
        (b"PREPARE p (int) AS DELETE FROM t", "p", Kind.DELETE),
        (b"PREPARE p AS WITH x AS (SELECT 1) UPDATE t SET a = 1", "p", Kind.UPDATE),
        (b"EXECUTE P(1)", "p", None),
        (b"DEALLOCATE p", "p", None),
        (b"DEALLOCATE PREPARE ALL", None, None),
        (b"DEALLOCATE ALL", None, None),
        (b'DEALLOCATE "all"', "all", None),
        (b"DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT f()", "c", Kind.SELECT),
        (b"CLOSE ALL", None, None),
        (b"CLOSE c", "c", None),
        (b"FETCH 10 FROM c", "c", None),
        (b"DISCARD ALL", "all", None),
    ],
)
def test_names_and_inner_statements(text, name, inner):
    statement = one(text)
    assert (statement.object_name, statement.inner) == (name, inner)


@pytest.mark.parametrize(
    ("text", "analyze", "inner"),
    [
        (b"EXPLAIN DELETE FROM t", False, Kind.DELETE),
        (b"EXPLAIN ANALYZE VERBOSE DELETE FROM t", True, Kind.DELETE),
        (b"EXPLAIN VERBOSE SELECT 1", False, Kind.SELECT),
        (b"EXPLAIN (ANALYZE) SELECT 1", True, Kind.SELECT),
        (b"EXPLAIN (COSTS OFF, analyse on) UPDATE t SET a = 1", True, Kind.UPDATE),
        (b"EXPLAIN (ANALYZE off) SELECT 1", False, Kind.SELECT),
        (b"EXPLAIN (ANALYZE 'false', BUFFERS) SELECT 1", False, Kind.SELECT),
        (b"EXPLAIN (ANALYZE, ANALYZE 0) SELECT 1", False, Kind.SELECT),
        (b"EXPLAIN (SELECT 1)", False, Kind.SELECT),
        (b"EXPLAIN ANALYZE EXECUTE p", True, Kind.EXECUTE),
    ],
)
def test_explain(text, analyze, inner):
    statement = one(text)
    assert (statement.analyze, statement.inner) == (analyze, inner)


@pytest.mark.parametrize(
    ("text", "target", "targets"),
    [
        (b"TRUNCATE TABLE ONLY s.t RESTART IDENTITY", ("s", "t"), (("s", "t"),)),
        (b"TRUNCATE a *, b CASCADE", None, ((None, "a"), (None, "b"))),
        (b"COPY s.t (a) FROM STDIN", ("s", "t"), ()),
        (b"COPY (SELECT 1) TO STDOUT", None, ()),
    ],
)
def test_targets(text, target, targets):
    statement = one(text)
    assert (statement.target, statement.targets) == (target, targets)


@pytest.mark.parametrize(
    ("text", "temporary"),
    [
        (b"CREATE TEMP TABLE t (a int)", True),
        (b"CREATE LOCAL TEMPORARY SEQUENCE s", True),
        (b"CREATE TABLE pg_temp.t (a int)", True),
        (b"CREATE TABLE IF NOT EXISTS pg_temp.t (a int)", True),
        (b"CREATE TEMP TABLE t AS SELECT 1", True),
        (b"CREATE TEMP TABLE t AS SELECT f()", False),
        (b"CREATE TEMP TABLE t AS WITH x AS (DELETE FROM u RETURNING 1) SELECT 1", False),
        (b"CREATE TABLE temp (a int)", False),
        (b"SELECT 1 INTO TEMP t", True),
        (b"SELECT 1 INTO LOCAL TEMP TABLE t", True),
        (b"SELECT 1 INTO t", False),
    ],
)
def test_temporary(text, temporary):
    assert one(text).temporary is temporary


@pytest.mark.parametrize(
    ("text", "body", "cannot_commit"),
    [
        (b"DO $x$BEGIN DELETE FROM t; END$x$", b"BEGIN DELETE FROM t; END", True),
        (b"DO LANGUAGE plpgsql 'BEGIN PERFORM ''a''; END'", b"BEGIN PERFORM 'a'; END", True),
        (b"DO $$BEGIN COMMIT; END$$", b"BEGIN COMMIT; END", False),
        (b"DO $$BEGIN CALL p(); END$$", b"BEGIN CALL p(); END", False),
        (b"DO $$plpy.execute('x')$$ LANGUAGE plpython3u", b"plpy.execute('x')", False),
        (rb"DO E'BEGIN COM\155IT; END'", None, False),
        (b"DO 'BEGIN com'\n'mit; END'", None, False),
    ],
)
def test_do(text, body, cannot_commit):
    statement = one(text)
    assert (statement.body, statement.cannot_commit) == (body, cannot_commit)
