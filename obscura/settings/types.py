"""The types that settings have: what each accepts, and what is said of a value it refuses.

A message of a check continues the name of the setting ("OBSCURA_PORT must be ...")
and quotes no value that may be secret.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from obscura.settings.hosts import split_hosts
from obscura.settings.redis_urls import check_redis_url

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}  # which browsers leave out
_JWT_SECRET_MIN_BYTES = 32  # RFC 7518, section 3.2: an HS256 key is no shorter than the hash


def _split_at_commas(value: object) -> object:
    """Split at commas, the way a list is written in a flag, in the environment or in a TOML string."""
    if not isinstance(value, str):
        return value
    return [entry for entry in map(str.strip, value.split(",")) if entry]


def _parse_network(entry: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(entry))
    except ValueError:
        raise ValueError(f"has {entry!r}, which is no network like 10.0.0.0/8 or 2001:db8::/32") from None


def _check_path(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("must not have a NUL in it")
    return path


def _check_hosts(text: str) -> str:
    if not split_hosts(text):
        raise ValueError("must name an address to listen on, like 0.0.0.0 or ::")
    return text


def _check_origin(entry: str) -> str:
    """Take an origin as browsers write it: they compare letter by letter."""
    if not _ORIGIN.fullmatch(entry) or entry.endswith(_DEFAULT_PORTS.get(entry.partition(":")[0], "/")):
        raise ValueError(f"has {entry!r}, which is no origin like https://chat.example or http://localhost:8080")
    return entry


def _check_jwt_secret(secret: str) -> str:
    if len(secret.encode()) < _JWT_SECRET_MIN_BYTES:
        raise ValueError(f"has an entry shorter than {_JWT_SECRET_MIN_BYTES} bytes")
    return secret


def _check_http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.query or parts.fragment)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        known = False
    if not known:
        raise ValueError("must be like http://collector:4318 or https://collector.example")
    return url


def _spell_level(name: object) -> object:
    """Understand ``INFO`` and ``warn`` too: that is how other servers spell them."""
    return {"warn": "warning"}.get(name.lower(), name.lower()) if isinstance(name, str) else name


Port = Annotated[int, Field(ge=0, le=65_535)]
Processes = Annotated[int, Field(ge=1, le=256)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
CountOrZero = Annotated[int, Field(ge=0, le=2**31 - 1)]
Size = Annotated[int, Field(ge=1, le=2**40)]
SizeOrZero = Annotated[int, Field(ge=0, le=2**50)]
Rate = Annotated[float, Field(ge=0.001, le=1_000_000)]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
SecondsOrZero = Annotated[float, Field(ge=0, le=31_536_000)]
WholeSeconds = Annotated[int, Field(ge=1, le=31_536_000)]
Days = Annotated[float, Field(gt=0, le=3_650)]
Text = Annotated[str, Field(min_length=1)]
FilePath = Annotated[Path, AfterValidator(_check_path)]
Hosts = Annotated[str, AfterValidator(_check_hosts)]
Origin = Annotated[str, AfterValidator(_check_origin)]
Origins = Annotated[tuple[Origin, ...], BeforeValidator(_split_at_commas)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_parse_network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_split_at_commas)]
JwtSecret = Annotated[str, AfterValidator(_check_jwt_secret)]
JwtSecrets = Annotated[tuple[JwtSecret, ...], BeforeValidator(_split_at_commas)]
HttpUrl = Annotated[str, AfterValidator(_check_http_url)]
Ratio = Annotated[float, Field(ge=0, le=1)]
RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_spell_level)]
