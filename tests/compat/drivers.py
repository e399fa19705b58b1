"""The test suites of drivers, direct and through the proxy with capture on: the same outcomes.

    python tests/compat/drivers.py asyncpg|psycopg|sqlalchemy [--source PATH] [--only FILE ...]

The source is a directory or an archive of it, or a git repository (a URL or a path of a bare one);
without one the package index is asked for the source of the very version that is installed here.
Each side has a server of its own, with our log in every database, also in those that the suite
makes. Tests that differ run again to tell the unsteady ones. Differences that no proxy can avoid
are in accepted/; any other one, and an accepted one that is gone, fails the run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg
from accepted import judge, read

from proxy.demo.cluster import Cluster, embedded_binaries
from proxy.demo.command import Serving, call

FOLDER = Path(tempfile.gettempdir()) / "hotrollback-drivers"
SETTINGS = {
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "wal_level": "logical",
    "shared_buffers": "128MB",
}
SIDES = ("direct", "proxied")
AGAIN = 3
# What the index's tool asks a source for its name with, even where it only has to fetch it.
BUILD = ("setuptools>=77", "wheel", "cython")
TEST_SECONDS = 60
RUN_SECONDS = 3600
# Of the source tree or of servers of its own: nothing that goes through a proxy.
ELSEWHERE = "not sourcecode and not Standby"


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    package: str
    needs: tuple[str, ...]
    kept: tuple[str, ...]  # of the source: the driver itself comes from the index
    paths: tuple[str, ...]
    options: tuple[str, ...]


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "asyncpg",
            "asyncpg",
            ("asyncpg=={asyncpg}", "uvloop", "distro"),
            ("tests",),
            ("tests",),
            ("--import-mode=importlib", "-k", ELSEWHERE),
        ),
        Suite(
            "psycopg",
            "psycopg",
            ("psycopg[binary]=={psycopg}", "psycopg-pool", "anyio", "pproxy", "dnspython"),
            ("tests", "pyproject.toml"),
            ("tests",),
            ("-m", "not slow and not mypy and not timing and not refcount"),
        ),
        Suite(
            "sqlalchemy",
            "SQLAlchemy",
            ("SQLAlchemy", "asyncpg=={asyncpg}", "psycopg[binary]=={psycopg}", "greenlet"),
            ("test", "pyproject.toml", "setup.cfg", "lib", "tools"),
            ("test/dialect/postgresql", "test/dialect/test_suite.py"),
            ("-p", "no:logging"),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    place: Path
    host: str
    port: int


def python(suite: Suite) -> Path:
    """Of a virtual environment with the driver and what its tests need."""
    folder = FOLDER / f"venv-{suite.name}"
    program = folder / "bin" / "python"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    versions = {name: version(name) for name in ("asyncpg", "psycopg")}
    needs = [need.format(**versions) for need in suite.needs]
    pip = [program, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "pytest", "pytest-timeout", *BUILD, *needs], check=True)
    return program


def downloaded(suite: Suite, program: Path) -> Path:
    done = subprocess.run(
        [program, "-c", f"from importlib.metadata import version; print(version({suite.package!r}))"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    place = FOLDER / "sources" / suite.name
    pip = [program, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps"]
    wanted = done.stdout.strip()
    found = place / f"{suite.package.lower()}-{wanted}.tar.gz"
    if not found.exists():
        command = [*pip, "--no-build-isolation", "-d", place, f"{suite.package}=={wanted}"]
        subprocess.run(command, check=True)
    return found


def is_bare(source: str) -> bool:
    return (Path(source) / "HEAD").exists() and (Path(source) / "objects").exists()


def unpack(suite: Suite, source: str, place: Path) -> None:
    """The parts of the source that the tests need, in `place`."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "source"
        if is_bare(source) or not Path(source).exists():
            subprocess.run(["git", "clone", "-q", source, root], check=True)
        elif Path(source).is_dir():
            root = Path(source)
        else:
            with tarfile.open(source) as tar:
                tar.extractall(root, filter="data")
            root = next(path for path in root.iterdir() if path.is_dir())
        place.mkdir(parents=True)
        for name in suite.kept:
            if (root / name).is_dir():
                shutil.copytree(root / name, place / name)
            elif (root / name).exists():
                shutil.copy(root / name, place / name)


@contextmanager
def server() -> Iterator[Cluster]:
    """With our log in every database there is and will be."""
    with Cluster(embedded_binaries(), SETTINGS) as cluster:
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            for name in ("suite", "test"):
                connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        for name in ("suite", "test", "postgres", "template1"):
            call("install", "--upstream", cluster.url(name))
        with psycopg.connect(cluster.url("test"), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2")
            connection.execute("CREATE EXTENSION hstore; CREATE EXTENSION citext")
        yield cluster


def run(suite: Suite, program: Path, side: Side, files: list[str], number: int) -> dict[str, str]:
    """The outcome of each test, by its name."""
    report = side.place.with_name(f"{side.name}-{number}.xml")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "HOTROLLBACK_", "PYTHONPATH", "PYTEST"))
    }
    environment |= {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": side.host, "PGPORT": str(side.port), "PGUSER": "postgres", "PGDATABASE": "suite",
        "PSYCOPG_TEST_DSN": f"host={side.host} port={side.port} user=postgres dbname=suite",
    }  # fmt: skip
    options = [*suite.options, "-o", "addopts=", "-o", "junit_family=xunit1"]
    if suite.name == "sqlalchemy":
        url = f"postgresql+psycopg://postgres@{side.host}:{side.port}/test"
        options += ["--dburi", url]
    with report.with_suffix(".log").open("wb") as log:
        subprocess.run(
            [program, "-W", "ignore", "-m", "pytest", "-q", f"--timeout={TEST_SECONDS}",
             f"--junitxml={report}", "--tb=short", *options, *files],
            cwd=side.place, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            check=False, timeout=RUN_SECONDS,
        )  # fmt: skip
    if not report.exists():
        text = report.with_suffix(".log").read_text(errors="replace")
        raise SystemExit(f"the suite did not end on its own:\n{text[-3000:]}")
    return dict(outcomes(report))


def outcomes(report: Path) -> Iterator[tuple[str, str]]:
    for test in ET.parse(report).iter("testcase"):
        file = test.get("file", "")
        module = file.removesuffix(".py").replace("/", ".")
        inside = test.get("classname", "").removeprefix(module).lstrip(".").replace(".", "::")
        found = [part.tag for part in test if part.tag in {"failure", "error", "skipped"}]
        yield "::".join(p for p in (file, inside, test.get("name")) if p), (found or ["passed"])[0]


def compare(
    suite: Suite, program: Path, sides: list[Side], files: list[str], *, whole: bool
) -> int:
    """Prints what is not accepted; the exit status."""

    def both(files: list[str], number: int) -> list[dict[str, str]]:
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(run, suite, program, side, files, number) for side in sides]
            return [each.result() for each in runs]

    first = both(files, 0)
    names = sorted(set(first[0]) | set(first[1]))
    if not names:
        print("not one test was run: does this source have them? Give another by --source")
        return 2
    seen = {name: [{each.get(name, "absent")} for each in first] for name in names}
    differing = [name for name in names if seen[name][0] != seen[name][1]]
    print(f"{len(names)} tests, {len(differing)} differ at first", flush=True)
    unsteady = set()
    known = read(suite.name)
    for number in range(1, AGAIN + 1):
        open_ones = [n for n in differing if n not in known and n not in unsteady]
        if not open_ones:
            break
        again = both(sorted({name.split("::")[0] for name in open_ones}), number)
        for name in open_ones:
            for sets, each in zip(seen[name], again, strict=True):
                sets.add(each.get(name, "absent"))
            if seen[name][0] & seen[name][1]:
                unsteady.add(name)
    found = {
        name: " -> ".join("/".join(sorted(kinds)) for kinds in seen[name])
        for name in differing
        if name not in unsteady
    }
    for name in sorted(unsteady):
        print("unsteady", name, seen[name])
    return judge(suite.name, {name: [what] for name, what in found.items()}, complete=whole)


def signs(serving: Serving, logs: list[Path]) -> int:
    """Prints the signs of us that no client may see, and faults."""
    faults = [event for event in serving.events() if "fault" in event.get("event", "")]
    for fault in faults:
        print(fault)
    told = {
        line
        for log in logs
        for line in log.read_text(errors="replace").splitlines()
        if line.startswith("E ") and "Error: " in line and "hotrollback" in line
    }
    for line in sorted(told):
        print("an error names us:", line)
    return int(bool(faults or told))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--source", help="a directory, an archive or a git repository")
    parser.add_argument("--only", nargs="+", help="these files of the suite")
    parser.add_argument("--keep", type=Path, help="where to keep the reports")
    given = parser.parse_args()
    suite = SUITES[given.suite]
    program = python(suite)
    source = given.source or str(downloaded(suite, program))
    results = given.keep or Path(tempfile.mkdtemp(prefix="hotrollback-drivers-"))
    results.mkdir(parents=True, exist_ok=True)
    for name in SIDES:
        shutil.rmtree(results / name, ignore_errors=True)
        unpack(suite, source, results / name)
    with server() as direct, server() as behind, Serving(behind.url(), results) as serving:
        sides = [
            Side("direct", results / "direct", direct.host, direct.port),
            Side("proxied", results / "proxied", "127.0.0.1", serving.port),
        ]
        status = compare(
            suite, program, sides, given.only or list(suite.paths), whole=not given.only
        )
        return status | signs(serving, sorted(results.glob("proxied-*.log")))


if __name__ == "__main__":
    sys.exit(main())
