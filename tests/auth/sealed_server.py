"""A server with TLS, and who logs in to it. Only PostgreSQL 15 of Debian is built with TLS."""

from dataclasses import dataclass
from pathlib import Path

from guarded_server import PASSWORD, UMLAUTS, Guarded

CERTIFIED = """\
hostssl all certified all cert
hostssl all twofold all scram-sha-256 clientcert=verify-ca
hostnossl all only_tls all reject
hostssl all only_tls all scram-sha-256
"""
MORE_ROLES = f"""
CREATE ROLE certified LOGIN;
CREATE ROLE twofold LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE only_tls LOGIN PASSWORD '{PASSWORD}';
GRANT SELECT (rolname, rolpassword) ON pg_catalog.pg_authid TO operator;
"""


@dataclass(frozen=True, slots=True)
class Sealed:
    server: Guarded
    folder: Path  # ca.pem; proxy.pem, certified.pem: key and certificate


LOGINS = [
    ("scram", PASSWORD),
    ("scram", "wrong"),
    ("scram", ""),
    ("umlauts", UMLAUTS),
    ("umlauts", "Gr\u00fc\u00dfe fi"),
    ("May I", PASSWORD),
    ("nobody", PASSWORD),
    ("expired", PASSWORD),
    ("no_login", PASSWORD),
    ("crowded", PASSWORD),
    ("no_password", PASSWORD),
    ("only_hashed", PASSWORD),
    ("hashed", PASSWORD),
    ("hashed_scram", PASSWORD),
    ("hashed_scram", "wrong"),
    ("plain", PASSWORD),
    ("plain", "wrong"),
    ("trusting", ""),
    ("rejected", PASSWORD),
    ("stranger", PASSWORD),
    ("only_tls", PASSWORD),
]
