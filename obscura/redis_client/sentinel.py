"""The master that Sentinel names at this moment (redis.io/docs/management/sentinel)."""

import asyncio
import logging
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.redis import REDIS_MASTER_SWITCHES
from obscura.redis_client.addresses import Address, parse_addresses, url_of
from obscura.redis_client.endpoints import StaticEndpoint
from obscura.redis_client.handshake import closed_on_failure
from obscura.redis_client.outage_log import OutageLog
from obscura.redis_client.transport import RedisTransport
from obscura.settings.redis_urls import split_hosts

log = logging.getLogger(__name__)

_ANSWER_TIMEOUT_SECS = 0.5  # for the answers of all
_WATCH_PERIOD_SECS = 0.5
_SENTINEL_PORT = 26379


class SentinelEndpoint:
    """The master of a service, asked of all Sentinels anew for each connection.

    Sentinels learn of a failover one after the other, so the answer of the newest
    configuration counts (its epoch), and only if that server says itself that it is the
    master.

    Args:
        url: ``redis+sentinel://user:password@host1:26379,host2/name?db=0``, with
            ``rediss+sentinel`` for TLS. ``sentinel_username`` and ``sentinel_password`` in
            its query are for the Sentinels; all else is for the master.
        client_name: What CLIENT LIST calls its connections.
    """

    def __init__(self, url: str, client_name: str) -> None:
        parts = split_hosts(url)
        self._scheme = parts.scheme
        self._login = parts.login
        self._query = dict(parse_qsl(parts.query))
        self._client_name = client_name
        self.outages = OutageLog()
        names = (self._query.pop(f"sentinel_{name}", "") for name in ("username", "password"))
        login = ":".join(quote(name, safe="") for name in names).removesuffix(":")
        query = {name: value for name, value in self._query.items() if name != "db"}
        self._sentinels = [
            _Sentinel(StaticEndpoint(url_of(self._scheme, login, address, query), client_name), parts.path)
            for address in parse_addresses(url, _SENTINEL_PORT)
        ]
        self._opened: list[tuple[_Configuration, RedisTransport]] = []  # and by which configuration
        self._newest: _Configuration | None = None  # of those that led to a master

    async def connect(self) -> RedisTransport:
        found = await self._find_master()
        endpoint = StaticEndpoint(url_of(self._scheme, self._login, found.master, self._query), self._client_name)
        transport = await endpoint.connect()
        async with closed_on_failure(transport):
            role = (await transport.ask("ROLE"))[0]
            if role != b"master":
                raise StoreUnavailable("who Sentinel takes for the master is none any more, or not yet")
        self._on_master_found(found)
        self._opened = [(by, opened) for by, opened in self._opened if not opened.is_closing]
        self._opened.append((found, transport))
        return transport

    async def watch(self) -> None:
        """Until cancelled, break connections to a server that is not the master any more, even if it does not know."""
        while True:
            await asyncio.sleep(_WATCH_PERIOD_SECS)
            try:
                found = await self._find_master()
            except StoreUnavailable as error:
                log.debug("no Sentinel names a master", extra={"reason": str(error)})
                continue
            for by, transport in self._opened:
                # An answer of an older epoch comes from Sentinels that have not heard of the failover.
                if found.master != by.master and found.epoch > by.epoch:
                    transport.close()

    async def close(self) -> None:
        for sentinel in self._sentinels:
            sentinel.close()

    def _on_master_found(self, found: "_Configuration") -> None:
        if self._newest is not None and found.epoch < self._newest.epoch:
            return  # from Sentinels that have not heard of the failover
        if self._newest is not None and found.master != self._newest.master:
            REDIS_MASTER_SWITCHES.inc()
        self._newest = found

    async def _find_master(self) -> "_Configuration":
        asking = [asyncio.create_task(sentinel.configuration()) for sentinel in self._sentinels]
        try:
            await asyncio.wait(asking, timeout=_ANSWER_TIMEOUT_SECS)
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

    def __init__(self, endpoint: StaticEndpoint, service: str) -> None:
        self._endpoint = endpoint
        self._service = service
        self._transport: RedisTransport | None = None
        self._one_at_a_time = asyncio.Lock()

    async def configuration(self) -> _Configuration:
        """What it knows. Cancelled, it closes the connection: an answer may still be on its way.

        Raises:
            StoreUnavailable: No answer, or it knows of no such service.
        """
        async with self._one_at_a_time:
            transport, self._transport = self._transport, None  # kept again once all was answered
            if transport is None:
                transport = await self._endpoint.connect()
            async with closed_on_failure(transport):
                state = await transport.ask("SENTINEL", "MASTER", self._service)
                # What the state says of the address is old until the failover has come to its end.
                host, port = await transport.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
                epoch = int(state[state.index(b"config-epoch") + 1])
            self._transport = transport
        return _Configuration(epoch, Address(host.decode(), int(port)))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
