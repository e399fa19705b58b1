"""The line between supervisor and worker."""

import asyncio
import socket
from typing import Any, cast

import pytest

from proxy.net import control


@pytest.mark.parametrize("reads", [True, False])
async def test_a_worker_ends_with_its_supervisor(*, reads: bool) -> None:
    """Whether that one was killed before or after it took an answer."""
    supervisor, worker = socket.socketpair()
    supervisor.settimeout(0)
    commands = control.Commands(cast("Any", None))
    answering = asyncio.create_task(control.answer(commands, worker))
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(supervisor, b'["sessions", {}]\n')
    answer = await loop.sock_recv(supervisor, 1)
    assert answer == b"["
    if reads:
        assert (await loop.sock_recv(supervisor, 1000)).startswith(b"false")
    supervisor.close()
    await asyncio.wait_for(commands.stopping.wait(), 10)
    assert commands.hurry
    await answering
