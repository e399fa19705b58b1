"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.capture.plan import Reason

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {
    *(".ci", ".gitignore", "LICENSE", "README.md", "pyproject.toml", "setup.py"),
    *("bench", "config", "docs", "proxy", "tests", "undo"),
}
PACKAGES = ("proxy", "undo", "config")
MOST_LINES = 400
# Words that say nothing about what a thing does.
EMPTY_WORDS = re.compile(r"(context|manager|handler|helpers?|utils?)$", re.IGNORECASE)


def files() -> list[Path]:
    """The project's files, as they would be committed; not what runs leave behind."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [Path(line) for line in listed.stdout.splitlines()]
    return [path for path in paths if (ROOT / path).exists()]


def modules() -> list[Path]:
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in PACKAGES]


def classes() -> Iterator[tuple[Path, str]]:
    for path in modules():
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ClassDef):
                yield path, node.name


def test_who_may_import_whom() -> None:
    """The contracts of pyproject.toml: layers, and no I/O in the middle."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(lint)], check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_top_level_is_small() -> None:
    """A new room at the top needs a name that everybody agrees on: it is added here."""
    assert {path.parts[0] for path in files()} <= TOP_LEVEL


def test_files_fit_a_head() -> None:
    long = {
        str(path): lines
        for path in files()
        if path.suffix in {".py", ".sql"}
        and (lines := len((ROOT / path).read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


def test_modules_say_what_they_are_for() -> None:
    silent = [
        str(path)
        for path in modules()
        if len((ast.get_docstring(ast.parse((ROOT / path).read_text())) or "").split()) < 3
    ]
    assert silent == []


def test_names_say_something() -> None:
    """Never "context", "manager", "handler", "helper" or "utils"."""
    stems = [str(path) for path in modules() if EMPTY_WORDS.search(path.stem)]
    named = [f"{path}: {name}" for path, name in classes() if EMPTY_WORDS.search(name)]
    assert stems + named == []


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_to_users(reason: Reason) -> None:
    """A gap record shows this word; docs/gaps.md says what it means and what to do."""
    assert f"| `{reason}` |" in (ROOT / "docs" / "gaps.md").read_text()


def test_gaps_page_knows_no_other_reasons() -> None:
    told = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "gaps.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(Reason)
