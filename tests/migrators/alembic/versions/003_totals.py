"""What an order costs is kept with it."""

import sqlalchemy as sa
from alembic import op

revision = "003"
down_revision = "002"


def upgrade() -> None:
    op.add_column("orders", sa.Column("total", sa.BigInteger))
    op.execute(
        "UPDATE orders o SET total = o.count * p.price FROM products p WHERE p.id = o.product"
    )
    op.alter_column("orders", "total", nullable=False)
    op.create_index(
        "orders_total",
        "orders",
        [sa.text("total DESC")],
        postgresql_where=sa.text("state = 'paid'"),
    )
