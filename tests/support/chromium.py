"""A headless Chromium, driven over its DevTools protocol, that reaches this machine alone; always stopped."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.balancers import find_program
from tests.support.waiting import eventually

DEADLINE_SECS = 30.0
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which needs more than a container allows
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--password-store=basic",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

Event = dict[str, Any]


@dataclass
class Page:
    """A tab, with all that its pages have asked for and complained about.

    Attributes:
        requested: Addresses, those of sockets too.
        statuses: Of the answers.
        problems: Errors in the console: what scripts throw and log, what the browser refuses or cannot load.
    """

    browser: "Browser"
    session: str
    requested: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    async def go(self, url: str) -> None:
        """Open an address, and wait until its scripts have run."""
        answer = await self.browser.call("Page.navigate", self.session, url=url)
        assert "errorText" not in answer, answer
        await self.becomes("document.readyState === 'complete'")

    async def run(self, script: str, *arguments: object) -> Any:
        """The value of an expression, awaited; one that throws fails.

        With arguments the expression is a function, to be called with them.
        """
        if arguments:
            script = f"({script})({', '.join(map(json.dumps, arguments))})"
        answer = await self.browser.call(
            "Runtime.evaluate", self.session, expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def becomes(self, script: str) -> Any:
        """Wait until an expression is true, and return its value."""
        return await eventually(lambda: self.run(script), DEADLINE_SECS)

    def note(self, event: Event) -> None:
        """Remember an event of the tab, if it is of a kind that tests ask about."""
        about = event["params"]
        match event["method"]:
            case "Network.requestWillBeSent":
                self.requested.append(about["request"]["url"])
            case "Network.webSocketCreated":
                self.requested.append(about["url"])
            case "Network.responseReceived":
                self.statuses.append(about["response"]["status"])
            case "Runtime.exceptionThrown":
                self.problems.append(str(about["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if about["type"] in {"error", "warning", "assert"}:
                self.problems.append(str(about["args"]))
            case "Log.entryAdded" if about["entry"]["level"] in {"error", "warning"}:
                self.problems.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")


class Browser:
    """A running Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._calls: dict[int, asyncio.Future[Event]] = {}
        self._pages: dict[str, Page] = {}

    async def call(self, method: str, session: str | None = None, **parameters: object) -> Event:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        answering = self._calls[number] = asyncio.get_running_loop().create_future()
        to_tab = {"sessionId": session} if session else {}
        await self._socket.send_json({"id": number, "method": method, "params": parameters, **to_tab})
        async with asyncio.timeout(DEADLINE_SECS):
            answer = await answering
        assert "error" not in answer, (method, answer["error"])
        result: Event = answer["result"]
        return result

    async def new_page(self) -> Page:
        """An empty tab, with cookies and a cache of its own."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Network", "Runtime", "Log", "Page"):
            await self.call(f"{domain}.enable", page.session)
        return page

    async def listen(self) -> None:
        """Take in what the browser says, until it ends."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._calls.pop(said["id"]).set_result(said)
            elif page := self._pages.get(said.get("sessionId", "")):
                page.note(said)


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """Run Chromium with all that it writes in ``folder``."""
    profile = folder / "chromium"
    profile.mkdir()
    environ = os.environ | {"HOME": str(profile), "XDG_CONFIG_HOME": str(profile), "XDG_CACHE_HOME": str(profile)}
    command = [find_program("chromium"), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with (folder / "chromium.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, stdout=log, stderr=log, start_new_session=True
        )
    try:
        where = profile / "DevToolsActivePort"  # its port, then its path
        await eventually(lambda: process.returncode is not None or _is_whole(where), DEADLINE_SECS)
        assert process.returncode is None, (folder / "chromium.log").read_text()
        port, path = where.read_text().split("\n")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            browser = Browser(socket)
            listening = asyncio.create_task(browser.listen())
            try:
                yield browser
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _is_whole(devtools_file: Path) -> bool:
    return devtools_file.exists() and "/devtools/" in devtools_file.read_text()
