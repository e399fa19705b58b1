"""What the links of a worker share: where the server is, what clients are shown, who is told what.

Not: a link itself (relay).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from proxy.net import upstream
from proxy.net.census import Census
from proxy.net.credentials import Shown
from proxy.net.secrets import Secrets
from proxy.net.upstream import Route
from proxy.session.login import Surroundings
from proxy.session.session import Session
from proxy.session.startup import Tagger

if TYPE_CHECKING:
    from proxy.net.relay import Link

_log = structlog.get_logger()

NEEDED: Final = frozenset({"require", "verify-ca"})  # of the setting tls


@dataclass(frozen=True, slots=True)
class Door:
    """What every link of a worker needs."""

    loop: asyncio.AbstractEventLoop
    route: Callable[[], Route]
    shown: Callable[[], Shown | None]  # to clients; None: there is no TLS with them
    tls: str  # the setting
    around: Surroundings
    tag_of: Callable[[str], Tagger]  # by client address
    secrets: Secrets
    login_timeout: float  # seconds
    census: Census
    opened: Callable[["Link"], None]
    logged_in: Callable[[Session, str], None]  # with the client's address
    closed: Callable[["Link"], None]
    errands: set[asyncio.Task[None]]  # cancel requests on their way

    def send_cancel(self, packet: bytes, then: Callable[[], None] | None = None) -> None:
        """On its way whatever becomes of the client that asked for it."""

        async def deliver() -> None:
            try:
                await upstream.cancel(self.route(), self.loop, packet, self.login_timeout)
            except OSError as error:
                _log.info("cancel_failed", error=str(error) or type(error).__name__)
            if then is not None:
                then()

        task = self.loop.create_task(deliver())
        self.errands.add(task)
        task.add_done_callback(self.errands.discard)
