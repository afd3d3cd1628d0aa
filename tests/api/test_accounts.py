import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from argon2 import PasswordHasher
from redis import Redis

from obscura.api.json.accounts import parse_registration
from obscura.client.device_keys import Device, one_time_keys
from obscura.node.node import Node
from obscura.redis_client.commands import Standalone
from obscura.redis_client.endpoints import StaticEndpoint
from obscura.redis_client.scripts import Scripts
from obscura.store import keyspace
from obscura.store.accounts import AccountStore
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import PASSWORD, Answer, Api, User
from tests.support.outages import is_refusal, killed, make_durable, paused, retry_on_503
from tests.support.redis import RedisServer

FOR_EVER = -1
OUTDATED = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
WRONG_PASSWORD = "wrong horse battery staple"


@pytest.fixture
def name() -> str:
    """A name that nobody has."""
    return f"user-{secrets.token_hex(8)}"


async def register(api: Api, name: str, password: str = PASSWORD) -> Answer:
    body = api.registration(name, Device(), 1) | {"password": password}
    return await api.call("POST", "/v1/users", json=body)


def let_time_pass(redis: "Redis", name: str) -> None:
    """Expire at once what would expire by itself of a name and the account it leads to."""
    user_id = redis.get(keyspace.username(name))
    of_account = redis.keys(f"obscura:{{{user_id}}}:*") if user_id else []
    for key in (keyspace.username(name), *of_account):
        if redis.pttl(key) != FOR_EVER and ":session" not in key:
            redis.pexpire(key, 0)


# What an account may be called, and how it may be locked.


async def test_a_registration_logs_the_account_in(api: Api, name: str) -> None:
    """201 comes with tokens that work, and says when the access token expires."""
    answer = await register(api, name)
    assert answer.status == 201
    assert set(answer.json) == {"token", "refreshToken", "expiresAt"}
    claims = jwt.decode(answer.json["token"], JWT_SECRET, algorithms=["HS256"])
    assert set(claims) == {"sub", "sid", "iat", "exp"}
    assert claims["exp"] == answer.json["expiresAt"] > time.time()
    user = User(api, name, Device(), answer.json["token"], answer.json["refreshToken"])
    assert (await user.send(user, b"to myself")).status == 201
    assert (await api.refresh(user.refresh_token)).status == 200


@pytest.mark.real_passwords
async def test_the_account_is_stored_readably(api: Api, name: str, redis: "Redis") -> None:
    """An operator finds the account by its name, for ever, and sees when it was made but not the password."""
    user = await api.register(name)
    assert redis.get(keyspace.username(name)) == user.id
    account = redis.hgetall(keyspace.account(UUID(user.id)))
    assert account["username"] == name
    assert abs(int(account["created_at"]) - time.time() * 1000) < 60_000
    assert account["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert account["identity_key"] == user.device.identity_key
    for key in redis.keys(f"obscura:{{{user.id}}}:*"):
        assert redis.pttl(key) == FOR_EVER or ":session" in key, key
    assert redis.pttl(keyspace.username(name)) == FOR_EVER


@pytest.mark.parametrize("beginning", ["", "名前", "é", "\N{PILE OF POO}", "a b", "'\"{}*", "\u2028"])
async def test_a_name_may_be_any_text(api: Api, beginning: str) -> None:
    """1 to 50 code points of any script are a name, and lead to its account."""
    name = beginning + secrets.token_hex(8)
    assert (await register(api, name)).status == 201
    assert (await api.login(name)).status == 200


async def test_a_name_has_50_code_points_at_most(api: Api, name: str) -> None:
    """Characters are counted, not bytes: fifty beyond the basic plane are fine, one more is not."""
    longest = name + "\N{PILE OF POO}" * (50 - len(name))
    assert (await register(api, longest)).status == 201
    refused = await register(api, longest + "x")
    assert refused.status == 400
    assert refused.error == "username must have 1 to 50 characters"


async def test_a_name_is_not_empty(api: Api) -> None:
    """No character is too few."""
    refused = await register(api, "")
    assert refused.status == 400
    assert refused.error == "username must have 1 to 50 characters"


async def test_one_character_is_a_name(own_redis: RedisServer, start_node: StartNode, connect_api: Any) -> None:
    """One character is enough."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    assert (await register(api, "x")).status == 201


@pytest.mark.parametrize("control", ["\0", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9f"])
async def test_a_name_has_no_control_characters(api: Api, name: str, control: str) -> None:
    """A character that a terminal or a log would act on is in no name."""
    for bad in (control, name + control, f"{name}{control}{name[:10]}"):
        refused = await register(api, bad)
        assert refused.status == 400
        assert refused.error == "username must not have control characters"


async def test_names_match_exactly(api: Api, name: str) -> None:
    """Case, spaces and the way a letter is composed tell names apart."""
    variants = [name, name.upper(), f" {name}", f"{name} ", f"{name}\u00e9", f"{name}e\u0301"]
    ids = {(await api.register(variant, pre_keys=1)).id for variant in variants}
    assert len(ids) == len(variants)
    assert (await api.login(name.capitalize())).status == 401


async def test_a_taken_name_is_refused(api: Api, name: str) -> None:
    """409, and the account that has the name goes on as before."""
    await api.register(name)
    refused = await register(api, name, WRONG_PASSWORD)
    assert refused.status == 409
    assert refused.error == "Username already exists"
    assert (await api.login(name)).status == 200


@pytest.mark.parametrize("password", ["elevenchars", "\N{PILE OF POO}" * 11, ""])
async def test_a_password_has_12_code_points_at_least(api: Api, name: str, password: str) -> None:
    """Characters are counted, not bytes, and the message says how many are needed."""
    refused = await register(api, name, password)
    assert refused.status == 400
    assert "at least 12 characters" in refused.error


@pytest.mark.parametrize("password", ["x" * 1025, "é" * 512 + "x"])
async def test_a_password_has_1024_bytes_at_most(api: Api, name: str, password: str) -> None:
    """Beyond it is the hash's work that grows: bytes of UTF-8 are counted, not characters."""
    refused = await register(api, name, password)
    assert refused.status == 400
    assert refused.error == "password must have at most 1024 bytes"


@pytest.mark.parametrize(
    "password", ["twelve chars", "\N{PILE OF POO}" * 12, "x" * 1024, "é" * 512, " " * 12, "\0" * 12]
)
async def test_a_password_at_the_bounds_logs_in(api: Api, name: str, password: str) -> None:
    """12 code points are enough, 1024 bytes are not too many, and any character will do."""
    assert (await register(api, name, password)).status == 201
    assert (await api.login(name, password)).status == 200
    assert (await api.login(name, password[:-1] + "y")).status == 401


async def test_a_refused_registration_takes_no_name(api: Api, name: str) -> None:
    """Whatever was wrong with the first try, the name is still free for the second."""
    body = api.registration(name, Device(), 1)
    forged = body | {"identityKey": Device().identity_key}
    for bad in (body | {"password": "short"}, forged):
        assert (await api.call("POST", "/v1/users", json=bad)).status == 400
    assert (await api.call("POST", "/v1/users", json=body)).status == 201


async def test_a_registration_has_no_more_keys_than_the_maximum(
    start_node: StartNode, connect_api: Callable[[Node], Api], name: str
) -> None:
    """The limit of one-time pre-keys holds from the first request on."""
    api = connect_api(await start_node(max_pre_keys=3))
    body = api.registration(name, Device(), 3)
    refused = await api.call("POST", "/v1/users", json=body | {"oneTimePreKeys": one_time_keys(1, 4)})
    assert refused.status == 400
    assert refused.error == "oneTimePreKeys has more than 3 keys"
    assert (await api.call("POST", "/v1/users", json=body)).status == 201


# Logging in.


async def test_a_wrong_password_looks_like_an_unknown_name(api: Api, name: str) -> None:
    """Status, body and headers are the same, so a login tells nobody which names exist."""
    await api.register(name)
    wrong, unknown = await api.login(name, WRONG_PASSWORD), await api.login(name + "-not", WRONG_PASSWORD)
    assert (wrong.status, wrong.error) == (401, "Invalid username or password")
    assert (unknown.status, unknown.body) == (wrong.status, wrong.body)
    assert set(wrong.headers) == set(unknown.headers)


async def test_an_unknown_name_takes_the_same_steps_in_redis(api: Api, name: str, redis: "Redis") -> None:
    """An unknown name costs as many reads as a wrong password."""
    await api.register(name)

    async def reads(username: str) -> list[int]:
        redis.config_resetstat()
        assert (await api.login(username, WRONG_PASSWORD)).status == 401
        counts = redis.info("commandstats")
        return [counts[f"cmdstat_{command}"]["calls"] for command in ("get", "pttl", "hget")]

    assert await reads(name) == await reads(name + "-not") == [1, 1, 1]


@pytest.mark.real_passwords
async def test_an_unknown_name_takes_a_hash(
    start_node: StartNode, connect_api: Callable[[Node], Api], name: str
) -> None:
    """Logins of unknown names fill the pool like any other, for each is checked against a hash."""
    api = connect_api(await start_node(password_workers=1))
    answers = await asyncio.gather(*(api.login(name) for _ in range(60)))
    refused = [answer for answer in answers if answer.status != 401]
    assert refused
    assert all(map(is_refusal, refused))


@pytest.mark.parametrize("password", ["", "x", "x" * 1025, "x" * 500_000, "\N{PILE OF POO}", "\0"])
async def test_a_password_that_nobody_can_have_is_wrong(api: Api, name: str, password: str) -> None:
    """A login knows no rules for passwords: what breaks them is just not the right one."""
    await api.register(name)
    assert (await api.login(name, password)).status == 401


@pytest.mark.parametrize("username", ["", "x" * 51, "x" * 500_000, "\0", "\n", "*", "obscura:username:x"])
async def test_a_name_that_nobody_can_have_is_unknown(api: Api, username: str) -> None:
    """A login knows no rules for names: what breaks them is just not an account."""
    assert (await api.login(username)).status == 401


async def test_a_password_logs_in_from_any_keyboard(api: Api, name: str, redis: "Redis") -> None:
    """Composed or not, with any space; and a hash of the text as it was sent once goes on working for that text."""
    composed, decomposed = "Käse mit Öl", "Ka\u0308se\u3000mit O\u0308l"
    user = await api.register(name, password=decomposed)
    assert [(await api.login(name, password)).status for password in (composed, decomposed)] == [200, 200]
    redis.hset(keyspace.account(UUID(user.id)), "password_hash", OUTDATED.hash(decomposed))
    assert (await api.login(name, decomposed)).status == 200


@pytest.mark.real_passwords
async def test_an_outdated_hash_is_replaced_at_login(api: Api, name: str, redis: "Redis") -> None:
    """The owner proves the password, so the hash can be made anew with today's parameters."""
    user = await api.register(name)
    account = keyspace.account(UUID(user.id))
    outdated = OUTDATED.hash(PASSWORD)
    redis.hset(account, "password_hash", outdated)
    assert (await api.login(name, WRONG_PASSWORD)).status == 401
    assert redis.hget(account, "password_hash") == outdated
    assert (await api.login(name)).status == 200
    renewed = redis.hget(account, "password_hash")
    assert renewed is not None
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await api.login(name)).status == 200
    assert redis.hget(account, "password_hash") == renewed


@pytest.mark.real_passwords
async def test_messages_flow_during_a_flood_of_logins(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Logins that do not fit are told when to come back, and no message is refused meanwhile."""
    api = connect_api(await start_node(password_workers=1))
    alice, bob = await api.register(), await api.register()
    flood = asyncio.gather(*(api.login(alice.name) for _ in range(100)))
    sent = 0
    while not flood.done():
        await alice.deliver(bob, b"meanwhile")
        sent += 1
    answers = await flood
    served = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    assert all(map(is_refusal, refused))
    assert sent > len(served) > 0
    assert (await api.login(alice.name)).status == 200


@pytest.mark.real_passwords
async def test_registrations_that_do_not_fit_take_no_name(
    start_node: StartNode, connect_api: Callable[[Node], Api], name: str
) -> None:
    """A registration refused because too many wait is told when to come back, and finds its name free."""
    api = connect_api(await start_node(password_workers=1))
    names = [f"{name}-{number}" for number in range(60)]
    answers = await asyncio.gather(*(register(api, each) for each in names))
    refused = [each for each, answer in zip(names, answers, strict=True) if answer.status != 201]
    assert refused
    assert all(is_refusal(answer) for answer in answers if answer.status != 201)
    assert (await register(api, refused[0])).status == 201


# A registration that dies.


class Registration:
    """A registration taken step by step as `Accounts.register` takes it, and left wherever the test says."""

    def __init__(self, store: AccountStore, name: str) -> None:
        self.store = store
        self.name = name
        self.body = Api.registration(name, Device(), 3)
        self.user_id = uuid4()

    async def die_after(self, last_step: str) -> None:
        for step in (self.claim, self.create, self.confirm, self.make_permanent):
            await step()
            if step.__name__ == last_step:
                return

    async def claim(self) -> None:
        assert await self.store.claim(self.name, self.user_id)

    async def create(self) -> None:
        _, keys = parse_registration(json.dumps(self.body).encode())
        await self.store.create(self.user_id, self.name, OUTDATED.hash(PASSWORD), 1, keys)

    async def confirm(self) -> None:
        assert await self.store.confirm(self.name, self.user_id)

    async def make_permanent(self) -> None:
        assert await self.store.make_permanent(self.user_id)


@pytest.fixture
async def registration(redis_server: RedisServer, name: str) -> AsyncIterator[Registration]:
    connection = Standalone(StaticEndpoint(redis_server.url, "obscura:test"))
    await connection.start()
    yield Registration(AccountStore(connection, Scripts(connection)), name)
    await connection.stop()


STEPS = ["claim", "create", "confirm", "keep"]


@pytest.mark.parametrize("last_step", STEPS)
async def test_a_crash_leaves_a_working_account_or_a_free_name(
    api: Api, registration: Registration, redis: "Redis", last_step: str
) -> None:
    """Wherever a registration died, when its leftovers have expired its client can log in or register again."""
    await registration.die_after(last_step)
    assert (await register(api, registration.name)).status == 409
    let_time_pass(redis, registration.name)
    login, again = await api.login(registration.name), await register(api, registration.name)
    assert (login.status, again.status) == ((200, 409) if last_step == "keep" else (401, 201))


@pytest.mark.parametrize("last_step", STEPS[1:])
async def test_who_can_log_in_after_a_crash_has_an_account_for_good(
    api: Api, registration: Registration, redis: "Redis", last_step: str
) -> None:
    """A login finishes the registration it finds: neither the name nor the account expires after it."""
    await registration.die_after(last_step)
    first = await api.login(registration.name)
    assert first.status == 200
    let_time_pass(redis, registration.name)
    assert (await api.refresh(first.json["refreshToken"])).status == 200
    assert (await api.login(registration.name)).status == 200
    assert (await register(api, registration.name)).status == 409
    bundle = await api.call("GET", f"/v1/keys/{registration.user_id}")
    assert bundle.json["oneTimePreKey"]["keyId"] == 1


@pytest.mark.parametrize("last_step", STEPS[1:])
async def test_a_registration_whose_answer_was_lost_can_be_repeated(
    api: Api, registration: Registration, redis: "Redis", last_step: str
) -> None:
    """Wherever the first one broke off once it had an account, the second gets 201 and that account, for good."""
    await registration.die_after(last_step)
    answer = await api.call("POST", "/v1/users", json=registration.body)
    assert answer.status == 201
    let_time_pass(redis, registration.name)
    user = User(api, registration.name, Device(), answer.json["token"], answer.json["refreshToken"])
    assert user.id == str(registration.user_id)
    assert (await user.send(user, b"to myself")).status == 201
    assert (await api.refresh(user.refresh_token)).status == 200


async def test_a_repeated_registration_is_answered_like_the_first(api: Api, name: str, redis: "Redis") -> None:
    """A new session of the same account beside the first one, and the keys stay as they are."""
    device = Device()
    first, again = api.registration(name, device, 1), api.registration(name, device, 2)
    answers = [await api.call("POST", "/v1/users", json=body) for body in (first, first, again)]
    assert [answer.status for answer in answers] == [201, 201, 201]
    users = [User(api, name, device, answer.json["token"], answer.json["refreshToken"]) for answer in answers]
    assert len({user.id for user in users}) == 1
    assert len({user.session_id for user in users}) == 3
    bundle = (await users[0].bundle_of(users[0])).json
    assert (bundle["signedPreKey"], bundle["oneTimePreKey"]) == (first["signedPreKey"], first["oneTimePreKeys"][0])
    assert (await users[0].bundle_of(users[0])).json["oneTimePreKey"] is None
    for user in users:
        assert (await api.refresh(user.refresh_token)).status == 200


async def test_a_registration_repeated_while_the_first_is_under_way_is_the_same(two_apis: tuple[Api, Api]) -> None:
    """A client that lost patience, or a button pressed twice: each is logged in to the one account."""
    body = two_apis[0].registration(f"user-{secrets.token_hex(8)}", Device(), 1)
    answers = await asyncio.gather(*(two_apis[number % 2].call("POST", "/v1/users", json=body) for number in range(8)))
    assert [answer.status for answer in answers] == [201] * 8
    subjects = {jwt.decode(answer.json["token"], options={"verify_signature": False})["sub"] for answer in answers}
    assert len(subjects) == 1


async def test_a_repeat_with_another_password_or_device_is_refused(api: Api, name: str) -> None:
    """The name is taken, in the words of any other registration of it."""
    body = api.registration(name, Device(), 1)
    assert (await api.call("POST", "/v1/users", json=body)).status == 201
    for other in (body | {"password": WRONG_PASSWORD}, api.registration(name, Device(), 1)):
        refused = await api.call("POST", "/v1/users", json=other)
        assert (refused.status, refused.error) == (409, "Username already exists")


async def test_guesses_by_registration_count_as_failed_logins(
    start_node: StartNode, connect_api: Callable[[Node], Api], name: str
) -> None:
    """Whoever has somebody's bundle can send its identity key: that must not be a way around the limit."""
    api = connect_api(await start_node(login_rate_limit_burst=3, login_rate_limit_per_minute=1))
    body = api.registration(name, Device(), 1)
    assert (await api.call("POST", "/v1/users", json=body)).status == 201
    for _ in range(5):  # those of strangers who want the name do not count
        assert (await register(api, name)).status == 409
    for password in (WRONG_PASSWORD, WRONG_PASSWORD, WRONG_PASSWORD, PASSWORD):
        assert (await api.call("POST", "/v1/users", json=body | {"password": password})).status == 409
    assert (await api.login(name)).status == 429


async def test_a_wrong_password_does_not_finish_a_registration(
    api: Api, registration: Registration, redis: "Redis"
) -> None:
    """What a dead registration left is kept for its owner only."""
    await registration.die_after("create")
    assert (await api.login(registration.name, WRONG_PASSWORD)).status == 401
    let_time_pass(redis, registration.name)
    assert (await register(api, registration.name)).status == 201


async def test_a_claim_lasts_less_than_a_minute(registration: Registration, redis: "Redis") -> None:
    """A name is not blocked for longer than that by a registration that died."""
    await registration.die_after("claim")
    assert 0 < redis.pttl(keyspace.username(registration.name)) <= 60_000


async def test_a_claim_that_lapsed_is_not_confirmed(api: Api, registration: Registration, redis: "Redis") -> None:
    """A registration that is slower than its claim loses the name to the next one, not the other way round."""
    await registration.claim()
    let_time_pass(redis, registration.name)
    owner = await api.register(registration.name)
    await registration.create()
    assert not await registration.store.confirm(registration.name, registration.user_id)
    await registration.store.discard(registration.user_id)
    assert redis.keys(f"obscura:{{{registration.user_id}}}:*") == []
    login = await api.login(registration.name)
    assert jwt.decode(login.json["token"], options={"verify_signature": False})["sub"] == owner.id


# When Redis is away.


@pytest.fixture
async def fragile_api(own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]) -> Api:
    """Calls to a node on ``own_redis``."""
    make_durable(own_redis)
    return connect_api(await start_node(redis_url=own_redis.url))


@pytest.mark.parametrize("away", [paused, killed])
async def test_redis_away_is_no_fault_of_the_client(
    own_redis: RedisServer, fragile_api: Api, name: str, away: Callable[[RedisServer], Any]
) -> None:
    """Every call is refused with 503, never 401 or 409, and succeeds with the same tokens once Redis is back."""
    api, alice, bob = fragile_api, await fragile_api.register(), await fragile_api.register()
    calls: list[tuple[int, Callable[[], Awaitable[Answer]]]] = [
        (201, lambda: register(api, name)),
        (200, lambda: api.login(alice.name)),
        (200, lambda: api.refresh(alice.refresh_token)),
        (200, bob.logout),
    ]
    with away(own_redis):
        answers = await asyncio.gather(*(call() for _, call in calls))
        assert all(map(is_refusal, answers)), answers
    for status, call in calls:
        assert (await retry_on_503(call)).status == status


async def test_a_full_redis_lets_clients_come_and_go(own_redis: RedisServer, fragile_api: Api, name: str) -> None:
    """With no memory left nobody new is let in, while refresh and logout work, so that inboxes can be emptied."""
    api, user = fragile_api, await fragile_api.register()
    with own_redis.client as redis:
        redis.config_set("maxmemory", 1)
        assert is_refusal(await register(api, name))
        assert is_refusal(await api.login(user.name))
        refreshed = await api.refresh(user.refresh_token)
        assert refreshed.status == 200
        user = User(api, user.name, user.device, refreshed.json["token"], refreshed.json["refreshToken"])
        assert (await user.logout()).status == 200
        assert (await user.logout()).status == 401
        redis.config_set("maxmemory", 0)
    assert (await register(api, name)).status == 201
