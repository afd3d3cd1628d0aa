"""The frames of one socket's peer, until its last."""

import asyncio
from collections.abc import Sequence

from aiohttp import WSMessage, WSMsgType, web

from obscura.gateway.ack_receiver import AckReceiver
from obscura.gateway.closing import ClosingHandshake
from obscura.gateway.heartbeat import Heartbeat
from obscura.gateway.read_throttle import ReadThrottle
from obscura.gateway.socket_writer import SocketWriter
from obscura.observability.metrics.gateway import FRAMES_IGNORED, READS_PAUSED

_PER_TURN = 64  # acks, and frames without any; then the other sockets get their turn
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
            turn += 1
            if frame.type is WSMsgType.BINARY:
                message_ids = self._acks.named_in(frame.data)
                if len(message_ids) > 1:
                    await self._receive_list(message_ids)
                elif not self._acks.receive(message_ids):
                    await self._write_acks()
            elif frame.type is WSMsgType.PING:
                if self._closing.may_send:
                    self._writer.pong(frame.data)  # with the ping's payload (RFC 6455 section 5.5.3)
            elif frame.type is WSMsgType.TEXT:
                FRAMES_IGNORED.labels("text").inc()
            elif frame.type is not WSMsgType.PONG:
                return frame
            if turn >= _PER_TURN:
                turn = 0
                await self._give_way(_PER_TURN)

    async def _receive_list(self, message_ids: Sequence[bytes]) -> None:
        """Take the acks of one frame: as slowly, and no more at a time, than if each had come in a frame of its own."""
        for first in range(0, len(message_ids), _PER_TURN):
            portion = message_ids[first : first + _PER_TURN]
            if not self._acks.receive(portion):
                await self._write_acks()
            await self._give_way(len(portion))

    async def _give_way(self, count: int) -> None:
        if pause_secs := self._throttle.pause_secs(count, self._loop.time()):
            READS_PAUSED.inc()
        await asyncio.sleep(pause_secs)
        self._heartbeat.heard_at = self._loop.time()  # it is not the peer who is silent

    async def _write_acks(self) -> None:
        """Read no further: there are more acks than an inbox can hold. Redis is slow or the ids are made up."""
        while not await self._acks.flush() and self._writer.is_open:
            await asyncio.sleep(_RETRY_SECS)
            self._heartbeat.heard_at = self._loop.time()  # it is not the peer who is silent
