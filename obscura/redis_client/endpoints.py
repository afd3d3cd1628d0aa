"""Which server a connection goes to: one with an address, or one of a Cluster."""

from typing import Protocol
from urllib.parse import parse_qsl

from obscura.redis_client.addresses import Address, parse_addresses, url_of
from obscura.redis_client.handshake import open_transport
from obscura.redis_client.outage_log import OutageLog
from obscura.redis_client.redis_url import read_url
from obscura.redis_client.transport import RedisTransport
from obscura.settings.redis_urls import split_hosts

_REDIS_PORT = 6379


class Endpoint(Protocol):
    """Where connections are made to.

    Attributes:
        outages: Is told by its users what became of their attempts.
    """

    outages: OutageLog

    async def connect(self) -> RedisTransport:
        """Make one authenticated connection, which its user is to `attach` to. May be repeated.

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

    def __init__(self, url: str, client_name: str) -> None:
        self._url = url
        self._client_name = client_name
        self.outages = OutageLog()
        read_url(url, client_name)  # to be told at once what is wrong with it

    async def connect(self) -> RedisTransport:
        # The URL is read anew, and with it the files of TLS: certificates are renewed while nodes run.
        return await open_transport(read_url(self._url, self._client_name))

    async def close(self) -> None:
        pass


class ClusterEndpoints:
    """The servers of a ``redis+cluster://user:password@host1:6379,host2`` URL, or ``rediss+cluster`` for TLS.

    Attributes:
        seeds: Those that the URL names; they tell of the others.
    """

    def __init__(self, url: str, client_name: str) -> None:
        parts = split_hosts(url)
        self._scheme = parts.scheme
        self._login = parts.login
        self._query = dict(parse_qsl(parts.query))
        self._client_name = client_name
        self.seeds = parse_addresses(url, _REDIS_PORT)
        self._outages = OutageLog()

    def at(self, address: Address) -> StaticEndpoint:
        """The server at ``address``, with the passwords of all, and one log of outages."""
        endpoint = StaticEndpoint(url_of(self._scheme, self._login, address, self._query), self._client_name)
        endpoint.outages = self._outages
        return endpoint
