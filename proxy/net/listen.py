"""Listening sockets: the port that clients connect to, and the admin socket's file."""

import os
import socket
from pathlib import Path

from proxy.net.keepalive import KeepAlive


def tcp(host: str, port: int, *, shared: bool, keepalive: KeepAlive | None = None) -> socket.socket:
    """Raises OSError. `shared`: other processes listen on the same port. `keepalive`: of the
    connections that are accepted."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if keepalive is not None:
            keepalive.set_on(listener)
        listener.setblocking(False)  # noqa: FBT003
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def unix(path: Path, mode: int = 0o600) -> socket.socket:
    """A socket file that only its owner may use, unless `mode` says otherwise. One that nobody
    listens on is replaced; one that is in use raises FileExistsError."""
    if path.exists():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise FileExistsError(f"{path}: another proxy listens there")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode is there from the first moment, not set afterwards.
    mask = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
        listener.setblocking(False)  # noqa: FBT003
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener
