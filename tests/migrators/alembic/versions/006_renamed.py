"""Products are called articles."""

from alembic import op

revision = "006"
down_revision = "005"


def upgrade() -> None:
    op.rename_table("products", "articles")
    op.alter_column("orders", "product", new_column_name="article")
    op.execute("ALTER INDEX products_sku RENAME TO articles_sku")
    op.execute("ALTER SEQUENCE products_id_seq RENAME TO articles_id_seq")
