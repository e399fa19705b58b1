"""The console's first packets, before a user is logged in. Pure: bytes in, a step out.

The permission of the socket's file is the door: whoever could open it is let in.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from proxy.admin.courtesies import REPORTED, BadSetting, Manners
from proxy.wire.decode import startup_parameters
from proxy.wire.encode import CANCEL_CODE, GSSENC_CODE, SSL_CODE, error, message

DATABASE: Final = "hotrollback"
_INTS: Final = Struct("!ii").unpack_from
_INT: Final = Struct("!i").pack
_PROTOCOL: Final = 3 << 16
_LONGEST: Final = 10000  # the server's own limit of a startup packet


@dataclass(frozen=True, slots=True)
class Step:
    """What a packet came to: how many bytes it was, what to send, whether that was the end."""

    used: int
    reply: bytes = b""
    closed: bool = False
    logged_in: bool = False


def _refuse(state: str, text: str, hint: str = "") -> Step:
    return Step(0, error("FATAL", state, text, hint=hint), closed=True)


def step(data: bytes, manners: Manners, key: bytes) -> Step | None:
    """The next packet; None if it is not all there yet. `key`: what BackendKeyData gives."""
    if len(data) < 8:
        return None
    length, code = _INTS(data, 0)
    if not 8 <= length <= _LONGEST:
        return _refuse("08P01", "invalid length of startup packet")
    if len(data) < length:
        return None
    if code in {SSL_CODE, GSSENC_CODE}:
        return Step(length, b"N")
    if code == CANCEL_CODE:  # nothing here can be cancelled
        return Step(length, closed=True)
    if code >> 16 != 3:
        return _refuse(
            "0A000",
            f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}: server supports 3.0",
        )
    try:
        pairs = startup_parameters(data[8:length])
        given = {name.decode(): value.decode() for name, value in pairs}
    except ValueError:
        return _refuse("08P01", "invalid startup packet layout")
    return _log_in(given, code, length, manners, key)


def _log_in(given: dict[str, str], code: int, length: int, manners: Manners, key: bytes) -> Step:
    if not given.get("user"):
        return _refuse("28000", "no PostgreSQL user name specified in startup packet")
    manners.database = given.get("database") or given["user"]
    if manners.database != DATABASE:
        return _refuse(
            "3D000",
            f'database "{manners.database}" does not exist',
            f"this is the admin console, and its only database is {DATABASE}",
        )
    if given.get("replication", "false").lower() not in {"false", "off", "no", "0"}:
        return _refuse("0A000", "the admin console does not replicate")
    try:
        manners.log_in(given)
    except BadSetting as bad:
        return _refuse("22023", str(bad))
    unknown = [name.encode() for name in given if name.startswith("_pq_.")]
    negotiate = b""
    if code != _PROTOCOL or unknown:
        names = b"".join(name + b"\0" for name in unknown)
        negotiate = message(b"v", _INT(_PROTOCOL) + _INT(len(unknown)) + names)
    return Step(length, negotiate + _welcome(manners, key), logged_in=True)


def _welcome(manners: Manners, key: bytes) -> bytes:
    parts = [message(b"R", _INT(0))]
    parts += [parameter_status(name, manners.settings[name]) for name in REPORTED]
    return b"".join([*parts, message(b"K", key), message(b"Z", b"I")])


def parameter_status(name: str, value: str) -> bytes:
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")
