"""URLs of a Redis: one server, the Sentinels of one, or some nodes of a Cluster."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_SEVERAL_HOSTS = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://(?:(?P<login>[^/?#]*)@)?"
    r"(?P<hosts>[^@/?#]+)(?:/(?P<path>[^?#]*))?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:,\s]+))(?::(?P<port>[0-9]{1,5}))?")
_PORTS = 65_536


@dataclass(frozen=True, slots=True)
class SeveralHosts:
    """The parts of a URL like ``redis+sentinel://user:password@host1:26379,[2001:db8::1]/name?db=0``.

    Attributes:
        scheme: What comes before the plus sign.
        kind: What comes behind it.
        login: User and password as they are written, without the @.
        hosts: Names or addresses, IPv6 without brackets, each with its port, None if it has none.
    """

    scheme: str
    kind: str
    login: str
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    query: str


def split_hosts(url: str) -> SeveralHosts:
    """Take a URL with several hosts apart, which urllib does not (or not every version of it).

    Raises:
        ValueError: That is no such URL.
    """
    found = _SEVERAL_HOSTS.fullmatch(url)
    if found is None:
        raise ValueError("no URL with several hosts")
    hosts = [_HOST.fullmatch(host) for host in found["hosts"].split(",")]
    if not all(hosts):
        raise ValueError("a host is missing or malformed")
    named = tuple((host["ipv6"] or host["name"], int(host["port"]) if host["port"] else None) for host in hosts if host)
    if any(port is not None and not 0 < port < _PORTS for _, port in named):
        raise ValueError("a port is out of range")
    return SeveralHosts(
        found["scheme"],
        found["kind"],
        found["login"] or "",
        named,
        (found["path"] or "").strip("/"),
        found["query"] or "",
    )


def check_redis_url(url: str) -> str:
    """Return the URL if it is one that a node can use.

    Raises:
        ValueError: It is not; the text says what is, and does not quote it, for it may hold a password.
    """
    try:
        known = _has_several_hosts(url) if "+" in url.partition(":")[0] else _has_one_host(url)
    except ValueError:
        known = False
    if not known:
        raise ValueError(
            "must be like redis://host:6379/0, rediss://host:6379/0, unix:///path/redis.sock, "
            "redis+sentinel://host1:26379,host2:26379/name or redis+cluster://host1:6379,host2:6379"
        )
    return url


def _has_several_hosts(url: str) -> bool:
    parts = split_hosts(url)
    return (parts.path != "") == (parts.kind == "sentinel")  # the name of the service


def _has_one_host(url: str) -> bool:
    parts = urlsplit(url)
    _ = parts.port  # raises for one that is no number
    is_one = "," not in parts.netloc.rpartition("@")[2]
    return (parts.scheme in {"redis", "rediss"} and is_one) or (parts.scheme == "unix" and parts.path != "")
