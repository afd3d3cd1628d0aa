"""What the URL of one server says. The only module that imports redis-py.

redis-py knows the options in the query of a URL (``ssl_ca_certs`` and the like) and how to
make a TLS context of them. Of its connections only the public attributes are read; none is
ever opened. It takes as long to import as a good part of all else, and 11 MB, so a URL
without options and without TLS is read here.
"""

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urlsplit

from obscura.errors import StartupError
from obscura.redis_client.transport import Argument

CONNECT_TIMEOUT_SECS = 1.0
_REPLY_TIMEOUT_SECS = 1.5  # for one command of the handshake
_DEFAULT_PORT = 6379
_KEEP_ALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How to connect to one server.

    Attributes:
        handshake: The commands with which each connection begins.
        path: Its unix socket; "" if it has a host and a port.
        make_tls: Reads the certificates; None for a connection without TLS.
        keep_alive: Options of TCP's keep-alive by number; None to leave it off.
    """

    handshake: tuple[tuple[Argument, ...], ...]
    path: str = ""
    host: str = ""
    port: int = 0
    make_tls: Callable[[], SSLContext] | None = None
    keep_alive: Mapping[int, int | bytes] | None = None
    connect_timeout_secs: float = CONNECT_TIMEOUT_SECS
    reply_timeout_secs: float = _REPLY_TIMEOUT_SECS

    @property
    def where(self) -> str:
        """What errors call the server."""
        return self.path or f"{self.host}:{self.port}"


def read_url(url: str, client_name: str) -> ConnectOptions:
    """Read a ``redis://``, ``rediss://`` or ``unix://`` URL. Reads no file yet.

    Raises:
        StartupError: The query of the URL has what redis-py does not know.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "unix"} or parts.query:
            return _options_of(_described(url, client_name))
        return _plain_options(parts, client_name)
    except (TypeError, ValueError) as error:
        # What they say quotes names and, of a value, nothing.
        raise StartupError(f"OBSCURA_REDIS_URL is not understood: {error}") from None


def _plain_options(parts: SplitResult, client_name: str) -> ConnectOptions:
    path = os.fsdecode(unquote_to_bytes(parts.path))  # of a file's name any bytes may be part
    login = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme == "unix":
        return ConnectOptions(_handshake(*login, client_name, 0), path)
    db = 0
    with suppress(ValueError):  # a path that is no number is passed over
        db = int(path.replace("/", ""))
    handshake = _handshake(*login, client_name, db)
    host = unquote(parts.hostname or "localhost")
    return ConnectOptions(handshake, host=host, port=parts.port or _DEFAULT_PORT, keep_alive=_KEEP_ALIVE)


def _described(url: str, client_name: str) -> Any:
    """Make a connection of redis-py's that will never be opened: it checks the options and fills in the others."""
    from redis.asyncio.connection import Connection, parse_url  # noqa: PLC0415  only where it is needed
    from redis.exceptions import RedisError  # noqa: PLC0415

    defaults = {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECS,
        "socket_timeout": _REPLY_TIMEOUT_SECS,
        "client_name": client_name,
    }
    options: dict[str, Any] = {**defaults, **parse_url(url)}
    if options.pop("max_connections", 0) < 0:  # an option of pools, and without a meaning here
        raise ValueError('"max_connections" must be a positive integer')
    try:
        return options.pop("connection_class", Connection)(**options)
    except RedisError as error:
        raise ValueError(error) from error


def _options_of(described: Any) -> ConnectOptions:
    is_unix = not hasattr(described, "host")
    tls = getattr(described, "ssl_context", None)
    return ConnectOptions(
        _handshake(described.username, described.password, described.client_name, described.db),
        path=described.path if is_unix else "",
        host="" if is_unix else described.host,
        port=0 if is_unix else described.port,
        make_tls=tls.get if tls is not None else None,
        keep_alive=None if is_unix or not described.socket_keepalive else described.socket_keepalive_options,
        connect_timeout_secs=described.socket_connect_timeout,
        reply_timeout_secs=described.socket_timeout,
    )


def _handshake(
    username: str | None, password: str | None, client_name: str | None, db: int
) -> tuple[tuple[Argument, ...], ...]:
    commands: list[tuple[Argument, ...]] = []
    if username:
        commands.append(("AUTH", username, password or ""))
    elif password:
        commands.append(("AUTH", password))
    if client_name:
        commands.append(("CLIENT", "SETNAME", client_name))
    if db:
        commands.append(("SELECT", db))
    return tuple(commands)
