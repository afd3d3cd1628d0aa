"""Whose request it is, behind any number of trusted proxies."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

CLIENT_OF: web.AppKey[Callable[[web.Request], str]] = web.AppKey("client_of")
"""Whose request it is: `ClientAddresses.of`, where handlers find it."""

_FORWARDED_FOR = "X-Forwarded-For"
_IPV6_PREFIX_BITS = 64  # what one subscriber has: single addresses in it cost nothing
_MAX_PROXIES = 32  # more are not believed, and what is left of them not looked at
_REMEMBERED = 8192
_MAX_REMEMBERED_CHARS = 256  # of a header: whoever sends more does not fill the memory
_MAX_PORT_DIGITS = 5


class ClientAddresses:
    """Finds the client of a request, and remembers the last few thousand.

    Args:
        trusted: Networks of the proxies whose X-Forwarded-For is believed.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._find)

    def of(self, request: web.Request) -> str:
        """The client a request is counted for."""
        return self.find(request.remote or "", request.headers.getall(_FORWARDED_FOR, ()))

    def find(self, peer: str, forwarded: Sequence[str]) -> str:
        """The client of a connection and its lines of X-Forwarded-For: an IPv4 address or an IPv6 /64, in text.

        It is the right-most entry of X-Forwarded-For, all its lines joined, that is no
        trusted proxy, and only if the peer is one; so nobody chooses their own. An entry
        that is no address, an empty one too, ends the search at the last good one.
        """
        line = ",".join(forwarded)
        return self._remembered(peer, line) if len(line) <= _MAX_REMEMBERED_CHARS else self._find(peer, line)

    def _find(self, peer: str, forwarded: str) -> str:
        client = _parse(peer)
        if client is None:
            return ""  # no address to go by: all of them are one client
        for entry in _from_the_right(forwarded):
            if not self._is_trusted(client) or (named := _parse_entry(entry)) is None:
                break
            client = named
        return _group(client)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _from_the_right(forwarded: str) -> Iterator[str]:
    for entry in reversed(forwarded.rsplit(",", _MAX_PROXIES)[-_MAX_PROXIES:]):
        yield entry.strip(" \t")


def _parse_entry(text: str) -> Address | None:
    """An address as proxies write it: bare, in brackets, or either with a port."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        is_entry = bracket != "" and ":" in host and (rest == "" or _is_port(rest))
        return _parse(host) if is_entry else None
    if text.count(":") == 1:
        host, colon, port = text.partition(":")
        return _parse(host) if _is_port(colon + port) else None
    return _parse(text)


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[:1] == ":" and digits.isascii() and digits.isdigit() and len(digits) <= _MAX_PORT_DIGITS


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _group(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    other_bits = 128 - _IPV6_PREFIX_BITS
    return f"{IPv6Address(int(address) >> other_bits << other_bits)}/{_IPV6_PREFIX_BITS}"
