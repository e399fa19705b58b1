"""Proxies with settings of their own, and certificates for them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pki import Pki

from proxy.demo.command import Serving


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(Path(tmp_path_factory.mktemp("pki")))
    made.issue("shown", "127.0.0.1", "localhost")
    made.issue("client", "127.0.0.1")
    return made


@pytest.fixture
def through(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """through(url, line of the config, ...) is a running proxy."""
    with contextlib.ExitStack() as stack:

        def start(url: str, *lines: str) -> Serving:
            config = tmp_path / "conf.toml"
            config.write_text("\n".join(lines))
            return stack.enter_context(Serving(url, tmp_path, ("--config", str(config))))

        yield start
