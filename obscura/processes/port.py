"""The API port of a node of several processes: theirs alone, and known before any of them listens."""

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from obscura.errors import StartupError

_SHARED = getattr(socket, "SO_REUSEPORT", None)


class ReservedPort:
    """A port that is bound but not listened on: processes of this user may share it, and nobody else gets it.

    Sharing would let a second node take it too, and half of the clients of the first. So it
    is bound as a port of one's own, which fails where anybody listens, and opened to sharing
    after that.

    Args:
        port: 0 takes any free one.

    Raises:
        StartupError: It is taken, the address is not ours, or the platform cannot share ports.
    """

    def __init__(self, host: str, port: int) -> None:
        if _SHARED is None:
            raise StartupError("several processes cannot share a port on this platform: set OBSCURA_WORKERS to 1")
        self.port = port
        with ExitStack() as bound:
            try:
                for family, address in _addresses(host, port):
                    self._bind(bound.enter_context(socket.socket(family)), address)
            except OSError as error:
                reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
                raise StartupError(f"cannot listen on {host} port {port}: {str(reason).lower()}") from error
            self._bound = bound.pop_all()

    def _bind(self, door: socket.socket, address: tuple[Any, ...]) -> None:
        assert _SHARED is not None
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if door.family == socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.bind((address[0], self.port, *address[2:]))
        door.setsockopt(socket.SOL_SOCKET, _SHARED, 1)
        self.port = door.getsockname()[1]

    def close(self) -> None:
        """Give it up. Who listens on it goes on."""
        self._bound.close()


def _addresses(host: str, port: int) -> Sequence[tuple[int, tuple[Any, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))
