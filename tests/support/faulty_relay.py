"""A relay in memory with one fault: what a bench must notice."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from aiohttp import WSMsgType, web

from obscura.client.tokens import claims_of
from obscura.v1.obscura_pb2 import EncryptedMessage, Envelope, WebSocketFrame

STALL_SECS = 1.0


class FaultyRelay:
    """Registers, sends and delivers. ``fault``, when it is set, happens to the ``at``-th message."""

    def __init__(self, fault: str = "", at: int = 20) -> None:
        self.url = ""
        self._fault = fault
        self._at = at
        self._count = 0
        self._inboxes: dict[str, dict[str, bytes]] = {}  # envelope id to frame, by user
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._stalled_until = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FaultyRelay"]:
        app = web.Application()
        app.router.add_post("/v1/users", self._register)
        app.router.add_post("/v1/messages/{id}", self._send)
        app.router.add_get("/v1/gateway", self._gateway)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _register(self, _request: web.Request) -> web.Response:
        if self._fault == "limited":
            return web.json_response({"error": "Too many requests"}, status=429, headers={"Retry-After": "1"})
        user = str(uuid4())
        self._inboxes[user] = {}
        claims = base64.urlsafe_b64encode(json.dumps({"sub": user}).encode()).decode().rstrip("=")
        lifetime = {"expiresAt": 1} if self._fault == "short tokens" else {}
        return web.json_response({"token": f"e30.{claims}.e30", "refreshToken": "none"} | lifetime, status=201)

    async def _send(self, request: web.Request) -> web.Response:
        self._count += 1
        fault = self._fault if self._count == self._at else ""
        loop = asyncio.get_running_loop()
        if fault == "stall":
            self._stalled_until = loop.time() + STALL_SECS
        await asyncio.sleep(self._stalled_until - loop.time())
        if fault == "500":
            return web.json_response({"error": "Internal error"}, status=500)
        body = await request.read()
        if fault == "change":
            body = body[:-1] + b"!"
        if fault != "drop":
            await self._deliver(request.match_info["id"], body, 2 if fault == "double" else 1)
        return web.Response(status=201)

    async def _deliver(self, user: str, body: bytes, times: int) -> None:
        envelope = Envelope(id=str(uuid4()), source_user_id=user, timestamp=1)
        envelope.message.CopyFrom(EncryptedMessage.FromString(body))
        frame = WebSocketFrame(envelope=envelope).SerializeToString()
        self._inboxes[user][envelope.id] = frame
        if (socket := self._sockets.get(user)) is not None:
            for _ in range(times):
                await socket.send_bytes(frame)

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        user = claims_of(request.query["token"])["sub"]
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        for frame in list(self._inboxes[user].values()):
            await socket.send_bytes(frame)
        self._sockets[user] = socket
        async for message in socket:
            if message.type is WSMsgType.BINARY and self._fault != "forget acks":
                self._inboxes[user].pop(WebSocketFrame.FromString(message.data).ack.message_id, None)
        self._sockets.pop(user, None)
        return socket
