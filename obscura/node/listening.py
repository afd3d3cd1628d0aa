"""How a node, of one process or of several, opens its ports."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from obscura.api.server import make_management_server
from obscura.errors import StartupError
from obscura.http.server import HttpServer
from obscura.settings.hosts import reason_not_to_listen
from obscura.settings.model import Settings


async def open_port(
    server: HttpServer, host: str, port: int, running: AsyncExitStack, *, is_port_shared: bool = False
) -> int:
    """Start a server and return its port, which ``port`` 0 leaves to the system.

    Args:
        running: Is given what stops the server again.
        is_port_shared: Other processes of this node listen on the port too.

    Raises:
        StartupError: The port is taken, or the host is not ours.
    """
    running.push_async_callback(server.stop)
    try:
        await server.start(host, port, is_port_shared=is_port_shared)
    except OSError as error:
        raise StartupError(f"cannot listen on {host} port {port}: {reason_not_to_listen(error)}") from error
    return server.port


async def open_management_port(
    settings: Settings,
    readiness: Callable[[], Awaitable[Mapping[str, str]]],
    metrics: Callable[[], Awaitable[bytes]],
    running: AsyncExitStack,
) -> int:
    """Serve health and metrics, and return the port.

    Raises:
        StartupError: The port is taken, or the host is not ours.
    """
    server = make_management_server(settings, readiness, metrics)
    return await open_port(server, settings.host, settings.mgmt_port, running)
