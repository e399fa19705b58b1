"""How the system finds out that a peer is gone without a word: TCP keepalive, and how long what was
sent may go without an answer.

Source: tcp(7). An accepted connection has these from the socket that listens.
"""

import socket
from dataclasses import dataclass
from math import ceil
from typing import Final

from config import Settings


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """0: as the system has it."""

    idle: float = 0  # seconds
    interval: float = 0
    count: int = 0
    unanswered: float = 0

    @classmethod
    def of(cls, settings: Settings) -> "KeepAlive":
        return cls(
            settings.tcp_keepalives_idle,
            settings.tcp_keepalives_interval,
            settings.tcp_keepalives_count,
            settings.tcp_user_timeout,
        )

    def set_on(self, link: socket.socket) -> None:
        """`link`: a TCP socket, or what a transport has in its place."""
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, ceil(self.idle)),
            (socket.TCP_KEEPINTVL, ceil(self.interval)),
            (socket.TCP_KEEPCNT, self.count),
            (socket.TCP_USER_TIMEOUT, ceil(self.unanswered * 1000)),
        ):
            if value:
                link.setsockopt(socket.IPPROTO_TCP, option, value)


SYSTEMS: Final = KeepAlive()
