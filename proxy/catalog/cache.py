"""What was learnt of one database, shared by the sessions of a worker.

Everything is forgotten at once when the schema may have changed: by DDL that a session sends, by
the log's epoch (an event trigger counts DDL of anybody), or by age where there is none.
"""

from dataclasses import dataclass, field

from proxy.catalog.identity import Identity
from proxy.catalog.relation import Name, Relation
from undo.image import Column


@dataclass(slots=True, eq=False)
class Known:
    """What sessions of one identity may rely on until it is forgotten."""

    version: int  # of the server, as a number
    safe_settings: bool
    epoch: int | None
    relations: dict[Name, Relation | None] = field(default_factory=dict)
    columns: dict[int, tuple[Column, ...]] = field(default_factory=dict)  # by oid
    calls: dict[str, bool] = field(default_factory=dict)  # function name -> may write
    returning: dict[bytes, tuple[bytes, ...] | None] = field(default_factory=dict)  # by text


@dataclass(slots=True, eq=False)
class Knowledge:
    installed: bool | None = None  # None: not asked yet
    views: dict[tuple[int, str, bool], Known] = field(default_factory=dict)
    epoch: int | None = None

    def view(self, identity: Identity, version: int) -> Known:
        if identity.epoch != self.epoch:
            self.forget()
            self.epoch = identity.epoch
        known = self.views.get(identity.key)
        if known is None:
            known = Known(version, identity.safe_settings, identity.epoch)
            self.views[identity.key] = known
        return known

    def forget(self) -> None:
        """Views are replaced, not emptied: a plan made from one knows itself to be old."""
        self.views = {}
