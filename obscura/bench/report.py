"""Results for eyes: a table for each scenario."""

from obscura.bench.result import BUSY_SHARE, Result
from obscura.bench.users import advice

_HEADS = ("operation", "count", "per second", "p50", "p90", "p99", "p99.9", "max")
_PERCENTILES = ("p50", "p90", "p99", "p99_9", "max")
_GAP = "  "


def as_text(result: Result) -> str:
    """All that a reader needs to judge a run; latencies in milliseconds."""
    lines = [_title(result), "", *_operations(result), ""]
    lines += [*_messages(result), *_failures(result), *_cost(result)]
    lines.append("everything is accounted for" if result.ok else "NOT everything is accounted for")
    return "\n".join(lines)


def _title(result: Result) -> str:
    options = result.options
    rate = options["rate_per_sec"]
    load = f"closed loop, {options['concurrency']} at a time" if rate is None else f"open loop, {rate:,.0f} a second"
    return f"{result.scenario}: {load}, {options['size_bytes']:,} bytes, {', '.join(options['urls'])}"


def _operations(result: Result) -> list[str]:
    rows: list[tuple[str, ...]] = [_HEADS]
    for name in result.operations:
        if name in result.timeline.total:
            latencies = result.timeline.total[name]
            summary = latencies.summary_ms()
            shown = (f"{summary[at]:,.2f}" for at in _PERCENTILES)
            rows.append((name, f"{latencies.count:,}", f"{result.rate(name):,.0f}", *shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        + (f"{_GAP}(ms)" if row is _HEADS else "")
        for row in rows
    ]


def _messages(result: Result) -> list[str]:
    counts = result.counts
    if counts is None:
        return []
    parts = [f"{counts.sent:,} sent", f"{counts.accepted:,} answered 201"]
    if counts.delivered is not None:
        parts.append(f"{counts.delivered:,} delivered")
    if counts.acked is not None:
        parts.append(f"{counts.acked:,} acked")
    parts += [f"{counts.duplicates:,} doubled", f"{counts.lost:,} lost"]
    if counts.late:
        parts.append(f"{counts.late:,} only on a second connection")
    return [f"messages   {', '.join(parts)}"]


def _failures(result: Result) -> list[str]:
    errors = result.timeline.errors
    if not errors:
        return ["errors     none"]
    listed = [f"{count:,} × {kind}{advice(kind)}" for kind, count in errors.most_common()]
    return [f"errors     {listed[0]}", *(f"           {one}" for one in listed[1:])]


def _cost(result: Result) -> list[str]:
    shares = ", ".join(f"{share:.0%}" for share in result.cpu_shares)
    where = f", pinned to CPU {result.pinned_to}" if result.pinned_to else ""
    sent, received = f"{result.sent_bytes:,} bytes sent", f"{result.received_bytes:,} received"
    lines = [
        f"time       {result.duration_secs:.1f} s; {sent}, {received}",
        f"generator  {len(result.cpu_shares)} process(es) at {shares} of a core{where}",
    ]
    if result.generator_was_busy:
        limit = "the generator may be the limit: raise --processes or lower --rate"
        lines.append(f"           over {BUSY_SHARE:.0%}: {limit}")
    for server in result.servers:
        grown = server.rss_after_kib - server.rss_before_kib
        lines.append(
            f"server     pid {server.pid}: {server.cpu_share:.0%} of a core, "
            f"{server.rss_after_kib / 1024:.1f} MiB resident ({grown / 1024:+.1f})"
        )
    return lines + _per_socket(result)


def _per_socket(result: Result) -> list[str]:
    latencies = result.timeline.total.get("connect")
    if result.scenario != "idle" or not result.servers or latencies is None:
        return []
    grown_kib = sum(server.rss_after_kib - server.rss_before_kib for server in result.servers)
    return [f"           {grown_kib / latencies.count:.1f} KiB of resident memory for each idle socket"]
