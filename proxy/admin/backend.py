"""What the console's commands need of the proxy around them. The supervisor satisfies it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from config import Settings
from proxy.admin.running import Running


class Session(Protocol):
    """A session that is open now."""

    @property
    def pid(self) -> int: ...
    @property
    def started(self) -> int: ...  # microseconds since 1970; 0 before its first write
    @property
    def user(self) -> str: ...
    @property
    def database(self) -> str: ...
    @property
    def application_name(self) -> str: ...
    @property
    def address(self) -> str: ...


class Backend(Protocol):
    @property
    def running(self) -> list[Running]: ...
    def database(self, name: str | None) -> AbstractAsyncContextManager[Any]:
        """The operator's own connection, an undo.database.Database; None: the upstream's."""

    async def sessions(self) -> Sequence[Session]: ...
    async def stats(self) -> dict[str, int]: ...
    def settings(self) -> Settings: ...
    def capturing(self) -> bool: ...
    async def set_capture(self, *, on: bool) -> None: ...
    async def reload(self) -> None:
        """Raises ConfigError."""

    async def shutdown(self) -> None: ...
