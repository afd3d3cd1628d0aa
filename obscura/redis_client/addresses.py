"""Where servers are: the hosts and ports of a URL, one or several."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from obscura.settings.redis_urls import split_hosts


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host and a port. The host is a name or an IP address, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(url: str, default_port: int) -> list[Address]:
    """The hosts of a URL with several: ``host1:6379,host2,[2001:db8::1]:6380``.

    Raises:
        ValueError: One is empty, or a port is no number.
    """
    return [Address(host, port or default_port) for host, port in split_hosts(url).hosts]


def url_of(scheme: str, login: str, address: Address, query: Mapping[str, str]) -> str:
    """The URL of one server. ``login`` is ``user:password``, percent-encoded, or empty."""
    return f"{scheme}://{login}{'@' if login else ''}{address}/?{urlencode(query)}"
