"""Metrics of the node's processes: readiness, version, workers and traces."""

import platform
from importlib.metadata import version

from obscura.observability.metrics.declaration import Topic

PROCESS = Topic("Process")

READY = PROCESS.gauge(
    "obscura_ready",
    "Whether this process has Redis, hears its events and is not leaving.",
    detail="`/readyz` asks Redis and the storage besides.",
    watch="0 for longer than a deployment takes: `/readyz` says why",
)
WORKER_RESTARTS = PROCESS.counter(
    "obscura_worker_restarts",
    "Times that a worker process was started again.",
    detail="It had ended by itself, or was killed because it hung.",
    watch="see the log above its last line; mostly memory",
)
WORKER_HANGS = PROCESS.counter(
    "obscura_worker_hangs",
    "Times that a worker process answered nothing and was killed.",
    detail="It had been silent for 15 s. It counts as a restart too.",
    watch="the log says what each thread was at; a bug, or a debugger",
)
LOG_LINES_DROPPED = PROCESS.counter(
    "obscura_log_lines_dropped",
    "Lines of the log, or of what a start announces, that were thrown away.",
    detail="Nobody read them, or there was no room for them. The next line that is written tells how many.",
    watch="what reads the node's output, or the disk that it goes to",
)
BUILD = PROCESS.gauge(
    "obscura_build_info",
    "Which version runs, on which Python; always 1.",
    {"version": (), "python": ()},
    watch="nodes of several versions: an update is under way, or was not finished",
)
BUILD.labels(version("obscura"), platform.python_version()).set(1)
SETTINGS_DIFFER = PROCESS.gauge(
    "obscura_settings_differ",
    "Whether nodes of this relay have different values of a setting that they should share.",
    {"setting": ("max_inbox_bytes", "max_inbox_size", "ttl_days")},
    detail="Each node tells the others what it goes by, every 15 s.",
    watch="1 for longer than a deployment takes: `obscura inspect nodes` shows who has what",
)
SPANS_EXPORTED = PROCESS.counter("obscura_trace_spans_exported", "Spans that the collector took.")
SPANS_DROPPED = PROCESS.counter(
    "obscura_trace_spans_dropped",
    "Spans thrown away since the collector was away or slow.",
    watch="the collector, or a lower `OBSCURA_OTLP_SAMPLE_RATIO`",
)
