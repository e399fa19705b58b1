"""That no verifiers can be had is said before anybody needs one."""

import time
from pathlib import Path

import pytest
from conftest import Through
from sealed_server import Sealed

from proxy.demo.command import Serving, call

UNREADABLE = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolsuper AND rolname = $1"
FINE = "SELECT $1::pg_catalog.text, NULL::pg_catalog.text"
CASES = [
    ('auth_query = "off"', "verify-full", "auth_query is off"),
    (f'auth_query = "{UNREADABLE}"', "verify-full", "permission denied"),
    (f'auth_query = "{FINE}"', "verify-full", None),
    ("", "verify-full", None),
    ('auth_query = "off"', "disable", None),
    ('auth_query = "off"\ntls = "off"', "verify-full", None),
]


@pytest.mark.parametrize(("lines", "sslmode", "why"), CASES)
def test_doctor_and_the_log_say_so(
    sealed: Sealed, through: Through, tmp_path: Path, lines: str, sslmode: str, why: str | None
) -> None:
    serving = through(lines, sslmode=sslmode)
    config = tmp_path / "conf.toml"
    config.write_text(f'tls_cert = "{sealed.folder}/proxy.pem"\n{lines}\n')
    done = call("doctor", "--upstream", serving.upstream, "--config", str(config), check=False)
    assert not done.stderr
    told = [line for line in done.stdout.splitlines() if "channel_binding:" in line]
    logged = said(serving, awaited=why is not None)
    assert [why in line for line in (*told, *logged)] == ([True] * 2 if why else [])


def said(serving: Serving, *, awaited: bool) -> list[str]:
    """Why, in the log; it is looked at when the proxy serves already."""
    deadline = time.monotonic() + (60 if awaited else 0)
    while True:
        found = [event["reason"] for event in serving.events() if event["event"] == "no_verifiers"]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
