from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from fix_postgres import Server, install_into
from type_values import OBJECTS

from proxy.demo.command import Serving

pytest.register_assert_rewrite("forms_bed")
from forms_bed import AS_DUMPED, Bed  # noqa: E402

EXTENSIONS = ("hstore", "citext", "ltree", "refint", "autoinc", "moddatetime", "postgres_fdw")


@contextmanager
def served(server: Server, folder: Path) -> Iterator[Bed]:
    with server.database() as database:
        for name in EXTENSIONS:
            database.psql(f"CREATE EXTENSION {name} SCHEMA public")
        database.psql(OBJECTS + 'GRANT USAGE ON SCHEMA "Odd ""sch.ema" TO PUBLIC')
        install_into(database)
        with (
            Serving(database.url(), folder) as serving,
            psycopg.connect(database.url(), autocommit=True, options=AS_DUMPED) as direct,
        ):
            yield Bed(database, serving, direct)


@pytest.fixture(scope="session")
def bed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """One for each server and test process: cases have schemas and tags of their own."""
    with served(server, tmp_path_factory.mktemp("forms")) as made:
        yield made


@pytest.fixture(scope="module")
def bed_apart(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """For what changes how the whole of a database is captured."""
    with served(server, tmp_path_factory.mktemp("apart")) as made:
        yield made
