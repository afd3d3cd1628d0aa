"""Metrics of HTTP requests and of the limits they meet."""

from obscura.observability.metrics.declaration import Topic
from obscura.settings.limits import TIERS

TRAFFIC = Topic("Traffic")

# The one before the last is the time within which a request is refused while Redis is away.
ANSWER_BOUNDS = (0.001, 0.0025, 0.005, 0.025, 0.1, 0.5, 2, 10)

REQUESTS = TRAFFIC.requests(
    "obscura_http_requests",
    "obscura_http_request_duration_seconds",
    ANSWER_BOUNDS,
    watch=(
        "a rise of 4xx is a client at fault or an attack; a rise of 5xx is a fault here, and "
        "`obscura_http_server_errors_total` says whose",
        "compare it with the time of Redis: if that is steady, the node lacks CPU, so add nodes",
    ),
)
REQUESTS_ABORTED = TRAFFIC.counter(
    "obscura_http_requests_aborted",
    "HTTP requests that ended without an answer.",
    detail="Their client was gone before.",
    watch="some are normal on mobile networks; a jump is a network or a proxy that gives up too early",
)
SERVER_ERRORS = TRAFFIC.counter(
    "obscura_http_server_errors",
    "HTTP requests answered 500 or 503, by what was at fault.",
    {"cause": ("redis", "storage", "password queue", "open files", "other", "fault")},
    detail="`fault` is a bug; the others pass by themselves.",
    watch="`redis` or `storage`: look there. `password queue`: see the password hashes below. "
    "`open files`: allow the process more. `fault`: find "
    "`unexpected error` in the log and report it",
)
CONNECTIONS_DROPPED = TRAFFIC.counter(
    "obscura_http_connections_dropped",
    "Connections closed without an answer to make room for others, by what they were.",
    {"connection": ("idle", "new")},
    detail="There are as many as the limit of open files leaves room for. On an `idle` one nothing was asked at that "
    "moment; a `new` one came while all others were in use and too many waited to be told so.",
    watch="allow the process more open files. `new`: somebody holds requests open; find the address at the balancer",
)
RATE_LIMITED = TRAFFIC.counter(
    "obscura_rate_limited",
    "Requests answered 429, by the limit they met.",
    {"tier": TIERS},
    watch="one client in a loop, or an attack. If many clients share an address, raise the burst",
)
