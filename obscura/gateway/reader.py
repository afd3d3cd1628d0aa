"""The frames of one socket's peer, until its last."""

import asyncio

from aiohttp import WSMessage, WSMsgType, web

from obscura.gateway.ack_receiver import AckReceiver
from obscura.gateway.closing import ClosingHandshake
from obscura.gateway.heartbeat import Heartbeat
from obscura.gateway.read_throttle import ReadThrottle
from obscura.gateway.socket_writer import SocketWriter
from obscura.observability.metrics.gateway import FRAMES_IGNORED, READS_PAUSED

_FRAMES_PER_TURN = 64  # then the other sockets get theirs
_RETRY_SECS = 0.5  # while Redis is away


class Reader:
    """Reads no faster than its throttle allows, and not at all while too many acks wait for Redis."""

    __slots__ = ("_acks", "_closing", "_heartbeat", "_loop", "_throttle", "_writer")

    def __init__(
        self,
        acks: AckReceiver,
        throttle: ReadThrottle,
        heartbeat: Heartbeat,
        closing: ClosingHandshake,
        writer: SocketWriter,
    ) -> None:
        self._acks = acks
        self._throttle = throttle
        self._heartbeat = heartbeat
        self._closing = closing
        self._writer = writer
        self._loop = asyncio.get_running_loop()

    async def read(self, websocket: web.WebSocketResponse) -> WSMessage:
        """Take what the peer sends; returns the last there is: a close frame, an error or the connection's end."""
        turn = 0
        while True:
            frame = await websocket.receive()
            self._heartbeat.heard_at = self._loop.time()
            if frame.type is WSMsgType.BINARY:
                if not self._acks.receive(frame.data):
                    await self._write_acks()
            elif frame.type is WSMsgType.PING:
                if self._closing.may_send:
                    self._writer.pong(frame.data)  # with the ping's payload (RFC 6455 section 5.5.3)
            elif frame.type is WSMsgType.TEXT:
                FRAMES_IGNORED.labels("text").inc()
            elif frame.type is not WSMsgType.PONG:
                return frame
            turn += 1
            if turn % _FRAMES_PER_TURN == 0:
                await self._give_way()

    async def _give_way(self) -> None:
        if pause_secs := self._throttle.pause_secs(_FRAMES_PER_TURN, self._loop.time()):
            READS_PAUSED.inc()
        await asyncio.sleep(pause_secs)

    async def _write_acks(self) -> None:
        """Read no further: there are more acks than an inbox can hold. Redis is slow or the ids are made up."""
        while not await self._acks.flush() and self._writer.is_open:
            await asyncio.sleep(_RETRY_SECS)
            self._heartbeat.heard_at = self._loop.time()  # it is not the peer who is silent
