"""What goes wrong in the shop, and what it damages: a bad deploy, and a regretted migration.

Orders read prices and write orders, order lines and stock, and none of these do. So an undo meets
no later change of its rows, however many orders came since. Not: what is printed.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from proxy.demo.shop import Connection

Rows = dict[str, str]
Snapshot = dict[str, Rows]


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that goes wrong, in a transaction, under its tag."""

    what: str  # as it is told
    tag: str
    role: str
    statements: tuple[str, ...]
    touched: dict[str, str]  # what it damages: how it is named, and its rows, as (key, row)


def rows_of(table: str, key: str) -> str:
    # Whatever the order of the columns: one that was dropped comes back as the last.
    return f"SELECT {key}::text AS key, to_jsonb(t)::text AS row FROM {table} t"


ATTACHED: Final = """
SELECT conrelid::regclass || ' ' || conname AS key, pg_get_constraintdef(oid) AS row
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
 UNION ALL
SELECT tablename || ' ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
"""

DEPLOY: Final = Act(
    "A deploy goes wrong",
    "deploy-42",
    "shop",
    (
        "UPDATE products SET price = 0 WHERE category = 'coffee'",
        "UPDATE products SET name = upper(name), price = price * 100 WHERE category = 'books'",
        "DELETE FROM reviews WHERE stars <= 2",
        "DELETE FROM coupons WHERE percent < 30",
        "INSERT INTO coupons VALUES ('FREE4ALL', 100, daterange('2026-01-01', NULL))",
        "INSERT INTO reviews (product_id, stars, remark) SELECT id, 5, 'test test' FROM products",
    ),
    {
        "products": rows_of("products", "id"),
        "reviews": rows_of("reviews", "id"),
        "coupons": rows_of("coupons", "code"),
    },
)
MIGRATION: Final = Act(
    "A migration is regretted",
    "migration-43",
    "postgres",
    (
        "ALTER TABLE products DROP COLUMN category",
        "CREATE TABLE feedback (product_id int REFERENCES products, remark text)",
        "ALTER TABLE feedback ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "INSERT INTO feedback (product_id, remark) SELECT product_id, remark FROM reviews",
        "INSERT INTO feedback (product_id, remark) SELECT product_id, remark FROM complaints",
        "DROP TABLE reviews, complaints",
    ),
    {
        "products": rows_of("products", "id"),
        "reviews": rows_of("reviews", "id"),
        "complaints": rows_of("complaints", "id"),
        "feedback": rows_of("feedback", "id"),
        "keys, indexes": ATTACHED,
    },
)
ACTS: Final = (DEPLOY, MIGRATION)


async def play(act: Act, port: int) -> None:
    """Run its statements through the proxy of this port, as a tool would."""
    connection = await asyncpg.connect(
        f"postgresql://{act.role}@127.0.0.1:{port}/shop",
        ssl=False,
        server_settings={"hotrollback.tag": act.tag, "application_name": act.tag},
    )
    try:
        async with connection.transaction():
            for statement in act.statements:
                await connection.execute(statement)
    finally:
        await connection.close()


async def snapshot(connection: Connection, act: Act) -> Snapshot:
    """All that an act touches, as it is now; of a table that is not there, no rows."""
    taken: Snapshot = {}
    for name, query in act.touched.items():
        try:
            rows = await connection.fetch(query)
        except asyncpg.UndefinedTableError:
            rows = []
        taken[name] = {row["key"]: row["row"] for row in rows}
    return taken


def differing(left: Rows, right: Rows) -> set[str]:
    """The keys of rows that are not the same on both sides."""
    return {key for key in left.keys() | right.keys() if left.get(key) != right.get(key)}


def not_undone(before: Snapshot, damaged: Snapshot, after: Snapshot) -> list[str]:
    """Where rows are not what they were, or were never damaged: then nothing was shown."""
    faults = []
    for name, rows in before.items():
        if not differing(rows, damaged[name]):
            faults.append(f"{name}: nothing was damaged")
        left = len(differing(rows, after[name]))
        if left:
            faults.append(f"{name}: {left} rows are not what they were before")
    return faults
