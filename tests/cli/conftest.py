"""A shop behind a proxy, with a history to look at; shared by the tests that change nothing."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fix_postgres import Server, install_into
from fix_proxy import Proxy

from proxy.demo.command import Serving

SCHEMA = """
CREATE TABLE products (id int PRIMARY KEY, name text, price numeric, note text);
CREATE TABLE "My Orders" (id int PRIMARY KEY, product int);
INSERT INTO products SELECT n, 'product ' || n, n, 'x' FROM generate_series(1, 20) n;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
"""


@pytest.fixture(scope="session", params=[18, 15], ids=["pg18", "pg15"])
def shop_server(request: pytest.FixtureRequest, servers) -> Server:
    return servers[request.param]


@pytest.fixture(scope="session")
def shop(shop_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Clients wrote, in this order: an ordinary order, a bad price without a tag, a deploy with
    one, something that is not recorded."""
    folder = tmp_path_factory.mktemp("shop")
    with shop_server.database() as database:
        database.psql(SCHEMA)
        install_into(database)
        with Serving(database.url(), Path(folder)) as serving:
            proxy = Proxy(database, serving)
            with psycopg.connect(
                proxy.url("app"), autocommit=True, application_name="till"
            ) as connection:
                connection.execute('INSERT INTO "My Orders" VALUES (1, 7)')
            with psycopg.connect(
                proxy.url("postgres"), autocommit=True, application_name="night job"
            ) as connection:
                connection.execute("UPDATE products SET price = 0 WHERE id IN (3, 4)")
            proxy.psql("DELETE FROM products WHERE id = 20", tag="deploy-42")
            proxy.psql("UPDATE products SET note = NULL WHERE id = 1", tag="deploy-42")
            proxy.psql("COMMENT ON ROLE app IS 'gap'", user="postgres", tag="deploy-42")
            yield proxy
