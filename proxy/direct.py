"""Commands that go to the server itself, without a proxy: install, uninstall, doctor.

Not: what they do to a database (undo), flags (cli).
"""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from rich.console import Console

from config import Settings
from proxy.asking import confirmed
from proxy.net import operator, verifiers
from undo import doctor as checks
from undo.doctor import Finding
from undo.errors import UndoError
from undo.install import install as install_log
from undo.install import uninstall as uninstall_log

_STYLES: Final = {"ok": "green", "warn": "yellow", "refuse": "red"}


class CannotConnect(Exception):
    """The server named by --upstream did not let us in; the text says why."""


@asynccontextmanager
async def server(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    where = operator.without_password(settings.upstream)
    try:
        connection = await operator.connect(settings.upstream, None)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise CannotConnect(
            f"cannot connect to {where}: {error or type(error).__name__}"
        ) from error
    try:
        yield connection
    finally:
        await connection.close()


async def install(settings: Settings, *, all_tables: bool | None, accept_publication: bool) -> int:
    async with server(settings) as db:
        report = await install_log(db, all_tables=all_tables, accept_publication=accept_publication)
    out = Console(soft_wrap=True, highlight=False)
    for line in report.lines:
        out.print(line, markup=False)
    _print_findings(out, [f for f in report.findings if f.level == "warn"])
    return 0


async def uninstall(settings: Settings, *, yes: bool) -> int:
    async with server(settings) as db:
        database = await db.fetchval("SELECT pg_catalog.current_database()")
        question = (
            f"Remove the undo log from database {database} on"
            f" {operator.without_password(settings.upstream)}?"
            " Nothing that was recorded can be undone afterwards."
        )
        if not (yes or confirmed(question)):
            return 1
        lines = await uninstall_log(db)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


async def doctor(settings: Settings) -> int:
    """1 if install would refuse."""
    async with server(settings) as db:
        findings = [*await checks.examine(db), *await verifiers.missing(db, settings)]
    out = Console(soft_wrap=True, highlight=False)
    _print_findings(out, findings)
    script = checks.script(findings)
    if script:
        out.print("\nRights that the operator role lacks, for somebody who may give them:")
        for statement in script:
            out.print(f"    {statement}", markup=False)
    return int(any(f.level == "refuse" for f in findings))


def _print_findings(out: Console, findings: Sequence[Finding]) -> None:
    for finding in findings:
        out.print(f"[{_STYLES[finding.level]}]{finding.level:7}[/]", end="")
        out.print(f"{finding.subject}: {finding.text}", markup=False)
        if finding.remedy:
            out.print(f"        {finding.remedy}", markup=False, style="dim")


# What ends a command with a message and exit status 1.
FAILURES: Final = (CannotConnect, UndoError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
