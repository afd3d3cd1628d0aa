"""Open sockets per client address: bounded at each node, whoever they belong to."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from obscura.gateway.socket_limits import ClientAddressCounts
from obscura.node.node import Node
from obscura.settings.model import Settings
from tests.conftest import StartNode
from tests.support.client import Api, User
from tests.support.inspection import metric
from tests.support.limits import forwarded_for, new_address
from tests.support.raw_socket import RawSocket
from tests.support.waiting import eventually

Limited = Callable[..., Awaitable[Api]]

TIER = "sockets_of_address"


@pytest.fixture
def limited(start_node: StartNode, connect_api: Callable[[Node], Api]) -> Limited:
    """Starts a node with a limit of one's choice, and returns the calls to it."""

    async def start(**settings: Any) -> Api:
        return connect_api(await start_node(**settings))

    return start


async def handshake(user: User, address: str, token: str | None = None) -> RawSocket:
    """A connection after the answer to its handshake, whatever that is."""
    raw = await RawSocket.connect(user.api.port)
    await raw.ask_for_upgrade(f"/v1/gateway?token={token or user.token}", forwarded_for(address))
    return raw


async def status_of(user: User, address: str, token: str | None = None) -> int:
    """The answer to a handshake; a socket that it opened is closed again."""
    raw = await handshake(user, address, token)
    raw.close()
    return raw.status


@pytest.mark.parametrize(
    ("first", "second", "neighbour"),
    [
        ("203.0.113.1", "203.0.113.1:4711", "203.0.113.2"),
        ("2001:db8:1:2::1", "[2001:db8:1:2:ffff::9]:443", "2001:db8:1:3::1"),
    ],
)
async def test_the_socket_too_many_of_an_address_is_refused_before_the_upgrade(
    limited: Limited, first: str, second: str, neighbour: str
) -> None:
    """Whichever accounts they are of; an IPv6 /64 is one address, and another address connects."""
    api = await limited(max_sockets_per_address=2, ws_ping_interval_secs=4.5, ws_ping_timeout_secs=2)
    alice, bob = await api.register(), await api.register()
    before = metric("obscura_rate_limited_total", tier=TIER)
    sockets = [await handshake(alice, first), await handshake(bob, second)]
    assert [socket.status for socket in sockets] == [101, 101]
    refused = await handshake(bob, second)
    assert (refused.status, refused.headers["retry-after"]) == (429, "7")
    assert await refused.body() == b'{"error":"Too many connections of this address"}'
    assert metric("obscura_rate_limited_total", tier=TIER) == before + 1
    assert await status_of(bob, neighbour) == 101


@pytest.mark.parametrize("end", [RawSocket.close, RawSocket.reset, RawSocket.end_sending])
async def test_a_socket_that_ends_makes_room_for_another_of_its_address(
    limited: Limited, end: Callable[[RawSocket], None]
) -> None:
    """However it ends."""
    user = await (await limited(max_sockets_per_address=1)).register()
    address = new_address()
    socket = await handshake(user, address)
    assert (socket.status, await status_of(user, address)) == (101, 429)
    end(socket)

    async def has_room() -> bool:
        return await status_of(user, address) == 101

    await eventually(has_room)


async def test_a_refused_handshake_takes_no_room(limited: Limited) -> None:
    """Neither a token that does not hold nor a session that has ended counts against the address."""
    user = await (await limited(max_sockets_per_address=1)).register()
    ended = await user.another_session()
    await ended.logout()
    address = new_address()
    for token in ("x", ended.token, "x", ended.token):
        assert await status_of(user, address, token) == 401
    assert await status_of(user, address) == 101


async def test_no_client_chooses_the_address_its_sockets_count_for(limited: Limited) -> None:
    """What a client writes left of its proxy's entry, or past an untrusted peer, changes nothing."""
    behind_a_proxy = await (await limited(max_sockets_per_address=1)).register()
    sockets = [await handshake(behind_a_proxy, "198.51.100.1, 203.0.113.1")]
    assert await status_of(behind_a_proxy, f"{secrets.randbelow(256)}.1.1.1, 203.0.113.1") == 429
    direct = await (await limited(max_sockets_per_address=1, trusted_proxies=())).register()
    sockets.append(await handshake(direct, "198.51.100.1"))
    assert await status_of(direct, "198.51.100.2") == 429
    assert [socket.status for socket in sockets] == [101, 101]


def test_an_address_without_a_socket_is_forgotten() -> None:
    """What is remembered is bounded by what is open, not by who ever came."""
    counts = ClientAddressCounts()
    for address in map(str, range(1000)):
        counts.add(address)
        counts.add(address)
        counts.remove(address)
        assert counts.of(address) == 1
        counts.remove(address)
    assert len(counts) == 0


def test_the_default_is_not_met_by_an_office() -> None:
    """Hundreds of people behind one address are nothing unusual; a node full of one address is."""
    assert 1000 <= Settings().max_sockets_per_address < Settings().max_sockets
