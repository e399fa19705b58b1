"""Sessions that come, work, and go in every way leave nothing behind in the proxy."""

import threading
from collections.abc import Callable

import psycopg
from fix_postgres import Database, install_into
from raw import SYNC, TERMINATE, Raw, extended, parse, query
from watch import backends, events, eventually, memory

from proxy.demo.command import Serving

MEGABYTE = 1 << 20
LONG = "SELECT 1 /* " + "x" * 60_000 + " */"  # what a session remembers weighs something
ROUNDS = 60


def test_no_growth(database18: Database, through: Callable[..., Serving]) -> None:
    database = database18
    install_into(database)
    database.psql("CREATE TABLE t (id int, v text); GRANT ALL ON t TO app")
    serving = through(database.url())

    def come_and_go(first: int) -> None:
        for number in range(first, ROUNDS, 4):
            with Raw(serving.port) as raw:
                raw.log_in("app", database.name)
                raw.send(parse(LONG, f"s{number}") + SYNC)
                raw.until("Z")
                assert raw.ask(f"INSERT INTO t VALUES ({number}, 'a')")[0].kind == "C"
                raw.send(extended("UPDATE t SET v = $1 WHERE id = 0", "b"))
                raw.until("Z")
                if number % 4 == 0:
                    raw.send(TERMINATE)
                    assert raw.rest() == []
                elif number % 4 == 1:
                    raw.send(query("SELECT pg_sleep(0.01)")[:-4])
                    raw.reset()
                elif number % 4 == 2:
                    raw.end()
                    assert raw.rest() == []

    def go_on() -> int:
        threads = [threading.Thread(target=come_and_go, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: backends(database) == 0)
        ended = "SELECT count(*) FROM hotrollback.session WHERE ended IS NULL"
        eventually(lambda: database.psql(ended) == [(0,)])
        return memory(serving, "VmRSS")

    go_on()
    settled = go_on()
    # A session that was kept would weigh as much as its long text.
    assert go_on() - settled < ROUNDS * len(LONG) // 2
    assert not events(serving, "session_fault")
    with psycopg.connect(f"postgresql://app@127.0.0.1:{serving.port}/{database.name}") as last:
        assert last.execute("SELECT count(*) FROM t").fetchone() == (3 * ROUNDS,)
