"""Session: the steady state of one client and its server connection.

    from_client(bytes) and from_server(bytes) fill `to_server` and `to_client`;
    the caller writes both out after each call. Neither raises for a peer's faults.

What is dull is forwarded as slices of the chunk that brought it. `frontend` says what a client's
message needs, `backend` what a server's reply needs; both are tables by message type.
"""

from struct import Struct
from typing import Final

from proxy.capture.plan import How, Plan
from proxy.catalog.cache import Knowledge, Known
from proxy.catalog.capabilities import pipeline_lasts
from proxy.catalog.identity import Identity
from proxy.session import backend, effects, frontend
from proxy.session.login import WHOLE_LIMIT
from proxy.session.memory import Memory
from proxy.session.outstanding import COPY_DONE, QUERY, Copying, Sent, Slot
from proxy.wire import encode
from proxy.wire.length import SMALL_LIMIT, allowed

# Encodings with ASCII in second bytes (src/backend/utils/mb/encnames.c: client-only encodings).
UNSAFE_ENCODINGS: Final = frozenset((
    b"SJIS", b"BIG5", b"GBK", b"UHC", b"GB18030", b"JOHAB", b"SHIFT_JIS_2004",
))  # fmt: skip
# For so many generations of knowledge others may speak for a session that has done nothing by which
# they could know better. What it does unseen (a trigger that sets its search_path) counts then.
_VOUCHED: Final = 10
# A log that failed is not tried again for so many generations of knowledge.
_MISTRUST: Final = 5
_COUNTED: Final = {how: how.name.lower() for how in How}
_HEAD: Final = Struct("!BI").unpack_from  # of a message: type and length
_SYNC: Final = ord("S")
_ROW: Final = ord("D")
_IDLE: Final = ord("I")
_BLOCK: Final = ord("T")


class Session(Memory):
    __slots__ = ()

    # -- client to server ---------------------------------------------------------------------

    def from_client(self, data: bytes) -> None:
        if self.raw:
            self.to_server.append(data)
            return
        if self.refused:
            return
        if self._client_rest and not self.held:
            taken = min(self._client_rest, len(data))
            if not self._client_drop:
                self.to_server.append(data[:taken])
            self._client_rest -= taken
            data = data[taken:]
            if not self._client_rest:
                self.to_server.extend(self._client_behind)
                self._client_behind = []
        if data:
            self._from_client = self._from_client + data if self._from_client else data
            if not self.held:
                self._client_messages()

    def _client_messages(self) -> None:
        buf = self._from_client
        size = len(buf)
        pos = run = 0
        handlers, head = frontend.HANDLERS, _HEAD
        limit = self.around.statement_limit
        quick = min(limit, SMALL_LIMIT)
        while size - pos >= 5 and not self.raw:
            kind, length = head(buf, pos)
            end = pos + 1 + length
            if end > size or length < 4 or length > quick:
                if not allowed(kind, length):
                    self._leave_to_server(buf, run, pos)
                    return
                if length > limit and kind not in frontend.SHORT:
                    went = self._long_message(kind, buf, run, pos, end)
                    if went is None:
                        break
                    run = pos = went
                    if self.held:
                        break
                    continue
                if end > size:
                    break
            handler = handlers.get(kind)
            if handler is None:
                self._leave_to_server(buf, run, pos)
                return
            discards = self.discarding and kind != _SYNC
            instead = [] if discards else handler(self, buf, pos, end)
            if instead is not None:
                if run < pos:
                    self.to_server.append(buf[run:pos])
                self.to_server.extend(instead)
                if self.held:
                    run = pos
                    break
                run = pos = end
                if self.alone:
                    # What comes next waits until this has been answered.
                    self.alone = False
                    self.held = self.draining = True
                    break
                continue
            pos = end
        if self.raw:
            pos = size
        if run < pos:
            self.to_server.append(buf[run:pos] if run or pos < size else buf)
        self._from_client = buf[pos:]

    def _long_message(self, kind: int, buf: bytes, run: int, pos: int, end: int) -> int | None:
        """Forwards what there is of it and of what came before; how far. None: not enough."""
        ready = frontend.long_message(self, kind, buf, pos)
        if ready is None:
            return None
        out, replaced, behind = ready
        self.to_server.append(buf[run:pos])
        self.to_server.extend(out)
        if self.held:
            return pos
        taken = min(end, len(buf))
        self._client_drop = self.discarding
        if not self._client_drop:
            self.to_server.append(buf[pos + replaced : taken])
        self._client_rest = end - taken
        if self._client_rest:
            self._client_behind = behind
        else:
            self.to_server.extend(behind)
        return taken

    def _leave_to_server(self, buf: bytes, run: int, pos: int) -> None:
        """A message that the server refuses by its first bytes: it gets these, answers in its turn
        and closes. Nothing that follows is sent."""
        self.to_server.append(buf[run : pos + 5])
        self._from_client = b""
        self.refused = True

    def resume(self) -> None:
        """The answer that the client's messages waited for is here."""
        self.held = False
        if self._from_client:
            self._client_messages()

    def wake(self) -> None:
        """What they waited for is here, and neither side has brought it."""
        if self.woken is not None:
            self.woken()
        else:
            self.resume()

    def copy_answered(self, now: Copying) -> None:
        """The server takes data, or has refused it."""
        self.copying = now
        if now is Copying.NOT:
            self.copy_in = self.copy_slot = None
        if self.held and self.held_for == COPY_DONE:
            self.resume()

    @property
    def held_bytes(self) -> int:
        return len(self._from_client)

    # -- what the caller asks when one side is gone, or has to go -------------------------------

    @property
    def between_messages(self) -> bool:
        """Whether a message of ours may go to the client now."""
        return not self.raw and not self._server_rest

    @property
    def may_say_lost(self) -> bool:
        """Whether a client whose server is gone has not been told why."""
        return self.between_messages and not (self.fatal or self.leaving or self.refused)

    @property
    def resting(self) -> bool:
        """Between transactions, with nothing awaited."""
        waits = self.held or bool(self.outstanding.queue)
        return not self.raw and self.status == _IDLE and not waits

    # -- server to client ---------------------------------------------------------------------

    def from_server(self, data: bytes) -> None:
        if self.broken:
            return
        if self.raw:
            self.to_client.append(data)
            return
        if self._server_rest:
            taken = min(self._server_rest, len(data))
            if not self._server_drop:
                self.to_client.append(data[:taken])
            self._server_rest -= taken
            data = data[taken:]
        if data:
            self._server_messages(self._from_server + data if self._from_server else data)

    def _server_messages(self, buf: bytes) -> None:
        size = len(buf)
        pos = run = 0
        handlers, head = backend.HANDLERS, _HEAD
        while size - pos >= 5:
            kind, length = head(buf, pos)
            end = pos + 1 + length
            if length < 4:
                self._no_postgres(buf[run:pos], f"length {length}")
                return
            if end > size:
                # A long one: the rest of it goes where its beginning goes.
                swallowed = backend.swallows_long(self, buf, pos) if length > WHOLE_LIMIT else None
                if swallowed is None:
                    break
                self._server_drop = swallowed
                if swallowed:
                    self.to_client.append(buf[run:pos])
                    run = size
                elif kind == _ROW:
                    self.to_client += [buf[run:pos], backend.before_row(self.head)]
                    run = pos
                self._server_rest = end - size
                pos = size
                break
            handler = handlers.get(kind)
            if handler is not None:
                try:
                    out = handler(self, buf, pos, end)
                except ValueError as error:
                    self._no_postgres(buf[run:pos], f"message of type {kind}: {error}")
                    return
                if out is not None:
                    if run < pos:
                        self.to_client.append(buf[run:pos])
                    if out:
                        self.to_client.append(out)
                    run = end
            pos = end
        if run < pos:
            self.to_client.append(buf[run:pos] if run or pos < size else buf)
        self._from_server = buf[pos:]

    def _no_postgres(self, before: bytes, why: str) -> None:
        self.broken = why
        self._from_server = b""
        self.fatal = True
        text = f"what answers behind the proxy is no PostgreSQL: {why}"
        self.to_client += [before, encode.error("FATAL", "08P01", text)]

    # -- what both sides use ------------------------------------------------------------------

    @property
    def head(self) -> Slot | None:
        queue = self.outstanding.queue
        return queue[0] if queue else None

    @property
    def relied_on(self) -> Knowledge:
        """What is known of this database, in this transaction."""
        return self.local if self.local is not None else self.knowledge

    def known(self) -> Known | None:
        """What may be relied on now; None if the session must first be asked who it is.

        What was asked for the message that is looked at serves it, although it was forgotten
        meanwhile: to ask may take longer than knowledge lasts. And of all sessions that would be
        told the same one asks."""
        knowledge = self.relied_on
        if self.identity is None or self.identified is None:
            return None
        if self.identified != (knowledge, knowledge.generation):
            if self.identified[0] is not knowledge:
                return None
            if self.answered:
                return self.viewed
            peer = knowledge.told.get(self.identity.key) if self.vouched < _VOUCHED else None
            if peer is None or not peer.vouches_for(self.identity):
                return None
            self.identified = (knowledge, knowledge.generation)
            self.vouched += 1
        self.viewed = knowledge.view(self.identity, self.login.version)
        return self.viewed

    def identify(self, found: Identity) -> None:
        knowledge = self.relied_on
        self.identity = found
        self.knowledge.installed = knowledge.installed = found.installed
        knowledge.see(found)
        self.identified = (knowledge, knowledge.generation)
        self.vouched = 0
        self.viewed = knowledge.view(found, self.login.version)
        self.around.session_seen(self)

    @property
    def watching(self) -> bool:
        """Whether writes are looked at now: not where nothing can be recorded, nor in a failed
        transaction."""
        return self.knowledge.installed is not False and not effects.aborted(self)

    @property
    def recording(self) -> bool:
        """Whether what this session writes goes into the log now."""
        who = self.identity
        return who is not None and who.writable and not self.mistrusting and self.around.capturing()

    @property
    def in_block(self) -> bool:
        return self.status == _BLOCK

    @property
    def safe_encoding(self) -> bool:
        return self.parameters.get(b"client_encoding", b"").upper() not in UNSAFE_ENCODINGS

    @property
    def standard_strings(self) -> bool:
        return self.parameters.get(b"standard_conforming_strings") != b"off"

    def count(self, plan: Plan) -> None:
        name = _COUNTED[plan.how]
        self.around.counted[name] = self.around.counted.get(name, 0) + 1

    def send_original(self, sent: Sent, *, described: bool, behind: bytes) -> None:
        """The client's own text after ours was refused for being ours. If it succeeds, it has
        written what is not recorded. `behind`: what comes behind its answer."""
        again = Slot(QUERY, gap=sent.gap, resent_behind_description=described, behind=behind)
        self.outstanding.queue.append(again)
        self.to_server.append(sent.original)

    def simple_sent(self) -> None:
        """A simple query ends what was open of the extended protocol, unless its pipeline goes on,
        and takes the unnamed with it."""
        if not (self.executed and pipeline_lasts(self.login.version)):
            self.unsynced = self.bound = self.executed = False
        for names in (self.names.statements, self.names.portals):
            names.pop(b"", None)

    def drop_message(self) -> None:
        """The message that waits has been answered by what the server said to our question."""
        end = 1 + int.from_bytes(self._from_client[1:5], "big")
        self._client_rest = max(end - len(self._from_client), 0)
        self._client_drop = self._client_rest > 0
        self._from_client = self._from_client[end:]

    def log_failed(self) -> None:
        """The log could not be written or asked. Others ask again but find out for themselves: what
        an error says may be a client's invention."""
        self.knowledge.forget()
        self.failed = self.knowledge.generation

    @property
    def mistrusting(self) -> bool:
        return self.failed is not None and self.knowledge.generation < self.failed + _MISTRUST

    def schema_changed(self) -> None:
        """DDL was sent: what is known is forgotten now, and again when its transaction ends."""
        self.ddl = True
        self.vouched = _VOUCHED
        self.local = Knowledge(self.knowledge.installed)
        self.knowledge.forget()

    def schema_may_have_changed(self) -> None:
        """Code of a user was run: until its transaction ends this session relies on nothing that
        others know, nor they on what it learns. Where DDL is counted the count tells the rest."""
        self.vouched = _VOUCHED
        if self.relied_on.epoch is None:
            self.schema_changed()
        else:
            self.local = Knowledge(self.knowledge.installed)

    def settings_changed(self) -> None:
        self.identity = None
        self.set_in_transaction = True

    @property
    def changed(self) -> bool:
        """Whether something ends with this transaction."""
        return bool(self.local or self.set_in_transaction or self.off_noted or self.writing_cursors)

    def transaction_ended(self) -> None:
        self.off_noted = False
        self.writing_cursors.clear()
        self.local = None
        if self.ddl:
            self.ddl = False
            self.knowledge.forget()
        if self.set_in_transaction:
            self.set_in_transaction = False
            self.identity = None
