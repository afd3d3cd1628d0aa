"""Who can use up the one-time pre-keys of an account: limits per address and target, a reserve, a switch."""

import asyncio
from collections.abc import Callable

from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.support.client import Answer, Api, User
from tests.support.inspection import metric, uuid_of
from tests.support.limits import forwarded_for, is_refused, new_address
from tests.support.redis import RedisServer

Connect = Callable[[Node], Api]


async def fetch(api: Api, user: User, token: str | None = None, address: str = "203.0.113.1") -> Answer:
    return await api.call("GET", f"/v1/keys/{user.id}", token=token, headers=forwarded_for(address))


def key_id(answer: Answer) -> int | None:
    """The id of the one-time key in a bundle, which is whole otherwise."""
    assert answer.status == 200, answer
    assert {"registrationId", "identityKey", "signedPreKey"} < answer.json.keys()
    one_time = answer.json["oneTimePreKey"]
    return None if one_time is None else int(one_time["keyId"])


def left(redis: RedisServer, user: User) -> int:
    with redis.client as client:
        return int(client.zcard(keyspace.one_time_order(uuid_of(user))))


async def test_an_account_cannot_be_emptied_from_one_address(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """With the defaults a caller gets a dozen bundles of one account at once, then 429, and no key is lost to it."""
    api = connect_api(await start_node(bundle_rate_limit_per_minute=6, bundle_rate_limit_burst=12))
    user, address = await api.register(pre_keys=100), new_address()
    answers = [await fetch(api, user, address=address) for _ in range(20)]
    refused = [is_refused(answer) for answer in answers]
    assert refused[:12] == [False] * 12
    assert any(refused)
    assert left(redis_server, user) == 100 - refused.count(False)


async def test_the_last_keys_are_for_callers_who_are_logged_in(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """Others get the bundle without a one-time key, and are counted; without a reserve they get the last key too."""
    api = connect_api(await start_node(pre_key_reserve=2))
    user, caller = await api.register(pre_keys=4), await api.register()
    before = metric("obscura_pre_keys_withheld_total")
    assert [key_id(await fetch(api, user)) for _ in range(4)] == [1, 2, None, None]
    assert metric("obscura_pre_keys_withheld_total") == before + 2
    assert left(redis_server, user) == 2
    assert [key_id(await fetch(api, user, caller.token)) for _ in range(3)] == [3, 4, None]
    assert key_id(await fetch(api, user)) is None
    assert metric("obscura_pre_keys_withheld_total") == before + 2  # nothing was left to withhold
    plain = connect_api(await start_node())
    other = await plain.register(pre_keys=2)
    assert [key_id(await fetch(plain, other)) for _ in range(3)] == [1, 2, None]


async def test_a_token_that_does_not_hold_opens_no_reserve(start_node: StartNode, connect_api: Connect) -> None:
    """It is as good as none, and no error: the contract asks for no token here."""
    api = connect_api(await start_node(pre_key_reserve=1))
    user, ended = await api.register(pre_keys=1), await api.register()
    await ended.logout()
    assert [key_id(await fetch(api, user, token)) for token in ("x", "", ended.token, user.refresh_token)] == [None] * 4
    assert key_id(await fetch(api, user, user.token)) == 1


async def test_the_reserve_holds_against_many_at_once(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """Over two nodes, callers of either kind in between: each key goes once, and the reserve to none who is not in."""
    nodes = [connect_api(await start_node(pre_key_reserve=5)) for _ in range(2)]
    user = await nodes[0].register(pre_keys=20)
    answers = await asyncio.gather(*(fetch(nodes[number % 2], user) for number in range(40)))
    given = sorted(filter(None, map(key_id, answers)))
    assert given == list(range(1, 16))
    mixed = await asyncio.gather(
        *(fetch(nodes[number % 2], user, user.token if number % 3 == 0 else None) for number in range(18))
    )
    assert [key_id(answer) for number, answer in enumerate(mixed) if number % 3] == [None] * 12
    assert sorted(filter(None, map(key_id, mixed))) == list(range(16, 21))
    assert left(redis_server, user) == 0


async def test_a_server_may_give_bundles_to_nobody_who_is_not_logged_in(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """401 in JSON before anything else is looked at, and no key is used up; the default is open, as the contract is."""
    api = connect_api(await start_node(bundle_requires_login=True))
    user = await api.register(pre_keys=3)
    for token in (None, "x", user.refresh_token):
        answer = await fetch(api, user, token)
        assert (answer.status, answer.headers["Content-Type"]) == (401, "application/json")
        assert answer.error
    assert (await api.call("GET", "/v1/keys/x")).status == 401
    assert left(redis_server, user) == 3
    assert key_id(await fetch(api, user, user.token)) == 1
    assert key_id(await fetch(connect_api(await start_node()), user)) == 2
