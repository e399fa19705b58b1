"""`hotrollback demo` as a user runs it, and the judge of its claim."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.demo.acts import not_undone
from proxy.demo.cluster import Cluster, ClusterError, embedded_binaries
from proxy.demo.command import program
from proxy.demo.story import Stretch, not_kept

SECONDS = 60


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A TMPDIR of its own; not below pytest's, which the server's user may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="demo-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def start(scratch: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [program(), "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )


def left_behind(scratch: Path) -> list[str]:
    """Files of a demo, and processes that were told of them."""
    commands = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(process.read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [str(f) for f in scratch.iterdir()] + [c for c in commands if str(scratch) in c]


def test_tells_its_story_and_leaves_nothing(scratch: Path) -> None:
    started = time.monotonic()
    demo = start(scratch)
    said, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 0, said
    assert "every order is still there" in " ".join(said.split())
    assert time.monotonic() - started < SECONDS
    assert left_behind(scratch) == []


@pytest.mark.parametrize("started", ["initdb", "pg_ctl", "postgres -D", " serve "])
def test_interrupted_leaves_nothing(scratch: Path, started: str) -> None:
    """As soon as this process is there: those who started it may not know of it yet."""
    demo = start(scratch)
    while not any(started in line for line in left_behind(scratch)):
        assert demo.poll() is None, demo.communicate()[0]
    demo.send_signal(signal.SIGTERM)
    said, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 128 + signal.SIGTERM, said
    assert left_behind(scratch) == []


BEFORE = {"products": {"1": "10.00"}, "reviews": {"1": "good"}, "coupons": {"A": "5"}}
DAMAGED = {"products": {"1": "0.00"}, "reviews": {}, "coupons": {"A": "5", "B": "100"}}


def test_the_claim_holds_for_what_is_as_before() -> None:
    assert not_undone(BEFORE, DAMAGED, BEFORE) == []


@pytest.mark.parametrize(
    ("table", "rows"),
    [("products", {"1": "0.01"}), ("reviews", {}), ("coupons", {"A": "5", "B": "100"})],
)
def test_the_claim_fails_for_any_row_that_is_not(table: str, rows: dict[str, str]) -> None:
    """Changed, still gone, still too many."""
    faults = not_undone(BEFORE, DAMAGED, {**BEFORE, table: rows})
    assert faults == [f"{table}: 1 rows are not what they were before"]


def test_the_claim_fails_without_damage() -> None:
    assert not_undone(BEFORE, {**DAMAGED, "reviews": BEFORE["reviews"]}, BEFORE) == [
        "reviews: nothing was damaged"
    ]


def test_the_claim_fails_for_lost_orders_and_for_silence() -> None:
    faults = not_kept((Stretch("before", 3, 3), Stretch("between", 0, 0), Stretch("since", 4, 2)))
    assert faults == [
        "no order was placed between",
        "2 orders placed since are gone or changed",
    ]


def test_missing_binaries_are_said() -> None:
    with pytest.raises(ClusterError, match="no PostgreSQL server in /nowhere"):
        Cluster(Path("/nowhere")).start()


def test_binaries_that_the_server_user_cannot_reach(tmp_path: Path) -> None:
    """As in a virtual environment below /root: they are copied, the server runs."""
    install = embedded_binaries().parent
    copy = tmp_path / install.parent.name / install.name
    shutil.copytree(install, copy, symlinks=True)
    libraries = f"{install.parent.name}.libs"
    shutil.copytree(install.parent.with_name(libraries), tmp_path / libraries)
    tmp_path.chmod(0o700)
    with Cluster(copy / "bin") as cluster:
        psql = cluster.binaries / "psql"
        shown = subprocess.run(
            [str(psql), cluster.url(), "-XAtc", "SELECT 1"], check=True, capture_output=True
        )
        assert shown.stdout == b"1\n"
        folder = cluster.folder
    assert folder is not None
    assert not folder.exists()
