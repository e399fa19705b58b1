"""One process's part of the proxy: its listener, its links, what they share."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from config import Settings
from proxy.capture.plan import Plan, Reason
from proxy.catalog.cache import Knowledge
from proxy.net import credentials
from proxy.net.bookkeeping import Bookkeeping
from proxy.net.census import Census
from proxy.net.credentials import Shown
from proxy.net.door import Door
from proxy.net.idle import end_idle
from proxy.net.live import LiveSession
from proxy.net.relay import Link
from proxy.net.secrets import Secrets, read_list
from proxy.net.upstream import Route
from proxy.session.login import Reading, Surroundings
from proxy.session.session import Session
from proxy.session.startup import Tagger
from proxy.sql.analyse import Analysis

_log = structlog.get_logger()

# What was learnt of a catalog is asked again after this, in seconds: DDL of others is not seen.
KNOWLEDGE_AGE: Final = 1.0
# A database without the log is looked at again after so many of these.
_INSTALL_AGES: Final = 5
_LOOK: Final = 0.02  # seconds between two looks at who is idle by now
_LAST: Final = 1.0  # seconds for the last words to be read, and the last ones to be written down
_ENDS: Final = ("57P01", "terminating connection due to administrator command")


@dataclass(slots=True, eq=False)
class Worker:
    settings: Settings
    route: Route
    shown: Shown | None  # to clients
    books: Bookkeeping
    secrets: Secrets
    capturing: bool
    census: Census
    links: set[Link] = field(default_factory=set)
    counted: dict[str, int] = field(default_factory=dict)
    _knowledge: dict[str, Knowledge] = field(default_factory=dict)
    _addresses: dict[Session, str] = field(default_factory=dict)  # of clients
    _started: dict[Session, int] = field(default_factory=dict)
    _logins: int = 0
    _warned: set[str] = field(default_factory=set)
    _errands: set[asyncio.Task[None]] = field(default_factory=set)  # cancel requests on their way
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    # One thread: the interpreter lets the loop have its turn, and others must not be slowed more.
    _reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "read"))

    async def start(self, listener: socket.socket, local: socket.socket | None = None) -> None:
        """`local`: a Unix socket, which other workers may listen on, too."""
        loop = asyncio.get_running_loop()
        around = Surroundings(
            knowledge=self._knowledge_of,
            capturing=lambda: self.capturing,
            statement_seen=self.books.statement,
            session_seen=self._session_seen,
            gap_unrecorded=self._gap_unrecorded,
            counted=self.counted,
            reject=self.settings.on_gap == "reject",
            fail=self.settings.on_log_error == "fail",
            prepare=self.settings.prepare,
            statement_limit=self.settings.statement_limit,
            read_elsewhere=self._read_elsewhere,
        )
        door = Door(
            loop=loop,
            errands=self._errands,
            route=lambda: self.route,
            shown=lambda: self.shown,
            tls=self.settings.tls,
            around=around,
            tag_of=self._tagger,
            secrets=self.secrets,
            login_timeout=self.settings.login_timeout,
            census=self.census,
            opened=self.links.add,
            logged_in=self._logged_in,
            closed=self._closed,
        )
        self.books.left = self._left
        server = await loop.create_server(lambda: Link(door), sock=listener, backlog=1024)
        self._servers.append(server)
        if local is not None:
            # There is no TLS on it, as PostgreSQL has it, and it is nobody's to listen to.
            plain = replace(door, shown=lambda: None, tls="off")
            server = await loop.create_unix_server(lambda: Link(plain), sock=local, backlog=1024)
            self._servers.append(server)
        self._tasks = [loop.create_task(self.books.run()), loop.create_task(self._grow_old())]
        if self.settings.client_idle_timeout:
            idle = end_idle(self.links, self.settings.client_idle_timeout)
            self._tasks.append(loop.create_task(idle))

    def _read_elsewhere(self, reading: Reading, done: Callable[[Analysis], None]) -> None:
        reader = asyncio.get_running_loop().run_in_executor(self._reader, reading)
        reader.add_done_callback(lambda over: None if over.cancelled() else done(over.result()))

    def _tagger(self, address: str) -> Tagger:
        rules = self.settings.tags

        def tag_of(role: str, database: str, application: str) -> str | None:
            return rules.tag_of(
                role=role, database=database, application=application, address=address
            )

        return tag_of

    def _knowledge_of(self, database: str) -> Knowledge:
        knowledge = self._knowledge.get(database)
        if knowledge is None:
            knowledge = self._knowledge[database] = Knowledge()
        return knowledge

    def _session_seen(self, session: Session) -> None:
        identity = session.identity
        if identity is None:
            return
        database = session.login.database
        if not identity.installed:
            if database not in self._warned:
                self._warned.add(database)
                _log.warning(
                    "log_not_installed",
                    database=database,
                    hint="nothing is recorded; run: hotrollback install --upstream URL",
                )
            return
        if session not in self._started and not identity.in_recovery:
            self._started[session] = identity.started
            self.books.began(session, self._addresses.get(session, ""))

    def _gap_unrecorded(self, session: Session, plan: Plan) -> None:
        relid = plan.relation.oid if plan.relation is not None else None
        self.books.gap(session, plan.fingerprint, relid, (plan.reason or Reason.FUNCTION).value)

    def _logged_in(self, session: Session, address: str) -> None:
        self._logins += 1
        self._addresses[session] = address
        if session.login.replication:
            _log.warning(
                "replication_session",
                client=address,
                role=session.login.user,
                database=session.login.database,
                hint="it passes unread: what it writes by SQL is not recorded",
            )

    def _closed(self, link: Link) -> None:
        self.links.discard(link)
        session = link.session
        if session is not None:
            self._addresses.pop(session, None)
            started = self._started.pop(session, None)
            if started is not None:
                self.books.ended(session, started)

    async def _grow_old(self) -> None:
        turns = 0
        while True:
            await asyncio.sleep(KNOWLEDGE_AGE)
            turns += 1
            for knowledge in self._knowledge.values():
                knowledge.forget()
                if turns % _INSTALL_AGES == 0 and knowledge.installed is False:
                    knowledge.installed = None

    def set_capture(self, *, on: bool) -> None:
        """At once, for open sessions and prepared statements, too."""
        self.capturing = on

    def reload(self) -> None:
        """The files that settings name, for connections from now on. Raises ConfigError, and
        nothing has changed then."""
        settings = self.settings
        with credentials.named():
            shown = credentials.for_clients(settings)
            side = credentials.for_server(self.route.to)
        listed = read_list(settings.auth_file)
        self.shown, self.route = shown, replace(self.route, side=side)
        self.secrets.configure(settings.auth_query, listed)

    def forget(self) -> None:
        """The log was installed or taken out, or tables got triggers: ask again."""
        for database in self._knowledge:
            self._left(database)

    def _left(self, database: str) -> None:
        """Whether this database has the log is asked again, by its open sessions, too."""
        knowledge = self._knowledge_of(database)
        knowledge.forget()
        knowledge.installed = None
        for session in self._addresses:
            if session.login.database == database:
                session.identity = None

    def sessions(self) -> list[LiveSession]:
        return [
            LiveSession(
                link.session.login.pid,
                self._started.get(link.session, 0),
                link.session.login.user,
                link.session.login.database,
                link.session.login.application_name,
                link.address,
            )
            for link in self.links
            if link.session is not None
        ]

    def stats(self) -> dict[str, int]:
        return {"connections": len(self.links), "logins": self._logins, **self.counted}

    async def stop(self, grace: float, hurry: Callable[[], bool]) -> None:
        """No new clients; idle ones are told at once, busy ones after `grace` seconds."""
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self.links and loop.time() < deadline and not hurry():
            for link in list(self.links):
                if link.idle:
                    link.end(*_ENDS)
            await asyncio.sleep(_LOOK)
        for link in list(self.links):
            link.end(*_ENDS)
        last = loop.time() + _LAST
        while (self.links or self._errands) and loop.time() < last:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        for link in list(self.links):
            link.cut()
        for task in self._tasks:
            task.cancel()
        patience = _LAST if hurry() else max(_LAST, deadline - loop.time())
        self._reader.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(self.books.close(patience), self.secrets.close())
