"""States that the server knows."""

import sqlalchemy as sa
from alembic import op

revision = "007"
down_revision = "006"


def upgrade() -> None:
    state = sa.Enum("new", "paid", "sent", name="order_state")
    state.create(op.get_bind())
    op.drop_index("orders_total", "orders")
    op.alter_column("orders", "state", server_default=None)
    op.alter_column(
        "orders",
        "state",
        type_=state,
        postgresql_using="state::order_state",
        server_default="new",
        nullable=False,
    )
    op.create_index("orders_paid", "orders", ["total"], postgresql_where=sa.text("state = 'paid'"))
