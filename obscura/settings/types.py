"""The types that settings have: what each accepts, and what is said of a value it refuses.

A message of a check continues the name of the setting ("OBSCURA_PORT must be ...")
and quotes no value that may be secret.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

ENV_PREFIX = "OBSCURA_"

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_SEVERAL_HOSTS = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://(?:(?P<login>[^/?#]*)@)?"
    r"(?P<hosts>[^@/?#]+)(?:/(?P<path>[^?#]*))?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:,\s]+))(?::(?P<port>[0-9]{1,5}))?")
_PORTS = 65_536
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}  # which browsers leave out
_JWT_SECRET_MIN_BYTES = 32  # RFC 7518, section 3.2: an HS256 key is no shorter than the hash


def topic(title: str) -> Callable[..., Any]:
    """Make the fields of one part of the help."""

    def setting(default: object, meaning: str, *, secret: bool = False, flag: bool = True) -> Any:
        """Make one field. A ``secret`` is never quoted; without ``flag`` it stays out of process lists."""
        about: JsonDict = {"topic": title, "secret": secret, "has_flag": flag}
        return Field(default, description=meaning, repr=not secret, json_schema_extra=about)

    return setting


@dataclass(frozen=True, slots=True)
class Setting:
    """What an operator needs to know of one setting; ``flag`` is None if no process list may show it."""

    name: str
    env: str
    flag: str | None
    default: str
    meaning: str
    expected: str
    topic: str
    secret: bool


def describe(name: str, field: FieldInfo) -> Setting:
    """Describe a field that `topic` made."""
    about: Any = field.json_schema_extra
    default = "unset" if field.default in {None, ""} else str(field.default)
    return Setting(
        name=name,
        env=f"{ENV_PREFIX}{name.upper()}",
        flag=flag_name(name) if about["has_flag"] else None,
        default=default.lower() if isinstance(field.default, bool) else default,
        meaning=field.description or "",
        expected=_expected(field),
        topic=about["topic"],
        secret=about["secret"],
    )


def flag_name(name: str) -> str:
    """Return the flag of a setting, whether or not it is offered."""
    return f"--{name.replace('_', '-')}"


def _expected(field: FieldInfo) -> str:
    """Say what a field accepts, from its type and bounds: "a whole number from 1 up to 65535"."""
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(get_args(field.annotation))}"
    kinds: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}
    words = [kinds.get(field.annotation, "some text")]
    for bound in field.metadata:
        match bound:
            case Ge(ge=limit):
                words.append(f"from {limit}")
            case Gt(gt=limit):
                words.append(f"over {limit}")
            case Le(le=limit):
                words.append(f"up to {limit}")
    return " ".join(words)


def _entries(value: object) -> object:
    """Split at commas, the way a list is written in a flag, in the environment or in a TOML string."""
    if not isinstance(value, str):
        return value
    return [entry for entry in map(str.strip, value.split(",")) if entry]


def _network(entry: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(entry))
    except ValueError:
        raise ValueError(f"has {entry!r}, which is no network like 10.0.0.0/8 or 2001:db8::/32") from None


def _origin(entry: str) -> str:
    """Take an origin as browsers write it: they compare letter by letter."""
    if not _ORIGIN.fullmatch(entry) or entry.endswith(_DEFAULT_PORTS.get(entry.partition(":")[0], "/")):
        raise ValueError(f"has {entry!r}, which is no origin like https://chat.example or http://localhost:8080")
    return entry


def _long_enough(secret: str) -> str:
    if len(secret.encode()) < _JWT_SECRET_MIN_BYTES:
        raise ValueError(f"has an entry shorter than {_JWT_SECRET_MIN_BYTES} bytes")
    return secret


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


def _redis_url(url: str) -> str:
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


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.query or parts.fragment)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        known = False
    if not known:
        raise ValueError("must be like http://collector:4318 or https://collector.example")
    return url


def only(value: int, reason: str) -> AfterValidator:
    """Refuse everything but ``value``, for a setting that a later version will widen."""

    def check(given: int) -> int:
        if given != value:
            raise ValueError(f"must be {value}: {reason}")
        return given

    return AfterValidator(check)


def _level(name: object) -> object:
    """Understand ``INFO`` and ``warn`` too: that is how other servers spell them."""
    return {"warn": "warning"}.get(name.lower(), name.lower()) if isinstance(name, str) else name


Port = Annotated[int, Field(ge=0, le=65_535)]
Processes = Annotated[int, Field(ge=1, le=256)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
CountOrZero = Annotated[int, Field(ge=0, le=2**31 - 1)]
Size = Annotated[int, Field(ge=1, le=2**40)]
Rate = Annotated[float, Field(ge=0.001, le=1_000_000)]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
SecondsOrZero = Annotated[float, Field(ge=0, le=31_536_000)]
WholeSeconds = Annotated[int, Field(ge=1, le=31_536_000)]
Days = Annotated[float, Field(gt=0, le=3_650)]
Text = Annotated[str, Field(min_length=1)]
Origin = Annotated[str, AfterValidator(_origin)]
Origins = Annotated[tuple[Origin, ...], BeforeValidator(_entries)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_entries)]
JwtSecret = Annotated[str, AfterValidator(_long_enough)]
JwtSecrets = Annotated[tuple[JwtSecret, ...], BeforeValidator(_entries)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Ratio = Annotated[float, Field(ge=0, le=1)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]
