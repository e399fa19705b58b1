"""Pieces of DDL that many kinds share: names, owners, comments, privileges, options."""

from collections.abc import Iterable
from typing import Any, Final

from undo.image import quote_ident, quote_literal
from undo.schema.component import Component, Image

# What a kind is called in DDL, where that is not its own word.
_WORDS: Final = {
    "composite type": "TYPE",
    "enum": "TYPE",
    "range": "TYPE",
    "base type": "TYPE",
}
# And in GRANT.
_GRANTED: Final = {
    "view": "TABLE",
    "materialized view": "TABLE",
    "foreign table": "TABLE",
    "composite type": "TYPE",
    "enum": "TYPE",
    "domain": "TYPE",
    "range": "TYPE",
    "base type": "TYPE",
    "aggregate": "FUNCTION",
}
Statements = list[str]


def word(kind: str) -> str:
    return _WORDS.get(kind, kind.upper())


def qualified(image: Image) -> str:
    return f"{quote_ident(image['schema'])}.{quote_ident(image['name'])}"


def target(one: Component) -> str:
    """What it is called in ALTER, DROP and COMMENT."""
    image = one.image
    if "arguments" in image:
        arguments = image["arguments"] or ("*" if one.kind == "aggregate" else "")
        return f"{qualified(image)}({arguments})"
    return qualified(image) if "schema" in image else quote_ident(image["name"])


def definition(image: Image) -> str:
    """As it can stand in a statement: a view's and a rule's are printed with a semicolon."""
    return str(image["definition"]).rstrip().rstrip(";")


def owner(one: Component, then: Image) -> Statements:
    if one.image.get("owner") == then.get("owner"):
        return []
    return [f"ALTER {word(one.kind)} {target(one)} OWNER TO {quote_ident(then['owner'])}"]


def comment(what: str, now: Image, then: Image) -> Statements:
    """`what`: the kind's word and the name."""
    if now.get("comment") == then.get("comment"):
        return []
    text = then.get("comment")
    return [f"COMMENT ON {what} IS {'NULL' if text is None else quote_literal(text)}"]


Entry = tuple[str, str | None, str, bool]


def entries(acl: Iterable[Any] | None) -> set[Entry]:
    return {
        (grantor, grantee, right, bool(option)) for grantor, grantee, right, option in acl or ()
    }


def privileges(one: Component, then: Image, column: str = "") -> Statements:
    """GRANT and REVOKE. An owner's privileges go with the ownership, which is set before."""
    was, now = one.image.get("owner", ""), then.get("owner", "")

    def moved(name: str | None) -> str | None:
        return now if was and name == was else name

    have = {
        (moved(grantor) or "", moved(grantee), right, option)
        for grantor, grantee, right, option in entries(one.image.get("acl"))
    }
    want = entries(then.get("acl"))
    on = one.on if column else target(one)
    kind = "TABLE" if column else _GRANTED.get(one.kind, one.kind.upper())
    whose = one.owner if column else now
    column = f" ({column})" if column else ""
    found: Statements = []
    for grantor, grantee, right, option in reversed(_in_turn(have - want)):
        only = "GRANT OPTION FOR " if option and (grantor, grantee, right, False) in want else ""
        found += _as(
            grantor, whose, f"REVOKE {only}{right}{column} ON {kind} {on} FROM {_role(grantee)}"
        )
    for grantor, grantee, right, option in _in_turn(want - have):
        if not option and (grantor, grantee, right, True) in have:
            continue  # the option was revoked, the privilege is left
        more = " WITH GRANT OPTION" if option else ""
        found += _as(
            grantor, whose, f"GRANT {right}{column} ON {kind} {on} TO {_role(grantee)}{more}"
        )
    return found


def _in_turn(given: set[Entry]) -> list[Entry]:
    """Each after the one that it rests on. Grants cannot go in a circle."""
    found: list[Entry] = []
    rest = sorted(given, key=str)
    while rest:
        waiting = {(to, right) for _, to, right, option in rest if option}
        ready = [entry for entry in rest if (entry[0], entry[2]) not in waiting]
        found += ready or rest
        rest = [entry for entry in rest if entry not in found]
    return found


def _role(name: str | None) -> str:
    return "PUBLIC" if name is None else quote_ident(name)


def _as(grantor: str, owner: str, statement: str) -> Statements:
    """Who granted is a part of what was granted; a superuser's grants are the owner's."""
    if not owner or grantor == owner:
        return [statement]
    return [f"SET LOCAL ROLE {quote_ident(grantor)}", statement, "RESET ROLE"]


def run_as(role: str | None, statements: Statements) -> Statements:
    """What may call a user's function, for a default or a check: not with the operator's rights."""
    if role is None or not statements:
        return statements
    return [f"SET LOCAL ROLE {quote_ident(role)}", *statements, "RESET ROLE"]


def options(start: str, now: Any, then: Any, prefix: str = "") -> Statements:
    """Storage parameters: lists of name=value. `start`: up to SET or RESET."""
    have, want = _pairs(now), _pairs(then)
    gone = sorted(have.keys() - want.keys())
    new = {name: value for name, value in want.items() if have.get(name) != value}
    found = []
    if gone:
        found.append(f"{start} RESET ({', '.join(prefix + name for name in gone)})")
    if new:
        given = ", ".join(f"{prefix}{name} = {quote_literal(value)}" for name, value in new.items())
        found.append(f"{start} SET ({given})")
    return found


def with_options(values: Any, toast: Any = None) -> str:
    given = [f"{name} = {quote_literal(value)}" for name, value in _pairs(values).items()]
    given += [f"toast.{name} = {quote_literal(value)}" for name, value in _pairs(toast).items()]
    return f" WITH ({', '.join(given)})" if given else ""


def _pairs(values: Any) -> dict[str, str]:
    return dict(value.split("=", 1) for value in values or ())


def sequence(image: Image, *, restart: bool = True) -> str:
    """The options of a sequence."""
    given = image
    cycle = "CYCLE" if given["cycle"] else "NO CYCLE"
    start = f" START {given['start']}" if restart else ""
    return (
        f"INCREMENT {given['increment']} MINVALUE {given['minimum']} MAXVALUE {given['maximum']}"
        f"{start} CACHE {given['cache']} {cycle}"
    )
