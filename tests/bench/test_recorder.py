"""What of a run is measured."""

from obscura.bench.histogram import Latencies
from obscura.bench.recorder import Recorder, Window, now


def test_only_what_starts_in_the_window_is_measured() -> None:
    """The warm-up is not; a failure counts at any time."""
    recorder = Recorder(Window(0, now() + 1, now() + 2))
    recorder.completed("send", now())
    recorder.completed("send", now() + 1.5)
    recorder.failed("timeout")
    interval = recorder.take()
    latencies = Latencies()
    latencies.add(interval.latencies["send"])
    assert (latencies.count, interval.errors) == (1, {"timeout": 1})
    assert recorder.take().latencies == {}
