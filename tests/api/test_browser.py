"""In a real browser: the API page, a page of an origin that may use the relay, and one that may not."""

import base64
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from aiohttp import web

from obscura.api.openapi import openapi_text
from obscura.client.device_keys import Device, encode
from obscura.client.tokens import claims_of
from obscura.node.node import Node
from obscura.settings.model import SETTINGS
from obscura.store import keyspace
from obscura.v1.obscura_pb2 import WebSocketFrame
from tests.conftest import StartNode
from tests.support.chromium import Browser, Page, chromium
from tests.support.client import Api, ack_frame, encrypted
from tests.support.limits import NO_LIMITS
from tests.support.ports import free_port
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]  # a browser takes its time to start on a busy machine

DEFAULT_LIMITS = {name: SETTINGS[name].default for name in NO_LIMITS}

# What a page does with the relay. Bytes travel as base64.
CLIENT = """
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const base64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));

async function call(method, url, headers = {}, body = undefined) {
  try {
    const answer = await fetch(url, {method, headers, body});
    const seen = Object.fromEntries(answer.headers);
    return {status: answer.status, headers: seen, body: base64(await answer.arrayBuffer())};
  } catch (error) {
    return {error: error.name};
  }
}

const send = (url, headers, body) => call("POST", url, headers, bytes(body));

let socket, frames;
const connect = (url) => new Promise((resolve) => {
  frames = [];
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => frames.push(base64(event.data));
  socket.onopen = () => resolve("open");
  socket.onclose = (event) => resolve(event.code);
});
"""


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser for one test."""
    async with chromium(tmp_path) as browser:
        yield browser


@asynccontextmanager
async def web_site(port: int) -> AsyncIterator[str]:
    """A site with one page, which has the functions of `CLIENT`; gives its origin."""

    async def page(_request: web.Request) -> web.Response:
        html = f'<!doctype html><link rel="icon" href="data:,"><script>{CLIENT}</script>'
        return web.Response(text=html, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


class WebClient:
    """A page of a site, as a client of a relay."""

    def __init__(self, page: Page, api: Api) -> None:
        self.page = page
        self.url = api.url

    async def call(self, function: str, *arguments: object) -> Any:
        """Call a function of the page; the address of the relay goes before the paths among the arguments."""
        full = [self.url + value if str(value).startswith("/v1") else value for value in arguments]
        answer = await self.page.run(function, *full)
        if isinstance(answer, dict) and "body" in answer:
            answer["body"] = base64.b64decode(answer["body"])
        return answer

    async def post(self, path: str, body: object, **headers: str) -> Any:
        headers["Content-Type"] = "application/json"
        script = "(url, headers, body) => call('POST', url, headers, JSON.stringify(body))"
        return await self.call(script, path, headers, body)

    async def register(self) -> tuple[str, str]:
        """A new account: its id and its token."""
        name = f"user-{secrets.token_hex(8)}"
        answer = await self.post("/v1/users", Api.registration(name, Device()))
        assert answer["status"] == 201, answer
        token = yaml.safe_load(answer["body"])["token"]
        return str(claims_of(token)["sub"]), token

    async def connect(self, token: str) -> object:
        """The word open, or the close code of a socket that never did."""
        url = f"{self.url}/v1/gateway?token={token}".replace("http:", "ws:")
        return await self.page.run("connect", url)


@pytest.fixture
async def sites() -> AsyncIterator[tuple[str, str]]:
    """The origins of two web sites."""
    async with web_site(free_port()) as first, web_site(free_port()) as second:
        yield first, second


def paths() -> list[str]:
    """The paths of the served document, one for each operation."""
    return [path for path, operations in yaml.safe_load(openapi_text())["paths"].items() for _ in operations]


def outside(page: Page, origin: str) -> list[str]:
    """What the page asked others for."""
    return [url for url in page.requested if not url.startswith((f"{origin}/", "data:"))]


async def shown_paths(page: Page) -> list[str]:
    script = "[...document.querySelectorAll('.opblock-summary-path')].map((one) => one.dataset.path)"
    return list(await page.becomes(f"(() => {{ const found = {script}; return found.length && found; }})()"))


async def test_the_api_page_shows_every_operation(
    browser: Browser, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """With the limits that a server has: all is from the relay, all arrives, and the console stays empty."""
    api = connect_api(await start_node(**DEFAULT_LIMITS))
    page = await browser.new_page()
    await page.go(f"{api.url}/docs")
    assert sorted(await shown_paths(page)) == sorted(paths())

    await page.run("document.querySelectorAll('.opblock-summary-control').forEach((one) => one.click())")
    operations = len(paths())
    await page.becomes(f"document.querySelectorAll('.opblock-body .responses-inner').length === {operations}")
    assert outside(page, api.url) == []
    assert {url.removeprefix(api.url) for url in page.requested} >= {
        "/docs",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui.js",
        "/docs/start.js",
        "/openapi.yaml",
    }
    assert set(page.statuses) <= {200, 304}
    assert page.problems == []


async def test_the_api_page_asks_nobody_else_whatever_its_address_says(
    browser: Browser, api: Api, sites: tuple[str, str]
) -> None:
    """A link to the page cannot make it show, or run, the document of another."""
    page = await browser.new_page()
    await page.go(f"{api.url}/docs?url={sites[0]}/&configUrl={sites[0]}/#/{sites[0]}/")
    assert sorted(await shown_paths(page)) == sorted(paths())
    assert outside(page, api.url) == []


async def test_the_api_page_sends_a_request_and_shows_its_answer(browser: Browser, api: Api) -> None:
    """One can try the API out on it."""
    page = await browser.new_page()
    await page.go(f"{api.url}/docs")
    operation = ".opblock:has([data-path='/v1/sessions/refresh'])"
    for button in (".opblock-summary-control", ".try-out__btn", ".execute"):
        found = f'document.querySelector("{operation} {button}")'
        await page.becomes(f"!!{found}")
        await page.run(f"{found}.click()")
    await page.becomes("!!document.querySelector('.live-responses-table .response-col_description pre')")
    shown = await page.run("document.querySelector('.live-responses-table').innerText")
    assert "401" in shown
    assert "refresh token" in shown.lower()
    assert outside(page, api.url) == []


async def test_a_page_of_a_listed_origin_holds_a_conversation(
    browser: Browser,
    start_node: StartNode,
    connect_api: Callable[[Node], Api],
    sites: tuple[str, str],
    redis_server: RedisServer,
) -> None:
    """It registers two users, sends, receives over the gateway and acknowledges."""
    page = await browser.new_page()
    client = WebClient(page, connect_api(await start_node(cors_origins=sites[0])))
    await page.go(sites[0])
    alice, token = await client.register()
    bob, bobs_token = await client.register()
    assert await client.connect(bobs_token) == "open"
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/x-protobuf",
        "Idempotency-Key": secrets.token_hex(8),
        "x-request-id": "from-a-page",
    }
    answer = await client.call("send", f"/v1/messages/{bob}", headers, encode(encrypted(b"hello bob")))
    assert (answer["status"], answer["headers"]["x-request-id"]) == (201, "from-a-page")

    envelope = WebSocketFrame.FromString(base64.b64decode(await page.becomes("frames[0]"))).envelope
    assert (envelope.source_user_id, envelope.message.content) == (alice, b"hello bob")
    await page.run("(frame) => socket.send(bytes(frame))", encode(ack_frame(envelope.id)))
    with redis_server.client as redis:
        await eventually(lambda: redis.exists(keyspace.inbox(UUID(bob))) == 0)
    assert page.problems == []


async def test_a_page_of_a_listed_origin_transfers_attachments(
    browser: Browser, start_node: StartNode, connect_api: Callable[[Node], Api], sites: tuple[str, str]
) -> None:
    """It uploads, and reads a part with its Content-Range."""
    page = await browser.new_page()
    client = WebClient(page, connect_api(await start_node(cors_origins=sites[0])))
    await page.go(sites[0])
    _, token = await client.register()
    headers = {"Authorization": f"Bearer {token}"}
    uploaded = await client.call("send", "/v1/attachments", headers, encode(b"0123456789"))
    path = f"/v1/attachments/{yaml.safe_load(uploaded['body'])['id']}"
    part = await client.call("call", "GET", path, headers | {"Range": "bytes=2-4"})
    assert (part["status"], part["body"], part["headers"]["content-range"]) == (206, b"234", "bytes 2-4/10")


async def test_a_page_of_a_listed_origin_reads_refusals(
    browser: Browser, start_node: StartNode, connect_api: Callable[[Node], Api], sites: tuple[str, str]
) -> None:
    """The sentence of a 401 and of a 429, and when to come back."""
    page = await browser.new_page()
    limits = {"rate_limit_per_second": 0.01, "rate_limit_burst": 2}
    client = WebClient(page, connect_api(await start_node(cors_origins=sites[0], **limits)))
    await page.go(sites[0])
    answers = [await client.call("call", "POST", "/v1/keys") for _ in range(3)]
    assert [answer["status"] for answer in answers] == [401, 401, 429]
    assert yaml.safe_load(answers[0]["body"]) == {"error": "Missing bearer token"}
    assert yaml.safe_load(answers[2]["body"]) == {"error": "Too many requests"}
    assert int(answers[2]["headers"]["retry-after"]) >= 1


async def test_a_page_of_another_origin_reads_nothing(
    browser: Browser, start_node: StartNode, connect_api: Callable[[Node], Api], sites: tuple[str, str]
) -> None:
    """Its calls fail whatever they ask for, its socket never opens, and the relay goes on serving others."""
    page = await browser.new_page()
    api = connect_api(await start_node(cors_origins=sites[0]))
    client = WebClient(page, api)
    user = await api.register()
    await page.go(sites[1])
    headers = {"Authorization": f"Bearer {user.token}"}
    assert [
        await client.call("call", "GET", f"/v1/keys/{user.id}"),
        await client.call("send", "/v1/attachments", headers, encode(b"x")),
        await client.call("call", "POST", "/v1/nothing"),
        await client.post("/v1/users", Api.registration("never", Device())),
    ] == [{"error": "TypeError"}] * 4
    script = "async (url) => (await fetch(url, {mode: 'no-cors'})).text()"
    assert await page.run(script, f"{api.url}/v1/keys/{user.id}") == ""
    assert await client.connect(user.token) == 1006

    assert (await api.login("never")).status == 401
    await user.deliver(user, b"all is well")
    assert (await (await user.connect()).envelope()).message.content == b"all is well"
