"""Two names instead of one, row by row."""

import sqlalchemy as sa
from alembic import op

revision = "004"
down_revision = "003"


def upgrade() -> None:
    op.add_column("customers", sa.Column("first_name", sa.String(40)))
    op.add_column("customers", sa.Column("last_name", sa.String(40)))
    bind = op.get_bind()
    for key, name in bind.execute(sa.text("SELECT id, name FROM customers")).all():
        first, last = name.split(" ", 1)
        bind.execute(
            sa.text("UPDATE customers SET first_name = :first, last_name = :last WHERE id = :key"),
            {"first": first, "last": last, "key": key},
        )
    op.drop_column("customers", "name")
