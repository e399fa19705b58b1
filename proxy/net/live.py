"""A session as the supervisor knows it, who loads nothing of what serves it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session as `show sessions` and `show stats` see it."""

    pid: int
    started: int  # microseconds since 1970; 0 before its first write
    user: str
    database: str
    application_name: str
    address: str
