"""Web clients: pages of listed origins may read everything, pages of others nothing, and all others notice nothing."""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType

import aiohttp
import pytest

from obscura.node.node import Node
from obscura.settings.model import SETTINGS
from tests.conftest import StartNode
from tests.support.client import Answer, Api
from tests.support.limits import forwarded_for, is_refused, new_address
from tests.support.outages import killed
from tests.support.redis import RedisServer

LISTED, ALSO_LISTED, OTHER = "https://chat.example", "http://localhost:8080", "https://evil.example"
ORIGINS = f"{LISTED},{ALSO_LISTED}"
KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
HANDSHAKE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}


@pytest.fixture
async def web_api(start_node: StartNode, connect_api: Callable[[Node], Api]) -> Api:
    """Calls to a node that lists two origins."""
    return connect_api(await start_node(cors_origins=ORIGINS))


async def preflight(
    api: Api, path: str, method: str, origin: str = LISTED, headers: Mapping[str, str] = MappingProxyType({})
) -> Answer:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, **headers}
    return await api.call("OPTIONS", path, headers=asked | {"Access-Control-Request-Headers": "authorization"})


def cors_headers(answer: Answer) -> set[str]:
    return {name for name in answer.headers if name.lower().startswith("access-control-")}


def may_read(answer: Answer, origin: str = LISTED) -> bool:
    """Whether a browser shows an answer to a page."""
    return answer.headers.get("Access-Control-Allow-Origin") == origin


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/users", {"POST"}),
        ("/v1/sessions", {"DELETE", "POST"}),
        ("/v1/sessions/refresh", {"POST"}),
        ("/v1/keys", {"POST"}),
        ("/v1/keys/2f1c8e0a-0000-4000-8000-000000000000", {"GET"}),
        ("/v1/messages/2f1c8e0a-0000-4000-8000-000000000000", {"POST"}),
    ],
)
async def test_a_preflight_says_what_a_page_may_send(web_api: Api, path: str, methods: set[str]) -> None:
    """The answer is an empty 204 that names the route's methods and every header that the API has."""
    answer = await preflight(web_api, path, "POST")
    assert (answer.status, answer.body) == (204, b"")
    assert may_read(answer)
    assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == methods
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    resumed = {"range", "if-range", "if-none-match"}
    assert set(allowed) == {"authorization", "content-type", "idempotency-key", "x-request-id"} | resumed
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


async def test_a_preflight_for_what_is_not_there_is_a_404(web_api: Api) -> None:
    """An unknown path stays unknown, and the page may read so."""
    answer = await preflight(web_api, "/nothing", "GET")
    assert answer.status == 404
    assert may_read(answer)


async def test_options_that_is_no_preflight_is_a_405(web_api: Api) -> None:
    """Without the question there is nothing to answer."""
    assert (await web_api.call("OPTIONS", "/v1/users", headers={"Origin": LISTED})).status == 405


@pytest.mark.parametrize("origin", [LISTED, ALSO_LISTED])
async def test_a_page_of_a_listed_origin_can_use_the_relay(web_api: Api, origin: str) -> None:
    """It registers, sends and reads what it is told, the headers that matter too."""
    headers = {"Origin": origin}
    user = await web_api.register()
    answers = [
        await web_api.call("POST", "/v1/sessions", json={"username": user.name, "password": "x"}, headers=headers),
        await user.send(user, b"hello", headers=headers),
        await web_api.call("GET", f"/v1/keys/{user.id}", headers=headers),
    ]
    assert [answer.status for answer in answers] == [401, 201, 200]
    for answer in answers:
        assert may_read(answer, origin)
        exposed = answer.headers["Access-Control-Expose-Headers"].lower().split(", ")
        assert set(exposed) == {"accept-ranges", "content-range", "etag", "retry-after", "x-request-id"}


async def test_a_page_can_read_a_429(start_node: StartNode, connect_api: Callable[[Node], Api]) -> None:
    """A web client learns that it was limited rather than that the network failed."""
    api = connect_api(await start_node(cors_origins=ORIGINS, rate_limit_per_second=0.01, rate_limit_burst=1))
    headers = {"Origin": LISTED} | forwarded_for("203.0.113.1")
    answers = [await api.call("GET", "/nothing", headers=headers) for _ in range(2)]
    assert [(answer.status, may_read(answer)) for answer in answers] == [(404, True), (429, True)]


async def test_preflights_are_never_refused_for_limits(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """A browser asks before each request of a page: that costs no token, and needs none."""
    api = connect_api(await start_node(cors_origins=ORIGINS, rate_limit_per_second=0.01, rate_limit_burst=1))
    headers = forwarded_for(new_address())
    asked = [preflight(api, "/v1/attachments", "POST", headers=headers) for _ in range(30)]
    assert [answer.status for answer in await asyncio.gather(*asked)] == [204] * 30
    seen = [await api.call("GET", "/openapi.yaml", headers=headers | {"Origin": LISTED}) for _ in range(2)]
    assert (seen[0].status, is_refused(seen[1]), may_read(seen[1])) == (200, True, True)
    assert "Retry-After" in seen[1].headers["Access-Control-Expose-Headers"]
    assert (await preflight(api, "/nothing", "GET", headers=headers)).status == 404


async def test_what_is_no_preflight_of_a_listed_origin_is_limited(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Nobody else gets past the limits by asking with OPTIONS."""
    api = connect_api(await start_node(cors_origins=ORIGINS, rate_limit_per_second=0.01, rate_limit_burst=1))
    for asked in ({"Origin": LISTED}, {"Origin": OTHER, "Access-Control-Request-Method": "GET"}, {}):
        headers = asked | forwarded_for(new_address())
        answers = [await api.call("OPTIONS", "/v1/users", headers=headers) for _ in range(2)]
        assert [answer.status for answer in answers] == [405, 429]


async def test_a_page_shows_an_album_with_the_limits_that_the_server_comes_with(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Of 25 photos none is broken: each is asked for after its preflight, and again when a readable 429 says to."""
    limits = {name: SETTINGS[name].default for name in ("rate_limit_per_second", "rate_limit_burst")}
    api = connect_api(await start_node(cors_origins=ORIGINS, **limits))
    headers = forwarded_for(new_address())

    async def photo() -> bytes:
        while True:
            asked = await preflight(api, "/v1/attachments/x", "GET", headers=headers)
            assert asked.status == 204, "to a page this is a failure of the network"
            answer = await api.call("GET", "/openapi.yaml", headers=headers | {"Origin": LISTED})
            assert may_read(answer)
            if not is_refused(answer):
                return answer.body
            await asyncio.sleep(int(answer.headers["Retry-After"]))

    async with asyncio.timeout(20):
        assert all(await asyncio.gather(*(photo() for _ in range(25))))


async def test_a_page_can_read_a_503(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """While Redis is away a web client reads so."""
    api = connect_api(await start_node(redis_url=own_redis.url, cors_origins=ORIGINS))
    with killed(own_redis):
        body = {"refreshToken": "x"}
        answer = await api.call("POST", "/v1/sessions/refresh", json=body, headers={"Origin": LISTED})
    assert (answer.status, may_read(answer)) == (503, True)


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "http://chat.example", f"{LISTED}:443", f"{LISTED}.evil.example", ""]
)
async def test_a_page_of_another_origin_reads_nothing(web_api: Api, origin: str) -> None:
    """Neither a preflight nor any answer allows it anything."""
    answers = [
        await preflight(web_api, "/v1/users", "POST", origin),
        await web_api.call("GET", "/openapi.yaml", headers={"Origin": origin}),
        await web_api.call("GET", "/nothing", headers={"Origin": origin}),
    ]
    assert [(answer.status, cors_headers(answer)) for answer in answers] == [(405, set()), (200, set()), (404, set())]


async def test_caches_keep_answers_for_origins_apart(web_api: Api) -> None:
    """Every answer says that it depends on the origin, also one without."""
    for headers in ({"Origin": LISTED}, {"Origin": OTHER}, {}):
        for path in ("/openapi.yaml", "/nothing"):
            assert (await web_api.call("GET", path, headers=headers)).headers["Vary"] == "Origin"


async def test_no_answer_allows_credentials(web_api: Api) -> None:
    """Tokens are bearer tokens: no page needs cookies, and none can use another's."""
    answers = [await preflight(web_api, "/v1/users", "POST")]
    answers.append(await web_api.call("GET", "/nothing", headers={"Origin": LISTED}))
    assert ["Access-Control-Allow-Credentials" in cors_headers(answer) for answer in answers] == [False, False]


async def test_cors_is_off_by_default(api: Api) -> None:
    """Without listed origins no answer has any of it, and OPTIONS is a 405."""
    answers = [
        await preflight(api, "/v1/users", "POST"),
        await api.call("GET", "/openapi.yaml", headers={"Origin": LISTED}),
    ]
    assert [answer.status for answer in answers] == [405, 200]
    assert [(cors_headers(answer), "Vary" in answer.headers) for answer in answers] == [(set(), False)] * 2


async def handshake_status(api: Api, token: str, headers: dict[str, str]) -> int:
    """The status of an upgrade; an upgraded socket is closed."""
    try:
        async with api.session.ws_connect(f"{api.url}/v1/gateway?token={token}", headers=headers):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


@pytest.mark.parametrize(
    ("headers", "status"), [({"Origin": LISTED}, 101), ({"Origin": OTHER}, 403), ({"Origin": "null"}, 403), ({}, 101)]
)
async def test_a_socket_is_for_listed_origins_and_for_who_has_none(
    web_api: Api, headers: dict[str, str], status: int
) -> None:
    """Browsers let any page open a socket, so the server looks; clients that are no browser send no Origin."""
    user = await web_api.register()
    assert await handshake_status(web_api, user.token, headers) == status


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://relay.example:3000", "relay.example:3000", 101),
        ("https://Relay.Example", "relay.example", 101),  # React Native, of a proxy's port
        ("https://relay.example:443", "relay.example", 101),  # SocketRocket writes the port always
        ("http://relay.example", "relay.example:80", 101),
        ("wss://relay.example", "relay.example:443", 101),
        ("http://[::1]:3000", "[::1]:3000", 101),
        ("http://relay.example:3001", "relay.example:3000", 403),
        ("http://relay.example", "relay.example:3000", 403),
        ("https://relay.example", "relay.example:80", 403),
        ("http://relay.example.evil.example", "relay.example", 403),
        ("http://evil.example@relay.example", "relay.example", 403),
        ("http://relay.example/", "relay.example", 403),
        ("ftp://relay.example", "relay.example", 403),
        (f"http://relay.example:{'9' * 5000}", "relay.example", 403),
        ("null", "null", 403),
        ("http://", "relay.example", 403),
    ],
)
async def test_a_socket_is_for_the_servers_own_origin_too(web_api: Api, origin: str, host: str, status: int) -> None:
    """Some libraries for apps make it up; a page of it would be the server's own."""
    user = await web_api.register()
    assert await handshake_status(web_api, user.token, {"Origin": origin, "Host": host}) == status


async def test_without_listed_origins_a_socket_is_for_all(api: Api) -> None:
    """As long as nothing is configured an Origin means nothing."""
    user = await api.register()
    assert await handshake_status(api, user.token, {"Origin": OTHER}) == 101


async def test_a_refused_page_gets_a_json_error(web_api: Api) -> None:
    """The 403 is an error like all others."""
    answer = await web_api.call("GET", "/v1/gateway?token=x", headers=HANDSHAKE | {"Origin": OTHER})
    assert (answer.status, answer.json) == (403, {"error": "This origin is not allowed"})
    assert cors_headers(answer) == set()
