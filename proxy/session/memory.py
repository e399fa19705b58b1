"""What a session remembers of its two sides, and starts with. Not: what any of it means for a
message (session, frontend, backend).

There are thousands of them, mostly idle: it is kept in slots, and what most have in common once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.capture.plan import Plan
from proxy.catalog.cache import Knowledge, Known
from proxy.catalog.identity import Identity
from proxy.session.login import Login, Surroundings
from proxy.session.names import Names
from proxy.session.outstanding import Copying, Outstanding, Slot
from proxy.sql.analyse import Analysis


@dataclass(slots=True, eq=False)
class Memory:
    login: Login
    around: Surroundings
    to_server: list[bytes] = field(default_factory=list)
    to_client: list[bytes] = field(default_factory=list)
    fatal: bool = False  # the server has said its last word
    broken: str = ""  # what it said that no PostgreSQL says; nothing is heard after it
    leaving: bool = False  # the client has said its last
    refused: bool = False  # a client's message breaks the protocol: the server will end it
    outstanding: Outstanding = field(default_factory=Outstanding)
    names: Names = field(default_factory=Names)
    parameters: dict[bytes, bytes] = field(init=False)  # as the server told them last
    knowledge: Knowledge = field(init=False)
    local: Knowledge | None = None  # after DDL of this transaction
    identity: Identity | None = None
    identified: tuple[Knowledge, int] | None = None  # and the generation it belongs to
    vouched: int = 0  # how often another one has been asked in its stead since
    viewed: Known | None = None  # what was relied on last
    answered: bool = False  # what waits is looked at again, with the answer to our question
    failed: int | None = None  # the generation in which the log could not be written
    status: int = ord("I")  # of the last ReadyForQuery
    unsynced: bool = False  # messages of the extended protocol since the last Sync
    skipping: bool = False  # the server discards everything until the client's next Sync
    bound: bool = False  # a Bind or Execute among them: the server holds a portal
    executed: bool = False  # an Execute among them
    held: bool = False  # the client's messages wait for an answer of ours
    held_for: int = 0  # type byte of the message that waits
    woken: Callable[[], None] | None = None  # resumes it, and sends what it has then
    alone: bool = False  # nothing is to follow the message that is sent until it is answered
    draining: bool = False  # they wait for everything outstanding to be answered
    discarding: bool = False  # the client's messages up to Sync are answered by an error of ours
    ddl: bool = False  # this transaction changed the schema
    set_in_transaction: bool = False  # it changed settings that matter
    off_noted: bool = False  # its gap says that capture was off
    copying: Copying = Copying.NOT
    copy_slot: Slot | None = None  # of its Execute
    copy_in: Plan | None = None  # COPY FROM that is checked when its data has come
    let_through: bool = False  # the message that waits: no fence keeps it back
    # Declared with a query that may write.
    writing_cursors: set[str | None] = field(default_factory=set)
    raw: bool = field(init=False)
    read: tuple[tuple[bytes, bool], Analysis] | None = None  # the last long text, elsewhere
    _from_client: bytes = b""
    _client_rest: int = 0  # bytes of a long message still to come
    _client_drop: bool = False  # they are not forwarded
    _client_behind: list[bytes] = field(default_factory=list)  # goes out behind them
    _from_server: bytes = b""
    _server_rest: int = 0
    _server_drop: bool = False  # the rest of the long message is not forwarded

    def __post_init__(self) -> None:
        self.login = self.around.settled(self.login)
        self.parameters = self.login.parameters  # shared: replaced, never changed
        self.knowledge = self.around.knowledge(self.login.database)
        self.raw = self.login.replication
