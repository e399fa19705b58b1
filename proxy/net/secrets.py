"""Where the secrets of roles are found: in a list, or by a query of the operator's role. One
connection a worker, which only this query uses, and one query at a time: a storm of logins queues
here and nowhere else. Nothing is remembered beyond the login that asked.

Not: what is done with a secret (proxy.auth).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog

from config import ConfigError
from proxy.auth import scram, secret, users
from proxy.auth.dialogue import Derivation
from proxy.auth.secret import Lack, Password, Secret, Verifier
from proxy.auth.users import Users
from proxy.net import operator

_log = structlog.get_logger()

_PATIENCE: Final = 5.0  # seconds that a login waits for its secret
_RETRY: Final = 1.0  # before a server that did not answer is asked again
# An idle connection is in the way of DROP DATABASE, which waits five seconds for others to go.
_LINGER: Final = 2.0
_LIST_LIMIT: Final = 1 << 26  # bytes
# What a server may let us calculate: half a second, out of the way of everything else.
ITERATION_LIMIT: Final = 1_000_000

_GRANT: Final = (
    "let the operator's role read pg_authid, or name a SECURITY DEFINER function in auth_query, or"
    " list the roles in auth_file; until then only clients that do not bind can log in"
)
_NOT_LISTED: Final = "add the role to auth_file, or let auth_query ask for it"

Connecting = Callable[[], Awaitable[asyncpg.Connection]]


def read_list(path: Path | None) -> Users:
    """Raises ConfigError, which names the file and the line, and nothing of what is in it."""
    if path is None:
        return Users()
    try:
        if path.stat().st_size > _LIST_LIMIT:
            raise ConfigError(f"auth_file {path}: larger than {_LIST_LIMIT >> 20} MB")
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"auth_file {path}: {error.strerror or error}") from error
    try:
        return users.read(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"auth_file {path}: line {line} is not UTF-8 text") from None
    except users.BadList as error:
        raise ConfigError(f"auth_file {path}: {error}") from error


def warn_of_readers(path: Path | None) -> None:
    if path is not None and path.stat().st_mode & 0o007:
        _log.warning("auth_file_exposed", file=str(path), hint="everybody may read it: chmod o=")


class Secrets:
    def __init__(self, connecting: Connecting, query: str | None, listed: Users) -> None:
        self._connecting = connecting
        self._query = query
        self._listed = listed
        self._connection: asyncpg.Connection | None = None
        self._waiting: dict[str, asyncio.Future[Secret]] = {}
        self._came = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._said: set[str] = set()  # what was warned of
        # One at a time, and not where names of hosts are looked up.
        self._thread = ThreadPoolExecutor(1, "derive")

    def configure(self, query: str | None, listed: Users) -> None:
        """For logins from now on."""
        self._query, self._listed = query, listed
        self._said.clear()

    async def of(self, role: str) -> Secret:
        listed = self._listed.secret(role)
        if listed is not Lack.UNKNOWN:
            return listed
        if "\ufffd" in role:  # it is not UTF-8, as names of a role may be
            return Lack.UNKNOWN
        if self._query is None:
            return self._unknown("the role is not in auth_file", _NOT_LISTED, role=role)
        return await self._ask(role)

    async def keys(self, wanted: Derivation) -> scram.Keys | None:
        """Where the server says another salt than the secret that was found has: the password was
        changed in this moment, or long ago, or has expired."""
        found = wanted.secret
        if isinstance(found, Password):
            return await self._derive(found, wanted)
        if self._query is not None:
            found = await self._ask(wanted.role)
            if isinstance(found, Verifier) and found.fits(wanted.salt, wanted.iterations):
                return found.keys
        _log.info(
            "secret_outdated",
            role=wanted.role,
            hint="its password has expired, or what auth_file has of it is not what the server has",
        )
        return None

    async def _derive(self, password: Password, wanted: Derivation) -> scram.Keys | None:
        if wanted.iterations > ITERATION_LIMIT:
            _log.warning("too_many_iterations", role=wanted.role, iterations=wanted.iterations)
            return None
        loop = asyncio.get_running_loop()
        given = (password.raw, wanted.salt, wanted.iterations)
        return await loop.run_in_executor(self._thread, scram.derive, *given)

    def _unknown(self, reason: str, hint: str, **about: Any) -> Lack:
        if reason not in self._said:
            self._said.add(reason)
            _log.warning("no_secret", reason=reason, hint=hint, **about)
        return Lack.UNKNOWN

    # -- the query -----------------------------------------------------------------------------

    async def _ask(self, role: str) -> Secret:
        """Whoever waits for the same role waits for the same answer; a client that goes away
        disturbs nobody else's."""
        if time.monotonic() < self._not_before:
            return Lack.UNKNOWN
        answer = self._waiting.get(role)
        if answer is None:
            answer = self._waiting[role] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer())
        self._came.set()
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(answer)
        except TimeoutError:
            return self._unknown("auth_query takes too long", "look at the server's load")

    async def _answer(self) -> None:
        """Until nothing was asked for a while."""
        while True:
            while self._waiting:
                role = next(iter(self._waiting))
                answer = self._waiting.pop(role)
                answer.set_result(await self._look_up(role))
            self._came.clear()
            try:
                async with asyncio.timeout(_LINGER):
                    await self._came.wait()
            except TimeoutError:
                await self._drop()
                if not self._waiting:
                    return

    async def _look_up(self, role: str) -> Secret:
        query = self._query
        if query is None:  # since it was asked for
            return Lack.UNKNOWN
        try:
            connection = await self._connected()
            rows = await connection.fetch(query, role, timeout=_PATIENCE)
            found = _secret_of(rows)
        except asyncpg.InsufficientPrivilegeError as error:
            return self._unknown(f"auth_query: {error}", _GRANT)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            if self._connection is None or self._connection.is_closed():
                self._give_up()
            reason = f"auth_query: {str(error) or type(error).__name__}"
            return self._unknown(reason, "it is asked as the operator's role of upstream")
        self._said.clear()
        return found

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            self._connection = await self._connecting()
        return self._connection

    def _give_up(self) -> None:
        """Nobody waits for a server that does not answer the operator."""
        self._not_before = time.monotonic() + _RETRY
        for answer in self._waiting.values():
            answer.set_result(Lack.UNKNOWN)
        self._waiting.clear()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await operator.close(connection)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        await self._drop()
        self._thread.shutdown(wait=False)


def _secret_of(rows: list[asyncpg.Record]) -> Secret:
    """Raises ValueError for an answer that is none."""
    if not rows:
        return Lack.NONE
    if len(rows) > 1 or len(rows[0]) != 2 or not isinstance(rows[0][1], str | None):
        raise ValueError("it has to give one row of two columns, name and verifier")
    return secret.read(rows[0][1])
