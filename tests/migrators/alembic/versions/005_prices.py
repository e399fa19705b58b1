"""Euros for cents."""

import sqlalchemy as sa
from alembic import op

revision = "005"
down_revision = "004"


def upgrade() -> None:
    op.alter_column(
        "products",
        "price",
        type_=sa.Numeric(10, 2),
        postgresql_using="price / 100.0",
        comment="in euros",
    )
    op.alter_column("orders", "total", type_=sa.Numeric(12, 2), postgresql_using="total / 100.0")
