"""Limits in tests: settings without any, addresses of one's own, and a look at a refusal."""

import secrets
from ipaddress import IPv6Address

from tests.support.client import Answer

_NONE = 1_000_000

# What a client with an address of its own never meets; those of a test share one.
NO_LIMITS = {
    "rate_limit_per_second": _NONE,
    "rate_limit_burst": _NONE,
    "auth_rate_limit_per_second": _NONE,
    "auth_rate_limit_burst": _NONE,
    "login_rate_limit_per_minute": _NONE,
    "login_rate_limit_burst": _NONE,
    "bundle_rate_limit_per_minute": _NONE,
    "bundle_rate_limit_burst": _NONE,
    "max_sockets_per_account": _NONE,
    "max_sockets_per_address": _NONE,
}


def new_address() -> str:
    """An address that no other test has: what is counted in Redis outlives a test."""
    return str(IPv6Address(0x2001_0DB8 << 96 | secrets.randbits(32) << 64 | 1))


def forwarded_for(address: str) -> dict[str, str]:
    """The headers that a trusted proxy gives the request of a client."""
    return {"X-Forwarded-For": address}


def is_refused(answer: Answer) -> bool:
    """Whether it is a 429 as clients need it: JSON, and a time to come back in whole seconds."""
    if answer.status != 429:
        return False
    assert answer.error
    assert answer.headers["Retry-After"].isdecimal()
    assert int(answer.headers["Retry-After"]) >= 1
    return True
