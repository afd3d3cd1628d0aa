"""Metrics of sockets, and of the events that tell a node about the others."""

import time

from obscura.observability.metrics.declaration import Topic
from obscura.observability.metrics.redis import REDIS_BOUNDS

GATEWAY = Topic("Gateway")

_SOCKET_BOUNDS = (1, 10, 60, 600, 3600, 21_600, 86_400)

SOCKETS = GATEWAY.gauge(
    "obscura_gateway_sockets",
    "Open gateway sockets.",
    watch="near `OBSCURA_MAX_SOCKETS`: add nodes. A drop to nothing: a network or a proxy",
)
SOCKETS_LIMIT = GATEWAY.gauge(
    "obscura_gateway_sockets_limit",
    "How many gateway sockets there may be.",
    detail="It is `OBSCURA_MAX_SOCKETS`, or less if the process may not open enough files for so many.",
)
SOCKET_SECONDS = GATEWAY.histogram(
    "obscura_gateway_socket_duration_seconds",
    "How long sockets lasted.",
    _SOCKET_BOUNDS,
    watch="many short ones: clients that connect in a loop, or a proxy that cuts idle connections",
)
SOCKETS_CLOSED = GATEWAY.counter(
    "obscura_gateway_sockets_closed",
    "Gateway sockets ended by the server.",
    {
        "reason": (
            *("device replaced", "internal error", "newer socket", "no closing handshake", "ping timeout"),
            *("protocol error", "Server shutting down", "session revoked", "too many connections", "write timeout"),
        )
    },
    watch="`write timeout`, `ping timeout`: clients on bad networks. `too many connections`: add nodes. "
    "`newer socket`: clients that leave sockets behind, or accounts with more devices than "
    "`OBSCURA_MAX_SOCKETS_PER_ACCOUNT`. `internal error`: see the log",
)
FRAMES_IGNORED = GATEWAY.counter(
    "obscura_gateway_frames_ignored",
    "Frames from clients that meant nothing.",
    {"reason": ("text", "no ack", "foreign id")},
    detail="`foreign id` counts ids, of which a frame may have many.",
    watch="a client at fault",
)
READS_PAUSED = GATEWAY.counter(
    "obscura_gateway_reads_paused",
    "Pauses in reading sockets that flood the node.",
    detail="Their clients send far more acks or other frames than they were sent envelopes.",
    watch="a client at fault, or an attack; other clients do not notice",
)

EVENT_GAPS = GATEWAY.counter(
    "obscura_events_gaps",
    "Times this node was deaf to its events.",
    detail="Messages were late meanwhile, and none was lost.",
    watch="Redis or the network to it; a restart of Redis counts too",
)
RESCANS = GATEWAY.counter(
    "obscura_gateway_rescans",
    "Sockets whose inbox was read again after a gap in the events.",
    watch="as many as there were sockets: a burst of reads for Redis",
)
EVENT_PROBE_SECONDS = GATEWAY.histogram(
    "obscura_events_probe_duration_seconds",
    "From the publishing of a probe until this node heard it.",
    REDIS_BOUNDS,
    detail="It is how late an event is.",
    watch="Redis is slow, or the event loop of the node is busy",
)
EVENT_SILENCE = GATEWAY.gauge(
    "obscura_events_silence_seconds",
    "Since this node last heard a probe of its own.",
    detail="Normally it is below 3.",
    watch="higher: the node is deaf, `/readyz` says so, and the node subscribes again by itself",
)

_PROBE_TIMES = EVENT_PROBE_SECONDS.labels()


def probe_heard(started: float) -> float:
    """Count a probe of this node that it has heard now, and return the time.

    Args:
        started: When it began to send the probe, by `time.perf_counter`, as is the time returned.
    """
    heard = time.perf_counter()
    _PROBE_TIMES.observe(heard - started)
    return heard
