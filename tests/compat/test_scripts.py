"""What psql prints of a script, every error with its place and source, is the same through the proxy:
PostgreSQL's regression suite in small, with scripts of our own."""

import os
import subprocess
from pathlib import Path

import pytest
from fix_postgres import Server
from fix_proxy import Proxy

SCRIPTS = Path(__file__).with_name("scripts")
SECONDS = 60


def said(server: Server, port: int, database: str, script: Path) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {
        "PGHOST": server.host, "PGPORT": str(port), "PGUSER": "postgres", "PGDATABASE": database,
        "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    done = subprocess.run(
        [server.bin / "psql", "-X", "-a", "-v", "VERBOSITY=verbose", "-f", script],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=SECONDS,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.fixture
def proxy(proxy_of_all: Proxy) -> Proxy:
    return proxy_of_all


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.iterdir()))
def test_psql_prints_the_same(server: Server, proxy: Proxy, name: str) -> None:
    script = SCRIPTS / f"{name}.sql"
    with server.database() as plain:
        expected = said(server, server.port, plain.name, script)
    assert len(expected) > len(script.read_text().splitlines())
    assert said(server, proxy.port, proxy.database.name, script) == expected
    assert not [event for event in proxy.serving.events() if "fault" in event.get("event", "")]
