"""What TLS needs of files: certificates, keys, roots. Read when settings are, never for a single
connection; what is wrong with one of them is said by its name.
"""

import contextlib
import os
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config import ConfigError, Settings, upstream
from config.upstream import Upstream

ALPN: Final = "postgresql"
_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class BadCredentials(ValueError):
    """A file that TLS needs cannot be used; the text says which and why."""


@contextlib.contextmanager
def named() -> Iterator[None]:
    """As what is wrong with settings is told: raises ConfigError instead."""
    try:
        yield
    except BadCredentials as error:
        raise ConfigError(str(error)) from error


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What clients are shown."""

    side: ssl.SSLContext
    certificate: bytes  # DER, which channel binding is about


def for_clients(settings: Settings) -> Shown | None:
    """None: TLS is not offered. Raises BadCredentials."""
    if settings.tls == "off" or settings.tls_cert is None:
        return None
    side = _side(ssl.PROTOCOL_TLS_SERVER)
    side.minimum_version = _VERSIONS[settings.tls_min_version]
    # As PostgreSQL: nothing is resumed.
    side.options |= ssl.OP_NO_TICKET
    side.num_tickets = 0
    _load_own(side, "tls_cert", settings.tls_cert, "tls_key", settings.tls_key)
    if settings.tls_client_ca is not None:
        _load_roots(side, "tls_client_ca", settings.tls_client_ca)
        side.verify_mode = ssl.CERT_OPTIONAL
    return Shown(side, _first_certificate(settings.tls_cert))


def checked(settings: Settings) -> None:
    """Raises ConfigError."""
    with named():
        for_clients(settings)
        for_server(upstream.read(settings.upstream))


def for_server(to: Upstream) -> ssl.SSLContext | None:
    """None: no TLS to it. Raises BadCredentials."""
    if not to.may_encrypt:
        return None
    side = _side(ssl.PROTOCOL_TLS_CLIENT)
    side.check_hostname = to.sslmode == "verify-full"
    side.minimum_version = ssl.TLSVersion.TLSv1_2
    # As libpq: a root that is given is asked, whatever the mode.
    side.verify_mode = ssl.CERT_REQUIRED if to.sslrootcert else ssl.CERT_NONE
    if to.sslrootcert == "system":
        side.load_default_certs(ssl.Purpose.SERVER_AUTH)
    elif to.sslrootcert is not None:
        _load_roots(side, "sslrootcert", Path(to.sslrootcert))
    if to.sslcert is not None:
        key = Path(to.sslkey) if to.sslkey is not None else None
        _load_own(side, "sslcert", Path(to.sslcert), "sslkey", key)
    return side


def _side(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    side = ssl.SSLContext(protocol)
    side.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    side.set_alpn_protocols([ALPN])
    return side


def _load_own(
    side: ssl.SSLContext, cert_name: str, cert: Path, key_name: str, key: Path | None
) -> None:
    _readable(cert_name, cert)
    if key is not None:
        _readable(key_name, key)
    _private(key_name if key is not None else cert_name, key or cert)

    def no_terminal() -> str:
        raise BadCredentials(
            f"{key_name}: {key or cert} is encrypted: give a key without a passphrase"
        )

    try:
        side.load_cert_chain(cert, key, no_terminal)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadCredentials(f"{key_name}: {key or cert} is not the key of {cert}") from error
        raise BadCredentials(
            f"{cert_name}: {cert} and its key{f' {key}' if key else ''} cannot be used:"
            f" {error.reason or error}"
        ) from error


def _load_roots(side: ssl.SSLContext, name: str, roots: Path) -> None:
    _readable(name, roots)
    try:
        side.load_verify_locations(roots)
    except ssl.SSLError as error:
        raise BadCredentials(
            f"{name}: {roots} holds no certificates: {error.reason or error}"
        ) from error


def _readable(name: str, file: Path) -> str:
    """OpenSSL would not say which file is missing."""
    try:
        return file.read_text(encoding="latin-1")
    except OSError as error:
        raise BadCredentials(f"{name}: {file}: {error.strerror or error}") from error


def _private(name: str, file: Path) -> None:
    """As PostgreSQL and libpq want it: a key that others could have read is no secret."""
    about = file.stat()
    allowed = stat.S_IRWXU | (stat.S_IRGRP if about.st_uid == 0 and os.geteuid() != 0 else 0)
    if stat.S_IMODE(about.st_mode) & ~allowed:
        raise BadCredentials(
            f"{name}: {file} may be read by others: chmod 0600"
            " (0640 will do if it belongs to root and the proxy does not run as root)"
        )


def _first_certificate(file: Path) -> bytes:
    """The one that is shown; what follows leads to a root."""
    text = _readable("tls_cert", file)
    begin = text.index(ssl.PEM_HEADER)
    end = text.index(ssl.PEM_FOOTER, begin) + len(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(text[begin:end])
