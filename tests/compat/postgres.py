"""PostgreSQL's own suites, direct and through the proxy with capture on: the same output, byte for
byte. `regress` speaks SQL with psql, in verbose errors and command tags; `isolation` holds several
sessions that wait for each other.

    python tests/compat/postgres.py regress|isolation [--only NAME ...] [--no-all-tables]
                                    [--source DIR] [--keep DIR]

The source of exactly the server's version is fetched from Debian's archive by the machine's package
mirror, or given. Differences that no proxy can avoid are in accepted/; any other one, and an
accepted one that is gone, fails the run. None of the suites is kept here.
"""

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from accepted import judge

from proxy.demo.cluster import Cluster, embedded_binaries
from proxy.demo.command import Serving, call

ARCHIVE = "pool/main/p/postgresql-18/postgresql-18_{}.orig.tar.bz2"
PARTS = ("src/test/regress/", "src/test/isolation/")
SETTINGS = {
    "max_connections": "100",
    "max_prepared_transactions": "2",
    "autovacuum": "off",
    "shared_buffers": "128MB",
    "lc_messages": "C",
}
DATABASE = """
CREATE DATABASE regression TEMPLATE template0;
ALTER DATABASE regression SET lc_messages TO 'C';
ALTER DATABASE regression SET lc_monetary TO 'C';
ALTER DATABASE regression SET lc_numeric TO 'C';
ALTER DATABASE regression SET lc_time TO 'C';
ALTER DATABASE regression SET bytea_output TO 'hex';
ALTER DATABASE regression SET timezone_abbreviations TO 'Default';
"""
TEST_SECONDS = 300
# Names by which the server, or the log, counts what it has made.
COUNTED = re.compile(r"\b(capture_|pg_temp_|pg_toast_temp_)\d+")


PSQL = "psql -X -a -v HIDE_TABLEAM=on -v HIDE_TOAST_COMPRESSION=on -v VERBOSITY=verbose"
ISOLATIONTESTER = "lib/pgxs/src/test/isolation/isolationtester"


@dataclass(frozen=True, slots=True)
class Suite:
    """`first` sets up what the other tests rely on."""

    schedule: str
    files: str
    first: tuple[str, ...] = ()

    def tests(self, source: Path, only: list[str]) -> list[str]:
        lines = (source / self.schedule).read_text().splitlines()
        names = [name for line in lines if line.startswith("test:") for name in line.split()[1:]]
        return [name for name in names if not only or name in only or name in self.first]


SUITES = {
    "regress": Suite("regress/parallel_schedule", "regress/sql/{}.sql", ("test_setup",)),
    "isolation": Suite("isolation/isolation_schedule", "isolation/specs/{}.spec"),
}


def mirror() -> str:
    """Of Debian's packages, as the machine's own configuration names it."""
    for path in (*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list")):
        if path.exists():
            found = re.search(r"^(?:URIs:|deb)\s+(\S+/debian)/?\s", path.read_text(), re.MULTILINE)
            if found:
                return found[1]
    sys.exit("no Debian mirror is configured here: give --source, src/test of PostgreSQL")


def fetch(folder: Path) -> Path:
    config = subprocess.run(
        [embedded_binaries() / "postgres", "--version"], check=True, capture_output=True, text=True
    )
    version = config.stdout.split()[2]
    archive = folder / f"postgresql-{version}.tar.bz2"
    if not archive.exists():
        with urllib.request.urlopen(f"{mirror()}/{ARCHIVE.format(version)}") as reply:
            archive.write_bytes(reply.read())
    with tarfile.open(archive) as tar:
        wanted = [m for m in tar if any(f"/{part}" in m.name for part in PARTS)]
        tar.extractall(folder, wanted, filter="data")
    return folder / f"postgresql-{version}/src/test"


def prepare(source: Path | None, folder: Path) -> tuple[Path, Path]:
    """The suites, and the libraries that they load."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    source = source or fetch(folder)
    install = embedded_binaries().parent
    libraries = folder / "lib"
    libraries.mkdir(exist_ok=True)
    subprocess.run(
        ["gcc", "-O1", "-w", "-fPIC", "-shared", "-I", install / "include/server",
         "-o", libraries / "regress.so", source / "regress/regress.c"],
        check=True,
    )  # fmt: skip
    for name in ("autoinc.so", "refint.so"):
        for found in (install / "lib").rglob(name):
            shutil.copy(found, libraries / name)
    for path in (source, *source.rglob("*"), libraries, *libraries.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return source, libraries


def psql(cluster: Cluster, database: str, sql: str) -> str:
    command = [cluster.binaries / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d"]
    done = subprocess.run(
        [*command, cluster.url(database)],
        input=sql, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


@dataclass(frozen=True, slots=True)
class Given:
    source: Path  # src/test
    libraries: Path
    only: list[str]


@contextmanager
def protected(*options: str) -> Iterator[Cluster]:
    with Cluster(embedded_binaries(), SETTINGS) as cluster:
        psql(cluster, "postgres", DATABASE)
        call("install", "--upstream", cluster.url("regression"), *options)
        yield cluster


def run(suite: Suite, given: Given, cluster: Cluster, port: int, results: Path) -> None:
    """Every test in the order of the schedule, one at a time."""
    built = results / "built"
    for folder in (results, built, built / "results", built / "testtablespace"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {
        "PGHOST": cluster.host, "PGPORT": str(port), "PGUSER": "postgres", "LC_ALL": "C",
        "PGDATABASE": "regression", "PGTZ": "America/Los_Angeles", "PGDATESTYLE": "Postgres, MDY",
        "PGOPTIONS": "-c intervalstyle=postgres_verbose", "PG_DLSUFFIX": ".so",
        "PG_ABS_SRCDIR": str(given.source / "regress"), "PG_ABS_BUILDDIR": str(built),
        "PG_LIBDIR": str(given.libraries),
    }  # fmt: skip
    program, *options = PSQL.split()
    command = [str(cluster.binaries / program), *options]
    if suite is SUITES["isolation"]:
        command = [str(cluster.binaries.parent / ISOLATIONTESTER), "dbname=regression"]
    for name in suite.tests(given.source, given.only):
        with (results / f"{name}.out").open("wb") as out:
            try:
                subprocess.run(
                    command, stdin=(given.source / suite.files.format(name)).open("rb"),
                    stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=built, check=False,
                    timeout=TEST_SECONDS,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                out.write(b"\nthis test did not end\n")


def differences(name: str, direct: Path, proxied: Path) -> list[str]:
    """The lines that differ, without their places."""
    texts = []
    for folder in (direct, proxied):
        text = (folder / f"{name}.out").read_text("utf-8", "surrogateescape")
        texts.append(COUNTED.sub(r"\1N", text.replace(str(folder), "RESULTS")).splitlines())
    return [
        line
        for line in difflib.unified_diff(*texts, lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--source", type=Path, help="src/test of the server's version")
    parser.add_argument("--only", nargs="+", default=[], help="these tests")
    parser.add_argument("--no-all-tables", action="store_true", help="few capture triggers")
    parser.add_argument("--keep", type=Path, help="where to keep the outputs")
    told = parser.parse_args()
    suite = SUITES[told.suite]
    folder = Path(tempfile.gettempdir()) / "hotrollback-postgres"
    given = Given(*prepare(told.source, folder), told.only)
    options = ("--no-all-tables",) if told.no_all_tables else ()
    kept = nullcontext(told.keep) if told.keep else tempfile.TemporaryDirectory()
    with kept as folder:
        results = Path(folder)
        results.mkdir(exist_ok=True, parents=True)
        results.chmod(0o755)
        with protected(*options) as cluster:
            run(suite, given, cluster, cluster.port, results / "direct")
        with (
            protected(*options) as cluster,
            tempfile.TemporaryDirectory() as place,
            Serving(cluster.url("regression"), Path(place)) as serving,
        ):
            run(suite, given, cluster, serving.port, results / "proxied")
            print(serving.call("show", "stats").stdout)
            print(
                psql(
                    cluster,
                    "regression",
                    "SELECT reason, count(*), min(left(statement, 200)) FROM hotrollback.gap"
                    " GROUP BY 1 ORDER BY 2 DESC",
                )
            )
            faults = [event for event in serving.events() if "fault" in event.get("event", "")]
        ran = sorted(path.stem for path in (results / "direct").glob("*.out"))
        found = {
            name: lines
            for name in ran
            if (lines := differences(name, results / "direct", results / "proxied"))
        }
    print(f"{len(ran)} tests, {len(found)} differ, {len(faults)} faults of the proxy")
    for fault in faults:
        print(fault)
    return judge(told.suite, found, complete=not given.only) or bool(faults)


if __name__ == "__main__":
    sys.exit(main())
