"""Guests are customers; some customers go, and their orders and addresses with them."""

import sqlalchemy as sa
from alembic import op

revision = "010"
down_revision = "009"


def upgrade() -> None:
    op.add_column(
        "customers", sa.Column("guest", sa.Boolean, server_default=sa.false(), nullable=False)
    )
    op.execute(
        "INSERT INTO customers (email, first_name, last_name, created, guest)"
        " SELECT email, 'Guest', id::text, seen, true FROM guests"
    )
    op.drop_table("guests")
    op.execute("DELETE FROM customers c WHERE NOT guest AND id % 7 = 0")
