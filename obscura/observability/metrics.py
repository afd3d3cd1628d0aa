"""Every metric of a node, in Prometheus's sense, with bounded labels that name no user."""

import platform
import time
from collections.abc import Awaitable, Mapping
from functools import cache
from importlib.metadata import version
from itertools import product
from typing import NamedTuple, TypeVar

from prometheus_client import Counter, Gauge, disable_created_metrics

from obscura.observability.fast_metrics import Histogram, Requests, Series

LABEL_VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "obscura_http_server_errors": {"cause": ("redis", "storage", "password queue", "other", "fault")},
    "obscura_rate_limited": {"tier": ("standard", "auth", "login", "bundle", "sockets", "sockets_of_address")},
    "obscura_gateway_frames_ignored": {"reason": ("text", "no ack", "foreign id")},
    "obscura_gateway_sockets_closed": {
        "reason": (
            *("device replaced", "internal error", "no closing handshake", "ping timeout", "protocol error"),
            *("Server shutting down", "session revoked", "too many connections", "write timeout"),
        )
    },
    "obscura_sessions_started": {"by": ("registration", "login")},
    "obscura_sessions_ended": {"reason": ("logout", "takeover", "token reused", "too many")},
    "obscura_refresh_raced": {"outcome": ("retried", "refused")},
    "obscura_refresh_unanswered": {"outcome": ("taken back", "given up")},
    "obscura_storage_errors": {"operation": ("put", "get", "delete")},
    "obscura_redis_refusals": {
        "reason": (
            *("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "OOM"),
            "READONLY",
        )
    },
    "obscura_redis_redirections": {"kind": ("ASK", "MOVED", "TRYAGAIN")},
    "obscura_janitor_sweeps": {
        "kind": ("messages", "attachments"),
        "outcome": ("done", "elsewhere", "failed", "lease lost"),
    },
}
"""All that a label of a counter can be: every series is there from the start, so that its first rise is seen."""

# Of answers and of Redis: the second is the time within which a request is refused while Redis is away.
_ANSWER_BOUNDS = (0.001, 0.0025, 0.005, 0.025, 0.1, 0.5, 2, 10)
_REDIS_BOUNDS = (0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 2)
_STORAGE_BOUNDS = (0.005, 0.025, 0.1, 0.5, 2, 10, 60)
_SOCKET_BOUNDS = (1, 10, 60, 600, 3600, 21_600, 86_400)

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is scraped, and nothing draws them


def _counter(name: str, documentation: str) -> Counter:
    values = LABEL_VALUES.get(name, {})
    counter = Counter(name, documentation, tuple(values))
    if values:
        for combination in product(*values.values()):
            counter.labels(*combination)
    return counter


REQUESTS = Requests("obscura_http_requests", "obscura_http_request_duration_seconds", _ANSWER_BOUNDS)
REQUESTS_ABORTED = _counter("obscura_http_requests_aborted", "HTTP requests that ended without an answer.")
SERVER_ERRORS = _counter("obscura_http_server_errors", "HTTP requests answered 500 or 503, by what was at fault.")

MESSAGES_SENT = _counter("obscura_messages_sent", "Messages stored in an inbox.")
MESSAGES_DELIVERED = _counter("obscura_messages_delivered", "Envelopes written to a socket.")
MESSAGES_ACKED = _counter("obscura_messages_acked", "Messages removed because their recipient acked them.")
MESSAGES_REPEATED = _counter("obscura_messages_repeated", "Sends that an earlier one with the same key had stored.")
MESSAGES_DROPPED = _counter("obscura_messages_dropped", "Messages removed for an inbox's limits or age by a send.")
MESSAGES_EXPIRED = _counter("obscura_messages_expired", "Messages removed by the clean-up because they expired.")
ACKS_WAITING = Gauge("obscura_acks_waiting", "Acks that were taken and are not written yet.")
ACK_WRITE_FAILURES = _counter("obscura_acks_write_failures", "Writes of a user's acks that failed and are tried again.")

SOCKETS = Gauge("obscura_gateway_sockets", "Open gateway sockets.")
SOCKETS_LIMIT = Gauge("obscura_gateway_sockets_limit", "How many gateway sockets there may be.")
SOCKET_SECONDS = Histogram("obscura_gateway_socket_duration_seconds", "How long sockets lasted.", [], _SOCKET_BOUNDS)
SOCKETS_CLOSED = _counter("obscura_gateway_sockets_closed", "Gateway sockets ended by the server.")
FRAMES_IGNORED = _counter("obscura_gateway_frames_ignored", "Frames from clients that meant nothing.")
READS_PAUSED = _counter("obscura_gateway_reads_paused", "Pauses in reading sockets that flood the node.")

RESCANS = _counter("obscura_gateway_rescans", "Sockets whose inbox was read again after a gap in the events.")
EVENT_GAPS = _counter("obscura_events_gaps", "Times this node was deaf to its events.")
EVENT_PROBE_SECONDS = Histogram(
    "obscura_events_probe_duration_seconds",
    "From the publishing of a probe until this node heard it.",
    [],
    _REDIS_BOUNDS,
)
EVENT_SILENCE = Gauge("obscura_events_silence_seconds", "Since this node last heard a probe of its own.")
REDIS_SECONDS = Histogram(
    "obscura_redis_operation_duration_seconds",
    "Until Redis had answered a script or a command, the wait for a connection included.",
    ["operation"],
    _REDIS_BOUNDS,
)
REDIS_ERRORS = Counter("obscura_redis_errors", "Scripts and commands without an answer that counts.", ["operation"])
REDIS_REFUSALS = _counter("obscura_redis_refusals", "Commands that Redis refused for a reason that passes.")
REDIS_SCRIPTS_LOADED = _counter("obscura_redis_scripts_loaded", "Scripts sent whole since Redis did not have them.")
REDIS_COPIES_SHORT = _counter("obscura_redis_copies_short", "Writes that too few replicas had in time.")
REDIS_CLOCK_SKEW = Gauge("obscura_redis_clock_skew_seconds", "How far at least Redis's clock is from this machine's.")
REDIS_MEMORY_USED = Gauge(
    "obscura_redis_memory_used_ratio", "Memory Redis uses, of its maxmemory or else of its machine's."
)
REDIS_CONNECTED = Gauge("obscura_redis_connected", "Whether the command connection stands.")
REDIS_RECONNECTS = _counter("obscura_redis_reconnects", "Times the command connection was made again.")
REDIS_REDIRECTIONS = _counter("obscura_redis_redirections", "Commands that a master of a Cluster did not take, by why.")
REDIS_MASTER_SWITCHES = _counter("obscura_redis_master_switches", "Times that Sentinel led to another master.")
REDIS_SLOT_CHANGES = _counter("obscura_redis_slot_changes", "Times that slots of a Cluster had changed owners.")
EMBEDDED_RESTARTS = _counter("obscura_embedded_redis_restarts", "Times the node's own redis-server ended by itself.")

PRE_KEYS_LOW = _counter("obscura_pre_keys_low", "Bundle fetches that took an account below the threshold.")
PRE_KEYS_EXHAUSTED = _counter("obscura_pre_keys_exhausted", "Bundles handed out without a one-time pre-key.")
PRE_KEYS_WITHHELD = _counter(
    "obscura_pre_keys_withheld", "Bundles given without a one-time pre-key, to callers who were not logged in."
)
TAKEOVERS = _counter("obscura_takeovers", "Devices replaced.")
KEY_UPLOADS_RESTARTED = _counter(
    "obscura_key_uploads_restarted", "Uploads of keys begun anew since the account's keys changed meanwhile."
)
RATE_LIMITED = _counter("obscura_rate_limited", "Requests answered 429, by the limit they met.")
SESSIONS_STARTED = _counter("obscura_sessions_started", "Sessions started.")
SESSIONS_REFRESHED = _counter("obscura_sessions_refreshed", "Refresh tokens exchanged.")
SESSIONS_ENDED = _counter("obscura_sessions_ended", "Sessions ended before they expired.")
REFRESH_REUSED = _counter("obscura_refresh_reused", "Sessions ended because a refresh token was used again.")
REFRESH_RACED = _counter("obscura_refresh_raced", "Refresh tokens that came again within moments.")
REFRESH_UNANSWERED = _counter(
    "obscura_refresh_unanswered", "Exchanges of refresh tokens without a reply of Redis, and what came of them."
)
PASSWORDS_WAITING = Gauge("obscura_password_hashes_waiting", "Password hashes waiting for a thread.")
PASSWORDS_RUNNING = Gauge("obscura_password_hashes_running", "Password hashes under way.")
PASSWORDS_REFUSED = _counter("obscura_password_hashes_refused", "Logins and registrations refused as too many.")
PASSWORD_SECONDS = Histogram(
    "obscura_password_hash_duration_seconds", "Of password hashes: the wait, and the run.", ["phase"], _ANSWER_BOUNDS
)

ATTACHMENT_BYTES_IN = _counter("obscura_attachment_bytes_in", "Bytes of attachments stored.")
ATTACHMENT_BYTES_OUT = _counter("obscura_attachment_bytes_out", "Bytes of attachments read for downloads.")
ATTACHMENTS_EXPIRED = _counter("obscura_attachments_expired", "Attachments and broken uploads cleaned up.")
STORAGE_SECONDS = Histogram(
    "obscura_storage_operation_duration_seconds",
    "Of the attachments' store; a put lasts as long as the upload, a get until its first byte can be read.",
    ["operation"],
    _STORAGE_BOUNDS,
)
STORAGE_ERRORS = _counter("obscura_storage_errors", "Operations of the attachments' store that failed.")

JANITOR_SWEEPS = _counter("obscura_janitor_sweeps", "Clean-ups that were begun, and how they ended.")
JANITOR_AGE = Gauge(
    "obscura_janitor_sweep_age_seconds", "Since a node, whichever, had swept to the end; as far as known.", ["kind"]
)
JANITOR_INTERVAL = Gauge("obscura_janitor_interval_seconds", "The pause between two clean-ups.", ["kind"])

READY = Gauge("obscura_ready", "Whether this process has Redis, hears its events and is not leaving.")
WORKER_RESTARTS = _counter("obscura_worker_restarts", "Times that a worker process was started again.")
WORKER_HANGS = _counter("obscura_worker_hangs", "Times that a worker process answered nothing and was killed.")

SPANS_EXPORTED = _counter("obscura_trace_spans_exported", "Spans that the collector took.")
SPANS_DROPPED = _counter("obscura_trace_spans_dropped", "Spans thrown away since the collector was away or slow.")
BUILD = Gauge("obscura_build_info", "Which version runs, on which Python; always 1.", ["version", "python"])
BUILD.labels(version("obscura"), platform.python_version()).set(1)

T = TypeVar("T")

_PROBE_TIMES = EVENT_PROBE_SECONDS.labels()


def probe_heard(started: float) -> float:
    """Note that this node heard a probe of its own, which it began to send at ``started``; returns when that was."""
    heard = time.perf_counter()
    _PROBE_TIMES.observe(heard - started)
    return heard


async def timed(operation: str, call: Awaitable[T]) -> T:
    """Await a call to Redis and count it.

    Args:
        operation: The name of its script or command.

    Raises:
        Exception: What the call raises; counted too.
    """
    times, errors = redis_series(operation)
    started = time.perf_counter()
    try:
        return await call
    except Exception:
        errors.inc()
        raise
    finally:
        times.observe(time.perf_counter() - started)


class RedisSeries(NamedTuple):
    """The times and the errors of one script or command."""

    times: Series
    errors: Counter


@cache
def redis_series(operation: str) -> RedisSeries:
    """What counts for a script or a command: to be kept where it is used more than once."""
    return RedisSeries(REDIS_SECONDS.labels(operation), REDIS_ERRORS.labels(operation))
