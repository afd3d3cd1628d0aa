"""Latencies in a high dynamic range histogram: three digits of every percentile, however rare it is."""

from hdrh.histogram import HdrHistogram

_MIN_US, _MAX_US, _DIGITS = 1, 3_600_000_000, 3
_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}


class Latencies:
    """Counts durations given in seconds; answers in milliseconds."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(_MIN_US, _MAX_US, _DIGITS)

    def record(self, seconds: float) -> None:
        self._histogram.record_value(min(max(round(seconds * 1e6), _MIN_US), _MAX_US))

    def encode(self) -> bytes:
        """In the format that all HdrHistogram libraries share."""
        encoded: bytes = self._histogram.encode()
        return encoded

    def add(self, encoded: bytes) -> None:
        """Add what another process counted."""
        self._histogram.decode_and_add(encoded)

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def summary_ms(self) -> dict[str, float]:
        """Percentiles, maximum and mean; zeros when nothing was counted."""
        if not self.count:
            return dict.fromkeys([*_PERCENTILES, "max", "mean"], 0.0)
        found = {name: self._histogram.get_value_at_percentile(at) for name, at in _PERCENTILES.items()}
        found |= {"max": self._histogram.get_max_value(), "mean": self._histogram.get_mean_value()}
        return {name: round(value / 1000, 3) for name, value in found.items()}
