"""A view of sales, and a trigger that prices orders."""

from alembic import op

revision = "009"
down_revision = "008"


def upgrade() -> None:
    op.execute(
        "CREATE VIEW sales AS SELECT a.sku, sum(o.total) AS total"
        " FROM orders o JOIN articles a ON a.id = o.article GROUP BY a.sku"
    )
    op.execute("CREATE MATERIALIZED VIEW best AS SELECT * FROM sales ORDER BY total DESC LIMIT 3")
    op.execute(
        "CREATE FUNCTION priced() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.total := NEW.count * (SELECT price FROM articles WHERE id = NEW.article);"
        " RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER priced BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION priced()"
    )
    op.execute("INSERT INTO orders (customer, article, count) VALUES (1, 2, 3), (2, 3, 4)")
