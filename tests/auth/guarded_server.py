"""Servers whose pg_hba.conf asks each role for something else.

PostgreSQL 18 of the embedded package is built without TLS; the Debian one, 15, has it.
"""

from dataclasses import dataclass

import psycopg
from fix_postgres import rows_of

from proxy.demo.cluster import Cluster

PASSWORD = "pencil"
UMLAUTS = "Gru\u0308\u00dfe\u00a0\ufb01"  # which SASLprep changes
LONG = "x" * 60_000  # as tokens are

HBA = """\
host all postgres,operator,trusting all trust
host all plain,long all password
host all hashed,hashed_scram all md5
host all rejected all reject
host all +scrams all scram-sha-256
host all nobody all scram-sha-256
"""
ROLES = f"""
CREATE ROLE operator LOGIN;
CREATE ROLE trusting LOGIN;
CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE long LOGIN PASSWORD '{LONG}';
CREATE ROLE hashed_scram LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE rejected LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE scrams;
CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}' IN ROLE scrams;
CREATE ROLE umlauts LOGIN PASSWORD '{UMLAUTS}' IN ROLE scrams;
CREATE ROLE expired LOGIN PASSWORD '{PASSWORD}' VALID UNTIL '2020-01-01' IN ROLE scrams;
CREATE ROLE crowded LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 0 IN ROLE scrams;
CREATE ROLE no_login NOLOGIN PASSWORD '{PASSWORD}' IN ROLE scrams;
CREATE ROLE no_password LOGIN IN ROLE scrams;
CREATE ROLE "May I" LOGIN PASSWORD '{PASSWORD}' IN ROLE scrams;
SET password_encryption = 'md5';
CREATE ROLE hashed LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE only_hashed LOGIN PASSWORD '{PASSWORD}' IN ROLE scrams;
RESET password_encryption;
"""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server that asks for passwords; superuser `postgres` and `operator` need none."""

    version: int
    cluster: Cluster

    @property
    def port(self) -> int:
        return self.cluster.port

    def url(self, user: str = "postgres") -> str:
        return self.cluster.url(user=user)

    def psql(self, sql: str) -> list[tuple]:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            return rows_of(connection.execute(sql))

    def ask_for(self, hba: str) -> None:
        (self.cluster.data / "pg_hba.conf").write_text(hba)
        self.psql("SELECT pg_reload_conf()")
        assert self.psql("SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL") == []
