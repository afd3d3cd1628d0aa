"""What follows from a row of a route table."""

import aiohttp
from aiohttp import web

from obscura.http.bodies import check_expectation
from obscura.http.cors import Cors
from obscura.http.route import AUTH_TIER, STANDARD_TIER, Route
from obscura.http.server import HttpServer, ServerOptions
from obscura.settings.limits import TIERS


async def answer(_request: web.Request) -> web.Response:
    return web.Response(text="here")


async def test_head_is_served_only_where_it_is_allowed(session: aiohttp.ClientSession) -> None:
    """A GET that uses something up is not asked about by HEAD."""
    routes = [Route("GET", "/both", answer, allows_head=True), Route("GET", "/one", answer)]
    server = HttpServer(routes, ServerOptions(0, 1))
    await server.start("127.0.0.1", 0)
    statuses = {}
    for method in ("GET", "HEAD"):
        for path in ("/both", "/one"):
            async with session.request(method, f"http://127.0.0.1:{server.port}{path}") as response:
                statuses[method, path] = response.status
    await server.stop()
    assert statuses == {("GET", "/both"): 200, ("GET", "/one"): 200, ("HEAD", "/both"): 200, ("HEAD", "/one"): 405}


def test_each_route_waits_to_ask_for_a_body() -> None:
    """It is entered with our answer to Expect."""
    router = web.UrlDispatcher()
    Route("POST", "/", answer).register(router)
    (route,) = router.routes()
    assert route.method == "POST"
    assert route._expect_handler is check_expectation


def test_tiers_are_limits() -> None:
    """A route names a row of the table of limits."""
    assert {STANDARD_TIER, AUTH_TIER} <= set(TIERS)
    assert Route("GET", "/", answer).tier == STANDARD_TIER


async def test_pages_may_send_and_read_what_routes_name(session: aiohttp.ClientSession) -> None:
    """Beside the headers that all requests and all answers have."""
    routes = [Route("GET", "/", answer, request_headers=("If-Match", "Range"), response_headers=("ETag",))]
    server = HttpServer(routes, ServerOptions(0, 1))
    Cors(["https://chat.example"], routes).install(server.app)
    await server.start("127.0.0.1", 0)
    asked = {"Origin": "https://chat.example", "Access-Control-Request-Method": "GET"}
    async with session.options(f"http://127.0.0.1:{server.port}/", headers=asked) as response:
        assert response.status == 204
        sent = response.headers["Access-Control-Allow-Headers"]
        assert sent == "Authorization, Content-Type, If-Match, Range, x-request-id"
        assert response.headers["Access-Control-Expose-Headers"] == "ETag, Retry-After, x-request-id"
    await server.stop()
