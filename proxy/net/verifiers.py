"""Whether clients that bind their login to a certificate can log in: between two TLS connections
that takes verifiers, and libpq binds wherever it can. Looked at before anybody is turned away.
"""

from typing import Final

import asyncpg

from config import Settings, upstream
from undo.finding import Finding

SUBJECT: Final = "channel_binding"
_SECURED: Final = (
    "SELECT COALESCE((SELECT s.ssl FROM pg_catalog.pg_stat_ssl s"
    " WHERE s.pid = pg_catalog.pg_backend_pid()), false)"
)
_REMEDY: Final = (
    "docs/authentication.md says how auth_query or auth_file gives them; or clients say"
    " channel_binding=disable"
)


def wanted(settings: Settings) -> bool:
    """As far as settings tell; the server may yet be spoken to in clear."""
    shown = settings.tls != "off" and settings.tls_cert is not None
    return shown and settings.auth_file is None and upstream.read(settings.upstream).may_encrypt


async def missing(db: asyncpg.Connection, settings: Settings) -> list[Finding]:
    """`db`: the operator's connection, by which auth_query is asked, too."""
    if not wanted(settings) or not await db.fetchval(_SECURED):
        return []
    why = "auth_query is off, and there is no auth_file"
    if settings.auth_query is not None:
        try:
            async with db.transaction(readonly=True):
                role = await db.fetchval("SELECT CURRENT_USER")
                await db.fetch(settings.auth_query, role)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            why = f"auth_query: {error}"
        else:
            return []
    text = (
        "clients and the server are spoken to by TLS, and the verifiers of roles cannot be had"
        f" ({why}): libpq, which binds a login by SCRAM to the certificate, will not be let in"
    )
    return [Finding("warn", SUBJECT, text, _REMEDY)]
