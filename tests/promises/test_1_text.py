"""Triggers that keep the text of a statement keep what the client sent; and what they write with it is
said where nothing records it."""

import psycopg
import pytest
from fix_session import inside

SETUP = """
create table t(id int primary key, v text); insert into t select g, 'v' || g from generate_series(1, 5) g;
create table copy as table t; create table seen(q text);
create function audit() returns trigger language plpgsql as
  $$ begin insert into seen values (current_query()); return null; end $$;
create trigger audit after insert or update or delete on t for each statement execute function audit();
grant all on all tables in schema public to app;
"""
LATE = """
create constraint trigger late after insert or update or delete on t deferrable initially deferred
  for each row execute function audit();
"""
BARE = """
drop trigger if exists hotrollback_capture on t; drop trigger if exists hotrollback_capture on seen;
"""
AS_BEFORE = """
alter table t disable trigger user; delete from t; insert into t table copy; delete from seen;
alter table t enable trigger user;
"""
# What one client sends, and the relations of its gaps.
SENT = [
    (["/* a */ update t set v = 'ü' where id = 1; -- b"], {"seen", "t"}),
    (["begin", "delete from t where id = 1 returning v", "commit"], {"seen", "t"}),
    (["update t set v = 'none' where false"], {"seen"}),
    (["delete from t where id = 1; update t set v = 'b' where id = 2"], {"t"}),
    (["begin", "insert into t values (9); select 1", "rollback"], set()),
    (["insert into t values (1, 'there')"], set()),
]


@pytest.fixture
def audited(database, with_log):
    database.psql(SETUP)
    with inside(database) as between:
        yield between


def said(client, text):
    try:
        return client.execute(text).statusmessage
    except psycopg.Error as error:
        return str(error)


def outcome(connection, texts, direct):
    direct(AS_BEFORE + BARE)
    with connection as client:
        answers = [said(client, text) for text in texts]
    return answers, direct("table seen"), direct("table t order by id")


@pytest.mark.parametrize(("texts", "gaps"), SENT)
@pytest.mark.parametrize("late", ["", LATE], ids=["at once", "late"])
def test_triggers_see_the_clients_text(audited, texts, gaps, late):
    direct = audited.database.psql
    if late:
        direct(late)
    plain = psycopg.connect(audited.database.url("app"), autocommit=True)
    expected = outcome(plain, texts, direct)
    assert outcome(audited.connect(), texts, direct) == expected
    found = {relation for _, relation in audited.gaps()}
    # What runs at the commit has no text but by a simple query: a gap before it says so.
    assert found == gaps or (late and found == {"t"})
    assert not audited.unrecorded


def test_a_log_that_cannot_be_written_lets_it_through(audited):
    direct = audited.database.psql
    direct(BARE)
    text = "delete from t where id = 1 returning id"
    with audited.connect() as client:
        client.execute("update t set v = 'known' where id = 2")
        direct("drop function hotrollback.mark_v1")
        assert client.execute(text).fetchall() == [(1,)]
    assert direct("select q from seen offset 1") == [(text,)]
    assert [str(plan.reason) for plan in audited.unrecorded] == ["log_unavailable"]
