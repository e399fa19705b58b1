"""The URL of the server behind the proxy, taken apart as libpq does it, and shown without secrets.

Not: connecting.
"""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

SCHEMES: Final = frozenset({"postgresql", "postgres"})
DEFAULT_PORT: Final = 5432
# What may stand behind the question mark: libpq's name -> ours.
_GIVEN: Final = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
_PLAIN: Final = frozenset({"disable", "allow", "prefer"})  # of sslmode: works without TLS


@dataclass(frozen=True, slots=True)
class Upstream:
    host: str  # a directory for a Unix socket
    port: int
    user: str | None
    database: str | None
    password: str | None = field(default=None, repr=False)

    @property
    def socket(self) -> str | None:
        """The file of the Unix socket, where it is one."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.socket or f"{host}:{self.port}"


def read(url: str) -> Upstream:
    """Raises ValueError with what is wrong."""
    if any(ord(char) < 0x20 for char in url):
        raise ValueError("has a control character in it")
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("does not begin with postgresql://")
    account, _, address = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    host, port = _address(address)
    given = {
        "host": host,
        "port": port,
        "user": unquote(user),
        "password": unquote(password),
        "database": unquote(parts.path.removeprefix("/")),
    }
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "sslmode":
            if value not in _PLAIN:
                raise ValueError(
                    f"has sslmode={value}, and TLS to the server is not supported yet:"
                    " leave it out, or say sslmode=disable"
                )
        elif name == "password" or name in _GIVEN:
            given[_GIVEN.get(name, name)] = value
        else:
            known = ", ".join((*_GIVEN, "password", "sslmode"))
            raise ValueError(f"has the unknown parameter {name}: it may have {known}")
    if not given["host"]:
        raise ValueError("names no host")
    if "," in given["host"]:
        raise ValueError("names several hosts: a proxy has one server behind it")
    return Upstream(
        host=given["host"],
        port=_port(given["port"]),
        user=given["user"] or None,
        database=given["database"] or None,
        password=given["password"] or None,
    )


def _address(address: str) -> tuple[str, str]:
    """Host and port of `host:port`, `[::1]:port`, `%2Fdirectory:port`; either may be missing."""
    if address.startswith("["):
        host, closed, rest = address[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("has a [ without its ]")
        return unquote(host), rest.removeprefix(":")
    host, _, port = address.partition(":")
    return unquote(host), port


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"has the port {text}: it must be a number from 1 to 65535")
    return int(text)


def without_password(url: str) -> str:
    """For people and logs. A URL that cannot be read is not shown at all."""
    try:
        to = read(url)
    except ValueError:
        return "(not a valid URL)"
    user = f"{quote(to.user, safe='')}@" if to.user else ""
    database = f"/{quote(to.database, safe='')}" if to.database else ""
    if to.socket is not None:
        where = urlencode({"host": to.host, "port": to.port}, safe="/")
        return f"postgresql://{user}{database or '/'}?{where}"
    return f"postgresql://{user}{to}{database}"
