"""What was learnt of one database, shared by the sessions of a worker.

Everything is forgotten at once when the schema may have changed: by DDL that a session sends, by
the log's epoch (an event trigger counts DDL of anybody), or by age where there is none.
"""

from dataclasses import dataclass, field

from proxy.catalog.identity import Identity, Key
from proxy.catalog.relation import Name, Relation
from undo.image import Column


@dataclass(slots=True, eq=False)
class Known:
    """What sessions of one identity may rely on until it is forgotten."""

    version: int  # of the server, as a number
    safe_settings: bool
    epoch: int | None
    spares: bool = False  # DDL may be given to the procedure that keeps what it destroys
    relations: dict[Name, Relation | None] = field(default_factory=dict)
    columns: dict[int, tuple[Column, ...]] = field(default_factory=dict)  # by oid
    calls: dict[str, bool] = field(default_factory=dict)  # function name -> may write
    commits: dict[str, bool] = field(default_factory=dict)  # procedure name -> may commit
    complete: bool | None = None  # whatever is written is recorded by triggers; None: not asked
    returning: dict[bytes, tuple[bytes, ...] | None] = field(default_factory=dict)  # by text
    spelled: dict[bytes, bool] = field(default_factory=dict)  # text -> whether it is SQL


@dataclass(slots=True, eq=False)
class Knowledge:
    installed: bool | None = None  # None: not asked yet
    views: dict[Key, Known] = field(default_factory=dict)
    epoch: int | None = None
    generation: int = 0  # grows when everything is forgotten: who asked before must ask again
    told: dict[Key, Identity] = field(default_factory=dict)  # by sessions, in this generation

    def see(self, identity: Identity) -> None:
        """A session was asked; others that were asked under an older epoch know nothing now."""
        if identity.epoch is not None and identity.epoch != self.epoch:
            self.forget()
            self.epoch = identity.epoch
        self.told[identity.key] = identity

    def view(self, identity: Identity, version: int) -> Known:
        known = self.views.get(identity.key)
        if known is None:
            known = Known(version, identity.safe_settings, identity.epoch, identity.spares)
            self.views[identity.key] = known
        return known

    def forget(self) -> None:
        """Views are replaced, not emptied: a plan made from one knows itself to be old."""
        self.views = {}
        self.told = {}
        self.generation += 1
