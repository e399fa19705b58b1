"""Guests, and what the shop has sold."""

import sqlalchemy as sa
from alembic import op

revision = "002"
down_revision = "001"


def upgrade() -> None:
    op.create_table(
        "guests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text, nullable=False, unique=True),
        sa.Column("seen", sa.Date, nullable=False),
    )
    op.execute(
        "INSERT INTO customers (name, email, street, city)"
        " SELECT 'First' || g || ' Last' || g, g || '@example.org', g || ' High Street', 'Town ' || g % 5"
        " FROM generate_series(1, 40) g"
    )
    op.execute(
        "INSERT INTO products (sku, price) SELECT 'SKU-' || g, g * 199 FROM generate_series(1, 20) g"
    )
    op.execute(
        "INSERT INTO orders (customer, product, count, state)"
        " SELECT 1 + g % 40, 1 + g % 20, 1 + g % 3, (ARRAY['new', 'paid', 'sent'])[1 + g % 3]"
        " FROM generate_series(1, 120) g"
    )
    op.execute(
        "INSERT INTO guests (email, seen) SELECT 'guest' || g, date '2026-01-01' + g FROM generate_series(1, 15) g"
    )
