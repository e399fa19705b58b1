"""The command line without a proxy and without a server: what it takes, and what it says of the
rest."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import cli, remote
from proxy.admin.commands import COMMANDS
from proxy.compiled import COMPILED
from proxy.demo.command import call


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Status and standard error of a command."""
    try:
        status = cli.main(args)
    except SystemExit as end:
        status = int(end.code or 0)
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("udno",), "invalid choice: 'udno'"),
        (("undo",), "say what to undo: --session, --tag, --xid, --from, --to, --restore-point,"),
        (("undo", "--dry-run", "--yes"), "say what to undo"),
        (("undo", "--tga", "x"), "unrecognized arguments: --tga"),
        (("undo", "--xid", "one"), "argument --xid: 'one' is not a whole number"),
        (("undo", "--from", "soon"), "argument --from: 'soon' is not a time: write '2026-01-31"),
        (("undo", "--tag", "x", "--on-conflict", "skpi"), "did you mean skip?"),
        (("redo",), "the following arguments are required: UNDO_ID"),
        (("redo", "first"), "'first' is not a whole number"),
        (("show", "changes", "--where", "price = 0"), "a condition is before.COLUMN or after."),
        (("show", "tagz"), "invalid choice: 'tagz'"),
        (("capture",), "the following arguments are required: CAPTURE"),
        (("serve",), "upstream is not set: give --upstream URL, the variable HOTROLLBACK_UPSTREAM"),
        (("install", "--upstream", "mysql://x"), "--upstream: upstream must be an address such"),
        (("serve", "--upstream", "postgresql://h", "--listen", "here"), "--listen: listen must be"),
        (("show", "tags", "--config", "/nowhere.toml"), "/nowhere.toml: No such file"),
    ],
)
def test_wrong_use_ends_with_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    text: str,
) -> None:
    monkeypatch.delenv("HOTROLLBACK_UPSTREAM", raising=False)
    status, err = said(capsys, *args)
    assert status == 2
    assert text in err


def test_no_proxy_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By flag, by variable, by the config file; and where nobody said where it is."""
    monkeypatch.delenv("HOTROLLBACK_ADMIN", raising=False)
    expected = f"hotrollback: no proxy serves the admin socket {tmp_path}/.s.PGSQL.6433\n"
    assert said(capsys, "show", "tags", "--admin", str(tmp_path)) == (1, expected)
    file = tmp_path / "conf.toml"
    file.write_text(f'admin = "{tmp_path}"')
    assert said(capsys, "show", "tags", "--config", str(file)) == (1, expected)
    status, err = said(capsys, "show", "tags")
    assert (status, err[:33]) == (1, "hotrollback: where is the proxy? ")
    monkeypatch.setenv("HOTROLLBACK_ADMIN", str(tmp_path))
    assert said(capsys, "show", "tags") == (1, expected)


def test_no_server_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    status, err = said(capsys, "doctor", "--upstream", "postgresql://u:s3cret@127.0.0.1:1/d")
    assert status == 1
    assert err.startswith("hotrollback: cannot connect to postgresql://u@127.0.0.1:1/d: ")
    assert "s3cret" not in err


def test_an_address_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = call(
            *("serve", "--upstream", "postgresql://u@127.0.0.1:1/d", "--listen", address),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == f"hotrollback: cannot serve on {address}: Address already in use\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_its_help(capsys: pytest.CaptureFixture[str], command) -> None:
    """Its flags are its clauses, and those for files; none besides."""
    words = next(
        [word, member.last_word] if len(members) > 1 else [word]
        for word, members in remote.families().items()
        for member in members
        if member is command
    )
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "-h"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    words = [word.strip("[],:") for word in told.split()]
    flags = {word for word in words if word.startswith("--")}
    own = {clause.flag for clause in command.clauses if clause.flag}
    assert own <= flags
    files = {"--sql", "--save-plan", "--plan"} if command.words == ("UNDO",) else set()
    assert flags - own == {"--help", "--admin", "--config", "--json", "--yes"} & flags | files


def test_the_version_is_said_and_what_runs() -> None:
    """The tests' own process, and those that they start, run the same."""
    said = re.fullmatch(
        r"hotrollback [\d.]+ \((compiled|pure Python)\)\n", call("--version").stdout
    )
    assert said is not None
    assert (said[1] == "compiled") == COMPILED


def test_it_is_a_module_too(tmp_path: Path) -> None:
    """Elsewhere: a module is looked for in the working directory before where it is installed."""
    command = [sys.executable, "-m", "proxy", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == call("--version").stdout


def test_importing_it_is_cheap() -> None:
    """What a command needs is imported when it runs."""
    heavy = ("asyncpg", "rich", "uvloop", "structlog", "sqlglot", "undo")
    code = f"import sys, proxy.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
