"""What is attached to a relation: constraints, indexes, triggers, rules, policies, statistics. What
has another definition is made anew.
"""

from typing import Final

from undo.image import quote_ident
from undo.schema.component import Component, Image
from undo.schema.words import Statements, comment, definition, qualified

_ENABLED: Final = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_COMMANDS: Final = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}


def _name(image: Image) -> str:
    return quote_ident(image["name"])


def _on(one: Component) -> str:
    return f"{one.kind.upper()} {_name(one.image)} ON {one.on}"


def rename_constraint(one: Component, then: Image) -> Statements:
    if one.image["name"] == then["name"]:
        return []
    return [f"ALTER TABLE {one.on} RENAME CONSTRAINT {_name(one.image)} TO {_name(then)}"]


def create_constraint(one: Component) -> Statements:
    image = one.image
    return [
        f"ALTER TABLE {one.on} ADD CONSTRAINT {_name(image)} {image['definition']}",
        *comment(_on(one), {}, image),
    ]


def drop_constraint(one: Component) -> Statements:
    return [f"ALTER TABLE {one.on} DROP CONSTRAINT {_name(one.image)}"]


def alter_on(one: Component, then: Image) -> Statements:
    return comment(_on(one), one.image, then)


def rename_index(one: Component, then: Image) -> Statements:
    if one.image["name"] == then["name"]:
        return []
    return [f"ALTER INDEX {qualified(one.image)} RENAME TO {_name(then)}"]


def create_index(one: Component) -> Statements:
    """ONLY is how a partitioned table's is printed; those of its partitions belong to it."""
    image = one.image
    found = [image["definition"].replace(" ON ONLY ", " ON ", 1)]
    bare = Component(one.id, one.relid, one.on, {**image, "comment": None, "statistics": None})
    return [*found, *alter_index(bare, image)]


def drop_index(one: Component) -> Statements:
    return [f"DROP INDEX {qualified(one.image)}"]


def alter_index(one: Component, then: Image) -> Statements:
    now, name = one.image, qualified(one.image)
    have, want = now.get("statistics") or {}, then.get("statistics") or {}
    found = [
        f"ALTER INDEX {name} ALTER COLUMN {int(column)} SET STATISTICS {want.get(column, -1)}"
        for column in sorted({*have, *want})
        if have.get(column) != want.get(column)
    ]
    if now.get("tablespace") != then.get("tablespace"):
        space = quote_ident(then.get("tablespace", "pg_default"))
        found.append(f"ALTER INDEX {name} SET TABLESPACE {space}")
    return [*found, *comment(f"INDEX {name}", now, then)]


def rename_trigger(one: Component, then: Image) -> Statements:
    if one.image["name"] == then["name"]:
        return []
    return [f"ALTER {_on(one)} RENAME TO {_name(then)}"]


def create_trigger(one: Component) -> Statements:
    return [one.image["definition"], *_rest(one)]


def create_rule(one: Component) -> Statements:
    return [definition(one.image), *_rest(one)]


def _rest(one: Component) -> Statements:
    bare = Component(one.id, one.relid, one.on, {**one.image, "enabled": "O", "comment": None})
    return alter_firing(bare, one.image)


def alter_firing(one: Component, then: Image) -> Statements:
    found = []
    if one.image["enabled"] != then["enabled"]:
        found.append(
            f"ALTER TABLE {one.on} {_ENABLED[then['enabled']]} {one.kind.upper()} {_name(then)}"
        )
    return [*found, *comment(_on(one), one.image, then)]


def drop_on(one: Component) -> Statements:
    return [f"DROP {_on(one)}"]


def create_policy(one: Component) -> Statements:
    image = one.image
    roles = ", ".join("PUBLIC" if r is None else quote_ident(r) for r in image["roles"])
    text = (
        f"CREATE POLICY {_name(image)} ON {one.on}"
        f" AS {'PERMISSIVE' if image['permissive'] else 'RESTRICTIVE'}"
        f" FOR {_COMMANDS[image['command']]} TO {roles}"
    )
    if "using" in image:
        text += f" USING ({image['using']})"
    if "check" in image:
        text += f" WITH CHECK ({image['check']})"
    return [text, *comment(_on(one), {}, image)]


def rename_statistics(one: Component, then: Image) -> Statements:
    found, now = [], one.image
    name = qualified(now)
    if now["schema"] != then["schema"]:
        found.append(f"ALTER STATISTICS {name} SET SCHEMA {quote_ident(then['schema'])}")
        name = qualified({**now, "schema": then["schema"]})
    if now["name"] != then["name"]:
        found.append(f"ALTER STATISTICS {name} RENAME TO {_name(then)}")
    return found


def create_statistics(one: Component) -> Statements:
    bare = Component(
        one.id, one.relid, one.on, {**one.image, "comment": None, "target": None, "owner": None}
    )
    return [one.image["definition"], *alter_statistics(bare, one.image)]


def drop_statistics(one: Component) -> Statements:
    return [f"DROP STATISTICS {qualified(one.image)}"]


def alter_statistics(one: Component, then: Image) -> Statements:
    now, name = one.image, qualified(one.image)
    found = []
    if now.get("owner") != then.get("owner"):
        found.append(f"ALTER STATISTICS {name} OWNER TO {quote_ident(then['owner'])}")
    if now.get("target") != then.get("target"):
        found.append(f"ALTER STATISTICS {name} SET STATISTICS {then.get('target', -1)}")
    return [*found, *comment(f"STATISTICS {name}", now, then)]
