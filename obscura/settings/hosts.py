"""What OBSCURA_HOST means: the addresses to listen on, and where a process of this machine reaches them.

Imports nothing but what Python brings, for the health check of the image runs every few seconds.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any

_ANY_IPV4, _ANY_IPV6 = "0.0.0.0", "::"  # noqa: S104
_LOOPBACKS = {_ANY_IPV4: "127.0.0.1", _ANY_IPV6: "::1"}  # what reaches a server that listens everywhere

ListenAddress = tuple[int, tuple[Any, ...]]
"""A family, and an address of it as `socket.bind` takes it."""


def split_hosts(text: str) -> list[str]:
    """The names and addresses of a list with commas; IPv6 may have brackets."""
    hosts = [host.strip() for host in text.split(",")]
    return [host[1:-1] if host.startswith("[") and host.endswith("]") else host for host in hosts if host]


def listen_addresses(text: str, port: int) -> Sequence[ListenAddress]:
    """Every address that the hosts have, once. ``::`` is all of this machine, so those of IPv4 too.

    The socket of an IPv6 address is for IPv6 alone (IPV6_V6ONLY), whatever the machine's default.

    Raises:
        OSError: A name is unknown.
    """
    hosts = split_hosts(text)
    if _ANY_IPV6 in hosts:
        hosts.append(_ANY_IPV4)
    found = [
        (family, address)
        for host in hosts
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ]
    return list(dict.fromkeys(found))


def reason_not_to_listen(error: OSError) -> str:
    """Why an address cannot be listened on, in the words of the system."""
    if isinstance(error, socket.gaierror):  # whose numbers are not those of errno
        return str(error.strerror).lower()
    return os.strerror(error.errno or 0).lower()


def local_address(text: str) -> str:
    """Where this machine reaches a server that listens on these hosts."""
    host = split_hosts(text)[0]
    return _LOOPBACKS.get(host, host)


def url_hosts(text: str) -> list[str]:
    """The hosts as they stand in a URL: IPv6 in brackets (RFC 3986 section 3.2.2)."""
    return [f"[{host}]" if ":" in host else host for host in split_hosts(text)]
