import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import pytest
from redis import Redis

from obscura.client.device_keys import Device, one_time_keys
from obscura.errors import StoreUnavailable
from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import Api, User
from tests.support.logins import access_token_works, refreshed
from tests.support.outages import is_refusal, paused, retry_on_503
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

NEXT_SECRET = "the secret that is to follow that of the tests"
RACE_WINDOW_MS = 10_000


@pytest.fixture
async def two_own_apis(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> tuple[Api, Api]:
    """Calls to two nodes on ``own_redis``."""
    nodes = [await start_node(redis_url=own_redis.url) for _ in range(2)]
    return connect_api(nodes[0]), connect_api(nodes[1])


def session_key(user: User) -> str:
    return keyspace.session(UUID(user.id), UUID(user.session_id))


def digest(refresh_token: str) -> str:
    return hashlib.sha256(refresh_token.encode()).hexdigest()


def age_exchange(redis: "Redis", user: User) -> None:
    """Move the exchange of the user's refresh token out of the window for races."""
    redis.hincrby(session_key(user), f"rotated:{digest(user.refresh_token)}", -RACE_WINDOW_MS - 1)


async def is_refused(user: User) -> bool:
    return not await access_token_works(user)


# Refreshing.


async def test_a_double_refresh_has_one_winner(two_apis: tuple[Api, Api]) -> None:
    """A hundred times two nodes get one token at once: one exchanges it, the other refuses, the session lives on."""
    here, there = two_apis
    user = await here.register(pre_keys=1)
    for _ in range(100):
        answers = await asyncio.gather(here.refresh(user.refresh_token), there.refresh(user.refresh_token))
        assert Counter(answer.status for answer in answers) == {200: 1, 401: 1}
        winner = next(answer for answer in answers if answer.status == 200)
        user.token, user.refresh_token = winner.json["token"], winner.json["refreshToken"]
    assert await access_token_works(user)
    assert await access_token_works((await refreshed(user)).at(there))


async def test_a_double_refresh_gives_one_token_to_both_by_the_setting(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """With the setting for lost responses both nodes hand out the same successor, and it is good on either."""
    here, there = [connect_api(await start_node(refresh_token_retry=True)) for _ in range(2)]
    user = await here.register(pre_keys=1)
    for _ in range(20):
        answers = await asyncio.gather(here.refresh(user.refresh_token), there.refresh(user.refresh_token))
        assert [answer.status for answer in answers] == [200, 200]
        (user.refresh_token,) = {answer.json["refreshToken"] for answer in answers}
    assert await access_token_works(await refreshed(user.at(there)))


async def test_a_refresh_that_got_no_answer_can_be_tried_on_another_node(
    start_node: StartNode, connect_api: Callable[[Node], Api], own_redis: RedisServer
) -> None:
    """An exchange that Redis made too late for its answer is taken back: nobody was given its successor."""
    node = await start_node(redis_url=own_redis.url)
    here, there = connect_api(node), connect_api(await start_node(redis_url=own_redis.url))
    user = await refreshed(await here.register(pre_keys=1))
    with paused(own_redis), pytest.raises(StoreUnavailable):
        # Not over HTTP: there the count of the client's requests would be what Redis is too slow for.
        await node._services.sessions.refresh(user.refresh_token)
    with own_redis.client as redis:
        # Exchanged when Redis went on, and then back again.
        await eventually(
            lambda: (
                redis.hlen(session_key(user))
                > len(["token", "created_at", "access_expires_at", "rotated_at", "rotated:"])
            )
        )
        await eventually(lambda: redis.hget(session_key(user), "token") == digest(user.refresh_token))
    answer = await retry_on_503(lambda: there.refresh(user.refresh_token))
    assert answer.status == 200
    user.token, user.refresh_token = answer.json["token"], answer.json["refreshToken"]
    assert await access_token_works(await refreshed(user))


async def test_a_reuse_on_one_node_closes_the_socket_on_the_other(two_apis: tuple[Api, Api], redis: "Redis") -> None:
    """Whoever holds the stolen session's socket is told 4003, and is not let in again."""
    here, there = two_apis
    user = await here.register()
    following = (await refreshed(user)).at(there)
    socket = await following.connect()
    age_exchange(redis, user)
    assert (await here.refresh(user.refresh_token)).status == 401
    assert await socket.close_code() == 4003
    await eventually(lambda: is_refused(following))
    assert await following.try_connect() == 401
    assert (await there.refresh(following.refresh_token)).status == 401


# Ended sessions.


async def test_a_logout_on_one_node_closes_the_socket_on_the_other(two_apis: tuple[Api, Api]) -> None:
    """The socket of the session is told 4003, that of the account's other session stays."""
    here, there = two_apis
    user = await here.register()
    other = (await user.another_session()).at(there)
    socket, other_socket = await user.at(there).connect(), await other.connect()
    assert (await user.logout()).status == 200
    assert await socket.close_code() == 4003
    await other.deliver(other, b"still here")
    assert (await other_socket.envelope()).message.content == b"still here"


async def test_an_ended_session_is_refused_without_redis(own_redis: RedisServer, two_own_apis: tuple[Api, Api]) -> None:
    """The other node hears of a logout and then needs nobody: with Redis away the answer is 401, not 503."""
    here, there = two_own_apis
    ended, live = (await here.register()).at(there), (await here.register()).at(there)
    assert await access_token_works(ended)
    assert (await ended.at(here).logout()).status == 200
    await eventually(lambda: is_refused(ended))
    with paused(own_redis):
        assert (await ended.send(ended, b"x")).status == 401
        assert is_refusal(await live.send(live, b"x"))


async def test_a_node_started_later_refuses_what_ended_before(
    two_apis: tuple[Api, Api], start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """The list is read before the node serves its first request."""
    user = await two_apis[0].register()
    await user.logout()
    assert await is_refused(user.at(connect_api(await start_node())))


async def test_a_node_that_missed_a_logout_hears_of_it_later(
    own_redis: RedisServer, two_own_apis: tuple[Api, Api]
) -> None:
    """After a gap in its events a node reads the list again."""
    here, there = two_own_apis
    user = (await here.register()).at(there)
    with own_redis.client as redis:
        redis.zadd(keyspace.ENDED_SESSIONS, {user.session_id: int(time.time()) + 60})  # and nobody is told
        assert await access_token_works(user)
        redis.client_kill_filter(_type="pubsub")
    await eventually(lambda: is_refused(user))


async def test_a_takeover_on_one_node_shuts_the_replaced_device_out_on_the_other(two_apis: tuple[Api, Api]) -> None:
    """The replaced device can neither refresh, connect, nor take the account back; the new one goes on everywhere."""
    here, there = two_apis
    user = await here.register()
    replaced = (await user.another_session()).at(there)
    socket = await replaced.connect()
    assert (await user.upload(Device().takeover(1, one_time_keys(1, 1)))).status == 200
    assert await socket.close_code() == 4001
    await eventually(lambda: is_refused(replaced))
    assert await replaced.try_connect() == 401
    assert (await there.refresh(replaced.refresh_token)).status == 401
    assert (await replaced.upload(replaced.device.takeover(2, []))).status == 401
    assert await access_token_works(user.at(there))
    assert await access_token_works((await refreshed(user)).at(there))


# The secrets of access tokens.


async def test_a_secret_can_be_replaced_without_logouts(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """While both secrets are listed tokens of either are accepted; afterwards only those of the first."""
    before = connect_api(await start_node(jwt_secret=JWT_SECRET))
    between = connect_api(await start_node(jwt_secret=f"{NEXT_SECRET},{JWT_SECRET}"))
    after = connect_api(await start_node(jwt_secret=NEXT_SECRET))
    old = await before.register(pre_keys=1)
    assert await access_token_works(old.at(between))
    assert await is_refused(old.at(after))
    new = await refreshed(old.at(between))
    assert await access_token_works(new.at(after))
    assert await is_refused(new.at(before))
    assert await access_token_works(await refreshed(new.at(after)))


async def test_a_refresh_token_does_not_depend_on_the_secrets(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """A change of secrets without overlap ends access tokens only: a refresh lets the client in again."""
    before = connect_api(await start_node(jwt_secret=JWT_SECRET))
    after = connect_api(await start_node(jwt_secret=NEXT_SECRET))
    user = (await before.register(pre_keys=1)).at(after)
    assert await is_refused(user)
    assert await access_token_works(await refreshed(user))
