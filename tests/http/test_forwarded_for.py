"""Whose bucket a request is taken from, on a real node: nobody changes it, and nobody chooses it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Api, exchange
from tests.support.redis import RedisServer

SLOW = 0.01  # per second: no token comes back during a test

Limited = Callable[..., Awaitable[Api]]

LOGIN = "POST /v1/sessions HTTP/1.1"
OTHER = "GET /nothing HTTP/1.1"

# What the proxy says of one client, and of one that is somebody else.
CLIENTS = {
    "IPv4": (["203.0.113.1", "203.0.113.1:50{n}", "::ffff:203.0.113.1", "[::ffff:203.0.113.1]:5{n}"], "203.0.113.2"),
    "IPv6": (["2001:db8:1:2::{n}", "[2001:db8:1:2::{n}]", "[2001:0DB8:1:2:f::1]:8{n}"], "2001:db8:1:3::1"),
    "junk": (["junk{n}", "", "203.0.113.{n}.1", "[2001:db8::", "unknown", "203.0.113.{n}:x"], "203.0.113.1"),
}
# What stands to the left of it, in the same line or in lines before.
SPOOFED = [
    "",
    "X-Forwarded-For: 198.51.100.{n}, ",
    "X-Forwarded-For: 198.51.100.{n}, 10.0.0.{n}, ",
    "X-Forwarded-For: 198.51.100.{n}\r\n",
    "X-Forwarded-For: 198.51.100.{n}\r\nX-Forwarded-For: [2001:db8:{n}::1]:80\r\n",
    "X-Forwarded-For: junk{n},,, \r\n",
    "X-Forwarded-For: 198.51.100.{n}:4711, ",
    "x-forwarded-FOR: [2001:db8:{n}::1]:80, ",
    "X-Real-IP: 198.51.100.{n}\r\nForwarded: for=198.51.100.{n}\r\n",
]


@pytest.fixture
def limited(start_node: StartNode, connect_api: Callable[[Node], Api], own_redis: RedisServer) -> Limited:
    """Starts a node where each client has one request to spend in each tier."""

    async def start(**settings: Any) -> Api:
        once = {"rate_limit_burst": 1, "auth_rate_limit_burst": 1}
        slow = {"rate_limit_per_second": SLOW, "auth_rate_limit_per_second": SLOW}
        return connect_api(await start_node(redis_url=own_redis.url, **once | slow | settings))

    return start


async def is_limited(api: Api, line: str, headers: str) -> bool:
    """Send a request with these lines of headers; whether its bucket was empty."""
    answer = await exchange(api.port, f"{line}\r\nHost: x\r\nContent-Length: 2\r\n{headers}\r\n\r\n{{}}".encode())
    assert answer.status in {400, 404, 429}, answer
    return answer.status == 429


def forwarded(spoofed: str, entry: str, number: int) -> str:
    """The header lines of a request on whose way a client wrote one thing and the proxy appended another."""
    written = spoofed if spoofed.endswith(", ") else f"{spoofed}X-Forwarded-For: "
    return (written + entry).replace("{n}", str(number))


def all_ways(entries: list[str]) -> list[str]:
    """The headers of requests of one client, each with another number in them."""
    pairs = [(spoofed, entry) for spoofed in SPOOFED for entry in entries]
    return [forwarded(spoofed, entry, number) for number, (spoofed, entry) in enumerate(pairs, start=1)]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("line", [OTHER, LOGIN], ids=["standard", "auth"])
async def test_a_client_has_one_bucket_however_its_address_is_written(limited: Limited, kind: str, line: str) -> None:
    """And whatever it writes itself; where the proxy names no address it is the proxy's. Somebody else has another."""
    api = await limited()
    entries, somebody_else = CLIENTS[kind]
    outcomes = [await is_limited(api, line, headers) for headers in all_ways(entries)]
    assert outcomes == [False] + [True] * (len(outcomes) - 1)
    assert not await is_limited(api, line, forwarded(SPOOFED[1], somebody_else, 1))


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("line", [OTHER, LOGIN], ids=["standard", "auth"])
async def test_without_a_trusted_peer_the_connection_decides(limited: Limited, kind: str, line: str) -> None:
    """No header moves a client out of its bucket where it is not a proxy that wrote it."""
    api = await limited(trusted_proxies=("192.0.2.0/24",))
    outcomes = [await is_limited(api, line, headers) for headers in all_ways(CLIENTS[kind][0])]
    assert outcomes == [False] + [True] * (len(outcomes) - 1)
