"""A listening socket that loses no connection when it closes."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from obscura.settings.hosts import listen_addresses

_BACKLOG = 1024
_TRIES = 10  # to find a port that is free on several addresses


class Listener:
    """Accepts connections for one server.

    asyncio's own listener is kept while there is something to accept, since it also pauses when the
    process has too many files open. A loop around `sock_accept` would have to do that anew.

    Args:
        make_protocol: Makes what serves a connection.
    """

    def __init__(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._make_protocol = make_protocol
        self._servers: list[asyncio.Server] = []

    async def start(self, hosts: str, port: int, is_port_shared: bool) -> int:
        """Listen on every address of the hosts, and return the port, which is the same on all.

        The kernel spreads connections over all processes that share a port.

        Raises:
            OSError: An address is taken, or not ours.
        """
        loop = asyncio.get_running_loop()
        listening = _listen(hosts, port, is_port_shared)
        bound: int = listening[0].getsockname()[1]
        for one in listening:
            self._servers.append(await loop.create_server(self._make_protocol, sock=one, backlog=_BACKLOG))
        return bound

    async def stop(self) -> None:
        """Accept what the kernel has made already, and nothing after that. Safe to call again.

        A connection that the kernel has made and nobody has accepted is reset when its listener
        closes. A balancer has put a request on it by then and cannot tell whether it was served.
        """
        servers, self._servers = self._servers, []
        if not servers:
            return
        sockets = [one for server in servers for one in server.sockets]
        listening = [one.dup() for one in sockets]
        # asyncio's own loop forgets a connection that it accepted in the tick of the close.
        for one in sockets:
            asyncio.get_running_loop().remove_reader(one.fileno())
        await asyncio.sleep(0)
        for server in servers:
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


def _listen(hosts: str, port: int, is_port_shared: bool) -> list[socket.socket]:
    """Open a listening socket for each address. Port 0: any that is free on all of them."""
    for tries_left in reversed(range(_TRIES if port == 0 else 1)):
        with ExitStack() as opened:
            try:
                found: list[socket.socket] = []
                for family, address in listen_addresses(hosts, port):
                    one = opened.enter_context(socket.socket(family))
                    _bind(one, (address[0], found[0].getsockname()[1] if found else port, *address[2:]), is_port_shared)
                    found.append(one)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and tries_left:
                    continue
                raise
            opened.pop_all()
            return found
    raise AssertionError("the last try raises")


def _bind(one: socket.socket, address: tuple[Any, ...], is_port_shared: bool) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier run are not in the way
    if is_port_shared:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)
    one.listen(_BACKLOG)
