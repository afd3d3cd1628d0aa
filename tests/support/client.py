"""A client of the relay as its tests use it: HTTP calls, and sockets that note what they receive."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from multidict import CIMultiDict

from obscura.client.device_keys import Device, one_time_keys
from obscura.client.tokens import claims_of
from obscura.v1.obscura_pb2 import AckMessage, EncryptedMessage, Envelope, PreKeyStatus, WebSocketFrame

PASSWORD = "correct horse battery staple"
DEADLINE_SECS = 10.0


def encrypted(content: bytes, kind: int = 2) -> bytes:
    """The body of a message."""
    return EncryptedMessage(type=kind, content=content).SerializeToString()


def ack_frame(message_id: str, *others: str) -> bytes:
    return WebSocketFrame(ack=AckMessage(message_id=message_id, message_ids=others)).SerializeToString()


@dataclass
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def error(self) -> str:
        return str(self.json["error"])


async def exchange(port: int, request: bytes, end: bool = False) -> Answer:
    """Send bytes as they are and read the answer to them, past a 100 Continue.

    With ``end`` nothing more is to come, as from a client that breaks off. Status 0: no answer.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(DEADLINE_SECS):
            writer.write(request)
            if end:
                writer.write_eof()
            head = b"HTTP/1.1 100"
            while head.startswith(b"HTTP/1.1 100"):
                head = await reader.readuntil(b"\r\n\r\n")
            start, *lines = head.decode().splitlines()[:-1]
            headers = CIMultiDict(line.split(": ", 1) for line in lines)
            size = 0 if request.startswith(b"HEAD ") else int(headers.get("Content-Length", 0))
            body = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, {}, b"", None)
    finally:
        writer.transport.abort()  # what is unsent is not waited for
    is_json = headers.get("Content-Type", "").startswith("application/json")
    return Answer(int(start.split(" ")[1]), headers, body, json.loads(body) if is_json and body else None)


class Socket:
    """A gateway socket."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection

    async def receive(self) -> WebSocketFrame:
        """The next frame. Fails if the socket closes or the deadline passes first."""
        async with asyncio.timeout(DEADLINE_SECS):
            message = await self.connection.receive()
        assert message.type is aiohttp.WSMsgType.BINARY, message
        return WebSocketFrame.FromString(message.data)

    async def envelope(self) -> Envelope:
        frame = await self.receive()
        assert frame.HasField("envelope"), frame
        return frame.envelope

    async def envelopes(self, count: int) -> list[Envelope]:
        return [await self.envelope() for _ in range(count)]

    async def status(self) -> PreKeyStatus:
        frame = await self.receive()
        assert frame.HasField("pre_key_status"), frame
        return frame.pre_key_status

    async def ack(self, *envelopes: Envelope) -> None:
        for envelope in envelopes:
            await self.connection.send_bytes(ack_frame(envelope.id))

    async def close_code(self) -> int | None:
        """Wait for the server's goodbye; returns its close code. Frames before it are passed over."""
        async with asyncio.timeout(DEADLINE_SECS):
            while (message := await self.connection.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED), message
        return self.connection.close_code

    async def is_silent_until(self, envelope_content: bytes) -> list[bytes]:
        """The contents received before one that is expected."""
        contents: list[bytes] = []
        while (content := (await self.envelope()).message.content) != envelope_content:
            contents.append(content)
        return contents

    async def close(self) -> None:
        await self.connection.close()


class Api:
    """Calls to one node. ``port`` may be changed to that of another node."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            body = await response.read()
            json = await response.json() if response.content_type == "application/json" and body else None
            return Answer(response.status, response.headers, body, json)

    async def register(self, username: str | None = None, pre_keys: int = 30, **changes: Any) -> "User":
        """Make an account that works."""
        device = Device()
        name = username or f"user-{secrets.token_hex(8)}"
        body = self.registration(name, device, pre_keys) | changes
        answer = await self.call("POST", "/v1/users", json=body)
        assert answer.status == 201, answer
        return User(self, name, device, answer.json["token"], answer.json["refreshToken"])

    @staticmethod
    def registration(username: str, device: Device, pre_keys: int = 30) -> dict[str, Any]:
        """The body of POST /v1/users."""
        return device.takeover(1, one_time_keys(1, pre_keys)) | {"username": username, "password": PASSWORD}

    async def login(self, username: str, password: str = PASSWORD) -> Answer:
        return await self.call("POST", "/v1/sessions", json={"username": username, "password": password})

    async def refresh(self, refresh_token: str) -> Answer:
        return await self.call("POST", "/v1/sessions/refresh", json={"refreshToken": refresh_token})


@dataclass
class User:
    """An account logged in to."""

    api: Api
    name: str
    device: Device
    token: str
    refresh_token: str
    sockets: list[Socket] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(claims_of(self.token)["sub"])  # a client would not look inside; a test may

    @property
    def session_id(self) -> str:
        return str(claims_of(self.token)["sid"])

    def at(self, api: Api) -> "User":
        """The same user at another node."""
        return User(api, self.name, self.device, self.token, self.refresh_token)

    async def another_session(self) -> "User":
        """The same account, logged in once more."""
        answer = await self.api.login(self.name)
        assert answer.status == 200, answer
        return User(self.api, self.name, self.device, answer.json["token"], answer.json["refreshToken"])

    async def send(self, recipient: "User", content: bytes, **options: Any) -> Answer:
        body = encrypted(content)
        return await self.api.call("POST", f"/v1/messages/{recipient.id}", token=self.token, data=body, **options)

    async def deliver(self, recipient: "User", *contents: bytes) -> None:
        """Send several, each stored before the next."""
        for content in contents:
            answer = await self.send(recipient, content)
            assert answer.status == 201, answer

    async def upload(self, body: dict[str, Any]) -> Answer:
        return await self.api.call("POST", "/v1/keys", token=self.token, json=body)

    async def bundle_of(self, user: "User") -> Answer:
        return await self.api.call("GET", f"/v1/keys/{user.id}")

    async def connect(self) -> Socket:
        socket = await self.try_connect()
        assert isinstance(socket, Socket), socket
        return socket

    async def try_connect(self) -> "Socket | int":
        """A socket, or the status of the refusal."""
        url = f"{self.api.url}/v1/gateway?token={self.token}"
        try:
            connection = await self.api.session.ws_connect(url, autoping=True, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            return error.status
        return Socket(connection)

    async def logout(self) -> Answer:
        body = {"refreshToken": self.refresh_token}
        return await self.api.call("DELETE", "/v1/sessions", token=self.token, json=body)
