"""The table of statements."""

import pytest

from proxy.sql.analyse import analyse
from proxy.sql.kinds import Group, Kind


def kind(text: bytes) -> Kind:
    (statement,) = analyse(text).statements
    return statement.kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"select 1", Kind.SELECT),
        (b"VALUES (1)", Kind.SELECT),
        (b"TABLE t", Kind.SELECT),
        (b"(SELECT 1) UNION SELECT 2", Kind.SELECT),
        (b"WITH x AS (SELECT 1) SELECT 2", Kind.SELECT),
        (b"WITH x AS (INSERT INTO t VALUES (1)) SELECT 2", Kind.SELECT),
        (b"SELECT 1 INTO t", Kind.SELECT_INTO),
        (b"SELECT x.into, 1 AS into FROM x", Kind.SELECT),
        (b"(SELECT 1 INTO t)", Kind.SELECT_INTO),
        (b"COPY t FROM STDIN", Kind.COPY_FROM),
        (b'COPY "to" (a) FROM STDIN', Kind.COPY_FROM),
        (b"COPY t TO STDOUT", Kind.COPY_TO),
        (b"COPY (SELECT 1) TO STDOUT", Kind.COPY_TO),
        (b"TRUNCATE t", Kind.TRUNCATE),
        (b"CREATE TABLE t (a int DEFAULT 1)", Kind.CREATE_TABLE),
        (b"CREATE TABLE t AS SELECT 1", Kind.CREATE_TABLE_AS),
        (
            b"CREATE UNLOGGED TABLE IF NOT EXISTS t (a) WITH (fillfactor = 50) AS TABLE u",
            Kind.CREATE_TABLE_AS,
        ),
        (b"CREATE MATERIALIZED VIEW v AS SELECT 1", Kind.CREATE_TABLE_AS),
        (b"CREATE VIEW v AS SELECT 1", Kind.CREATE),
        (b"CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", Kind.CONCURRENTLY),
        (b"DROP INDEX CONCURRENTLY i", Kind.CONCURRENTLY),
        (b"ALTER TABLE p DETACH PARTITION q CONCURRENTLY", Kind.CONCURRENTLY),
        (b"ALTER TABLE t ADD a int", Kind.ALTER),
        (b"ALTER SYSTEM SET a = 1", Kind.ALTER_SYSTEM),
        (b"DROP DATABASE d", Kind.DROP_DATABASE),
        (b"REFRESH MATERIALIZED VIEW v", Kind.REFRESH),
        (b"END", Kind.COMMIT),
        (b"ABORT", Kind.ROLLBACK),
        (b"ROLLBACK WORK TO SAVEPOINT s", Kind.ROLLBACK_TO),
        (b"ROLLBACK PREPARED 'x'", Kind.ROLLBACK_PREPARED),
        (b"PREPARE TRANSACTION 'x'", Kind.PREPARE_TRANSACTION),
        (b"PREPARE transaction AS SELECT 1", Kind.PREPARE),
        (b"SET LOCAL TRANSACTION READ ONLY", Kind.SET_TRANSACTION),
        (b"SET CONSTRAINTS ALL IMMEDIATE", Kind.SET_CONSTRAINTS),
        (b"CLUSTER", Kind.CLUSTER_ALL),
        (b"CLUSTER t", Kind.CLUSTER),
        (b"FROBNICATE t", Kind.UNKNOWN),
        (b"WITH x SELECT 1", Kind.UNKNOWN),
        (b"WITH x AS (SELECT 1) FROBNICATE", Kind.UNKNOWN),
        (b'"select" 1', Kind.UNKNOWN),
        (b"'select'", Kind.UNKNOWN),
    ],
)
def test_kind(text, expected):
    assert kind(text) is expected


@pytest.mark.parametrize(
    "text",
    [b"VACUUM t", b"CREATE DATABASE d", b"CLUSTER", b"ALTER SYSTEM RESET ALL",
     b"CREATE TABLESPACE x", b"CREATE INDEX CONCURRENTLY i ON t (a)",
     b"DROP SUBSCRIPTION s", b"REINDEX DATABASE d"],
)  # fmt: skip
def test_these_must_stand_alone(text):
    assert not kind(text).in_block


def test_unknown_statements_are_never_harmless():
    assert Kind.UNKNOWN.group is Group.UNKNOWN


def test_no_kind_is_an_alias_of_another():
    assert len({member.tag for member in Kind}) == len(list(Kind))
