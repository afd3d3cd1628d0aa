"""Ended sessions stay ended, whatever the lifetimes were when tokens were made and whatever a node's clock says."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import aiohttp
import jwt
import pytest
from redis import Redis

from obscura.client.device_keys import Device, one_time_keys
from obscura.client.tokens import claims_of
from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import Api, User
from tests.support.logins import access_token_works, refreshed
from tests.support.node_process import serve
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

ALLOWANCE_SECS = 60
DAY_SECS = 86_400
SLACK_SECS = 10  # of a slow machine

StartApi = Callable[..., Awaitable[Api]]
Connect = Callable[[Node], Api]


@pytest.fixture
def start_api(start_node: StartNode, connect_api: Callable[[Node], Api]) -> StartApi:
    """Starts a node whose clock is ``ahead_secs`` wrong; keyword arguments are settings."""

    async def start(ahead_secs: float = 0, **settings: object) -> Api:
        return connect_api(await start_node(now=lambda: time.time() + ahead_secs, **settings))

    return start


@pytest.fixture
async def machine(
    own_redis: RedisServer, tmp_path: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Callable[[float], Awaitable[Api]]]:
    """Starts a node in a process of its own, on a machine whose clock is ahead by so many seconds."""
    async with AsyncExitStack() as running:

        async def start(ahead_secs: float) -> Api:
            command = (sys.executable, "-m", "tests.support.wrong_clock", str(ahead_secs), "serve")
            served = serve(tmp_path, own_redis.url, JWT_SECRET, command=command, access_token_ttl_secs=120)
            return Api(session, (await running.enter_async_context(served)).api_port)

        yield start


def expiry(user: User) -> float:
    """The ``exp`` of an access token."""
    return float(claims_of(user.token)["exp"])


def listed_secs(redis: "Redis", user: User) -> float:
    """For how long from now an ended session stays in the shared list, by Redis's clock."""
    until_secs = redis.zscore(keyspace.ENDED_SESSIONS, user.session_id)
    assert until_secs is not None
    return float(until_secs) - redis.time()[0]


async def is_refused(user: User) -> bool:
    return not await access_token_works(user)


# Lifetimes that change.


async def test_a_session_stays_ended_for_as_long_as_an_earlier_lifetime(start_api: StartApi, redis: "Redis") -> None:
    """Tokens of 300 s, restart with 5 s, logout, restart with 300 s: the first token is dead for good."""
    user = await (await start_api(access_token_ttl_secs=300)).register(pre_keys=1)
    short = await start_api(access_token_ttl_secs=5)
    assert await is_refused(user.at(short))  # it lives longer than any token should
    later = await refreshed(user.at(short))
    assert (await later.logout()).status == 200
    assert listed_secs(redis, user) > expiry(user) - time.time() + ALLOWANCE_SECS - SLACK_SECS
    assert await is_refused(user.at(await start_api(access_token_ttl_secs=300)))


async def test_a_session_that_was_replaced_stays_ended_for_as_long(start_api: StartApi, redis: "Redis") -> None:
    """A takeover under a shorter lifetime waits for the tokens of the replaced device, too."""
    replaced = await (await start_api(access_token_ttl_secs=3000)).register(pre_keys=1)
    user = await replaced.at(await start_api(access_token_ttl_secs=300)).another_session()
    assert (await user.upload(Device().takeover(1, one_time_keys(1, 1)))).status == 200
    assert abs(listed_secs(redis, replaced) - 3000 - ALLOWANCE_SECS) < SLACK_SECS


async def test_a_logout_cut_short_counts_with_the_life_that_the_session_was_given(
    start_api: StartApi, own_redis: RedisServer
) -> None:
    """Until its refresh token is removed a session is listed for as long as that may live, whatever the setting."""
    user = await (await start_api(redis_url=own_redis.url, refresh_token_ttl_days=30)).register(pre_keys=1)
    user.api = await start_api(redis_url=own_redis.url, refresh_token_ttl_days=1)
    with own_redis.client as redis:
        redis.acl_setuser("default", enabled=True, commands=["-del"])  # the removal fails, the list is written
        assert (await user.logout()).status >= 500
        redis.acl_setuser("default", enabled=True, commands=["+del"])
        assert listed_secs(redis, user) > 30 * DAY_SECS


async def test_two_logouts_at_once_list_a_session_for_no_longer(start_api: StartApi, redis: "Redis") -> None:
    """Whichever comes second knows nothing of its tokens, and leaves the entry to the first: lists stay short."""
    here, there = await start_api(), await start_api()
    for _ in range(20):
        user = await here.register(pre_keys=1)
        answers = await asyncio.gather(user.logout(), user.at(there).logout())
        assert 200 in [answer.status for answer in answers]
        assert abs(listed_secs(redis, user) - 900 - ALLOWANCE_SECS) < SLACK_SECS


async def test_a_clock_of_redis_that_is_set_ahead_is_followed_at_once(node: Node, connect_api: Connect) -> None:
    """A login after it is good, though the node has not looked at that clock since: here it was an hour behind."""
    api, clock = connect_api(node), node._clock
    clock.hear(clock() - 3600, clock.elapsed())
    assert await access_token_works(await api.register(pre_keys=1))


# Sessions and tokens of the version before, which notes no expiry and goes by each node's own clock.


async def test_a_session_of_the_version_before_goes_on_and_ends(start_api: StartApi, redis: "Redis") -> None:
    """It is refreshed and ended as any other; as nobody knows how long its tokens live, it is listed for a day."""
    user = await (await start_api()).register(pre_keys=1)
    redis.hdel(keyspace.session(UUID(user.id), UUID(user.session_id)), "access_expires_at")
    assert await access_token_works(user)
    later = await refreshed(user)
    assert await access_token_works(later)
    assert (await later.logout()).status == 200
    assert abs(listed_secs(redis, user) - DAY_SECS - ALLOWANCE_SECS) < SLACK_SECS
    assert await is_refused(later)


async def test_a_node_of_the_version_before_cannot_shorten_what_this_one_remembers(
    start_api: StartApi, redis: "Redis"
) -> None:
    """Its clock is five minutes slow, so what it announces seems over: here it is kept all the same."""
    user = await (await start_api(access_token_ttl_secs=30)).register(pre_keys=1)
    message = f"{int(time.time()) - 300 + 30 + ALLOWANCE_SECS} {user.session_id}"
    redis.publish(keyspace.ENDED_SESSIONS, message)
    await eventually(lambda: is_refused(user))
    other = await user.api.register(pre_keys=1)
    assert (await other.logout()).status == 200  # with it others are forgotten
    assert await is_refused(user)


@pytest.mark.parametrize(("iat_secs", "exp_secs"), [(0, 900 + 300), (300, 900), (-86_400, 86_400 * 365)])
async def test_a_token_from_too_far_ahead_is_refused(start_api: StartApi, iat_secs: int, exp_secs: int) -> None:
    """As of a clock that was five minutes fast: it might be good when its session is long forgotten."""
    user = await (await start_api()).register(pre_keys=1)
    now = int(time.time())
    claims = claims_of(user.token) | {"iat": now + iat_secs, "exp": now + exp_secs}
    user.token = jwt.encode(claims, JWT_SECRET)
    assert await is_refused(user)
    assert await user.try_connect() == 401


# Clocks that differ.


@pytest.mark.parametrize(("here_secs", "there_secs"), [(-300, 300), (300, -300), (3600, 0)])
async def test_nodes_whose_clocks_differ_take_each_others_tokens(
    start_api: StartApi, here_secs: float, there_secs: float
) -> None:
    """By Redis's clock a token lives as long as it should, on either."""
    here, there = [await start_api(ahead, access_token_ttl_secs=120) for ahead in (here_secs, there_secs)]
    user = await here.register(pre_keys=1)
    assert abs(expiry(user) - time.time() - 120) < SLACK_SECS
    assert await access_token_works(user)
    assert await access_token_works(user.at(there))
    assert await access_token_works((await refreshed(user.at(there))).at(here))


@pytest.mark.parametrize("third_secs", [-300, 0, 300])
@pytest.mark.parametrize(("here_secs", "there_secs"), [(-300, 300), (300, -300)])
async def test_a_session_stays_ended_though_clocks_differ(
    start_api: StartApi, redis: "Redis", here_secs: float, there_secs: float, third_secs: float
) -> None:
    """Made on one node, ended on another, minutes apart: refused by both, and by a third that reads the list later."""
    here, there = [await start_api(ahead, access_token_ttl_secs=5) for ahead in (here_secs, there_secs)]
    user = (await here.register(pre_keys=1)).at(there)
    assert (await user.logout()).status == 200
    bystander = await there.register(pre_keys=1)
    assert (await bystander.logout()).status == 200  # with it expired entries are dropped
    assert 5 + ALLOWANCE_SECS - SLACK_SECS < listed_secs(redis, user) < 5 + ALLOWANCE_SECS + SLACK_SECS
    # A token of five minutes stands for one of five seconds that a slow clock would take for alive.
    long_lived = jwt.encode(claims_of(user.token) | {"exp": time.time() + 60}, JWT_SECRET)
    for api in (here, there, await start_api(third_secs, access_token_ttl_secs=5)):
        at = User(api, user.name, user.device, long_lived, user.refresh_token)
        await eventually(lambda at=at: is_refused(at))  # type: ignore[misc]
        assert (await api.refresh(user.refresh_token)).status == 401
        live = jwt.encode(claims_of(user.token) | {"exp": time.time() + 60, "sid": bystander.id}, JWT_SECRET)
        assert await access_token_works(User(api, user.name, user.device, live, user.refresh_token))


@pytest.mark.parametrize(("here_secs", "there_secs"), [(-300, 300), (300, -300)])
async def test_machines_whose_clocks_differ_agree_on_what_has_ended(
    machine: Callable[[float], Awaitable[Api]], here_secs: float, there_secs: float
) -> None:
    """Nodes in processes whose every look at the time is wrong: what lives works on all, what ended on none."""
    here, there = await machine(here_secs), await machine(there_secs)
    user, other = await here.register(pre_keys=1), await there.register(pre_keys=1)
    for api in (here, there):
        assert await access_token_works(user.at(api))
        assert await access_token_works(other.at(api))
    assert (await user.at(there).logout()).status == 200
    assert (await other.at(here).logout()).status == 200
    for api in (here, there, await machine(here_secs)):
        for ended in (user.at(api), other.at(api)):
            await eventually(lambda ended=ended: is_refused(ended))  # type: ignore[misc]


async def test_a_clock_that_is_set_while_a_node_runs_changes_nothing(
    start_node: StartNode, connect_api: Callable[[Node], Api], redis: "Redis"
) -> None:
    """Ahead by an hour and back: tokens neither die nor come alive, and what ended is not forgotten."""
    ahead = [0.0]
    api = connect_api(await start_node(now=lambda: time.time() + ahead[0], access_token_ttl_secs=60))
    user, ended = await api.register(pre_keys=1), await api.register(pre_keys=1)
    assert (await ended.logout()).status == 200
    ahead[0] = 3600
    assert await access_token_works(user)
    during = await api.register(pre_keys=1)
    assert abs(expiry(during) - time.time() - 60) < SLACK_SECS
    assert (await (await during.another_session()).logout()).status == 200
    assert await is_refused(ended)
    ahead[0] = 0
    assert await is_refused(ended)
    assert await access_token_works(during)


async def test_attachments_live_as_long_whatever_a_nodes_clock_says(start_api: StartApi) -> None:
    """Stored by one node, fetched from another that is a year ahead or behind."""
    here = await start_api()
    user = await here.register(pre_keys=1)
    for ahead_secs in (-365 * DAY_SECS, 365 * DAY_SECS):
        there = await start_api(ahead_secs)
        stored = await user.at(there).api.call("POST", "/v1/attachments", token=user.token, data=b"bytes")
        assert stored.status == 201
        assert abs(stored.json["expiresAt"] - time.time() - 30 * DAY_SECS) < SLACK_SECS
        for api in (here, there):
            fetched = await api.call("GET", f"/v1/attachments/{stored.json['id']}", token=user.token)
            assert fetched.body == b"bytes"
