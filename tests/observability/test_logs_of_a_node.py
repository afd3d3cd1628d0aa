"""What a node writes to its log while clients use and abuse it: enough to follow a request, and no secret."""

import asyncio
import json
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from obscura.client.device_keys import Device, one_time_keys
from obscura.node.node import Node
from obscura.observability.logs import JsonFormatter
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import PASSWORD, Api, encrypted, exchange
from tests.support.limits import NO_LIMITS
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.processes


class Server:
    """`obscura serve` in a process of its own, on a Redis that is there already, logging all it can."""

    def __init__(self, folder: Path, redis_url: str, log_format: str) -> None:
        self._output = folder / "output"
        self._folder = folder
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("OBSCURA_")} | {
            "OBSCURA_HOST": "127.0.0.1",
            "OBSCURA_PORT": "0",
            "OBSCURA_MGMT_PORT": "0",
            "OBSCURA_REDIS_URL": redis_url,
            "OBSCURA_JWT_SECRET": JWT_SECRET,
            "OBSCURA_LOG_LEVEL": "debug",
            "OBSCURA_LOG_FORMAT": log_format,
            **{f"OBSCURA_{name.upper()}": str(value) for name, value in NO_LIMITS.items()},
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def port(self) -> int:
        return int(re.findall(r"API on http://127.0.0.1:(\d+)", self.output)[0])

    async def start(self) -> None:
        with self._output.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "obscura", "serve"),
                cwd=self._folder,
                env=self._environ,
                stdout=output,
                stderr=output,
            )
        await eventually(lambda: "management on" in self.output)

    async def stop(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            assert await self._process.wait() == 0


@pytest.fixture(params=["text", "json"])
async def server(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[Server]:
    server = Server(tmp_path, redis_server.url, request.param)
    await server.start()
    yield server
    await server.stop()


async def use_everything(api: Api) -> set[str]:
    """Do all that clients do, right and wrong; returns what must stay secret of it."""
    alice, bob = await api.register(pre_keys=25), await api.register(pre_keys=25)
    socket = await bob.connect()
    await alice.send(bob, b"a confidential message", headers={"Idempotency-Key": "confidential-key"})
    await alice.send(bob, b"another confidential message", headers={"Idempotency-Key": "confidential-key"})
    await socket.connection.send_str("a confidential text frame")
    await socket.connection.send_bytes(b"a confidential frame")
    await socket.ack(await socket.envelope())
    for _ in range(7):
        await alice.bundle_of(bob)
    assert (await socket.status()).one_time_pre_key_count == 19
    await bob.upload(bob.device.upload(2, one_time_keys(100, 3)))
    second = await alice.another_session()
    rotated = (await api.refresh(second.refresh_token)).json
    await api.refresh(second.refresh_token)
    await bob.upload(Device().takeover(1, one_time_keys(1, 3)))
    assert await socket.close_code() == 4001
    await alice.logout()
    await alice.send(bob, b"a confidential message")

    wrong = "a confidential wrong password"
    await api.login(alice.name, wrong)
    await api.login("confidential-stranger", wrong)
    await api.call("POST", "/v1/users", data=b'{"username": "confidential-cut-off')
    await api.call("GET", "/confidential-path?confidential-query=1")
    await api.call("GET", "/v1/keys/confidential-id")
    await api.call("GET", "/v1/gateway?token=confidential-token")
    await api.call("POST", "/v1/messages/x", token="confidential-bearer", data=encrypted(b"confidential"))
    handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x"
    proposal = f"Sec-WebSocket-Protocol: confidential-protocol\r\n{handshake}\r\n\r\n"
    token = second.token
    await exchange(api.port, f"GET /v1/gateway?token={token} HTTP/1.1\r\nHost: x\r\n{proposal}".encode())
    await exchange(api.port, b"GET /confidential HTTP/1.1\r\nconfidential\r\n\r\n")
    await exchange(api.port, b"confidential\r\n\r\n")
    await exchange(api.port, b"GET http://xn--confidential/ HTTP/1.1\r\nHost: confidential\r\n\r\n")
    secrets = {"onfidential", PASSWORD, JWT_SECRET, "127.0.0.1:", "token="}
    for user in (alice, bob, second):
        secrets |= {user.name, user.token, user.refresh_token, user.token.split(".")[2], user.id, user.session_id}
        secrets |= {user.device.identity_key}
    return secrets | {rotated["token"], rotated["refreshToken"]}


async def test_a_whole_session_at_debug_level_leaves_no_secret_in_the_log(
    server: Server, session: aiohttp.ClientSession
) -> None:
    """No token, password, name, id, body, path, query or address is in the log, however much went wrong."""
    secrets = await use_everything(Api(session, server.port))
    await server.stop()
    announcement, log = server.output.split("data in the Redis of OBSCURA_REDIS_URL\n")
    assert [secret for secret in secrets if secret in log] == []
    assert [secret for secret in secrets - {"127.0.0.1:"} if secret in announcement] == []
    assert "Traceback" not in log
    assert log.count("request") > 30
    for template in ("/v1/users", "/v1/keys/{userId}", "/v1/messages/{recipientId}", "/v1/gateway", "unknown"):
        assert template in log


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, object]]]:
    """What was logged so far, as objects."""
    caplog.set_level(logging.DEBUG, logger="obscura")
    caplog.handler.setFormatter(JsonFormatter())
    return lambda: [json.loads(line) for line in caplog.text.splitlines()]


Lines = Callable[[], list[dict[str, object]]]


async def test_every_line_of_a_request_has_its_id(api: Api, lines: Lines) -> None:
    """All that a request writes can be found by the id that the client was told."""
    user = await api.register()
    headers = {"x-request-id": "the-takeover"}
    body = Device().takeover(1, [])
    answer = await api.call("POST", "/v1/keys", token=user.token, json=body, headers=headers)
    assert answer.status == 200
    ours = [line for line in lines() if line.get("request_id") == "the-takeover"]
    assert [line["message"] for line in ours] == ["device replaced", "request"]
    assert (ours[1]["method"], ours[1]["route"], ours[1]["status"]) == ("POST", "/v1/keys", 200)


async def test_requests_at_once_keep_their_ids_apart(api: Api, lines: Lines) -> None:
    """Each of many requests under way is logged under its own id."""
    ids = [f"number-{number}" for number in range(30)]
    calls = (api.call("GET", f"/v1/keys/{number}", headers={"x-request-id": number}) for number in ids)
    await asyncio.gather(*calls)
    assert sorted(str(line["request_id"]) for line in lines() if line["message"] == "request") == sorted(ids)


async def test_a_socket_is_logged_under_the_id_of_its_upgrade(api: Api, lines: Lines) -> None:
    """The end of a socket is the end of its request."""
    user = await api.register()
    connection = await api.session.ws_connect(
        f"{api.url}/v1/gateway?token={user.token}", headers={"x-request-id": "the-socket"}
    )
    await connection.close()
    await eventually(lambda: any(line.get("request_id") == "the-socket" and line["status"] == 101 for line in lines()))


async def test_a_flood_of_refusals_is_a_trickle_of_lines(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api], lines: Lines
) -> None:
    """While Redis is away each request is refused, but the log does not grow by a line for each."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    user = await api.register()
    own_redis.kill()

    async def flood() -> list[dict[str, object]]:
        answers = await asyncio.gather(*(user.send(user, b"hello") for _ in range(100)))
        assert {answer.status for answer in answers} == {503}
        return [line for line in lines() if line["message"] == "request refused"]

    refused = await eventually(flood)
    assert len(refused) < 20
    assert all(line["reason"] and line["request_id"] for line in refused)
