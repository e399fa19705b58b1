"""The URL of the server behind the proxy, taken apart as libpq does it, and shown without secrets.

Not: connecting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

SCHEMES: Final = frozenset({"postgresql", "postgres"})
DEFAULT_PORT: Final = 5432
# What may stand behind the question mark: libpq's name -> ours.
_GIVEN: Final = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
_TLS: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation")
_KNOWN: Final = (*_GIVEN, "password", *_TLS)

MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERIFY: Final = frozenset({"verify-ca", "verify-full"})
_STRICT: Final = _VERIFY | {"require"}
DEFAULT_MODE: Final = "prefer"
NEGOTIATIONS: Final = ("postgres", "direct")
SYSTEM_ROOTS: Final = "system"


@dataclass(frozen=True, slots=True)
class Upstream:
    host: str  # a directory for a Unix socket
    port: int
    user: str | None
    database: str | None
    password: str | None = field(default=None, repr=False)
    sslmode: str = DEFAULT_MODE
    sslrootcert: str | None = None  # a file, or "system"
    sslcert: str | None = None
    sslkey: str | None = None
    sslnegotiation: str = NEGOTIATIONS[0]

    @property
    def may_encrypt(self) -> bool:
        """As libpq: never on a Unix socket."""
        return self.socket is None and self.sslmode != "disable"

    @property
    def direct(self) -> bool:
        """TLS from the first byte on."""
        return self.sslnegotiation == "direct"

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
    tls: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _TLS:
            tls[name] = value
        elif name in _KNOWN:
            given[_GIVEN.get(name, name)] = value
        else:
            raise ValueError(f"has the unknown parameter {name}: it may have {', '.join(_KNOWN)}")
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
        **_encryption(tls),
    )


def _encryption(given: Mapping[str, str]) -> dict[str, str]:
    """libpq's rules, but for one: no file is used that is not named here."""
    tls = {name: value for name, value in given.items() if value}
    roots = tls.get("sslrootcert")
    mode = tls.setdefault("sslmode", "verify-full" if roots == SYSTEM_ROOTS else DEFAULT_MODE)
    if mode not in MODES:
        raise ValueError(f"has sslmode={mode}: it may be {', '.join(MODES)}")
    if tls.setdefault("sslnegotiation", NEGOTIATIONS[0]) not in NEGOTIATIONS:
        raise ValueError(
            f"has sslnegotiation={tls['sslnegotiation']}: it may be {' or '.join(NEGOTIATIONS)}"
        )
    if tls["sslnegotiation"] == "direct" and mode not in _STRICT:
        raise ValueError(
            f"has sslnegotiation=direct, which sslmode={mode} is too weak for: say"
            " sslmode=require, verify-ca or verify-full"
        )
    if roots == SYSTEM_ROOTS and mode != "verify-full":
        raise ValueError(
            f"has sslrootcert=system, where anybody may have a certificate, and sslmode={mode}:"
            " say sslmode=verify-full"
        )
    if mode in _VERIFY and not roots:
        raise ValueError(
            f"has sslmode={mode} and no sslrootcert: name the file of the roots that are trusted,"
            " or say sslrootcert=system for those of the operating system"
        )
    if "sslkey" in tls and "sslcert" not in tls:
        raise ValueError("has a sslkey without its sslcert")
    return tls


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
    said = {name: getattr(to, name) for name in _TLS if f"{name}=" in urlsplit(url).query}
    if to.socket is not None:
        where = urlencode({"host": to.host, "port": to.port, **said}, safe="/")
        return f"postgresql://{user}{database or '/'}?{where}"
    return f"postgresql://{user}{to}{database}{'?' if said else ''}{urlencode(said, safe='/')}"
