"""Relations: tables, views, sequences, composite types. A table is never made here, since its rows
cannot be: it is moved to the bin and back.
"""

from undo.errors import NotReversible
from undo.image import quote_ident, quote_literal
from undo.schema.component import Component, Image
from undo.schema.words import (
    Statements,
    comment,
    definition,
    options,
    owner,
    privileges,
    qualified,
    sequence,
    target,
    with_options,
    word,
)


def rename(one: Component, then: Image) -> Statements:
    found = []
    what = word(one.kind)
    name, now = target(one), one.image
    if now.get("schema") != then.get("schema"):
        found.append(f"ALTER {what} {name} SET SCHEMA {quote_ident(then['schema'])}")
        name = qualified({**now, "schema": then["schema"]})
    if now["name"] != then["name"]:
        found.append(f"ALTER {what} {name} RENAME TO {quote_ident(then['name'])}")
        name = qualified(then)
    # A view's columns: what rests on them stays then, as nothing is made anew.
    for is_, was in zip(now.get("named", ()), then.get("named", ()), strict=False):
        if is_ != was:
            found.append(
                f"ALTER {what} {name} RENAME COLUMN {quote_ident(is_)} TO {quote_ident(was)}"
            )
    return found


def drop(one: Component) -> Statements:
    return [f"DROP {word(one.kind)} {target(one)}"]


def common(one: Component, then: Image) -> Statements:
    """Owner, privileges, comment."""
    return [
        *owner(one, then),
        *privileges(one, then),
        *comment(f"{word(one.kind)} {target(one)}", one.image, then),
    ]


def made(one: Component) -> Component:
    """What a new component is before anything is said of it: its owner is whoever makes it."""
    image = one.image
    bare = {name: image[name] for name in ("kind", "schema", "name", "arguments") if name in image}
    return Component(one.id, one.relid, one.on, bare)


def create_table(one: Component) -> Statements:
    raise NotReversible(f"{one.label} was dropped, and its rows with it")


def alter_table(one: Component, then: Image) -> Statements:
    now, name = one.image, target(one)
    start = f"ALTER {word(one.kind)} {name}"
    found = [*_parents(one, then), *common(one, then)]
    found += options(start, now.get("options"), then.get("options"))
    found += options(start, now.get("toast"), then.get("toast"), "toast.")
    if now.get("persistence") != then.get("persistence"):
        found.append(f"{start} SET {'LOGGED' if then['persistence'] == 'p' else 'UNLOGGED'}")
    for field, words in (
        ("row_security", ("ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY")),
        ("force_row_security", ("FORCE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY")),
    ):
        if now.get(field) != then.get(field):
            found.append(f"{start} {words[0 if then.get(field) else 1]}")
    if now.get("of") != then.get("of"):
        found.append(f"{start} OF {then['of']}" if then.get("of") else f"{start} NOT OF")
    if now.get("method") != then.get("method"):
        found.append(f"{start} SET ACCESS METHOD {quote_ident(then['method'])}")
    if now.get("tablespace") != then.get("tablespace"):
        found.append(f"{start} SET TABLESPACE {quote_ident(then.get('tablespace', 'pg_default'))}")
    found += options(start, now.get("server_options"), then.get("server_options"))
    return found


def last_of_table(one: Component, then: Image) -> Statements:
    """What names an index of the table, which has to be there."""
    now, start = one.image, f"ALTER {word(one.kind)} {target(one)}"
    found = []
    if now.get("replica_identity") != then.get("replica_identity"):
        found.append(f"{start} REPLICA IDENTITY {then.get('replica_identity', 'DEFAULT')}")
    if now.get("clustered") != then.get("clustered"):
        index = then.get("clustered")
        found.append(
            f"{start} CLUSTER ON {quote_ident(index)}" if index else f"{start} SET WITHOUT CLUSTER"
        )
    if one.kind == "sequence" and now.get("owned_by") != then.get("owned_by"):
        found.append(f"{start} OWNED BY {then.get('owned_by', 'NONE')}")
    return found


def _parents(one: Component, then: Image) -> Statements:
    now, name = one.image, target(one)
    have, want = now.get("parents", []), then.get("parents", [])
    if have == want and now.get("bound") == then.get("bound"):
        return []
    found = []
    if "bound" in now:
        found.append(f"ALTER TABLE {have[0]} DETACH PARTITION {name}")
    else:
        found += [f"ALTER TABLE {name} NO INHERIT {p}" for p in have if p not in want]
    if "bound" in then:
        found.append(f"ALTER TABLE {want[0]} ATTACH PARTITION {name} {then['bound']}")
    else:
        found += [
            f"ALTER TABLE {name} INHERIT {p}" for p in want if "bound" in now or p not in have
        ]
    return found


def create_view(one: Component) -> Statements:
    image = one.image
    made_ = f"CREATE VIEW {target(one)}{with_options(image.get('options'))} AS {definition(image)}"
    return [made_, *common(made(one), image)]


def replace_view(one: Component, then: Image) -> Statements:
    given = with_options(then.get("options"))
    return [f"CREATE OR REPLACE VIEW {target(one)}{given} AS {definition(then)}"]


def alter_view(one: Component, then: Image) -> Statements:
    start = f"ALTER VIEW {target(one)}"
    found = options(start, one.image.get("options"), then.get("options"))
    return [*found, *common(one, then)]


def create_materialized(one: Component) -> Statements:
    image = one.image
    method = f" USING {quote_ident(image['method'])}" if "method" in image else ""
    space = f" TABLESPACE {quote_ident(image['tablespace'])}" if "tablespace" in image else ""
    made_ = (
        f"CREATE MATERIALIZED VIEW {target(one)}{method}{with_options(image.get('options'))}{space}"
        f" AS {definition(image)} WITH NO DATA"
    )
    # It is filled in its owner's name.
    filled = [f"REFRESH MATERIALIZED VIEW {target(one)}"] if image["populated"] else []
    return [made_, *common(made(one), image), *filled]


def alter_materialized(one: Component, then: Image) -> Statements:
    """That it was filled, or emptied, is no change of the schema."""
    found = [*common(one, then)]
    start = f"ALTER MATERIALIZED VIEW {target(one)}"
    found += options(start, one.image.get("options"), then.get("options"))
    return found


def create_sequence(one: Component) -> Statements:
    image = one.image
    unlogged = "UNLOGGED " if image.get("persistence") == "u" else ""
    kind = image["sequence"]["type"]
    found = [
        f"CREATE {unlogged}SEQUENCE {target(one)} AS {kind} {sequence(image['sequence'])}",
        *common(made(one), image),
    ]
    if one.kept is not None:
        last, called = one.kept.split()
        name = quote_literal(target(one))
        found.append(f"SELECT pg_catalog.setval({name}, {int(last)}, {called == 'true'})")
    return found


def alter_sequence(one: Component, then: Image) -> Statements:
    found = [*common(one, then)]
    if one.image["sequence"] != then["sequence"]:
        kind = then["sequence"]["type"]
        found.append(f"ALTER SEQUENCE {target(one)} AS {kind} {sequence(then['sequence'])}")
    return found


def create_composite(one: Component) -> Statements:
    return [f"CREATE TYPE {target(one)} AS ()", *common(made(one), one.image)]


def create_foreign(one: Component) -> Statements:
    image = one.image
    found = [
        f"CREATE FOREIGN TABLE {target(one)} () SERVER {quote_ident(image['server'])}",
    ]
    found += foreign_options(
        f"ALTER FOREIGN TABLE {target(one)}", None, image.get("server_options")
    )
    return [*found, *common(made(one), image)]


def alter_foreign(one: Component, then: Image) -> Statements:
    start = f"ALTER FOREIGN TABLE {target(one)}"
    return [
        *common(one, then),
        *foreign_options(start, one.image.get("server_options"), then.get("server_options")),
    ]


def foreign_options(start: str, now: list[str] | None, then: list[str] | None) -> Statements:
    have = dict(value.split("=", 1) for value in now or ())
    want = dict(value.split("=", 1) for value in then or ())
    given = [f"DROP {quote_ident(name)}" for name in sorted(have.keys() - want.keys())]
    given += [
        f"{'SET' if name in have else 'ADD'} {quote_ident(name)} {quote_literal(value)}"
        for name, value in want.items()
        if have.get(name) != value
    ]
    return [f"{start} OPTIONS ({', '.join(given)})"] if given else []
