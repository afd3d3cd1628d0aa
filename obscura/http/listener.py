"""A listening socket that loses no connection when it closes."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

_BACKLOG = 1024


class Listener:
    """Accepts connections for one server.

    asyncio's own listener is kept while there is something to accept, since it also pauses when the
    process has too many files open. A loop around `sock_accept` would have to do that anew.

    Args:
        make_protocol: Makes what serves a connection.
    """

    def __init__(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._make_protocol = make_protocol
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, is_port_shared: bool) -> int:
        """Listen, and return the port. The kernel spreads connections over all processes that share one.

        Raises:
            OSError: The address is taken, or not ours.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._make_protocol, host, port, backlog=_BACKLOG, reuse_port=is_port_shared
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Accept what the kernel has made already, and nothing after that. Safe to call again.

        A connection that the kernel has made and nobody has accepted is reset when its listener
        closes. A balancer has put a request on it by then and cannot tell whether it was served.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        listening = [one.dup() for one in server.sockets]
        # asyncio's own loop forgets a connection that it accepted in the tick of the close.
        for one in server.sockets:
            asyncio.get_running_loop().remove_reader(one.fileno())
        await asyncio.sleep(0)
        server.close()
        for one in listening:
            await self._accept_backlog(one)

    async def _accept_backlog(self, listening: socket.socket) -> None:
        accepted = []
        with listening, suppress(OSError):  # nobody is left
            listening.setblocking(False)
            while True:
                accepted.append(listening.accept()[0])
        for connection in accepted:
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(self._make_protocol, connection)
