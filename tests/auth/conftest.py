"""The servers of these tests, one of each version."""

from collections.abc import Iterator

import pytest
from fix_postgres import SETTINGS, VERSIONS, binaries
from guarded_server import HBA, ROLES, Guarded

from proxy.demo.cluster import Cluster


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda version: f"pg{version}")
def guarded(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    with Cluster(binaries(request.param), SETTINGS) as cluster:
        server = Guarded(request.param, cluster)
        server.psql(ROLES)
        server.ask_for(HBA)
        yield server
