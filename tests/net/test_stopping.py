"""A proxy stops in time when the server behind it says nothing any more."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fix_postgres import Database, Server, cluster_of, install_into
from pki import url
from raw import Raw, startup

from proxy.demo.cluster import Cluster
from proxy.demo.command import Serving, program


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Accepts whoever comes, as a kernel does for a server that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def asking(serving: Serving, *command: str) -> Iterator[None]:
    """Somebody waits for the answer to a console command."""
    given = [program(), *command, "--admin", str(serving.admin)]
    with subprocess.Popen(given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asker:
        try:
            yield
        finally:
            asker.kill()


def started(upstream: str, folder: Path) -> Serving:
    config = folder / "conf.toml"
    config.write_text('grace = "3s"')
    serving = Serving(upstream, folder, ("--config", str(config)))
    serving.start()
    return serving


def killed(serving: Serving) -> list[object]:
    return [event for event in serving.events() if event["event"] == "worker_killed"]


def test_where_the_server_has_never_answered(tmp_path: Path) -> None:
    with silent() as port:
        serving = started(f"postgresql://postgres@127.0.0.1:{port}/postgres", tmp_path)
        with Raw(serving.port) as client, asking(serving, "show", "tags"):
            client.send(startup(user="app", database="postgres"))
            time.sleep(1)
            assert serving.stop() == 0
        assert not killed(serving)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with cluster_of(15) as made:
        yield made


@contextlib.contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """All of its processes."""
    with psycopg.connect(cluster.url()) as connection:
        others = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        pids = [pid for (pid,) in connection.execute(others)]
    pids.append(int((cluster.data / "postmaster.pid").read_text().split()[0]))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_where_the_server_has_fallen_silent(tmp_path: Path, cluster: Cluster) -> None:
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE app LOGIN")
        connection.execute("CREATE TABLE t (a int); GRANT INSERT ON t TO app")
    server = Server(15, cluster.host, cluster.port, cluster.binaries)
    install_into(Database(server, "postgres"))
    serving = started(cluster.url(), tmp_path)
    with psycopg.connect(url(serving), autocommit=True) as client:
        client.execute("INSERT INTO t VALUES (1)")
        serving.call("show", "sessions")  # its books are written now
        with frozen(cluster), asking(serving, "show", "tags"):
            client.close()
            time.sleep(1)
            assert serving.stop() == 0
    assert not killed(serving)
