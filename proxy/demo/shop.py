"""A small shop: its tables, and customers who keep ordering through the proxy.

Not: what goes wrong there, the proxy, the undo, what is printed.
"""

import asyncio
import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg

CUSTOMERS_AT_ONCE = 4
PRODUCTS = 60
IN_STOCK = 1_000_000
LINES_AT_MOST = 3
PAUSE_SECONDS = (0.005, 0.03)

SCHEMA = f"""
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE products (
    id int PRIMARY KEY, category text NOT NULL, name text NOT NULL, price numeric(10, 2) NOT NULL
);
CREATE TABLE stock (product_id int PRIMARY KEY REFERENCES products, units int NOT NULL);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    placed_at timestamptz NOT NULL DEFAULT now(),
    total numeric(12, 2) NOT NULL DEFAULT 0
);
CREATE TABLE order_lines (
    order_id bigint REFERENCES orders, product_id int REFERENCES products,
    quantity int NOT NULL, price numeric(10, 2) NOT NULL, PRIMARY KEY (order_id, product_id)
);
CREATE TABLE reviews (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id int NOT NULL REFERENCES products, stars int NOT NULL, remark text
);
CREATE TABLE complaints (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id int NOT NULL REFERENCES products, remark text NOT NULL
);
CREATE INDEX ON products (category);
CREATE TABLE coupons (code text PRIMARY KEY, percent int NOT NULL, valid daterange);

INSERT INTO customers SELECT i, 'Customer ' || i FROM generate_series(1, 200) i;
INSERT INTO products
    SELECT i, (ARRAY['coffee', 'tea', 'cups', 'books'])[1 + i % 4], 'Product ' || i, 3 + i * 0.35
    FROM generate_series(1, {PRODUCTS}) i;
INSERT INTO stock SELECT id, {IN_STOCK} FROM products;
INSERT INTO reviews (product_id, stars, remark)
    SELECT 1 + i % {PRODUCTS}, 1 + i % 5, nullif('Remark ' || i % 7, 'Remark 0')
    FROM generate_series(1, 400) i;
INSERT INTO complaints (product_id, remark)
    SELECT 1 + i % {PRODUCTS}, 'Complaint ' || i FROM generate_series(1, 40) i;
INSERT INTO coupons
    SELECT 'SAVE' || i, i, daterange('2026-01-01', '2026-01-01'::date + i * 10)
    FROM generate_series(5, 50, 5) i;

CREATE ROLE shop LOGIN;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop;
"""

# Quoted: the class takes a parameter only in its type stubs.
Connection: TypeAlias = "asyncpg.Connection[Any]"


@dataclass(slots=True)
class Shop:
    """Customers who order until told to stop, and what they were promised."""

    address: str
    placed: dict[int, Decimal] = field(default_factory=dict)
    units: int = 0
    errors: list[str] = field(default_factory=list)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self) -> None:
        """Keep ordering; returns after `closing` was set. Errors end up in `errors`."""
        customers = (self._customer(number) for number in range(CUSTOMERS_AT_ONCE))
        await asyncio.gather(*customers)

    async def _customer(self, number: int) -> None:
        luck = random.Random(number)  # noqa: S311  the same story every time
        try:
            connection = await asyncpg.connect(self.address, ssl=False)
            try:
                while not self.closing.is_set():
                    await self._order(connection, luck)
                    await asyncio.sleep(luck.uniform(*PAUSE_SECONDS))
            finally:
                await connection.close()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self.errors.append(f"customer {number}: {type(error).__name__}: {error}")

    async def _order(self, connection: Connection, luck: random.Random) -> None:
        # In ascending order, so that two orders never wait for each other's stock in a circle.
        wanted = sorted(luck.sample(range(1, PRODUCTS + 1), luck.randint(1, LINES_AT_MOST)))
        bought = 0
        async with connection.transaction():
            order = await connection.fetchval(
                "INSERT INTO orders (customer_id) VALUES ($1) RETURNING id", luck.randint(1, 200)
            )
            for product in wanted:
                quantity = luck.randint(1, 4)
                bought += quantity
                await connection.execute(
                    "INSERT INTO order_lines SELECT $1, id, $3, price FROM products WHERE id = $2",
                    *(order, product, quantity),
                )
                await connection.execute(
                    "UPDATE stock SET units = units - $2 WHERE product_id = $1", product, quantity
                )
            total = await connection.fetchval(
                "UPDATE orders SET total = (SELECT sum(quantity * price) FROM order_lines"
                " WHERE order_id = $1) WHERE id = $1 RETURNING total",
                order,
            )
        self.placed[order] = total
        self.units += bought

    async def kept(self, connection: Connection) -> list[bool]:
        """For each order that a customer was promised, oldest first: is it stored as placed?"""
        rows = await connection.fetch("SELECT id, total FROM orders")
        stored = {row["id"]: row["total"] for row in rows}
        return [stored.get(order) == total for order, total in self.placed.items()]

    async def discrepancies(self, connection: Connection) -> list[str]:
        """Where the books do not agree; nothing, if all is well."""
        orders = await connection.fetchval("SELECT count(*) FROM orders")
        lines = await connection.fetchval("SELECT coalesce(sum(quantity), 0) FROM order_lines")
        taken = await connection.fetchval(f"SELECT sum({IN_STOCK} - units) FROM stock")
        wrong = []
        if orders != len(self.placed):
            wrong.append(f"{len(self.placed)} orders were confirmed, {orders} are stored")
        if not self.units == lines == taken:
            wrong.append(f"{self.units} units were sold, {lines} are in orders, {taken} left stock")
        return wrong
