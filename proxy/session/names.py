"""The client's prepared statements and portals by name, and ours beside them.

The client's own statements stay as they are on the server (so that errors, descriptions and
parameter types are the server's own); a statement that is captured by rewriting has a *shadow*: our
form of it under a name of ours, to which Bind is redirected. Changes made here are as the client
sent them; the slot of the message takes them back if the server skips it.
"""

from dataclasses import dataclass, field

from proxy.capture.plan import Plan
from proxy.catalog.cache import Known
from proxy.sql.analyse import Analysis


@dataclass(slots=True, eq=False)
class Prepared:
    text: bytes
    oids: bytes
    analysis: Analysis | None = None  # made when it is first needed
    plan: Plan | None = None
    known: Known | None = None  # what the plan rests on

    @property
    def word(self) -> bytes:
        """Of the command tag."""
        return self.analysis.statements[0].kind.tag if self.analysis is not None else b""


@dataclass(slots=True, eq=False)
class Portal:
    prepared: Prepared | None
    plan: Plan


@dataclass(slots=True)
class Names:
    statements: dict[bytes, Prepared] = field(default_factory=dict)
    portals: dict[bytes, Portal] = field(default_factory=dict)
    shadows: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)  # text, oids -> name
    ours: dict[bytes, bytes] = field(default_factory=dict)  # text of our own statements -> name
    count: int = 0

    def fresh(self) -> bytes:
        """A name that was never used in this session: one that may still exist is never reused."""
        self.count += 1
        return b"hotrollback_%d" % self.count

    def forget_prepared(self) -> None:
        """DEALLOCATE ALL and DISCARD ALL reach our statements, too."""
        self.statements.clear()
        self.shadows.clear()
        self.ours.clear()
