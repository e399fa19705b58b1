"""`hotrollback demo`: a shop, a deploy and a migration that go wrong, their undos, on a PostgreSQL
of its own.

It uses the command line and ordinary clients only, as anybody outside would.
"""

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

import asyncpg
from rich.console import Console

from proxy.demo.cluster import Cluster, ClusterError, embedded_binaries
from proxy.demo.command import CommandError, Serving, call
from proxy.demo.interrupts import terminated
from proxy.demo.shop import SCHEMA
from proxy.demo.story import Ending, Story, close, quote, session

INTERRUPTED = 130


def main() -> int:
    """Tell the story; 0 if what it claims was seen to hold, 1 if not, 130 if interrupted."""
    console = Console()
    try:
        with terminated():
            ending = run(console)
    except (ClusterError, CommandError, asyncpg.PostgresError, OSError) as error:
        Console(stderr=True).print(f"demo: {error}", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    close(console, ending)
    return 1 if ending.faults else 0


def run(console: Console) -> Ending:
    """Everything that is started here is stopped and removed before this returns."""
    with (
        ExitStack() as started,
        tempfile.TemporaryDirectory(prefix="hotrollback-demo-") as folder,
    ):
        with console.status("Starting an embedded PostgreSQL 18 …"):
            cluster = started.enter_context(Cluster(embedded_binaries()))
        shop = cluster.url("shop")
        console.print(f"PostgreSQL 18 runs on port {cluster.port}, with the tables of a shop.")
        asyncio.run(open_shop(cluster.url(), shop))
        console.print("\n[bold]$ hotrollback install --upstream postgresql://postgres@…/shop[/]")
        quote(console, call("install", "--upstream", shop).stdout)
        with Serving(shop, Path(folder)) as serving:
            upstream = "--upstream postgresql://postgres@…/shop"
            listen = f"--listen 127.0.0.1:{serving.port}"
            console.print(f"\n[bold]$ hotrollback serve {listen} {upstream}[/]", highlight=False)
            return asyncio.run(Story(console, serving, shop).tell())


async def open_shop(server: str, shop: str) -> None:
    """Create the shop's database and its tables."""
    async with session(server) as owner:
        await owner.execute("CREATE DATABASE shop")
    async with session(shop) as owner:
        await owner.execute(SCHEMA)
