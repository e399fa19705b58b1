"""The shop."""

import sqlalchemy as sa
from alembic import op

revision = "001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("email", sa.String(120), nullable=False, unique=True),
        sa.Column("street", sa.Text),
        sa.Column("city", sa.Text),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.func.now()),
    )
    op.create_table(
        "products",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sku", sa.String(20), nullable=False, comment="the supplier's"),
        sa.Column("price", sa.Integer, nullable=False, comment="in cents"),
        sa.CheckConstraint("price >= 0", name="no_gift"),
    )
    op.create_index("products_sku", "products", ["sku"], unique=True)
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "customer",
            sa.Integer,
            sa.ForeignKey("customers.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("product", sa.Integer, sa.ForeignKey("products.id"), nullable=False),
        sa.Column("state", sa.String(10), server_default="new"),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_index("orders_customer", "orders", ["customer"])
    op.create_table(
        "visits", sa.Column("id", sa.Integer, primary_key=True), sa.Column("page", sa.Text)
    )
