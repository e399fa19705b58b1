"""Chinook, a shop's database of eleven tables: a workload over all of them through the proxy, undone to
an identical dump, redone to what it was, and undone again.

    python tests/compat/chinook.py SOURCE

The source is Chinook_PostgreSql.sql, or a git repository of github.com/lerocha/chinook-database.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from proxy.demo.cluster import Cluster, embedded_binaries
from proxy.demo.command import Serving, call

SCRIPT = "ChinookDatabase/DataSources/Chinook_PostgreSql.sql"
WORKLOAD = Path(__file__).parent / "workloads" / "chinook.sql"
TAG = "a-bad-day"
LEFT_OUT = ("--exclude-schema", "hotrollback*")


def script(source: Path) -> str:
    """What makes the tables and fills them, in the database where one is connected."""
    if source.is_file():
        text = source.read_text(encoding="utf-8")
    else:
        shown = ["git", "-C", str(source), "show", f"HEAD:{SCRIPT}"]
        text = subprocess.run(shown, check=True, capture_output=True).stdout.decode("utf-8")
    _, connected, rest = text.partition("\\c chinook;")
    return rest if connected else text


def content(binaries: Path, url: str) -> list[str]:
    """Schema and rows, sorted, since rows have no order."""
    dump = [str(binaries / "pg_dump"), "--inserts", *LEFT_OUT, "--dbname", url]
    done = subprocess.run(dump, check=True, capture_output=True, text=True)
    return sorted(line for line in done.stdout.splitlines() if not line.startswith(("\\", "--")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("source", type=Path)
    text = script(parser.parse_args().source)
    binaries = embedded_binaries()
    psql = [str(binaries / "psql"), "-qX", "-v", "ON_ERROR_STOP=1"]
    with tempfile.TemporaryDirectory() as folder, Cluster(binaries) as cluster:
        url = cluster.url("chinook")
        subprocess.run([*psql, "-c", "CREATE DATABASE chinook", cluster.url()], check=True)
        subprocess.run([*psql, url], input=text.encode(), check=True)
        call("install", "--upstream", url)
        with Serving(url, Path(folder)) as serving:
            return undone(serving, binaries, url, psql)


def undone(serving: Serving, binaries: Path, url: str, psql: list[str]) -> int:
    through = f"postgresql://postgres@127.0.0.1:{serving.port}/chinook"
    before = content(binaries, url)
    env = {"PGOPTIONS": f"-c hotrollback.tag={TAG}"}
    subprocess.run(
        [*psql, "-f", str(WORKLOAD), through], check=True, env=env, stdout=subprocess.DEVNULL
    )
    after = content(binaries, url)
    states = {"undone": before, "redone": after}
    print(f"{len(set(before) - set(after))} lines of the dump differ by the workload")
    print(serving.call("show", "gaps", "--tag", TAG).stderr, end="")
    for step, command in (
        ("undone", ("undo", "--tag", TAG, "--yes")),
        ("redone", ("redo", "last", "--yes")),
        ("undone", ("undo", "--tag", TAG, "--yes")),
    ):
        print(serving.call(*command).stdout, end="")
        if content(binaries, url) != states[step]:
            print(f"{step}, and the dump is another one", file=sys.stderr)
            return 1
        print(f"{step}: identical")
    return 0


if __name__ == "__main__":
    sys.exit(main())
