"""Ends sessions that say nothing for too long, as the server's own idle_session_timeout does: not
in a transaction, nor while an answer is awaited.

They are looked at now and then, so that a message costs nothing but a mark.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from proxy.net.relay import Link

_log = structlog.get_logger()

_LOOKS: Final = 8  # in the time that is allowed: it may last longer by one of them
_MOST: Final = 10.0  # seconds between two


async def end_idle(links: Iterable[Link], patience: float) -> None:
    """Until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(patience / _LOOKS, _MOST))
        now = loop.time()
        for link in list(links):
            if link.session is None or link.stirred or not link.idle:
                link.stirred = False
                link.idle_since = now
            elif now - link.idle_since >= patience:
                _log.info("client_idle_timeout", client=link.address)
                link.end("57P05", "terminating connection due to idle-session timeout")
