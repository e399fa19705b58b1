"""The client's prepared statements and portals by name, and ours beside them.

The client's own statements stay as they are on the server (so that errors, descriptions and
parameter types are the server's own); a statement that is captured by rewriting has a *shadow*: our
form of it under a name of ours, to which Bind is redirected. Changes made here are as the client
sent them; the slot of the message takes them back if the server skips it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.capture.plan import Plan
from proxy.catalog.cache import Known
from proxy.sql.analyse import Analysis

if TYPE_CHECKING:
    from proxy.session.repeated import Repeated

# Shadows that a session keeps on the server. Clients that write values into the texts of unnamed
# statements would fill it with them.
SHADOWS: Final = 200


@dataclass(slots=True, eq=False)
class Prepared:
    text: bytes
    oids: bytes
    standard_strings: bool = True  # how the server read it
    too_long: bool = False  # its text was forwarded without being kept
    analysis: Analysis | None = None  # made when it is first needed
    plan: Plan | None = None
    known: Known | None = None  # what the plan rests on
    # The plan that our form was made by, that form, and its way back.
    formed: tuple[Plan, bytes, Callable[[int], int | None]] | None = None

    @property
    def word(self) -> bytes:
        """Of the command tag."""
        return self.analysis.statements[0].tag if self.analysis is not None else b""


@dataclass(slots=True, eq=False)
class Portal:
    prepared: Prepared | None
    plan: Plan
    back: Callable[[int], int | None] | None = None  # of the shadow that it runs


class Shadow(NamedTuple):
    name: bytes
    back: Callable[[int], int | None]  # position in our text -> in the client's


@dataclass(slots=True)
class Names:
    statements: dict[bytes, Prepared] = field(default_factory=dict)
    portals: dict[bytes, Portal] = field(default_factory=dict)
    # By our text and its oids; the one that was used least recently comes first.
    shadows: dict[tuple[bytes, bytes], Shadow] = field(default_factory=dict)
    ours: dict[bytes, bytes] = field(default_factory=dict)  # text of our own statements -> name
    # Simple queries by their text without values, and the types of these: how often, at first.
    repeated: dict[tuple[bytes, tuple[int, ...]], "Repeated | int"] = field(default_factory=dict)
    forgotten: list[bytes] = field(default_factory=list)  # names of ours that may still be there
    count: int = 0

    def fresh(self) -> bytes:
        """A name that was never used in this session: one that may still exist is never reused."""
        self.count += 1
        return b"hotrollback_%d" % self.count

    def shadow(self, key: tuple[bytes, bytes]) -> Shadow | None:
        found = self.shadows.pop(key, None)
        if found is not None:
            self.shadows[key] = found
        return found

    def make_room(self) -> None:
        """For one more shadow."""
        if len(self.shadows) >= SHADOWS:
            self.forgotten.append(self.shadows.pop(next(iter(self.shadows))).name)

    def forget_prepared(self) -> None:
        """DEALLOCATE ALL and DISCARD ALL reach our statements, too, unless they fail."""
        self.statements.clear()
        self.forget_ours()

    def forget_ours(self) -> None:
        self.forgotten.extend(shadow.name for shadow in self.shadows.values())
        self.forgotten.extend(self.ours.values())
        self.shadows.clear()
        self.ours.clear()
