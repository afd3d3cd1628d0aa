"""What the URL of one server says, as redis-py reads it. The only module that imports redis-py.

redis-py knows the forms of the URL, the options in its query (``ssl_ca_certs`` and the
like) and how to make a TLS context of them. Of its connections only the public attributes
are read; none is ever opened.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.exceptions import RedisError

from obscura.errors import StartupError
from obscura.redis_client.transport import Argument

CONNECT_TIMEOUT_SECS = 1.0
_HANDSHAKE_TIMEOUT_SECS = 1.5  # for one reply


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How to connect to one server.

    Attributes:
        where: What errors call the server.
        path: Its unix socket; "" if it has a host and a port.
        make_tls: Reads the certificates; None for a connection without TLS.
        keep_alive: Options of TCP's keep-alive by number; None to leave it off.
        handshake: The commands with which each connection begins.
    """

    where: str
    path: str
    host: str
    port: int
    make_tls: Callable[[], SSLContext] | None
    keep_alive: Mapping[int, int | bytes] | None
    handshake: tuple[tuple[Argument, ...], ...]
    connect_timeout_secs: float
    reply_timeout_secs: float


def read_url(url: str, client_name: str) -> ConnectOptions:
    """Read a ``redis://``, ``rediss://`` or ``unix://`` URL. Reads no file yet.

    Raises:
        StartupError: The query of the URL has what redis-py does not know.
    """
    try:
        return _options_of(_described(url, client_name))
    except (TypeError, ValueError, RedisError) as error:
        # What they say quotes names and, of a value, nothing.
        raise StartupError(f"OBSCURA_REDIS_URL is not understood: {error}") from None


def _described(url: str, client_name: str) -> Any:
    """Make a connection of redis-py's that will never be opened: it checks the options and fills in the others."""
    defaults = {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECS,
        "socket_timeout": _HANDSHAKE_TIMEOUT_SECS,
        "client_name": client_name,
    }
    options: dict[str, Any] = {**defaults, **parse_url(url)}
    options.pop("max_connections", None)  # of a pool
    return options.pop("connection_class", Connection)(**options)


def _options_of(described: Any) -> ConnectOptions:
    is_unix = isinstance(described, UnixDomainSocketConnection)
    return ConnectOptions(
        where=described.path if is_unix else f"{described.host}:{described.port}",
        path=described.path if is_unix else "",
        host="" if is_unix else described.host,
        port=0 if is_unix else described.port,
        make_tls=described.ssl_context.get if isinstance(described, SSLConnection) else None,
        keep_alive=None if is_unix or not described.socket_keepalive else described.socket_keepalive_options,
        handshake=tuple(_handshake(described)),
        connect_timeout_secs=described.socket_connect_timeout,
        reply_timeout_secs=described.socket_timeout,
    )


def _handshake(described: Any) -> list[tuple[Argument, ...]]:
    commands: list[tuple[Argument, ...]] = []
    if described.username:
        commands.append(("AUTH", described.username, described.password or ""))
    elif described.password:
        commands.append(("AUTH", described.password))
    if described.client_name:
        commands.append(("CLIENT", "SETNAME", described.client_name))
    if described.db:
        commands.append(("SELECT", described.db))
    return commands
