"""What limits, metrics, request ids and log lines cost a message that is sent, part by part.

Usage: python -m benchmarks.overhead [--calls 200000] [--seconds 5] [--connections 64]

Each part is called again and again, alone, as a node makes it; its figure is the best of
several rounds, less an empty call. "id, count, errors, log line" has the request's
metrics in it. The share is that of the processor time that a busy node takes for a
whole POST /v1/messages in the same run.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from benchmarks.generator import bench, cpu_us_per_message
from benchmarks.relays import relay
from obscura.api.routes import API_ROUTES
from obscura.http.client_address import CLIENT_OF, ClientAddresses
from obscura.http.rate_limits import RateLimits
from obscura.http.request_handling import on_response_prepare, wrap_handler
from obscura.http.token_buckets import LocalTokenBuckets
from obscura.observability.metrics.delivery import MESSAGES_SENT
from obscura.observability.metrics.http import REQUESTS
from obscura.observability.metrics.redis import timed
from obscura.settings.limits import RateLimitConfig
from obscura.settings.model import Settings

_ROUNDS = 7
_LARGE = 1_000_000
_LIMIT_BOUND_PERCENT = 3.0

Part = Callable[[], object]


async def done() -> None:
    """Nothing, at the price of a coroutine."""


def cost_us(part: Part, calls: int) -> float:
    """Microseconds of one call, the best of several rounds. A coroutine that it returns is run to its end."""
    is_async = hasattr(probe := part(), "send")
    if is_async:
        run(probe)

    def once(step: Part) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            step()
        return (time.perf_counter() - began) / calls * 1e6

    full: Part = (lambda: run(part())) if is_async else part
    empty: Part = (lambda: run(done())) if is_async else (lambda: None)
    return min(once(full) for _ in range(_ROUNDS)) - min(once(empty) for _ in range(_ROUNDS))


def run(coroutine: object) -> None:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return
    raise RuntimeError("it waits for something")


async def request_of(app: web.Application) -> web.Request:
    """A send, as it comes through a proxy, with its route found."""
    headers = {"X-Forwarded-For": "203.0.113.7", "Authorization": "Bearer x", "Content-Type": "application/x-protobuf"}
    request = make_mocked_request("POST", f"/v1/messages/{uuid4()}", headers=headers, app=app)
    info = await app.router.resolve(request)
    info.add_app(app)
    request._match_info = info
    return request


async def parts() -> Mapping[str, Part]:
    """What a send passes besides its own work."""
    app = web.Application()
    app.add_routes(API_ROUTES)
    addresses = ClientAddresses(Settings().trusted_proxies)
    app[CLIENT_OF] = lambda request: "203.0.113.7"
    request, response = await request_of(app), web.Response(status=201)

    def nothing(_request: web.Request) -> Awaitable[web.StreamResponse]:
        return done()  # type: ignore[return-value]

    async def answer(_request: web.Request) -> web.StreamResponse:
        return response

    buckets = LocalTokenBuckets(RateLimitConfig("standard", _LARGE, _LARGE, ""))
    limits = RateLimits(buckets.take, nothing, ())  # type: ignore[arg-type]
    wrapped, route, began = wrap_handler(answer), "/v1/messages/{recipientId}", time.perf_counter()

    return {
        "limit: whose request": lambda: addresses.of(request),
        "limit: its bucket": lambda: limits(request, nothing),
        "metrics: the request": lambda: REQUESTS.record("POST", route, 201, began),
        "metrics: the message": MESSAGES_SENT.inc,
        "metrics: the script": lambda: timed("messages_append", done()),
        "id, count, errors, log line": lambda: wrapped(request),
        "headers of the answer": lambda: on_response_prepare(request, response),
    }


def send_us(seconds: int, connections: int) -> float:
    """Microseconds that a busy node's process works for one send."""
    with relay() as one:
        load = ("--duration", seconds, "--concurrency", connections, "--processes", 1)
        return cpu_us_per_message(bench("send", *one.urls, *one.pids, *load))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    whole_us = send_us(options.seconds, options.connections)
    print(f"{'a whole send':26} {whole_us:8.2f} µs")
    costs = {name: cost_us(part, options.calls) for name, part in asyncio.run(parts()).items()}
    for name, us in costs.items():
        print(f"{name:26} {us:8.2f} µs {us / whole_us:8.2%}")
    for group in ("limit", "metrics"):
        us = sum(cost for name, cost in costs.items() if name.startswith(group))
        print(f"{'in all: ' + group:26} {us:8.2f} µs {us / whole_us:8.2%}")
    limit = sum(cost for name, cost in costs.items() if name.startswith("limit")) / whole_us * 100
    print(f"the bound on the limit is {_LIMIT_BOUND_PERCENT} %: {'kept' if limit < _LIMIT_BOUND_PERCENT else 'BROKEN'}")


if __name__ == "__main__":
    main()
