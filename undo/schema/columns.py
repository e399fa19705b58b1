"""Columns, and the attributes of composite types. Values are put back by keep.py."""

import re
from dataclasses import replace
from typing import Final

from undo.image import quote_ident
from undo.schema.component import Component, Image
from undo.schema.relations import foreign_options
from undo.schema.words import Statements, comment, options, privileges, sequence, target

_STORED: Final = {"s": "STORED", "v": "VIRTUAL"}
_IDENTITY: Final = {"a": "ALWAYS", "d": "BY DEFAULT"}


def _name(one: Component) -> str:
    return quote_ident(one.image["name"])


def rename(one: Component, then: Image) -> Statements:
    found = []
    have, want = one.image.get("identity"), then.get("identity")
    if have and want and have["name"] != want["name"]:
        name = target(_sequence_of(one, have["name"]))
        found.append(f"ALTER SEQUENCE {name} RENAME TO {quote_ident(want['name'])}")
    if one.image["name"] != then["name"]:
        name = quote_ident(then["name"])
        found.append(f"ALTER TABLE {one.on} RENAME COLUMN {_name(one)} TO {name}")
    return found


_SCHEMA: Final = re.compile(r'(?:"((?:[^"]|"")*)"|([^".]+))\.')


def _sequence_of(one: Component, name: str) -> Component:
    """Of an identity column: in the schema of its table."""
    image = {"kind": "sequence", "name": name, "owner": one.owner}
    schema = _SCHEMA.match(one.on)
    if schema is not None:
        image["schema"] = schema[2] or schema[1].replace('""', '"')
    return replace(one, image=image)


def _sequence_said(one: Component, have: Image, want: Image) -> Statements:
    """Grants and a comment. The table's owner is the sequence's, and not named in its image."""
    its = _sequence_of(one, want["name"])

    def owned(image: Image) -> Image:
        given = [[grantor or one.owner, *rest] for grantor, *rest in image.get("acl", ())]
        return {**its.image, "acl": given}

    found = privileges(replace(its, image=owned(have)), owned(want))
    return [*found, *comment(f"SEQUENCE {target(its)}", have, want)]


def rename_attribute(one: Component, then: Image) -> Statements:
    if one.image["name"] == then["name"]:
        return []
    return [f"ALTER TYPE {one.on} RENAME ATTRIBUTE {_name(one)} TO {quote_ident(then['name'])}"]


def typed(image: Image) -> str:
    collation = f" COLLATE {image['collation']}" if "collation" in image else ""
    return f"{image['type']}{collation}"


def create(one: Component) -> Statements:
    """Rows that are there get the default; NOT NULL waits for the values that were kept."""
    image, on = one.image, one.on
    more = ""
    if "generated" in image:
        how, expression = image["generated"]
        more = f" GENERATED ALWAYS AS ({expression}) {_STORED[how]}"
    elif "identity" in image:
        more = f" {_identity(one, image)}"
    elif "default" in image:
        more = f" DEFAULT {image['default']}"
    found = [f"ALTER TABLE {on} ADD COLUMN {_name(one)} {typed(image)}{more}"]
    bare = {"kind": "column", "name": image["name"]}
    if "identity" in image:
        found += _sequence_said(one, {}, image["identity"])
    return [*found, *_said(replace(one, image=bare), image)]


def not_null(one: Component) -> Statements:
    return [f"ALTER TABLE {one.on} ALTER COLUMN {_name(one)} SET NOT NULL"]


def create_attribute(one: Component) -> Statements:
    return [
        f"ALTER TYPE {one.on} ADD ATTRIBUTE {_name(one)} {typed(one.image)}",
        *comment(f"COLUMN {one.on}.{_name(one)}", {}, one.image),
    ]


def _identity(one: Component, image: Image) -> str:
    """The sequence has its name of before, even if the table or the column had another then."""
    given = image["identity"]
    name = target(_sequence_of(one, given["name"]))
    options_ = f"SEQUENCE NAME {name} {sequence(given['sequence'])}"
    return f"GENERATED {_IDENTITY[given['when']]} AS IDENTITY ({options_})"


def drop(one: Component) -> Statements:
    return [f"ALTER TABLE {one.on} DROP COLUMN {_name(one)}"]


def drop_attribute(one: Component) -> Statements:
    return [f"ALTER TYPE {one.on} DROP ATTRIBUTE {_name(one)}"]


def say(one: Component) -> Statements:
    """Of a view's column there is nothing to be made, but what is said of it."""
    bare = {"kind": one.kind, "name": one.image["name"]}
    return alter(Component(one.id, one.relid, one.on, bare), one.image)


def unsay(one: Component) -> Statements:
    return alter(one, {"kind": one.kind, "name": one.image["name"]})


def never(_one: Component, _then: Image) -> Statements:
    """It is named by the view's definition."""
    return []


def alter_attribute(one: Component, then: Image) -> Statements:
    now, name = one.image, _name(one)
    found = comment(f"COLUMN {one.on}.{name}", now, then)
    if (now["type"], now.get("collation")) != (then["type"], then.get("collation")):
        found.append(f"ALTER TYPE {one.on} ALTER ATTRIBUTE {name} TYPE {typed(then)}")
    return found


def alter(one: Component, then: Image) -> Statements:
    """All but the type."""
    now = one.image
    start = f"ALTER TABLE {one.on} ALTER COLUMN {_name(one)}"
    found = []
    if now.get("generated") != then.get("generated") and "generated" in now:
        if "generated" in then:
            found.append(f"{start} SET EXPRESSION AS ({then['generated'][1]})")
        else:
            found.append(f"{start} DROP EXPRESSION")
    if now.get("default") != then.get("default"):
        given = then.get("default")
        found.append(f"{start} DROP DEFAULT" if given is None else f"{start} SET DEFAULT {given}")
    if now.get("not_null") != then.get("not_null"):
        found.append(f"{start} {'SET' if then.get('not_null') else 'DROP'} NOT NULL")
    found += _identities(one, start, then)
    return [*found, *_said(one, then)]


def _identities(one: Component, start: str, then: Image) -> Statements:
    have, want = one.image.get("identity"), then.get("identity")
    if have == want:
        return []
    if want is None:
        return [f"{start} DROP IDENTITY"]
    if have is None:
        return [f"{start} ADD {_identity(one, then)}", *_sequence_said(one, {}, want)]
    kind = want["sequence"]["type"]
    found = []
    if have["sequence"]["type"] != kind:
        found.append(f"ALTER SEQUENCE {target(_sequence_of(one, have['name']))} AS {kind}")
    changes = [f"SET GENERATED {_IDENTITY[want['when']]}"]
    changes += [f"SET {words}" for words in _settings(want["sequence"])]
    found.append(f"{start} {' '.join(changes)}")
    return [*found, *_sequence_said(one, have, want)]


def _settings(given: Image) -> list[str]:
    return [
        f"INCREMENT {given['increment']}",
        f"MINVALUE {given['minimum']}",
        f"MAXVALUE {given['maximum']}",
        f"START {given['start']}",
        f"CACHE {given['cache']}",
        "CYCLE" if given["cycle"] else "NO CYCLE",
    ]


def _said(one: Component, then: Image) -> Statements:
    """Storage and the like, privileges, comment."""
    now, start = one.image, f"ALTER TABLE {one.on} ALTER COLUMN {_name(one)}"
    found = []
    if "storage" in then and now.get("storage") != then["storage"]:
        found.append(f"{start} SET STORAGE {then['storage']}")
    if now.get("compression") != then.get("compression"):
        found.append(f"{start} SET COMPRESSION {then.get('compression', 'default')}")
    if now.get("statistics") != then.get("statistics"):
        found.append(f"{start} SET STATISTICS {then.get('statistics', -1)}")
    found += options(start, now.get("options"), then.get("options"))
    found += foreign_options(start, now.get("server_options"), then.get("server_options"))
    found += privileges(one, then, _name(one))
    return [*found, *comment(f"COLUMN {one.on}.{_name(one)}", now, then)]
