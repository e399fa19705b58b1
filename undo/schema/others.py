"""What is no part of a relation: schemas, routines, types, extensions."""

from undo.errors import NotReversible
from undo.image import quote_ident, quote_literal
from undo.schema.component import Component, Image
from undo.schema.relations import common, made
from undo.schema.words import Statements, comment, target, word


def create_schema(one: Component) -> Statements:
    return [f"CREATE SCHEMA {target(one)}", *common(made(one), one.image)]


def rename_schema(one: Component, then: Image) -> Statements:
    if one.image["name"] == then["name"]:
        return []
    return [f"ALTER SCHEMA {target(one)} RENAME TO {quote_ident(then['name'])}"]


def drop(one: Component) -> Statements:
    return [f"DROP {word(one.kind)} {target(one)}"]


def create_routine(one: Component) -> Statements:
    return [one.image["definition"], *common(made(one), one.image)]


def replace_routine(_one: Component, then: Image) -> Statements:
    return [then["definition"]]


def rename_routine(one: Component, then: Image) -> Statements:
    now, what = one.image, word(one.kind)
    found, name = [], target(one)
    if now["schema"] != then["schema"]:
        found.append(f"ALTER {what} {name} SET SCHEMA {quote_ident(then['schema'])}")
        moved = {**now, "schema": then["schema"]}
        name = target(Component(one.id, one.relid, one.on, moved))
    if now["name"] != then["name"]:
        found.append(f"ALTER {what} {name} RENAME TO {quote_ident(then['name'])}")
    return found


def create_enum(one: Component) -> Statements:
    labels = ", ".join(quote_literal(label) for label in one.image["labels"])
    return [f"CREATE TYPE {target(one)} AS ENUM ({labels})", *common(made(one), one.image)]


def alter_enum(one: Component, then: Image) -> Statements:
    """Labels can be renamed; a new one cannot be taken away."""
    have, want = one.image["labels"], then["labels"]
    if len(have) != len(want):
        raise NotReversible(f"a value of {one.label} cannot be taken away")
    found = [
        f"ALTER TYPE {target(one)} RENAME VALUE {quote_literal(a)} TO {quote_literal(b)}"
        for a, b in zip(have, want, strict=True)
        if a != b
    ]
    return [*found, *common(one, then)]


def create_domain(one: Component) -> Statements:
    image = one.image
    collation = f" COLLATE {image['collation']}" if "collation" in image else ""
    text = f"CREATE DOMAIN {target(one)} AS {image['base']}{collation}"
    bare = Component(one.id, one.relid, one.on, {**made(one).image, "constraints": []})
    return [text, *alter_domain(bare, image)]


def alter_domain(one: Component, then: Image) -> Statements:
    now, start = one.image, f"ALTER DOMAIN {target(one)}"
    found = []
    have, want = dict(now.get("constraints") or ()), dict(then.get("constraints") or ())
    for name, definition in have.items():
        if want.get(name) != definition:
            found.append(f"{start} DROP CONSTRAINT {quote_ident(name)}")
    if now.get("default") != then.get("default"):
        given = then.get("default")
        found.append(f"{start} DROP DEFAULT" if given is None else f"{start} SET DEFAULT {given}")
    if now.get("not_null") != then.get("not_null"):
        found.append(f"{start} {'SET' if then.get('not_null') else 'DROP'} NOT NULL")
    for name, definition in want.items():
        if have.get(name) != definition:
            found.append(f"{start} ADD CONSTRAINT {quote_ident(name)} {definition}")
    return [*found, *common(one, then)]


def create_range(one: Component) -> Statements:
    given = ", ".join(f"{name} = {value}" for name, value in one.image["range"].items())
    return [f"CREATE TYPE {target(one)} AS RANGE ({given})", *common(made(one), one.image)]


def create_extension(one: Component) -> Statements:
    image = one.image
    name, schema = quote_ident(image["name"]), quote_ident(image["schema"])
    version = quote_literal(image["version"])
    return [f"CREATE EXTENSION {name} SCHEMA {schema} VERSION {version}"]


def drop_extension(one: Component) -> Statements:
    return [f"DROP EXTENSION {quote_ident(one.image['name'])}"]


def rename_extension(one: Component, then: Image) -> Statements:
    if one.image["schema"] == then["schema"]:
        return []
    name = quote_ident(one.image["name"])
    return [f"ALTER EXTENSION {name} SET SCHEMA {quote_ident(then['schema'])}"]


def alter_extension(one: Component, then: Image) -> Statements:
    name = quote_ident(one.image["name"])
    found = []
    if one.image["version"] != then["version"]:
        found.append(f"ALTER EXTENSION {name} UPDATE TO {quote_literal(then['version'])}")
    return [*found, *comment(f"EXTENSION {name}", one.image, then)]


def cannot_create(one: Component) -> Statements:
    raise NotReversible(f"{one.label} was dropped, and nothing says how it was made")


def drop_other(one: Component) -> Statements:
    """Of kinds whose images are not kept: as the server itself names it."""
    kind, identity = one.image["type"].replace("-", " ").upper(), one.image["identity"]
    if kind == "USER MAPPING":
        role, _, server = identity.rpartition(" on server ")
        return [f"DROP USER MAPPING FOR {quote_ident(role)} SERVER {server}"]
    return [f"DROP {kind} {identity}"]
