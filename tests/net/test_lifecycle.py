"""From the ready line to the last exit: stopping, workers, and a server that goes away."""

import os
import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest
from fix_postgres import Database, Server, cluster_of, install_into
from fix_proxy import Proxy, Serve
from raw import Raw, extended, query, startup
from watch import PATIENCE, backends, events, eventually, workers

from proxy.demo.command import Serving

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); GRANT ALL ON t TO app"


@pytest.fixture
def database(database18: Database) -> Database:
    """Nothing here depends on the version."""
    return database18


@pytest.fixture
def patient(serve: Serve, tmp_path: Path, database: Database, with_log: None) -> Proxy:
    """With the log, a table, and a grace of two seconds."""
    database.psql(TABLE)
    config = tmp_path / "patient.toml"
    config.write_text('grace = "2s"\n')
    return serve("--config", str(config))


# -- stopping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_idle_clients_are_told_and_the_exit_is_clean(patient: Proxy, how: signal.Signals) -> None:
    with Raw(patient.port) as raw:
        raw.log_in("app", patient.database.name)
        started = time.monotonic()
        assert patient.serving.stop(how) == 0
        assert time.monotonic() - started < 1.5
        (told,) = raw.rest()
        assert (told.fields["S"], told.fields["C"]) == ("FATAL", "57P01")
    assert not (patient.admin / ".s.PGSQL.6433").exists()
    assert events(patient.serving, "stopped")


def test_who_is_busy_may_finish_within_the_grace(patient: Proxy) -> None:
    with Raw(patient.port) as raw:
        raw.log_in("app", patient.database.name)
        raw.ask("BEGIN")
        raw.ask("UPDATE t SET v = 'b'")
        process = patient.serving.process
        assert process is not None
        process.terminate()
        eventually(lambda: events(patient.serving, "stopping"))
        assert [m.kind for m in raw.ask("SELECT pg_sleep(0.3)")] == ["T", "D", "C", "Z"]
        assert raw.ask("COMMIT")[-1].body == b"I"
        (told,) = raw.rest()
        assert told.fields["C"] == "57P01"
    assert process.wait(PATIENCE) == 0
    assert patient.database.psql("SELECT v FROM t") == [("b",)]


def test_who_is_still_busy_is_cut_and_stops_on_the_server_too(patient: Proxy) -> None:
    with Raw(patient.port) as raw:
        raw.log_in("app", patient.database.name)
        raw.send(query("UPDATE t SET v = 'b' FROM pg_sleep(60)"))
        eventually(lambda: asleep(patient.database))
        started = time.monotonic()
        assert patient.serving.stop() == 0
        assert 1.5 < time.monotonic() - started < 6
        assert raw.rest()[-1].fields["C"] == "57P01"
    eventually(lambda: not asleep(patient.database), 2)
    assert patient.database.psql("SELECT v FROM t") == [("a",)]


def test_a_second_signal_ends_it_at_once(patient: Proxy) -> None:
    with Raw(patient.port) as raw:
        raw.log_in("app", patient.database.name)
        raw.ask("BEGIN")
        process = patient.serving.process
        assert process is not None
        process.terminate()
        eventually(lambda: events(patient.serving, "stopping"))
        started = time.monotonic()
        process.terminate()
        assert raw.rest()[-1].fields["C"] == "57P01"
        assert process.wait(PATIENCE) == 0
        assert time.monotonic() - started < 1.5


def test_a_port_that_is_taken_is_said(patient: Proxy, tmp_path: Path) -> None:
    second = Serving(patient.database.url(), tmp_path / "second", port=patient.port)
    second.folder.mkdir()
    with pytest.raises(Exception, match=r"[Aa]ddress already in use"):
        second.start()


def asleep(database: Database) -> list[tuple]:
    return database.psql(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    )


# -- workers ---------------------------------------------------------------------------------------


def test_workers_share_the_port_and_one_that_dies_is_replaced(
    database: Database, serve: Serve
) -> None:
    install_into(database)
    database.psql(TABLE)
    proxy = serve("--workers", "2")
    assert len(workers(proxy.serving)) == 2
    for number in range(8):
        proxy.psql(f"UPDATE t SET v = '{number}'", tag=f"w{number}")
    shown = proxy.cli("show", "stats", "--json").stdout
    assert '"logins"' in shown
    victim = workers(proxy.serving)[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: events(proxy.serving, "worker_started"))
    (died,) = events(proxy.serving, "worker_died")
    assert died["exitcode"] == -signal.SIGKILL
    assert len(workers(proxy.serving)) == 2
    for number in range(8):
        proxy.psql(f"UPDATE t SET v = 'again {number}'")
    updates = "SELECT count(*) FROM hotrollback.change WHERE op = 'U'"
    assert database.psql(updates) == [(16,)]
    with Raw(proxy.port) as raw:
        raw.log_in("app", database.name)
        assert proxy.serving.stop() == 0
        assert raw.rest()[-1].fields["C"] == "57P01"


def test_workers_end_with_their_supervisor(serve: Serve) -> None:
    proxy = serve("--workers", "2")
    orphans = workers(proxy.serving)
    process = proxy.serving.process
    assert process is not None
    assert len(orphans) == 2
    process.kill()
    process.wait()
    eventually(lambda: not any(alive(pid) for pid in orphans))


def alive(pid: int) -> bool:
    """An orphan that has ended may wait for long until somebody takes note of it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# -- the server ------------------------------------------------------------------------------------


def test_a_server_that_vanishes_in_a_transaction(tmp_path: Path) -> None:
    """The client gets an error, and the log holds nothing of what was not committed."""
    with cluster_of(18, fsync="on", synchronous_commit="on") as cluster:
        server = Server(18, cluster.host, cluster.port, cluster.binaries)
        install_into(Database(server, "postgres"))
        server.psql(f"CREATE ROLE app LOGIN; {TABLE}")
        with Serving(server.url(), tmp_path) as serving, Raw(serving.port) as raw:
            raw.log_in("app", "postgres")
            raw.ask("UPDATE t SET v = 'kept'")
            raw.ask("BEGIN")
            assert [m.kind for m in raw.ask("UPDATE t SET v = 'lost'")] == ["C", "Z"]
            stop = [*cluster._pg_ctl(), "-m", "immediate", "-w", "stop"]
            cluster.account.run(stop)
            raw.send(extended("SELECT 1"))
            *_, told = raw.rest()
            # The server warns that it is shut down at once, if it can; else we say that it is gone.
            severities = {"57P01": "WARNING", "57P02": "WARNING", "08006": "FATAL"}
            assert told.fields["S"] == severities[told.fields["C"]]
            assert told.fields["C"] in {"57P01", "57P02", "08006"}
            with Raw(serving.port) as late:
                late.send(startup(user="app"))
                assert late.rest()[-1].fields["C"] == "08001"
            start = [
                "-l",
                str(cluster.data / "server.log"),
                "-o",
                f"-p {cluster.port}",
                "-w",
                "start",
            ]
            cluster.account.run([*cluster._pg_ctl(), *start])
            with psycopg.connect(
                f"postgresql://app@127.0.0.1:{serving.port}/postgres", autocommit=True
            ) as again:
                again.execute("UPDATE t SET v = 'later'")
            changes = "SELECT after ->> 'v' FROM hotrollback.change WHERE op = 'U' ORDER BY lsn"
            assert server.psql(changes) == [("kept",), ("later",)]


def test_the_servers_last_words_come_once(patient: Proxy) -> None:
    with Raw(patient.port) as raw:
        raw.log_in("app", patient.database.name)
        patient.database.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                              " WHERE usename = 'app' AND datname = current_database()")  # fmt: skip
        (told,) = raw.rest()
        assert told.fields["C"] == "57P01"
        assert told.fields["R"] == "ProcessInterrupts"


def test_a_client_that_dies_leaves_nothing_behind(patient: Proxy) -> None:
    with Raw(patient.port) as raw:
        raw.log_in("app", patient.database.name)
        raw.ask("BEGIN")
        raw.ask("UPDATE t SET v = 'half'")
        raw.send(query("UPDATE t SET v = 'never'")[:-9])
    eventually(lambda: backends(patient.database) == 0, 3)
    assert patient.database.psql("SELECT v FROM t") == [("a",)]
    assert patient.psql("UPDATE t SET v = 'next' RETURNING v") == [("next",)]


def test_many_come_and_go(patient: Proxy) -> None:
    """Some by closing, some by a reset, some in the middle of a message; none is left."""

    def come(number: int) -> None:
        with Raw(patient.port) as raw:
            raw.log_in("app", patient.database.name)
            raw.send(query(f"UPDATE t SET v = '{number}'")[: 10 + number])
            if number % 2:
                raw.reset()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: backends(patient.database) == 0)
    assert not events(patient.serving, "session_fault")
    assert not events(patient.serving, "loop_fault")


def test_a_hangup_cuts_nobody(patient: Proxy) -> None:
    with Raw(patient.port) as raw:
        raw.log_in("app", patient.database.name)
        assert patient.serving.process is not None
        patient.serving.process.send_signal(signal.SIGHUP)
        eventually(lambda: events(patient.serving, "reloaded"))
        assert [m.kind for m in raw.ask("SELECT 1")] == ["T", "D", "C", "Z"]
