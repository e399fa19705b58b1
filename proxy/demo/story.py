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

from proxy.demo.acts import ACTS, Act, Snapshot, differing, not_undone, play, snapshot
from proxy.demo.command import Serving
from proxy.demo.shop import Connection, Shop

DAY_SECONDS = 2.0  # of ordinary business before and after what goes wrong, and after the last undo

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
class Outcome:
    """An act, and what its undo left."""

    act: Act
    before: Snapshot
    damaged: Snapshot
    after: Snapshot
    status: int
    seconds: float
    meanwhile: int  # orders that were placed while it was undone

    def faults(self) -> list[str]:
        failed = [f"hotrollback undo ended with {self.status}"] if self.status else []
        return [*failed, *not_undone(self.before, self.damaged, self.after)]


@dataclass(frozen=True, slots=True)
class Ending:
    """What was seen, and in what the claim does not hold."""

    outcomes: tuple[Outcome, ...]
    stretches: tuple[Stretch, ...]
    wrongly_priced: int
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
        turns = [0]
        outcomes = [await self._act(owner, act, turns) for act in ACTS]
        await asyncio.sleep(DAY_SECONDS)
        shop.closing.set()
        await business

        kept = await shop.kept(owner)
        turns.append(len(kept))
        named = [name for act in ACTS for name in (f"before {act.tag}", "before its undo")]
        stretches = tuple(
            Stretch(name, end - start, sum(kept[start:end]))
            for name, (start, end) in zip([*named, "since"], pairwise(turns), strict=True)
        )
        faults = (
            *(fault for outcome in outcomes for fault in outcome.faults()),
            *shop.errors,
            *await shop.discrepancies(owner),
            *not_kept(stretches),
        )
        return Ending(tuple(outcomes), stretches, await owner.fetchval(WRONGLY_PRICED), faults)

    async def _act(self, owner: Connection, act: Act, turns: list[int]) -> Outcome:
        """Business, the act, business, its undo. How many orders there were at each is noted."""
        placed = self.shop.placed
        await asyncio.sleep(DAY_SECONDS)
        before = await snapshot(owner, act)
        turns.append(len(placed))

        self.say(f"\n[red]{act.what}.[/] It runs under the tag [bold]{act.tag}[/]:")
        quote(self.console, "\n".join(f"{statement};" for statement in act.statements))
        await play(act, self.serving.port)
        await asyncio.sleep(DAY_SECONDS)
        damaged = await snapshot(owner, act)
        turns.append(len(placed))

        status, seconds = await self._undo(act.tag)
        meanwhile = len(placed) - turns[-1]
        after = await snapshot(owner, act)
        return Outcome(act, before, damaged, after, status, seconds, meanwhile)

    async def _undo(self, tag: str) -> tuple[int, float]:
        """Undo what ran under a tag; the exit status, and how many seconds it took."""
        self.say(f"\n[bold]$ hotrollback undo --tag {tag} --yes[/]")
        started = time.monotonic()
        call = self.serving.call
        done = await asyncio.to_thread(call, "undo", "--tag", tag, "--yes", check=False)
        seconds = time.monotonic() - started
        quote(self.console, done.stdout + done.stderr)
        return done.returncode, seconds


def quote(console: Console, text: str) -> None:
    """SQL or a command's output, indented, as it is."""
    for line in text.rstrip().splitlines():
        console.print(f"    {line}", style="dim", markup=False, highlight=False, soft_wrap=True)


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
    took = " and ".join(
        f"{o.seconds:.1f} s ({o.meanwhile} orders were placed meanwhile)" for o in ending.outcomes
    )
    console.print(
        f"\nFrom command to answer the undos took {took}. {ending.wrongly_priced} orders had been "
        "sold at a wrong price: they are the customers', and stay as they are.",
        highlight=False,
    )
    if not ending.faults:
        console.print(
            "[bold green]Every row, key and index that was touched is what it was before, "
            "and every order is still there.[/]"
        )
        return
    console.print("[bold red]The claim does not hold:[/]")
    for fault in ending.faults:
        console.print(f"  - {fault}", markup=False, highlight=False)


def balance(ending: Ending) -> Table:
    """A line for each table that an act touched, and for each stretch of orders."""
    table = Table(title="What was done, and what its undo left", title_justify="left")
    table.add_column("rows of", no_wrap=True)
    for heading in ("damaged", "undone", "still wrong", "placed", "still there"):
        table.add_column(heading, justify="right")
    for outcome in ending.outcomes:
        table.add_row(outcome.act.tag, style="bold")
        for name, rows in outcome.before.items():
            damaged = differing(rows, outcome.damaged[name])
            wrong = differing(rows, outcome.after[name])
            figures = (len(damaged), len(damaged - wrong), len(wrong))
            table.add_row(f"  {name}", *map(str, figures))
        table.add_section()
    for stretch in ending.stretches:
        figures_of = (str(stretch.confirmed), str(stretch.kept))
        table.add_row(f"orders {stretch.name}", "", "", "", *figures_of)
    return table
