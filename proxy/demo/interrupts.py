"""Ending early: SIGTERM as Ctrl-C, and neither of them where what was started is not yet known."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def terminated() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that what it started goes with it."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def held() -> Iterator[None]:
    """Signals that would end the demo wait until this is left.

    They are not blocked: the processes that are started in here would inherit that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python raises nothing in here for a signal
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda which, _frame: came.append(which)) for number in ENDING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for which in came:
            signal.raise_signal(which)
