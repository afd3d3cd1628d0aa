"""Which server a connection goes to: one with an address, or the master that Sentinel names at this moment.

redis-py reads the addresses and makes the connections: TLS, passwords and database are
its matter, with the query parameters that it documents (``ssl_ca_certs`` and the like).
It never repeats a command for us.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlencode

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from obscura.errors import StartupError, StoreUnavailable
from obscura.observability.metrics.redis import REDIS_MASTER_SWITCHES
from obscura.settings.redis_urls import split_hosts

log = logging.getLogger(__name__)

CLIENT_NAME = "obscura"  # in CLIENT LIST; a node appends its id
CONNECT_TIMEOUT_SECS = 1.0
_HANDSHAKE_TIMEOUT_SECS = 1.5  # for one reply
_SENTINEL_TIMEOUT_SECS = 0.5  # for the answers of all
_WATCH_PERIOD_SECS = 0.5
_REDIS_PORT = 6379
_SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host and a port. The host is a name or an IP address, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Server(Protocol):
    """Where connections are made to."""

    async def connect(self) -> Any:
        """Make one authenticated connection of redis-py's, of which no reply is unread.

        Raises:
            StoreUnavailable: Nobody there, or not willing.
        """

    async def close(self) -> None:
        """Close what was opened to find the server. Connections made stay open."""


class StaticEndpoint:
    """The server of a ``redis://``, ``rediss://`` or ``unix://`` URL.

    Args:
        client_name: What CLIENT LIST calls its connections.

    Raises:
        StartupError: The query of the URL has what redis-py does not know.
    """

    def __init__(self, url: str, client_name: str = CLIENT_NAME) -> None:
        try:
            self._pool = ConnectionPool.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=CONNECT_TIMEOUT_SECS,
                socket_timeout=_HANDSHAKE_TIMEOUT_SECS,
                driver_info=None,
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
                client_name=client_name,
            )
            self._pool.make_connection()  # type: ignore[no-untyped-call]  # not connected: only to have all of it read
        except (TypeError, ValueError, RedisError) as error:
            # What they say quotes names and, of a value, nothing.
            raise StartupError(f"OBSCURA_REDIS_URL is not understood: {error}") from None

    async def connect(self) -> Any:
        connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        async with _closed_on_failure(connection):
            await connection.connect()
            if connection._writer.transport.is_closing():
                raise ConnectionResetError("closed at once")  # and nobody would tell us any more
        return connection

    async def close(self) -> None:
        pass


class SentinelEndpoint:
    """The master of a service, asked of all Sentinels anew for each connection.

    Sentinels learn of a failover one after the other, so the answer of the newest
    configuration counts (its epoch, redis.io/docs/management/sentinel), and only if that
    server says itself that it is the master.

    Args:
        url: ``redis+sentinel://user:password@host1:26379,host2/name?db=0``, with
            ``rediss+sentinel`` for TLS. ``sentinel_username`` and ``sentinel_password`` in
            its query are for the Sentinels; all else is for the master.
    """

    def __init__(self, url: str, client_name: str = CLIENT_NAME) -> None:
        parts = split_hosts(url)
        self._service = parts.path
        self._scheme = parts.scheme
        self._login = parts.login
        self._query = dict(parse_qsl(parts.query))
        self._client_name = client_name
        names = (self._query.pop(f"sentinel_{name}", "") for name in ("username", "password"))
        login = ":".join(quote(name, safe="") for name in names).removesuffix(":")
        query = {name: value for name, value in self._query.items() if name != "db"}
        self._sentinels = [
            _Sentinel(StaticEndpoint(_url(self._scheme, login, address, query), client_name), self._service)
            for address in addresses(url, _SENTINEL_PORT)
        ]
        self._made: list[tuple[_Configuration, asyncio.Transport]] = []
        self._newest: _Configuration | None = None  # of those that led to a master

    async def connect(self) -> Any:
        known = await self._discover()
        master = StaticEndpoint(_url(self._scheme, self._login, known.master, self._query), self._client_name)
        connection = await master.connect()
        role = (await ask(connection, "ROLE"))[0]
        if role != b"master":
            await connection.disconnect(nowait=True)
            raise StoreUnavailable("who Sentinel takes for the master is none any more, or not yet")
        self._note(known)
        self._made = [(by, transport) for by, transport in self._made if not transport.is_closing()]
        self._made.append((known, connection._writer.transport))
        return connection

    async def watch(self) -> None:
        """Until cancelled, break connections to one that is not the master any more, though it may not know yet."""
        while True:
            await asyncio.sleep(_WATCH_PERIOD_SECS)
            try:
                known = await self._discover()
            except StoreUnavailable as error:
                log.debug("no Sentinel names a master", extra={"reason": str(error)})
                continue
            for by, transport in self._made:
                # Of Sentinels that lag, alone to answer for a moment, nothing is to be learned.
                if known.master != by.master and known.epoch > by.epoch:
                    transport.abort()

    async def close(self) -> None:
        for sentinel in self._sentinels:
            await sentinel.leave()

    def _note(self, known: "_Configuration") -> None:
        if self._newest is not None and known.epoch < self._newest.epoch:
            return  # of Sentinels that lag
        if self._newest is not None and known.master != self._newest.master:
            REDIS_MASTER_SWITCHES.inc()
        self._newest = known

    async def _discover(self) -> "_Configuration":
        asking = [asyncio.create_task(sentinel.configuration()) for sentinel in self._sentinels]
        try:
            await asyncio.wait(asking, timeout=_SENTINEL_TIMEOUT_SECS)
        finally:
            for task in asking:
                task.cancel()
            answers = await asyncio.gather(*asking, return_exceptions=True)
        configurations = [answer for answer in answers if isinstance(answer, _Configuration)]
        if not configurations:
            raise StoreUnavailable(f"none of {len(asking)} Sentinels names a master")
        return max(configurations)


@dataclass(frozen=True, slots=True, order=True)
class _Configuration:
    """Who is master, by the failover of that epoch."""

    epoch: int
    master: Address


class _Sentinel:
    """One Sentinel, and the connection on which it was asked last."""

    def __init__(self, server: StaticEndpoint, service: str) -> None:
        self._server = server
        self._service = service
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def configuration(self) -> _Configuration:
        """What it knows.

        Raises:
            StoreUnavailable: No answer, or it knows of no such service.
        """
        async with self._turn:
            # Not kept while it is asked: what is cancelled in the middle is closed.
            connection, self._connection = self._connection, None
            if connection is None:
                connection = await self._server.connect()
            state = await ask(connection, "SENTINEL", "MASTER", self._service)
            # What the state says of the address is old until the failover has come to its end.
            host, port = await ask(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            self._connection = connection
        epoch = int(state[state.index(b"config-epoch") + 1])
        return _Configuration(epoch, Address(host.decode(), int(port)))

    async def leave(self) -> None:
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)
            self._connection = None


class ClusterAddresses:
    """The servers of a ``redis+cluster://user:password@host1:6379,host2`` URL, or ``rediss+cluster`` for TLS."""

    def __init__(self, url: str, client_name: str = CLIENT_NAME) -> None:
        parts = split_hosts(url)
        self._scheme = parts.scheme
        self._login = parts.login
        self._query = dict(parse_qsl(parts.query))
        self._client_name = client_name
        self.seeds = addresses(url, _REDIS_PORT)

    def server(self, address: Address) -> StaticEndpoint:
        """The server at ``address``, with the passwords of all."""
        return StaticEndpoint(_url(self._scheme, self._login, address, self._query), self._client_name)


async def ask(connection: Any, *command: str) -> Any:
    """Have one command answered on a connection that nobody else uses; an error closes it.

    Raises:
        StoreUnavailable: No reply, or a refusal.
    """
    async with _closed_on_failure(connection):
        await connection.send_command(*command)
        return await connection.read_response()


def addresses(url: str, default_port: int) -> list[Address]:
    """The hosts of a URL with several: ``host1:6379,host2,[2001:db8::1]:6380``.

    Raises:
        ValueError: One is empty, or a port is no number.
    """
    return [Address(host, port or default_port) for host, port in split_hosts(url).hosts]


def _url(scheme: str, login: str, address: Address, query: Mapping[str, str]) -> str:
    return f"{scheme}://{login}{'@' if login else ''}{address}/?{urlencode(query)}"


@asynccontextmanager
async def _closed_on_failure(connection: Any) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECS):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        await connection.disconnect(nowait=True)
        raise StoreUnavailable(f"cannot connect to Redis: {error}") from error
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
