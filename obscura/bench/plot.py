"""Throughput and latency over time, as an SVG that stands alone."""

from pathlib import Path

import pygal
from pygal.style import CleanStyle

from obscura.bench.result import Result

_SHOWN = {"p50": "p50", "p99": "p99", "max": "max"}


def draw(result: Result, file: Path) -> None:
    """Write the chart of a run's first operation: latencies on the left, throughput on the right."""
    operation = result.operations[0]
    found = {second: one[operation] for second, one in result.timeline.seconds.items() if operation in one}
    seconds = range(max(found, default=0) + 1)
    summaries = [found[second].summary_ms() if second in found else None for second in seconds]
    counts = [found[second].count if second in found else 0 for second in seconds]
    chart = pygal.Line(
        title=f"{result.scenario}: {operation} over time",
        x_title="seconds",
        y_title="ms (left), per second (right)",
        x_labels=[str(second) for second in seconds],
        x_labels_major_count=11,
        show_minor_x_labels=False,
        legend_at_bottom=True,
        style=CleanStyle,
        js=[],  # nothing is fetched when it is looked at
        disable_xml_declaration=True,
        show_dots=len(seconds) <= 60,
        range=(0, max((one["max"] for one in summaries if one), default=1)),
        secondary_range=(0, max(counts, default=1)),
        value_formatter=lambda value: f"{value:,.4g}" if value < 1000 else f"{value:,.0f}",
    )
    for label, at in _SHOWN.items():
        chart.add(f"{label}, ms", [None if one is None else one[at] for one in summaries])
    chart.add(f"{operation} per second", counts, secondary=True)
    file.write_text(chart.render(is_unicode=True) + "\n")
