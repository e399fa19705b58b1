"""Rules that tag sessions by application, role, database or address. The first that fits wins.

[[tags]]
tag = "reports"
role = "report_job"
address = "10.2.0.0/16"
"""

from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

Network = IPv4Network | IPv6Network

CONDITIONS: Final = ("application", "role", "database", "address")


class BadRule(Exception):
    """A rule that cannot be meant; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is None fits everything; all that is given has to fit."""

    tag: str
    application: str | None = None
    role: str | None = None
    database: str | None = None
    address: Network | None = None

    def fits(self, *, role: str, database: str, application: str, address: str) -> bool:
        return (
            self.role in (None, role)
            and self.database in (None, database)
            and self.application in (None, application)
            and (self.address is None or _inside(address, self.address))
        )

    def __str__(self) -> str:
        given = (f.name for f in fields(self) if f.name != "tag")
        conditions = [f"{n} = {getattr(self, n)}" for n in given if getattr(self, n) is not None]
        return f"{self.tag}: {', '.join(conditions)}"


@dataclass(frozen=True, slots=True)
class TagRules:
    rules: tuple[Rule, ...] = ()

    def tag_of(self, *, role: str, database: str, application: str, address: str) -> str | None:
        """`address` is the client's, without its port; of a Unix socket it is empty."""
        for rule in self.rules:
            if rule.fits(role=role, database=database, application=application, address=address):
                return rule.tag
        return None

    def __str__(self) -> str:
        return "; ".join(str(rule) for rule in self.rules)

    @classmethod
    def read(cls, value: Any) -> "TagRules":
        """From what TOML gave. Raises BadRule."""
        if not isinstance(value, list) or not all(isinstance(rule, dict) for rule in value):
            raise BadRule("tags is a list of tables: write each rule below a line [[tags]]")
        return cls(tuple(_rule(rule, number) for number, rule in enumerate(value, 1)))


def _inside(address: str, network: Network) -> bool:
    try:
        return ip_address(address.partition("%")[0]) in network
    except ValueError:  # a Unix socket has no address
        return False


def _rule(given: dict[str, Any], number: int) -> Rule:
    where = f"rule {number}"
    for key, value in given.items():
        if key != "tag" and key not in CONDITIONS:
            raise BadRule(f'{where} has the unknown key "{key}": tag, {", ".join(CONDITIONS)}')
        if not isinstance(value, str) or not value or "\0" in value:
            raise BadRule(f"{where}: {key} must be text that is not empty")
    if "tag" not in given:
        raise BadRule(f"{where} has no tag")
    if len(given) == 1:
        raise BadRule(f"{where} has no condition: give one of {', '.join(CONDITIONS)}")
    address = given.get("address")
    try:
        network = ip_network(address) if address is not None else None
    except ValueError as error:
        raise BadRule(f"{where}: address {error}") from error
    return Rule(
        tag=given["tag"],
        application=given.get("application"),
        role=given.get("role"),
        database=given.get("database"),
        address=network,
    )
