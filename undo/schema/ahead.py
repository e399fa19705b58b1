"""What later commands of a selection have done that are not taken back, since something is in the
way: which earlier ones can be judged all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from undo.schema.component import Command, Component, Id
from undo.schema.there import There


@dataclass(slots=True)
class Ahead:
    ids: set[Id] = field(default_factory=set)
    names: set[tuple[Any, ...]] = field(default_factory=set)
    renamed: bool = False  # what refers to something by its name has another definition
    moved: bool = False  # tables went or came as a whole, with all that belongs to them

    def add(self, command: Command) -> None:
        self.ids.update(one.id for one in _components(command))
        self.names.update(one.name for one in _components(command))
        self.renamed |= any(delta.differs("name", "schema") for delta in command.deltas)

    def leaves(self, command: Command, now: There) -> bool:
        """Whether all that the command was about is there as if these were taken back."""
        touched = any(one.id in self.ids or one.name in self.names for one in _components(command))
        if touched or self.renamed:
            return False
        return not self.moved or all(
            now.find(delta.now) is not None
            if delta.now
            else delta.then is None or now.named(delta.then) is None
            for delta in command.deltas
            if delta.kind != "other"
        )


def _components(command: Command) -> Iterable[Component]:
    return (*command.before.values(), *command.after.values())
