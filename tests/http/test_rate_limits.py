"""Limits of a node: who may ask how often, and what the one too many is told."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from obscura.client.device_keys import Device
from obscura.node.node import Node
from obscura.settings.model import SETTINGS
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.support.client import PASSWORD, Answer, Api, exchange
from tests.support.inspection import metric, uuid_of
from tests.support.limits import forwarded_for, is_refused, new_address
from tests.support.outages import killed
from tests.support.redis import RedisServer

WRONG = "not the right password at all"
SLOW = 0.01  # per second: no token comes back during a test

Limited = Callable[..., Awaitable[Api]]
Call = Callable[[], Awaitable[Answer]]


@pytest.fixture
def limited(start_node: StartNode, connect_api: Callable[[Node], Api]) -> Limited:
    """Starts a node with a limit of one's choice, and returns the calls to it."""

    async def start(**settings: Any) -> Api:
        return connect_api(await start_node(**settings))

    return start


async def statuses(calls: int, call: Call) -> list[int]:
    """Make a call again and again; each refusal is looked at."""
    answers = [await call() for _ in range(calls)]
    assert [is_refused(answer) for answer in answers] == [answer.status == 429 for answer in answers]
    return [answer.status for answer in answers]


def get_from(api: Api, address: str) -> Call:
    return lambda: api.call("GET", "/openapi.yaml", headers=forwarded_for(address))


def login_from(api: Api, address: str, name: str = "nobody", password: str = WRONG) -> Call:
    body = {"username": name, "password": password}
    return lambda: api.call("POST", "/v1/sessions", json=body, headers=forwarded_for(address))


async def test_the_standard_tier_is_counted_by_address(limited: Limited) -> None:
    """A client gets its burst and then 429, while another is served; behind a proxy or not."""
    api = await limited(rate_limit_per_second=SLOW, rate_limit_burst=3)
    for address in (new_address(), new_address()):
        assert await statuses(5, get_from(api, address)) == [200, 200, 200, 429, 429]
    assert await statuses(4, lambda: api.call("GET", "/openapi.yaml")) == [200, 200, 200, 429]


@pytest.mark.parametrize(
    "spoofed",
    [
        "X-Forwarded-For: 198.51.100.{number}",
        "X-Forwarded-For: 198.51.100.{number}, 10.0.0.1",
        "X-Forwarded-For: 198.51.100.{number}\r\nX-Forwarded-For: junk {number}",
        "X-Forwarded-For: 198.51.100.{number}:4711\r\nX-Forwarded-For:",
        "X-Forwarded-For: [2001:db8:{number}::1]:80,",
        "X-Real-IP: 198.51.100.{number}\r\nForwarded: for=198.51.100.{number}",
        "True-Client-IP: 198.51.100.{number}",
    ],
)
@pytest.mark.parametrize("appended", [", 203.0.113.1", "\r\nX-Forwarded-For: 203.0.113.1:5{number}"])
async def test_no_client_chooses_its_bucket(limited: Limited, spoofed: str, appended: str) -> None:
    """Whatever a client writes into a header, what the proxy appends to X-Forwarded-For decides."""
    api = await limited(rate_limit_per_second=SLOW, rate_limit_burst=2)
    if "X-Forwarded-For" not in spoofed and appended.startswith(","):
        appended = "\r\nX-Forwarded-For: 203.0.113.1"
    heads = [(spoofed + appended).replace("{number}", str(number)) for number in range(1, 5)]
    answers = [
        await exchange(api.port, f"GET /nothing HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode()) for head in heads
    ]
    assert [answer.status for answer in answers] == [404, 404, 429, 429]


@pytest.mark.parametrize("forwarded", ["198.51.100.{number}", "junk", "", "127.0.0.1, 198.51.100.{number}"])
async def test_no_client_chooses_its_bucket_without_a_proxy(limited: Limited, forwarded: str) -> None:
    """Where no proxy is trusted the header means nothing."""
    api = await limited(rate_limit_per_second=SLOW, rate_limit_burst=2, trusted_proxies=())
    headers = [forwarded_for(forwarded.format(number=number)) for number in range(4)]
    answers = [await api.call("GET", "/nothing", headers=each) for each in headers]
    assert [answer.status for answer in answers] == [404, 404, 429, 429]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/openapi.yaml"),
        ("GET", "/v1/keys/x"),
        ("POST", "/v1/keys"),
        ("POST", "/v1/messages/x"),
        ("GET", "/v1/gateway"),
        ("GET", "/nothing"),
        ("GET", "/v1/users"),
        ("OPTIONS", "/v1/messages/x"),
    ],
)
async def test_every_route_is_in_a_tier(limited: Limited, method: str, path: str) -> None:
    """What is not there or not allowed is limited like everything else."""
    api = await limited(rate_limit_per_second=SLOW, rate_limit_burst=1)
    answers = [await api.call(method, path, headers=forwarded_for("203.0.113.1")) for _ in range(2)]
    assert [is_refused(answer) for answer in answers] == [False, True]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/users"), ("POST", "/v1/sessions"), ("DELETE", "/v1/sessions"), ("POST", "/v1/sessions/refresh")],
)
async def test_routes_of_the_auth_tier_share_a_bucket(limited: Limited, method: str, path: str) -> None:
    """After as many requests to users and sessions as the burst holds each of these routes is a 429, others are not."""
    api = await limited(auth_rate_limit_per_second=SLOW, auth_rate_limit_burst=2)
    address = new_address()
    assert await statuses(2, login_from(api, address)) == [401, 401]
    assert is_refused(await api.call(method, path, headers=forwarded_for(address)))
    assert (await api.call("GET", "/openapi.yaml", headers=forwarded_for(address))).status == 200


class Household:
    """Calls of people behind one address that no other test has."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._headers = forwarded_for(new_address())

    async def call(self, method: str, path: str, body: object, token: str | None = None) -> Answer:
        return await self._api.call(method, path, json=body, token=token, headers=self._headers)

    async def login(self, name: str, password: str = PASSWORD) -> Answer:
        return await self.call("POST", "/v1/sessions", {"username": name, "password": password})

    async def refresh(self, refresh_token: str) -> Answer:
        return await self.call("POST", "/v1/sessions/refresh", {"refreshToken": refresh_token})

    async def logout(self, token: str, refresh_token: str) -> Answer:
        return await self.call("DELETE", "/v1/sessions", {"refreshToken": refresh_token}, token)


async def test_two_people_behind_one_address_can_sign_up(limited: Limited) -> None:
    """With the default limits each of them registers, logs in, refreshes and logs out, at the same moment."""
    names = ("rate_limit_per_second", "rate_limit_burst", "auth_rate_limit_per_second", "auth_rate_limit_burst")
    api = await limited(**{name: SETTINGS[name].default for name in names})
    household = Household(api)

    async def sign_up() -> list[int]:
        name = f"user-{secrets.token_hex(8)}"
        answers = [await household.call("POST", "/v1/users", api.registration(name, Device(), 3))]
        answers.append(await household.login(name))
        answers.append(await household.refresh(answers[-1].json["refreshToken"]))
        answers.append(await household.logout(answers[-1].json["token"], answers[-1].json["refreshToken"]))
        return [answer.status for answer in answers]

    assert await asyncio.gather(sign_up(), sign_up()) == [[201, 200, 200, 200]] * 2


async def test_refreshes_and_logouts_that_succeed_count_in_the_standard_tier(limited: Limited) -> None:
    """They guess nothing, so who used up the auth tier of an address keeps nobody from going on."""
    user = await (await limited()).register()
    household = Household(
        await limited(
            auth_rate_limit_per_second=SLOW, auth_rate_limit_burst=1, rate_limit_per_second=SLOW, rate_limit_burst=4
        )
    )
    assert await statuses(2, lambda: household.login(user.name, WRONG)) == [401, 429]
    token = user.refresh_token
    for _ in range(3):
        refreshed = await household.refresh(token)
        assert refreshed.status == 200
        token = refreshed.json["refreshToken"]
    assert (await household.logout(user.token, token)).status == 200
    assert is_refused(await household.refresh(token))


@pytest.mark.parametrize(("body", "status"), [({"refreshToken": "x"}, 401), ({"refreshToken": 1}, 400), ({}, 400)])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/sessions/refresh"), ("DELETE", "/v1/sessions")])
async def test_refreshes_and_logouts_that_fail_count_beside_logins(
    limited: Limited, method: str, path: str, body: object, status: int
) -> None:
    """Whoever tries tokens has the guesses of the auth tier and no more, and none of passwords after that."""
    user = await (await limited()).register()
    household = Household(await limited(auth_rate_limit_per_second=SLOW, auth_rate_limit_burst=3))
    assert await statuses(4, lambda: household.call(method, path, body, user.token)) == [status] * 3 + [429]
    assert is_refused(await household.login(user.name))


@pytest.mark.parametrize("path", ["/v1/%73essions", "/v1/sessions?x=1", "/v1/./sessions", "//x/../v1/sessions"])
async def test_an_odd_way_to_write_a_path_is_no_way_around_its_tier(limited: Limited, path: str) -> None:
    """Whatever is served as a login is counted as one."""
    api = await limited(auth_rate_limit_per_second=SLOW, auth_rate_limit_burst=1)
    address = new_address()
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    answers = [await exchange(api.port, request) for _ in range(2)]
    assert {answer.status for answer in answers} <= {400, 404, 429}
    assert answers[0].status == 404 or is_refused(answers[1])


async def test_a_refused_request_is_not_carried_out(limited: Limited) -> None:
    """A registration over the limit leaves the name free, and its body is not waited for."""
    api = await limited(auth_rate_limit_per_second=SLOW, auth_rate_limit_burst=1)
    address = new_address()
    assert await statuses(1, login_from(api, address)) == [401]
    head = f"POST /v1/users HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\nContent-Length: 1000\r\n\r\n"
    assert is_refused(await exchange(api.port, head.encode()))


async def test_a_client_that_waits_as_told_is_served(limited: Limited) -> None:
    """At one request a second the Retry-After of both tiers is one second, and true."""
    api = await limited(
        rate_limit_per_second=1, rate_limit_burst=1, auth_rate_limit_per_second=1, auth_rate_limit_burst=1
    )
    address = new_address()
    calls = [login_from(api, address), get_from(api, address)]
    loop = asyncio.get_running_loop()
    for call in calls:
        await call()
    refusals = [await call() for call in calls]
    assert [answer.headers["Retry-After"] for answer in refusals] == ["1", "1"]
    told = asyncio.Event()
    loop.call_later(1, told.set)
    await told.wait()
    assert [(await call()).status for call in calls] == [401, 200]


async def test_a_limit_that_was_eased_by_a_restart_keeps_nobody_out(limited: Limited) -> None:
    """Who would have been refused for minutes by the old one is served by the new one after the wait that it names."""
    user, address = await (await limited()).register(), new_address()

    def calls(api: Api) -> list[Call]:
        return [
            login_from(api, address, secrets.token_hex(8)),
            login_from(api, new_address(), user.name),
            lambda: fetch(api, user.id, address),
        ]

    def limits(per_second: float, burst: int) -> dict[str, float]:
        tiers = {"auth": "second", "login": "minute", "bundle": "minute"}
        rates = {
            f"{tier}_rate_limit_per_{unit}": per_second * (60 if unit == "minute" else 1)
            for tier, unit in tiers.items()
        }
        return rates | {f"{tier}_rate_limit_burst": burst for tier in tiers}

    before = await limited(**limits(SLOW, 3))
    for call in calls(before):
        assert (await statuses(4, call))[-1] == 429
    eased = await limited(**limits(1, 2))
    refused = [await call() for call in calls(eased)]
    assert [(is_refused(answer), answer.headers.get("Retry-After")) for answer in refused] == [(True, "1")] * 3
    told = asyncio.Event()
    asyncio.get_running_loop().call_later(1, told.set)
    await told.wait()
    assert [(await call()).status for call in calls(eased)] == [401, 401, 200]


async def test_management_is_not_limited(start_node: StartNode, session: aiohttp.ClientSession) -> None:
    """Health checks and scrapes come from one address, as often as they like."""
    node = await start_node(rate_limit_per_second=SLOW, rate_limit_burst=1)
    management = Api(session, node.management_port)
    for path in ("/livez", "/readyz", "/metrics"):
        assert [(await management.call("GET", path)).status for _ in range(10)] == [200] * 10


async def test_without_redis_nobody_logs_in(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """The auth tier is closed while it cannot be counted; the standard tier goes on, with its limits."""
    api = connect_api(await start_node(redis_url=own_redis.url, rate_limit_per_second=SLOW, rate_limit_burst=2))
    with killed(own_redis):
        assert (await login_from(api, new_address())()).status == 503
        assert await statuses(3, get_from(api, "203.0.113.1")) == [200, 200, 429]


async def test_refusals_are_counted_by_limit(limited: Limited) -> None:
    """The metric has a series per limit, whose names are few."""
    api = await limited(auth_rate_limit_per_second=SLOW, auth_rate_limit_burst=1)
    before = metric("obscura_rate_limited_total", tier="auth")
    await statuses(3, login_from(api, new_address()))
    assert metric("obscura_rate_limited_total", tier="auth") == before + 2


async def test_failed_logins_slow_a_name_down(limited: Limited) -> None:
    """After a burst of wrong passwords the right one is refused too, from any address; other names are not."""
    api = await limited(login_rate_limit_per_minute=SLOW, login_rate_limit_burst=3)
    alice, bob = await api.register(), await api.register()
    assert await statuses(5, login_from(api, new_address(), alice.name)) == [401, 401, 401, 429, 429]
    assert is_refused(await api.login(alice.name))
    assert (await api.login(bob.name)).status == 200
    assert (await api.refresh(alice.refresh_token)).status == 200


async def test_a_name_that_nobody_has_is_slowed_down_alike(limited: Limited) -> None:
    """The limit does not tell which names exist."""
    api = await limited(login_rate_limit_per_minute=SLOW, login_rate_limit_burst=2)
    user = await api.register()
    seen = []
    for name in (user.name, secrets.token_hex(8)):
        answers = [await login_from(api, new_address(), name)() for _ in range(3)]
        seen.append([(answer.status, answer.body) for answer in answers])
    assert seen[0] == seen[1]
    assert [status for status, _ in seen[0]] == [401, 401, 429]


async def test_right_passwords_do_not_count(limited: Limited) -> None:
    """A user may log in as often as they like, also next to failures."""
    api = await limited(login_rate_limit_per_minute=SLOW, login_rate_limit_burst=2)
    user = await api.register()
    assert await statuses(1, login_from(api, new_address(), user.name)) == [401]
    assert [(await api.login(user.name)).status for _ in range(4)] == [200] * 4
    assert await statuses(2, login_from(api, new_address(), user.name)) == [401, 429]


async def test_guesses_made_at_once_are_all_counted(limited: Limited) -> None:
    """No more passwords are tried than the burst holds, however many arrive before the first is checked."""
    api = await limited(login_rate_limit_per_minute=SLOW, login_rate_limit_burst=3)
    user = await api.register()
    answers = await asyncio.gather(*(login_from(api, new_address(), user.name)() for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [401] * 3 + [429] * 17


async def test_a_name_is_not_kept_for_its_failures(limited: Limited, redis_server: RedisServer) -> None:
    """What somebody typed in place of a name, a password perhaps, is not in Redis."""
    api = await limited(login_rate_limit_per_minute=SLOW, login_rate_limit_burst=3)
    typed = f"{PASSWORD} {secrets.token_hex(8)}"
    assert await statuses(1, login_from(api, new_address(), typed)) == [401]
    with redis_server.client as client:
        keys = list(client.scan_iter("obscura:*", count=10_000))
        assert keyspace.limit("login", typed) in keys
        assert [key for key in keys if typed in key] == []
        assert client.pttl(keyspace.limit("login", typed)) > 0


@pytest.mark.real_passwords
async def test_a_user_can_log_in_after_many_logins_broke_off(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """A login that failed for a reason of the server's is not counted as one."""
    api = connect_api(
        await start_node(
            redis_url=own_redis.url, login_rate_limit_per_minute=SLOW, login_rate_limit_burst=3, password_workers=1
        )
    )
    user = await api.register()
    answers = await asyncio.gather(*(api.login(secrets.token_hex(8)) for _ in range(60)), api.login(user.name))
    assert 503 in {answer.status for answer in answers}
    for _ in range(4):
        assert (await api.login(user.name)).status == 200


async def fetch(api: Api, user_id: str, address: str) -> Answer:
    return await api.call("GET", f"/v1/keys/{user_id}", headers=forwarded_for(address))


async def test_the_keys_of_one_user_are_given_to_one_address_only_so_often(
    limited: Limited, redis_server: RedisServer
) -> None:
    """A refused fetch uses up no key; another address and another user's keys are not affected."""
    api = await limited(bundle_rate_limit_per_minute=SLOW, bundle_rate_limit_burst=3)
    alice, bob = await api.register(pre_keys=10), await api.register()
    address = new_address()
    assert await statuses(6, lambda: fetch(api, alice.id, address)) == [200, 200, 200, 429, 429, 429]
    assert await statuses(1, lambda: fetch(api, alice.id.upper(), address)) == [429]
    with redis_server.client as client:
        assert client.zcard(keyspace.one_time_order(uuid_of(alice))) == 7
    assert (await fetch(api, alice.id, new_address())).status == 200
    assert (await fetch(api, bob.id, address)).status == 200


async def test_with_the_defaults_a_client_that_starts_conversations_is_not_refused(limited: Limited) -> None:
    """Each contact's keys twice, and a message to each, is within every limit that the server comes with."""
    api = await limited(
        rate_limit_per_second=10, rate_limit_burst=20, bundle_rate_limit_per_minute=6, bundle_rate_limit_burst=12
    )
    contacts = [await api.register() for _ in range(6)]
    address = new_address()
    answers = [await fetch(api, contact.id, address) for contact in contacts * 2]
    answers += [await contacts[0].send(contact, b"hello", headers=forwarded_for(address)) for contact in contacts]
    assert [answer.status for answer in answers] == [200] * 12 + [201] * 6
