import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from redis import Redis

from obscura.client.device_keys import Device, one_time_keys
from obscura.crypto.tokens import RefreshToken
from obscura.node.node import Node
from obscura.redis_client.commands import Standalone
from obscura.redis_client.endpoints import StaticEndpoint
from obscura.redis_client.scripts import Scripts
from obscura.store import keyspace
from obscura.store.sessions import ListedFor, SessionStore
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import Api, User
from tests.support.logins import access_token_works, refreshed
from tests.support.outages import is_refusal, killed, make_durable, paused, retry_on_503
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

RACE_WINDOW_MS = 10_000
ACCESS_TTL_SECS = 900
REFRESH_TTL_SECS = 30 * 86_400


@pytest.fixture
async def user(api: Api) -> User:
    return await api.register()


@pytest.fixture
async def retrying(start_node: StartNode, connect_api: Callable[[Node], Api]) -> User:
    """A user of a node with the setting for clients that lose responses."""
    return await connect_api(await start_node(refresh_token_retry=True)).register(pre_keys=1)


def session_key(user: User) -> str:
    return keyspace.session(UUID(user.id), UUID(user.session_id))


def digest(refresh_token: str) -> str:
    return hashlib.sha256(refresh_token.encode()).hexdigest()


def age_exchange(redis: "Redis", user: User, refresh_token: str, by_ms: int) -> None:
    """Move the exchange of a refresh token into the past."""
    redis.hincrby(session_key(user), f"rotated:{digest(refresh_token)}", -by_ms)


async def is_over(user: User) -> bool:
    """Whether both tokens of a login are dead. Uses up the refresh token if it is not."""
    refusal = await user.api.refresh(user.refresh_token)
    return refusal.status == 401 and not await access_token_works(user)


def made_up(user: User) -> str:
    """A refresh token as somebody would make it up who has read an access token of the user's."""
    return RefreshToken(UUID(user.id), UUID(user.session_id).bytes, secrets.token_bytes(32)).text


# Refreshing.


async def test_a_refresh_gives_new_tokens_of_the_same_session(user: User) -> None:
    """Both tokens work, and whose they are has not changed."""
    following = await refreshed(user)
    assert following.refresh_token != user.refresh_token
    assert (following.id, following.session_id) == (user.id, user.session_id)
    assert await access_token_works(following)
    assert await access_token_works(await refreshed(following))


async def test_an_exchanged_token_is_dead_at_once(user: User) -> None:
    """The old token gets 401, while the session and its access tokens go on."""
    following = await refreshed(user)
    refusal = await user.api.refresh(user.refresh_token)
    assert refusal.status == 401
    assert refusal.error == "Invalid refresh token"
    assert await access_token_works(user)
    assert await access_token_works(await refreshed(following))


async def test_redis_holds_no_refresh_token(user: User, redis: "Redis") -> None:
    """Only the SHA-256 of the token is stored, of the current one and of an earlier."""
    following = await refreshed(user)
    stored = redis.hgetall(session_key(user))
    assert stored["token"] == digest(following.refresh_token)
    assert f"rotated:{digest(user.refresh_token)}" in stored
    for token in (user.refresh_token, following.refresh_token):
        assert not any(token in text for pair in stored.items() for text in pair)


async def test_a_session_lives_as_long_as_its_refresh_token(
    start_node: StartNode, connect_api: Callable[[Node], Api], redis: "Redis"
) -> None:
    """The setting is the life of the session, a refresh starts it anew, and then it is gone by itself."""
    api = connect_api(await start_node(refresh_token_ttl_days=0.5))
    user = await api.register()
    half_a_day_ms = 43_200_000
    assert half_a_day_ms - 60_000 < redis.pttl(session_key(user)) <= half_a_day_ms
    redis.pexpire(session_key(user), 60_000)
    following = await refreshed(user)
    assert redis.pttl(session_key(user)) > half_a_day_ms - 60_000
    redis.pexpire(session_key(user), 0)
    assert (await api.refresh(following.refresh_token)).status == 401


async def test_a_race_ends_nothing(user: User, redis: "Redis") -> None:
    """A token presented again within 10 s is a second tab's: 401 for it, and the first goes on."""
    following = await refreshed(user)
    age_exchange(redis, user, user.refresh_token, RACE_WINDOW_MS - 1500)
    assert (await user.api.refresh(user.refresh_token)).status == 401
    assert await access_token_works(await refreshed(following))


async def test_a_reuse_ends_the_session(user: User, redis: "Redis") -> None:
    """A token presented again after more than 10 s was stolen: nobody goes on, and the socket closes."""
    other = await user.another_session()
    following = await refreshed(user)
    socket = await following.connect()
    age_exchange(redis, user, user.refresh_token, RACE_WINDOW_MS + 1)
    refusal = await user.api.refresh(user.refresh_token)
    assert (refusal.status, refusal.error) == (401, "Invalid refresh token")
    assert await socket.close_code() == 4003
    assert await is_over(following)
    assert await following.try_connect() == 401
    assert redis.exists(session_key(user)) == 0
    assert await access_token_works(await refreshed(other))


async def test_a_reuse_long_after_is_still_one(user: User, redis: "Redis") -> None:
    """A token from many exchanges ago, which the session has forgotten, ends it too."""
    latest = await refreshed(user)
    age_exchange(redis, user, user.refresh_token, RACE_WINDOW_MS + 1)
    for _ in range(3):
        latest = await refreshed(latest)
    assert f"rotated:{digest(user.refresh_token)}" not in redis.hkeys(session_key(user))
    assert (await user.api.refresh(user.refresh_token)).status == 401
    assert await is_over(latest)


async def test_a_session_remembers_no_more_than_the_window(user: User, redis: "Redis") -> None:
    """However often a session is refreshed, what is stored of it does not grow."""
    latest = user
    for _ in range(5):
        following = await refreshed(latest)
        age_exchange(redis, user, latest.refresh_token, RACE_WINDOW_MS + 1)
        latest = following
    assert len(redis.hkeys(session_key(user))) == len(
        ["token", "created_at", "access_expires_at", "rotated_at", "rotated:<digest>"]
    )


@pytest.mark.parametrize("text", ["", "x", "x" * 92, "A" * 92, "é" * 92, "\0", "x" * 100_000])
async def test_a_text_that_is_no_token_is_refused(api: Api, text: str) -> None:
    """401, as for any token that holds no longer: a client knows not what is inside."""
    refusal = await api.refresh(text)
    assert (refusal.status, refusal.error) == (401, "Invalid refresh token")


async def test_a_made_up_token_is_refused(user: User) -> None:
    """What an access token shows does not help to refresh the session, nor to end it as a reuse would."""
    for forged in (made_up(user), RefreshToken.new(UUID(user.id)).text):
        assert (await user.api.refresh(forged)).status == 401
    assert await access_token_works(await refreshed(user))


async def test_a_damaged_token_ends_nothing(user: User) -> None:
    """A token that lost a character, or has a wrong one, is no token that was used before."""
    text = user.refresh_token
    for damaged in (text[:-1], text + "A", text[:-1] + ("A" if text[-1] != "A" else "B"), text[1] + text[0] + text[2:]):
        assert (await user.api.refresh(damaged)).status == 401
    assert await access_token_works(await refreshed(user))


async def test_a_token_with_the_family_of_another_account_is_refused(user: User) -> None:
    """A session is looked for in the account that the token names, and in no other."""
    stranger = RefreshToken.parse((await user.api.register()).refresh_token)
    assert stranger is not None
    forged = RefreshToken(UUID(user.id), stranger.family, stranger.secret).text
    assert (await user.api.refresh(forged)).status == 401
    assert await access_token_works(await refreshed(user))


async def test_an_access_token_is_no_refresh_token(user: User) -> None:
    """Nor the other way round: each is good for its own purpose only."""
    assert (await user.api.refresh(user.token)).status == 401
    answer = await user.api.call("POST", f"/v1/messages/{user.id}", token=user.refresh_token, data=b"x")
    assert answer.status == 401
    assert await access_token_works(await refreshed(user))


# The setting for clients that lose a response.


async def test_a_retry_gets_the_same_successor(retrying: User) -> None:
    """Within 10 s the exchanged token gives its successor again, as often as it is asked, and the session lives."""
    answers = [await retrying.api.refresh(retrying.refresh_token) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert len({answer.json["refreshToken"] for answer in answers}) == 1
    retrying.refresh_token = answers[0].json["refreshToken"]
    assert await access_token_works(await refreshed(retrying))


async def test_a_retry_is_over_when_the_successor_was_used(retrying: User) -> None:
    """Who has used the successor lost no response: the old token gets 401, and nothing ends."""
    latest = await refreshed(await refreshed(retrying))
    assert (await retrying.api.refresh(retrying.refresh_token)).status == 401
    assert await access_token_works(await refreshed(latest))


async def test_a_late_retry_is_a_reuse(retrying: User, redis: "Redis") -> None:
    """After 10 s the setting helps nobody: the session ends."""
    following = await refreshed(retrying)
    age_exchange(redis, retrying, retrying.refresh_token, RACE_WINDOW_MS + 1)
    assert (await retrying.api.refresh(retrying.refresh_token)).status == 401
    assert await is_over(following)


# Logging out.


async def test_a_logout_ends_its_session_alone(user: User, redis: "Redis") -> None:
    """Refresh token, access tokens and socket of the session are over; the account's other session goes on."""
    other = await user.another_session()
    socket, other_socket = await user.connect(), await other.connect()
    answer = await user.logout()
    assert (answer.status, answer.body) == (200, b"")
    assert await socket.close_code() == 4003
    assert await is_over(user)
    assert await user.try_connect() == 401
    assert redis.exists(session_key(user)) == 0
    assert await access_token_works(other)
    await other.deliver(other, b"still here")
    assert b"still here" in [envelope.message.content for envelope in await other_socket.envelopes(2)]


async def test_every_route_refuses_an_ended_session(user: User) -> None:
    """An access token that was good a moment ago opens nothing any more."""
    await user.logout()
    body = user.device.upload(2, [])
    for method, path, options in (
        ("POST", "/v1/keys", {"json": body}),
        ("POST", f"/v1/messages/{user.id}", {"data": b"x"}),
        ("DELETE", "/v1/sessions", {"json": {"refreshToken": user.refresh_token}}),
        ("GET", f"/v1/gateway?token={user.token}", {}),
    ):
        refusal = await user.api.call(method, path, token=user.token, **options)
        assert refusal.status == 401, path
        assert refusal.error


async def test_a_logout_goes_by_the_session_not_by_the_token(user: User) -> None:
    """A client that lost the response to a refresh can log out with the token it has left."""
    following = await refreshed(user)
    assert (await user.logout()).status == 200
    assert await is_over(following)


async def test_a_session_can_end_another_of_its_account(user: User) -> None:
    """A refresh token of another login of the caller is ended, and the caller goes on."""
    other = await user.another_session()
    caller = User(user.api, user.name, user.device, user.token, other.refresh_token)
    assert (await caller.logout()).status == 200
    assert await is_over(other)
    assert await access_token_works(await refreshed(user))
    assert (await caller.logout()).status == 200  # it has ended already, and that is fine


async def test_a_logout_needs_a_token_of_the_caller(user: User) -> None:
    """With somebody else's refresh token, or none at all, nothing ends."""
    stranger = await user.api.register()
    for text in (stranger.refresh_token, "x", ""):
        caller = User(user.api, user.name, user.device, user.token, text)
        assert (await caller.logout()).status == 401
    anonymous = await user.api.call("DELETE", "/v1/sessions", json={"refreshToken": user.refresh_token})
    assert anonymous.status == 401
    assert await access_token_works(await refreshed(user))
    assert await access_token_works(await refreshed(stranger))


async def test_a_made_up_token_cannot_end_the_session_of_another(user: User, redis: "Redis") -> None:
    """Not even who knows its family can have it listed as ended, unless the account is theirs."""
    victim = await user.api.register()
    before = redis.zcard(keyspace.ENDED_SESSIONS)
    family = RefreshToken.parse(victim.refresh_token)
    assert family is not None
    for forged in (made_up(victim), RefreshToken(UUID(user.id), family.family, bytes(32)).text):
        await User(user.api, user.name, user.device, user.token, forged).logout()
    assert redis.zcard(keyspace.ENDED_SESSIONS) == before
    assert await access_token_works(victim)
    assert await access_token_works(await refreshed(victim))


async def test_an_ended_session_is_listed_until_its_tokens_expire(user: User, redis: "Redis") -> None:
    """The shared list stays short: an entry outlives the last access token by a minute for slow clocks."""
    await user.logout()
    until_secs = redis.zscore(keyspace.ENDED_SESSIONS, user.session_id)
    assert until_secs is not None
    assert ACCESS_TTL_SECS < until_secs - time.time() < ACCESS_TTL_SECS + 120


async def test_a_logout_drops_entries_that_no_longer_matter(user: User, redis: "Redis") -> None:
    """What has expired leaves the shared list with the next session that enters it."""
    redis.zadd(keyspace.ENDED_SESSIONS, {str(uuid4()): 1})
    await user.logout()
    assert redis.zcount(keyspace.ENDED_SESSIONS, 0, time.time() - 60) == 0


# Access tokens.


@pytest.mark.parametrize(
    "change",
    [
        {"exp": int(time.time()) - 1},
        {"sid": None},
        {"sub": "alice"},
        {"exp": None},
    ],
    ids=["expired", "without session", "without user id", "without expiry"],
)
async def test_a_token_that_says_something_wrong_is_refused(user: User, change: dict[str, Any]) -> None:
    """Our own signature is not enough."""
    claims = jwt.decode(user.token, options={"verify_signature": False}) | change
    user.token = jwt.encode({name: value for name, value in claims.items() if value is not None}, JWT_SECRET)
    assert not await access_token_works(user)
    assert await user.try_connect() == 401


@pytest.mark.parametrize(
    ("secret", "algorithm"),
    [(JWT_SECRET, "HS512"), (JWT_SECRET, "none"), ("another secret of 32 bytes or more", "HS256")],
)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_token_signed_otherwise_is_refused(user: User, secret: str, algorithm: str) -> None:
    """Only HS256 with a secret of ours counts, whatever the header of a token says."""
    claims = jwt.decode(user.token, options={"verify_signature": False})
    user.token = jwt.encode(claims, None if algorithm == "none" else secret, algorithm)
    assert not await access_token_works(user)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer x", "Bearer {}x"])
async def test_a_request_needs_a_bearer_token(user: User, header: str) -> None:
    """Without one, or with half of one, the answer is 401 in JSON."""
    headers = {"Authorization": header.format(user.token)}
    refusal = await user.api.call("POST", f"/v1/messages/{user.id}", headers=headers, data=b"x")
    assert refusal.status == 401
    assert refusal.error


async def test_an_access_token_expires_by_itself(start_node: StartNode, connect_api: Callable[[Node], Api]) -> None:
    """A token of one second is refused when that is over, and a refresh lets its client in again."""
    user = await connect_api(await start_node(access_token_ttl_secs=1)).register()

    async def expired() -> bool:
        return not await access_token_works(user)

    assert await eventually(expired)
    assert (await refreshed(user)).token != user.token


# How many sessions an account has.


async def test_a_login_past_the_maximum_ends_the_session_used_longest_ago(
    start_node: StartNode, connect_api: Callable[[Node], Api], redis: "Redis"
) -> None:
    """A refresh counts as use; the newest login is never the one that ends."""
    first = await connect_api(await start_node(max_sessions_per_account=2)).register()
    socket = await first.connect()
    second = await first.another_session()
    first = await refreshed(first)
    third = await first.another_session()
    assert await is_over(second)
    fourth = await third.another_session()
    assert await socket.close_code() == 4003
    assert await is_over(first)
    assert await access_token_works(third)
    assert await access_token_works(fourth)
    assert redis.zcard(keyspace.sessions(UUID(first.id))) == 2


async def test_a_lower_maximum_holds_from_the_next_login_on(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """With room for one session a login is the only one left, even if Redis's clock was set back meanwhile."""
    first = await connect_api(await start_node()).register()
    others = [await first.another_session() for _ in range(3)]
    api = connect_api(await start_node(max_sessions_per_account=1))
    latest = await first.at(api).another_session()
    for user in (first, *others):
        assert await is_over(user.at(api))
    assert await access_token_works(await refreshed(latest))


async def test_the_newest_login_stays_whatever_the_clock_says(
    start_node: StartNode, connect_api: Callable[[Node], Api], redis: "Redis"
) -> None:
    """Sessions that seem to be younger, because the clock was set back, do not crowd out a new one."""
    first = await connect_api(await start_node(max_sessions_per_account=1)).register()
    redis.zincrby(keyspace.sessions(UUID(first.id)), 3_600_000, first.session_id)
    second = await first.another_session()
    assert await is_over(first)
    assert await access_token_works(second)


async def test_a_takeover_ends_the_other_sessions_of_the_account(user: User) -> None:
    """The tokens of the replaced device are dead, those of the session that took over go on."""
    replaced = await user.another_session()
    device = Device()
    assert (await user.upload(device.takeover(1, one_time_keys(1, 1)))).status == 200
    assert await is_over(replaced)
    assert await replaced.try_connect() == 401
    assert (await replaced.upload(replaced.device.takeover(2, []))).status == 401
    assert await access_token_works(await refreshed(user))


# What a crash or Redis leaves half done.


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[SessionStore]:
    """The steps of ending a session, one by one."""
    connection = Standalone(StaticEndpoint(redis_server.url, "obscura:test"))
    await connection.start()
    yield SessionStore(connection, Scripts(connection))
    await connection.stop()


async def test_a_session_that_was_only_listed_is_over(user: User, store: SessionStore, redis: "Redis") -> None:
    """A node that died while it ended a session has ended it: a refresh is refused and finishes the work."""
    socket = await user.connect()
    await store.mark_ended([UUID(user.session_id)], ListedFor(60, 0, 0))

    async def refused() -> bool:
        return not await access_token_works(user)

    assert await eventually(refused)
    assert (await user.api.refresh(user.refresh_token)).status == 401
    assert await socket.close_code() == 4003
    assert redis.exists(session_key(user)) == 0


async def test_a_logout_cut_short_stays_a_logout(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Until the refresh token is removed the session is listed for as long as that could live."""
    user = await connect_api(await start_node(redis_url=own_redis.url)).register()
    with own_redis.client as redis:
        redis.acl_setuser("default", enabled=True, commands=["-del"])  # the removal fails, the list is written
        assert (await user.logout()).status >= 500
        redis.acl_setuser("default", enabled=True, commands=["+del"])
        assert redis.exists(session_key(user)) == 1
        until_secs = redis.zscore(keyspace.ENDED_SESSIONS, user.session_id)
        assert until_secs is not None
        assert until_secs - time.time() > REFRESH_TTL_SECS
        assert await is_over(user)
        assert redis.exists(session_key(user)) == 0


@pytest.mark.parametrize("away", [paused, killed])
async def test_a_refresh_that_got_503_can_be_tried_again(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api], away: Callable[..., Any]
) -> None:
    """Whether or not Redis made the exchange, the client comes with the old token and goes on."""
    make_durable(own_redis)
    user = await refreshed(await connect_api(await start_node(redis_url=own_redis.url)).register())
    with away(own_redis):
        assert is_refusal(await user.api.refresh(user.refresh_token))
    answer = await retry_on_503(lambda: user.api.refresh(user.refresh_token))
    assert answer.status == 200
    user.refresh_token = answer.json["refreshToken"]
    assert await access_token_works(await refreshed(user))


async def test_a_retry_that_got_503_takes_nothing_back(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """With the setting for lost responses the successor may be in use already: it goes on."""
    user = await connect_api(await start_node(redis_url=own_redis.url, refresh_token_retry=True)).register()
    following = await refreshed(user)
    with paused(own_redis):
        assert is_refusal(await user.api.refresh(user.refresh_token))
    for _ in range(4):  # time enough for a node that would take something back
        assert (await retry_on_503(lambda: user.api.login(user.name))).status == 200
    assert await access_token_works(await refreshed(following))


async def test_a_refresh_survives_a_broken_connection(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """A reply lost on the way costs nobody the session, wherever the connection breaks."""
    user = await connect_api(await start_node(redis_url=own_redis.url)).register()
    with own_redis.client as redis:
        for _ in range(30):
            call = asyncio.create_task(retry_on_503(lambda: user.api.refresh(user.refresh_token)))
            for _ in range(secrets.randbelow(12)):
                await asyncio.sleep(0)
            redis.client_kill_filter(_type="normal", skipme=True)
            answer = await call
            assert answer.status == 200
            user.refresh_token = answer.json["refreshToken"]
