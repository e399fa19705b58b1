"""The servers of these tests, one of each version."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from fix_postgres import VERSIONS, cluster_of
from guarded_server import HBA, ROLES, Guarded
from sealed_server import CERTIFIED, MORE_ROLES, Sealed

from proxy.demo.command import Serving


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda version: f"pg{version}")
def guarded(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    with cluster_of(request.param) as cluster:
        server = Guarded(request.param, cluster)
        server.psql(ROLES)
        server.ask_for(HBA)
        yield server


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealed]:
    folder = Path(tmp_path_factory.mktemp("sealed"))
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    own = ca.issue_cert("127.0.0.1")
    for name, issued in (
        ("proxy", ca.issue_cert("127.0.0.1")),
        ("certified", ca.issue_cert(common_name="certified")),
    ):
        (folder / f"{name}.pem").touch(0o600)
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    with cluster_of(15) as cluster:
        own.private_key_pem.write_to_path(str(cluster.data / "server.key"))
        own.cert_chain_pems[0].write_to_path(str(cluster.data / "server.crt"))
        ca.cert_pem.write_to_path(str(cluster.data / "root.crt"))
        (cluster.data / "server.key").chmod(0o600)
        for name in ("server.key", "server.crt", "root.crt"):
            cluster.account.own(cluster.data / name)
        server = Guarded(15, cluster)
        server.psql(ROLES + MORE_ROLES)
        server.psql("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
        server.psql("ALTER SYSTEM SET ssl = on")
        server.ask_for(CERTIFIED + HBA)
        yield Sealed(server, folder)


Through = Callable[..., Serving]


@pytest.fixture(scope="module")
def through(sealed: Sealed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Through]:
    """through(lines of the config, sslmode=..., shown=...) is a running proxy; one of each kind."""
    running: dict[object, Serving] = {}

    def start(lines: str = "", *, sslmode: str = "verify-full", shown: str = "") -> Serving:
        """`shown`: the certificate that the server sees."""
        kind = (lines, sslmode, shown)
        if kind not in running:
            folder = Path(tmp_path_factory.mktemp("through"))
            roots = f"&sslrootcert={sealed.folder}/ca.pem" if sslmode != "disable" else ""
            config = folder / "conf.toml"
            config.write_text(f'tls_cert = "{sealed.folder}/proxy.pem"\n{lines}\n')
            own = f"&sslcert={sealed.folder}/{shown}.pem" if shown else ""
            url = f"{sealed.server.url('operator')}?sslmode={sslmode}{roots}{own}"
            running[kind] = Serving(url, folder, ("--config", str(config)))
            running[kind].start()
        return running[kind]

    yield start
    for serving in running.values():
        serving.stop()
