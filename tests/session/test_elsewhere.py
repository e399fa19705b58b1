"""A text that takes long to read is read where nobody waits for it, once, and its client's messages
wait in their order."""

import pytest
from raw import SYNC, bind, execute, parse, query

from proxy.catalog.cache import Knowledge
from proxy.session.login import Login, Surroundings
from proxy.session.session import Session
from proxy.sql.analyse import Analysis

LOGIN = Login("u", "d", "", 1, 180000, {b"standard_conforming_strings": b"on"}, replication=False)
MOST = ",".join(f"${n}" for n in range(1, 65_536))
LONG = f"UPDATE t SET v = 'all' WHERE id IN ({MOST})"


class Elsewhere:
    """What was given away to be read, and how to say that it has been."""

    def __init__(self):
        self.given = []

    def __call__(self, reading, done):
        self.given.append((reading, done))

    def read(self):
        ((reading, done),) = self.given
        self.given = []
        found = reading()
        assert isinstance(found, Analysis)
        done(found)


@pytest.fixture
def elsewhere():
    return Elsewhere()


def session(elsewhere, *, installed):
    knowledge = Knowledge(installed)
    around = Surroundings(
        knowledge=lambda _database: knowledge, capturing=lambda: True,
        statement_seen=lambda *_: None, session_seen=lambda _: None, gap_unrecorded=lambda *_: None,
        counted={}, read_elsewhere=elsewhere,
    )  # fmt: skip
    return Session(LOGIN, around)


PIPELINE = parse(LONG) + bind("1") + execute() + SYNC
MESSAGES = {
    "simple": query(LONG),
    "prepared": PIPELINE,
    "behind others": parse("SELECT 1") + bind() + execute() + PIPELINE,
    "without a log": PIPELINE,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_clients_messages_wait_until_it_has_been_read(elsewhere, name):
    """What goes to the server then is what would have gone at once."""
    installed = False if name == "without a log" else None
    at_once = session(None, installed=installed)
    at_once.from_client(MESSAGES[name] + query("SELECT 2"))
    one = session(elsewhere, installed=installed)
    one.from_client(MESSAGES[name])
    before = b"".join(one.to_server)
    assert len(before) < len(MESSAGES[name])
    assert not one.resting
    one.from_client(query("SELECT 2"))
    assert b"".join(one.to_server) == before
    elsewhere.read()
    assert b"".join(one.to_server) == b"".join(at_once.to_server)
    assert one.held is at_once.held
    assert elsewhere.given == []


def test_short_texts_are_read_at_once(elsewhere):
    one = session(elsewhere, installed=None)
    one.from_client(query("UPDATE t SET v = 1"))
    assert elsewhere.given == []
    assert one.to_server
