"""One socket's pings, and the end of a peer that is silent after one."""

import asyncio
import random

from obscura.gateway.formats import rfc6455
from obscura.gateway.socket_writer import SocketWriter


class Heartbeat:
    """Pings a peer once per interval and cuts it off if nothing comes within the timeout after.

    Attributes:
        heard_at: When the peer sent its last frame, or asked for the socket, by the event loop's clock; kept by the
            socket's reader.
    """

    __slots__ = ("_interval_secs", "_loop", "_pinged_at", "_timeout_secs", "_timer", "_writer", "heard_at")

    def __init__(self, writer: SocketWriter, interval_secs: float, timeout_secs: float) -> None:
        self._writer = writer
        self._interval_secs = interval_secs
        self._timeout_secs = timeout_secs
        self._loop = asyncio.get_running_loop()
        self._pinged_at = 0.0
        self.heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ping from now on, until `stop`."""
        # Spread over the interval: sockets that came together, as after a deploy, are not pinged together.
        self._timer = self._loop.call_later(random.uniform(0.5, 1) * self._interval_secs, self._ping)  # noqa: S311

    def stop(self) -> None:
        """Safe to call again, and before `start`."""
        if self._timer is not None:
            self._timer.cancel()

    def _ping(self) -> None:
        if self._writer.is_empty:
            self._pinged_at = self._loop.time()
            self._writer.write(rfc6455.control(rfc6455.PING_OPCODE))
            self._timer = self._loop.call_later(self._timeout_secs, self._check_for_answer)
        else:
            # A ping would queue behind what waits. Whether the peer takes that is watched already.
            self._timer = self._loop.call_later(self._interval_secs, self._ping)

    def _check_for_answer(self) -> None:
        # Any frame shows that the peer is there, not the pong alone (RFC 6455 section 5.5.2).
        if self.heard_at < self._pinged_at:
            self._writer.abort("ping timeout")
        else:
            pause_secs = max(0.0, self._interval_secs - self._timeout_secs)
            self._timer = self._loop.call_later(pause_secs, self._ping)
