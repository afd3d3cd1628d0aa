"""Limits that security rests on are one for all nodes."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from obscura.store import keyspace
from tests.conftest import StartNode
from tests.support.client import Answer, Api
from tests.support.inspection import uuid_of
from tests.support.limits import forwarded_for, is_refused, new_address
from tests.support.redis import RedisServer

SLOW = 0.01  # no token comes back during a test

Pair = Callable[..., Awaitable[tuple[Api, Api]]]


@pytest.fixture
async def pair(start_node: StartNode, session: aiohttp.ClientSession) -> Pair:
    """Starts two nodes with a limit of one's choice."""

    async def start(**settings: object) -> tuple[Api, Api]:
        first, second = await start_node(**settings), await start_node(**settings)
        return Api(session, first.api_port), Api(session, second.api_port)

    return start


async def at_once(apis: tuple[Api, Api], call: Callable[[Api], Awaitable[Answer]], count: int = 40) -> list[Answer]:
    """Make a call many times at the same moment, at both nodes."""
    return list(await asyncio.gather(*(call(apis[number % 2]) for number in range(count))))


async def test_a_client_has_one_auth_bucket(pair: Pair) -> None:
    """Of requests at both nodes at the same moment just a burst is served: no token is spent twice."""
    apis = await pair(auth_rate_limit_per_second=SLOW, auth_rate_limit_burst=7)
    address = new_address()
    body = {"refreshToken": "x"}
    answers = await at_once(
        apis, lambda api: api.call("POST", "/v1/sessions/refresh", json=body, headers=forwarded_for(address))
    )
    assert sum(is_refused(answer) for answer in answers) == 33
    assert sorted({answer.status for answer in answers}) == [401, 429]


async def test_failed_logins_are_counted_together(pair: Pair) -> None:
    """Going from node to node gives nobody more guesses."""
    apis = await pair(login_rate_limit_per_minute=SLOW, login_rate_limit_burst=5)
    user = await apis[0].register()
    answers = await at_once(apis, lambda api: api.login(user.name, "not the right password"))
    assert sum(is_refused(answer) for answer in answers) == 35
    assert all([is_refused(await api.login(user.name)) for api in apis])


async def test_fetches_of_keys_are_counted_together(pair: Pair, redis_server: RedisServer) -> None:
    """Over both nodes an address uses up no more of a user's keys than its burst."""
    apis = await pair(bundle_rate_limit_per_minute=SLOW, bundle_rate_limit_burst=6)
    user = await apis[0].register(pre_keys=30)
    address = new_address()
    answers = await at_once(apis, lambda api: api.call("GET", f"/v1/keys/{user.id}", headers=forwarded_for(address)))
    assert sum(is_refused(answer) for answer in answers) == 34
    with redis_server.client as client:
        assert client.zcard(keyspace.one_time_order(uuid_of(user))) == 24


async def test_the_standard_tier_is_each_nodes_own(pair: Pair) -> None:
    """It asks Redis nothing, so a client at two nodes has two buckets."""
    apis = await pair(rate_limit_per_second=SLOW, rate_limit_burst=4)
    address = new_address()
    answers = await at_once(apis, lambda api: api.call("GET", "/nothing", headers=forwarded_for(address)), 20)
    assert sorted(answer.status for answer in answers) == [404] * 8 + [429] * 12
