"""A few files of the suites of drivers, as the whole of them is run by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 400
SELECTION = {
    "asyncpg": ("tests/test_prepare.py", "tests/test_cursor.py"),
    "sqlalchemy": ("test/dialect/postgresql/test_on_conflict.py",),
}


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("driver", SELECTION)
def test_outcomes_are_the_same(driver: str) -> None:
    command = [sys.executable, Path(__file__).with_name("drivers.py"), driver, "--only"]
    done = subprocess.run(
        [*command, *SELECTION[driver]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " tests, " in done.stdout
