"""What a session starts with: who logged in, and what it shares with the others of its worker."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from proxy.capture.plan import Plan
from proxy.catalog.cache import Knowledge
from proxy.sql.analyse import Analysis

if TYPE_CHECKING:
    from proxy.session.session import Session

# Longer messages are forwarded as they come, without being held whole.
WHOLE_LIMIT: Final = 1 << 20
_USUAL: Final = 100  # sets of parameters; few differ

Reading = Callable[[], Analysis]


@dataclass(slots=True, eq=False)
class Surroundings:
    """What sessions of one worker share and tell; nothing of it waits."""

    knowledge: Callable[[str], Knowledge]  # by database
    capturing: Callable[[], bool]  # CAPTURE ON
    statement_seen: Callable[[str, int, bytes], None]  # database, fingerprint, text
    session_seen: Callable[["Session"], None]  # its identity is known: it is about to write
    gap_unrecorded: Callable[["Session", Plan], None]  # a gap that no transaction can hold
    counted: dict[str, int]
    reject: bool = False  # on_gap = reject
    fail: bool = False  # on_log_error = fail
    prepare: bool = True  # a simple query that comes again is prepared
    statement_limit: int = WHOLE_LIMIT  # longer messages are forwarded without being held whole
    # Does what takes long out of the way of all sessions, and tells what came of it.
    read_elsewhere: Callable[[Reading, Callable[[Analysis], None]], None] | None = None
    _usual: dict[tuple[tuple[bytes, bytes], ...], dict[bytes, bytes]] = field(default_factory=dict)

    def settled(self, login: "Login") -> "Login":
        """The same; parameters that other sessions have, too, are kept once."""
        if len(self._usual) > _USUAL:
            self._usual.clear()
        told = login.parameters
        return replace(login, parameters=self._usual.setdefault(tuple(told.items()), told))


@dataclass(frozen=True, slots=True)
class Login:
    """What startup learnt."""

    user: str
    database: str
    application_name: str
    pid: int
    version: int  # of the server, as a number
    parameters: dict[bytes, bytes]  # ParameterStatus
    replication: bool
