"""Running one command of the console, and what went wrong as the fields of an ErrorResponse.

Not: messages of clients (console), what commands do (commands).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from config import ConfigError
from proxy.admin.backend import Backend
from proxy.admin.command import Asked, Permission
from proxy.admin.courtesies import BadSetting, Manners
from proxy.admin.grammar import Call, GrammarError
from proxy.admin.running import Speed
from proxy.wire.encode import fields
from undo.database import sqlstate
from undo.errors import UndoError

_log = structlog.get_logger()

# A notice with this code says how far an undo is: "STAGE DONE/TOTAL", with the rate
# behind it where there is one, or the stage alone.
PROGRESS: Final = "RB100"
_QUIET: Final = 1.0  # seconds in which no progress is told
_PACE: Final = 0.25  # between two notices


class CommandError(Exception):
    """The console itself refuses; with its SQLSTATE."""

    def __init__(self, state: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.sqlstate = state
        self.hint = hint


def error_fields(error: Exception, severity: str = "ERROR") -> bytes:
    """What a client is told. What nobody foresaw is also logged, with its traceback."""
    state, hint, position = "XX000", str(getattr(error, "hint", None) or ""), ""
    detail = str(getattr(error, "detail", None) or "")
    if isinstance(error, GrammarError):
        state, position = error.sqlstate, str(error.at + 1)
    elif isinstance(error, CommandError | UndoError):
        state = error.sqlstate
    elif isinstance(error, ConfigError):
        state = "F0000"
    elif isinstance(error, BadSetting):
        state = "22023"
    elif found := sqlstate(error):
        state = found
    elif isinstance(error, OSError):
        state, hint = "08001", "is the server behind the proxy up?"
    else:
        _log.error("console_command_failed", exc_info=error)
    told = [
        *((b"S", severity), (b"V", severity), (b"C", state), (b"M", str(error) or repr(error))),
        *((b"D", detail), (b"H", hint), (b"P", position)),
    ]
    return fields(b"E", [(code, _clean(text)) for code, text in told if text])


def notice(severity: str, text: str, state: str = "00000") -> bytes:
    told = ((b"S", severity), (b"V", severity), (b"C", state), (b"M", text))
    return fields(b"N", [(code, _clean(text)) for code, text in told])


def _clean(text: str) -> bytes:
    return text.replace("\0", "").encode()


@dataclass(slots=True)
class Progress:
    """Tells how far an undo is, once it takes long enough to be wondered about."""

    send: Callable[[bytes], None]
    begun: float
    told: float = 0.0
    speed: Speed = field(default_factory=Speed)

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        speed = self.speed.of(stage, done, total)
        if now - self.begun >= _QUIET and now - self.told >= _PACE:
            self.told = now
            how_far = f" {done}/{total}" if total else ""
            if speed and total:
                how_far += f", {speed[0]} a second, {speed[1]} s left"
            self.send(notice("INFO", stage + how_far, PROGRESS))


@dataclass(slots=True)
class Execution:
    """Runs what one session asks. `tell` sends a message at once."""

    backend: Backend
    manners: Manners
    tell: Callable[[bytes], None]
    # Whoever may open the socket may do everything: it is the proxy's own user.
    granted: frozenset[Permission] = frozenset(Permission)

    async def run(self, call: Call) -> tuple[str, Sequence[Sequence[Any]]]:
        """The tag and the rows. Raises whatever goes wrong."""
        command = call.command
        if command.permission not in self.granted:
            raise CommandError("42501", f"permission denied for {command.name}")
        if command.permission is not Permission.LOOK and self.manners.status != b"I":
            raise CommandError(
                "25001",
                f"{command.name} cannot run inside a transaction block",
                "what it does could not be rolled back: use autocommit",
            )
        asked = Asked(
            backend=self.backend,
            user=self.manners.user,
            zone=self.manners.zone,
            now=datetime.now(UTC),
            notice=lambda text: self.tell(notice("NOTICE", text)),
            warn=lambda text: self.tell(notice("WARNING", text, "01000")),
            progress=Progress(self.tell, time.monotonic()),
        )
        try:
            rows = await command.run(asked, call.values)
        except ValueError as error:  # not one of the protocol's
            _log.exception("console_command_failed", command=command.name)
            raise CommandError("XX000", f"{command.name} failed: {error}") from error
        word = "SELECT" if command.permission is Permission.LOOK else command.words[0]
        return f"{word} {len(rows)}", rows
