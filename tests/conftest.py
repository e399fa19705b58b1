import os
import signal
import sys

import pytest
from turns import by_turns

from proxy.compiled import COMPILED

pytest_plugins = ["fix_commands", "fix_postgres", "fix_proxy", "fix_session", "fix_log", "fix_undo"]

# Hundreds of processes of ours are started: none has to compile the program again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell that runs us in the background has it ignored, and with it whatever we start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"hotrollback: {'compiled' if COMPILED else 'pure Python'}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole", action="store_true", help="every case on every server, not by turns"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--whole"):
        return
    turning = [item for item in items if not item.get_closest_marker("each_server")]
    kept = by_turns([item.nodeid for item in turning])
    left_out = {item for item in turning if item.nodeid not in kept}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
