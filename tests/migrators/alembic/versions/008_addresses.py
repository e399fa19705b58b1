"""Addresses have a table of their own."""

import sqlalchemy as sa
from alembic import op

revision = "008"
down_revision = "007"


def upgrade() -> None:
    op.create_table(
        "addresses",
        sa.Column(
            "customer",
            sa.Integer,
            sa.ForeignKey("customers.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("street", sa.Text, nullable=False),
        sa.Column("city", sa.Text, nullable=False),
    )
    op.execute("INSERT INTO addresses SELECT id, street, city FROM customers")
    op.drop_column("customers", "street")
    op.drop_column("customers", "city")
    op.execute("GRANT SELECT ON addresses TO app")
