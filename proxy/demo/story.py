"""The told story: shop, deploy, undo while the shop goes on, and whether the claim holds.

Not: how PostgreSQL or the proxy is started, the shop's SQL.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import asyncpg
from rich.console import Console
from rich.table import Table

from proxy.demo.command import Serving
from proxy.demo.shop import (
    DEPLOY,
    DEPLOYED,
    TAG,
    Connection,
    Shop,
    Snapshot,
    deploy,
    differing,
    snapshot,
)

DAY_SECONDS = 2.0  # of ordinary business before and after the deploy, and after its undo
STRETCHES = ("before the deploy", "before the undo", "since the undo")

WRONGLY_PRICED = """
SELECT count(DISTINCT order_id) FROM order_lines l JOIN products p ON p.id = l.product_id
WHERE l.price <> p.price
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One part of the story, and the orders that were confirmed to customers in it."""

    name: str
    confirmed: int
    kept: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What was seen, and in what the claim does not hold."""

    before: Snapshot
    damaged: Snapshot
    after: Snapshot
    stretches: tuple[Stretch, ...]
    wrongly_priced: int
    undo_seconds: float
    during_undo: int
    faults: tuple[str, ...]


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url, ssl=False)
    try:
        yield connection
    finally:
        await connection.close()


class Story:
    """One run, told on `console`; the proxy is serving, `direct` goes around it."""

    def __init__(self, console: Console, serving: Serving, direct: str) -> None:
        self.console = console
        self.serving = serving
        self.direct = direct
        self.shop = Shop(f"postgresql://shop@127.0.0.1:{serving.port}/shop")

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    async def tell(self) -> Ending:
        """From the shop's opening to its close."""
        business = asyncio.create_task(self.shop.open())
        try:
            async with session(self.direct) as owner:
                return await self._day(owner, business)
        finally:
            self.shop.closing.set()
            await business

    async def _day(self, owner: Connection, business: asyncio.Task[None]) -> Ending:
        shop = self.shop
        self.say("\nThe shop is open: customers order through the proxy, and do not stop.")
        await asyncio.sleep(DAY_SECONDS)
        before = await snapshot(owner)
        turns = [0, len(shop.placed)]

        self.say(f"\n[red]A deploy goes wrong.[/] It runs under the tag [bold]{TAG}[/]:")
        quote(self.console, "\n".join(f"{statement};" for statement in DEPLOY))
        await deploy(shop.address)
        await asyncio.sleep(DAY_SECONDS)
        damaged = await snapshot(owner)

        turns.append(len(shop.placed))
        status, seconds = await self._undo()
        during_undo = len(shop.placed) - turns[-1]
        await asyncio.sleep(DAY_SECONDS)
        shop.closing.set()
        await business

        after = await snapshot(owner)
        kept = await shop.kept(owner)
        turns.append(len(kept))
        stretches = tuple(
            Stretch(name, end - start, sum(kept[start:end]))
            for name, (start, end) in zip(STRETCHES, pairwise(turns), strict=True)
        )
        faults = (
            *([f"hotrollback undo ended with {status}"] if status else []),
            *shop.errors,
            *await shop.discrepancies(owner),
            *not_undone(before, damaged, after),
            *not_kept(stretches),
        )
        wrongly_priced = await owner.fetchval(WRONGLY_PRICED)
        return Ending(
            *(before, damaged, after, stretches, wrongly_priced, seconds, during_undo, faults)
        )

    async def _undo(self) -> tuple[int, float]:
        """Undo the deploy by its tag; the exit status, and how many seconds it took."""
        self.say(f"\n[bold]$ hotrollback undo --tag {TAG} --yes[/]")
        started = time.monotonic()
        call = self.serving.call
        done = await asyncio.to_thread(call, "undo", "--tag", TAG, "--yes", check=False)
        seconds = time.monotonic() - started
        quote(self.console, done.stdout + done.stderr)
        return done.returncode, seconds


def quote(console: Console, text: str) -> None:
    """SQL or a command's output, indented, as it is."""
    for line in text.rstrip().splitlines():
        console.print(f"    {line}", style="dim", markup=False, highlight=False, soft_wrap=True)


def not_undone(before: Snapshot, damaged: Snapshot, after: Snapshot) -> list[str]:
    """Where rows are not what they were, or were never damaged: then nothing was shown."""
    faults = []
    for table in DEPLOYED:
        if not differing(before[table], damaged[table]):
            faults.append(f"{table}: the deploy damaged nothing")
        left = len(differing(before[table], after[table]))
        if left:
            faults.append(f"{table}: {left} rows are not what they were before the deploy")
    return faults


def not_kept(stretches: tuple[Stretch, ...]) -> list[str]:
    """Orders that are gone or changed, and stretches in which none was placed."""
    faults = []
    for stretch in stretches:
        if stretch.confirmed == 0:
            faults.append(f"no order was placed {stretch.name}")
        lost = stretch.confirmed - stretch.kept
        if lost:
            faults.append(f"{lost} orders placed {stretch.name} are gone or changed")
    return faults


def close(console: Console, ending: Ending) -> None:
    """The closing table and the verdict."""
    console.print()
    console.print(balance(ending))
    console.print(
        f"\nThe undo took {ending.undo_seconds:.1f} s from command to answer; "
        f"{ending.during_undo} orders were placed meanwhile. {ending.wrongly_priced} orders had "
        "been sold at a wrong price before it: they are the customers', and stay as they are.",
        highlight=False,
    )
    if not ending.faults:
        console.print(
            "[bold green]Every row that the deploy touched is what it was before, "
            "and every order is still there.[/]"
        )
        return
    console.print("[bold red]The claim does not hold:[/]")
    for fault in ending.faults:
        console.print(f"  - {fault}", markup=False, highlight=False)


def balance(ending: Ending) -> Table:
    """A line for each table that the deploy touched, and for each stretch of orders."""
    table = Table(title=f"What {TAG} did, and what its undo left", title_justify="left")
    table.add_column("rows of", no_wrap=True)
    for heading in ("damaged", "restored", "still wrong", "placed", "still there"):
        table.add_column(heading, justify="right")
    for name in DEPLOYED:
        damaged = differing(ending.before[name], ending.damaged[name])
        wrong = differing(ending.before[name], ending.after[name])
        figures = (len(damaged), len(damaged - wrong), len(wrong))
        table.add_row(name, *map(str, figures))
    table.add_section()
    for stretch in ending.stretches:
        figures_of = (str(stretch.confirmed), str(stretch.kept))
        table.add_row(f"orders {stretch.name}", "", "", "", *figures_of)
    return table
