"""Components and commands, as the log has them. Values only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Image = Mapping[str, Any]


class Id(NamedTuple):
    """Where it is in the catalog."""

    classid: int
    objid: int
    objsubid: int


@dataclass(frozen=True, slots=True)
class Component:
    id: Id
    relid: int  # the relation that it belongs to, or 0
    on: str  # that relation's name, quoted where it must be
    image: Image
    kept: str | None = None  # the table that holds a column's values
    owner: str = ""  # of the relation, if that is known

    @property
    def kind(self) -> str:
        return str(self.image["kind"])

    @property
    def whole(self) -> bool:
        """Whether it is a relation, not a part of one."""
        return self.id.objid == self.relid and self.id.objsubid == 0

    @property
    def label(self) -> str:
        """As people are told of it."""
        image = self.image
        if self.kind == "other":
            return f"{image['type']} {image['identity']}"
        name = str(image["name"])
        if "schema" in image:
            return f"{image.get('said', self.kind)} {image['schema']}.{name}"
        return f"{self.kind} {self.on}.{name}" if self.relid else f"{self.kind} {name}"

    @property
    def name(self) -> tuple[Any, ...]:
        """Tells it from all others that are there at the same time."""
        image = self.image
        return (
            self.relid if image["kind"] in PARTS else 0,
            _CLASSES.get(image["kind"], image["kind"]),
            image.get("schema") if image["kind"] not in PARTS else None,
            image.get("name", image.get("identity")),
            image.get("arguments"),
        )


# Named within their relation. An index has a schema of its own, but goes with its relation's.
PARTS = frozenset({"column", "attribute", "view column", "constraint", "trigger", "rule", "policy"})
# Kinds that share their names.
_CLASSES = {
    **dict.fromkeys(
        (
            "table",
            "view",
            "materialized view",
            "sequence",
            "foreign table",
            "composite type",
            "index",
        ),
        "relation",
    ),
    **dict.fromkeys(("function", "procedure", "aggregate"), "routine"),
    **dict.fromkeys(("enum", "domain", "range", "base type"), "type"),
}


@dataclass(frozen=True, slots=True)
class Delta:
    """What is to happen to one component: from `now` to `then`."""

    now: Component | None
    then: Component | None

    @property
    def any(self) -> Component:
        if self.then is None and self.now is None:
            raise ValueError("nothing happens to nothing")
        return self.then or self.now  # type: ignore[return-value]

    @property
    def kind(self) -> str:
        return self.any.kind

    def differs(self, *fields: str) -> bool:
        """Whether it stays, and one of these of its image does not."""
        now, then = self.now, self.then
        if now is None or then is None:
            return False
        return any(now.image.get(field) != then.image.get(field) for field in fields)


@dataclass(frozen=True, slots=True)
class Command:
    """One DDL statement of the log."""

    xid: int
    lsn: str  # as the server prints it
    tag: str  # its command tag
    before: Mapping[Id, Component]
    after: Mapping[Id, Component]

    @property
    def deltas(self) -> tuple[Delta, ...]:
        """Of its inverse."""
        ids = {**self.before, **self.after}
        return tuple(Delta(self.after.get(i), self.before.get(i)) for i in ids)


def read(text: str) -> dict[Id, Component]:
    """From a record's image."""
    found = {}
    for each in json.loads(text)["components"]:
        *place, relid = each["id"]
        one = Component(Id(*place), relid, each.get("on") or "", each["image"], each.get("kept"))
        found[one.id] = one
    return found
