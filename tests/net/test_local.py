"""Clients that come through a Unix socket."""

import socket
import stat
from pathlib import Path

import asyncpg
import psycopg
import pytest
from fix_postgres import Server
from raw import SSL_REQUEST

from proxy.demo.command import Serving


def settings(tmp_path: Path, *lines: str) -> tuple[str, ...]:
    config = tmp_path / "conf.toml"
    config.write_text("\n".join((f'socket_dir = "{tmp_path}"', *lines)))
    return ("--config", str(config))


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_it_is_as_good_as_the_port(server: Server, tmp_path: Path, workers: str) -> None:
    given = (*settings(tmp_path), "--workers", workers)
    with Serving(server.url(), tmp_path, given) as serving:
        path = tmp_path / f".s.PGSQL.{serving.port}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o777
        where = f"host={tmp_path} port={serving.port} dbname=postgres user=app"
        for _ in range(6):
            with psycopg.connect(where) as connection:
                assert connection.execute("SELECT session_user").fetchone() == ("app",)
        connection = await asyncpg.connect(
            host=str(tmp_path), port=serving.port, user="app", database="postgres"
        )
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    assert not path.exists()


def test_there_is_no_tls_and_none_is_needed(server18: Server, tmp_path: Path, pki: object) -> None:
    lines = ('socket_mode = "0700"', 'tls = "require"', f'tls_cert = "{pki.folder}/shown.pem"')
    with Serving(server18.url(), tmp_path, settings(tmp_path, *lines)) as serving:
        path = tmp_path / f".s.PGSQL.{serving.port}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        where = f"host={tmp_path} port={serving.port} dbname=postgres user=app"
        psycopg.connect(where).close()
        with _socket(path) as raw:
            raw.sendall(SSL_REQUEST)
            assert raw.recv(1) == b"N"


def _socket(path: Path):
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(path))
    return made
