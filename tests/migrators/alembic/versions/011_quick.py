"""An index without a lock."""

from alembic import op

revision = "011"
down_revision = "010"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index("customers_last", "customers", ["last_name"], postgresql_concurrently=True)
    op.create_check_constraint("some", "orders", "count > 0")
    op.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON orders USING (true)")
