"""Writes that count only once so many replicas have a copy.

WAIT (redis.io/commands/wait) holds up every later command of its connection, so these
writes have a connection of their own, and one WAIT at a time stands for all writes sent
before it: the more are under way, the more share one. It says how many replicas have
them; too few is an error to the caller, though the write stays and may still be copied.
"""

import asyncio
from typing import Any

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.redis import REDIS_COPIES_SHORT
from obscura.redis_client.connection import CommandConnection
from obscura.redis_client.transport import Argument

_WAIT_MS = 500  # a write may come behind a WAIT that takes as long, and both end within a reply's time


class ReplicatedWrites:
    """Sends writes, and answers each once enough replicas have it.

    Args:
        connection: Used for nothing else.
        replicas: How many must have a copy, at least 1.
    """

    def __init__(self, connection: CommandConnection, replicas: int) -> None:
        self.connection = connection
        self._replicas = replicas
        self._loop = asyncio.get_running_loop()
        self._batch: asyncio.Future[bool] | None = None  # of the writes that no WAIT stands behind yet
        self._is_waiting = False

    async def call(self, *command: Argument, asking: bool = False) -> Any:
        """Run one command and return its reply once it is copied. Never repeated; cancelled, it may have run.

        Raises:
            StoreUnavailable: As `CommandConnection.call`, or too few replicas have it: it was
                written all the same, and a failover may undo it.
            hiredis.ReplyError: Redis refuses the command as such.
        """
        if not self.connection.is_connected:
            await self.connection.wait_for_connection()
        if asking:
            self.connection.send("ASKING")
        replying = self.connection.send(*command)
        copied = self._join_batch()
        reply = await replying
        if not await asyncio.shield(copied):
            REDIS_COPIES_SHORT.inc()
            raise StoreUnavailable(f"fewer than {self._replicas} replicas have the write")
        return reply

    def _join_batch(self) -> asyncio.Future[bool]:
        if self._batch is None:
            self._batch = self._loop.create_future()
            if not self._is_waiting:
                self._loop.call_soon(self._send_wait)
        return self._batch

    def _send_wait(self) -> None:
        batch, self._batch = self._batch, None
        assert batch is not None
        try:
            replying = self.connection.send("WAIT", self._replicas, _WAIT_MS)
        except StoreUnavailable:
            batch.set_result(False)
            return
        self._is_waiting = True
        replying.add_done_callback(lambda reply: self._on_wait_reply(batch, reply))

    def _on_wait_reply(self, batch: asyncio.Future[bool], reply: asyncio.Future[Any]) -> None:
        self._is_waiting = False
        batch.set_result(reply.exception() is None and reply.result() >= self._replicas)
        if self._batch is not None:
            self._send_wait()
