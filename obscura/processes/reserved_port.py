"""The API port of a node of several processes: theirs alone, and known before any of them listens."""

import socket
from contextlib import ExitStack
from typing import Any

from obscura.errors import StartupError
from obscura.settings.hosts import listen_addresses, reason_not_to_listen

_SHARED = getattr(socket, "SO_REUSEPORT", None)


class ReservedPort:
    """A port that is bound but not listened on: processes of this user may share it, and nobody else gets it.

    Sharing would let a second node take it too, and half of the clients of the first, also if
    both start at the same moment. What the kernel grants to one alone is to listen on a port
    that is not shared; so that comes first, and is handed over without a gap to a socket that
    only holds the port, for the processes of this node to share.

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
                for family, address in listen_addresses(host, port):
                    with socket.socket(family) as claim:
                        self._listen_exclusively(claim, address)
                        self._bind_shared(bound.enter_context(socket.socket(family)), claim)
            except OSError as error:
                raise StartupError(f"cannot listen on {host} port {port}: {reason_not_to_listen(error)}") from error
            self._bound = bound.pop_all()

    def _listen_exclusively(self, claim: socket.socket, address: tuple[Any, ...]) -> None:
        """Take the port as its only owner. Of two that try at the same moment one fails, or both."""
        _prepare(claim)
        claim.bind((address[0], self.port, *address[2:]))  # which two may do while nobody listens
        claim.listen(0)
        self.port = claim.getsockname()[1]

    @staticmethod
    def _bind_shared(holder: socket.socket, claim: socket.socket) -> None:
        """Bind ``holder`` to the port of ``claim``, which may be closed then."""
        assert _SHARED is not None
        _prepare(holder)
        for one in (claim, holder):
            one.setsockopt(socket.SOL_SOCKET, _SHARED, 1)
        holder.bind(claim.getsockname())
        # From now on only sockets that ask to share the port get it, as those of workers do.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def close(self) -> None:
        """Give the port up. Who listens on it goes on listening."""
        self._bound.close()


def _prepare(unbound: socket.socket) -> None:
    # Connections of an earlier run that linger are not in the way.
    unbound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if unbound.family == socket.AF_INET6:
        unbound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
