"""Asking the person at the terminal before something is done that is not easily taken back."""

import sys


class NobodyToAsk(Exception):
    """this has to be confirmed, and there is no terminal to ask on: say --yes to go on without"""

    def __str__(self) -> str:
        return str(self.__doc__)


def require_terminal() -> None:
    """Raises NobodyToAsk: before any work is done that an answer would be needed for."""
    if not sys.stdin.isatty():
        raise NobodyToAsk


def confirmed(question: str) -> bool:
    """Raises NobodyToAsk."""
    require_terminal()
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    sys.stderr.write("Nothing was changed.\n")
    return False
