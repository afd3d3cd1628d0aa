"""One socket's pings, and the end of a peer that is silent after one."""

import asyncio
import random

from obscura.gateway.formats import rfc6455
from obscura.gateway.socket_writer import SocketWriter


class Heartbeat:
    """Pings a peer once per interval and cuts it off if nothing comes within the timeout after.

    Attributes:
        heard_at: When the peer sent its last frame, by the event loop's clock; kept by the owner.
    """

    __slots__ = ("_interval_secs", "_loop", "_out", "_pinged_at", "_timeout_secs", "_timer", "heard_at")

    def __init__(self, out: SocketWriter, interval_secs: float, timeout_secs: float) -> None:
        self._out = out
        self._interval_secs = interval_secs
        self._timeout_secs = timeout_secs
        self._loop = asyncio.get_running_loop()
        self._pinged_at = self.heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        # Spread over the interval: sockets that came together, as after a deploy, are not pinged together.
        self._timer = self._loop.call_later(random.uniform(0.5, 1) * self._interval_secs, self._ping)  # noqa: S311

    def stop(self) -> None:
        """Safe to call again, and before `start`."""
        if self._timer is not None:
            self._timer.cancel()

    def _ping(self) -> None:
        if self._out.is_empty:
            self._pinged_at = self._loop.time()
            self._out.write(rfc6455.control(rfc6455.PING_OPCODE))
            self._timer = self._loop.call_later(self._timeout_secs, self._check_for_pong)
        else:
            # A ping would queue behind what waits. Whether the peer takes that is watched already.
            self._timer = self._loop.call_later(self._interval_secs, self._ping)

    def _check_for_pong(self) -> None:
        if self.heard_at < self._pinged_at:
            self._out.abort("ping timeout")
        else:
            pause_secs = max(0.0, self._interval_secs - self._timeout_secs)
            self._timer = self._loop.call_later(pause_secs, self._ping)
