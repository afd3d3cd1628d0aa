"""What a server process costs, as the kernel tells it."""

import os
import time

import pytest

from obscura.bench.errors import BenchError
from obscura.bench.server_process import usage


def test_processor_time_and_memory_are_those_of_the_process() -> None:
    """Of this process they are known otherwise."""
    before = time.process_time()
    found = usage(os.getpid())
    assert before <= found.cpu_secs <= time.process_time()
    assert found.rss_kib > 1000


def test_a_process_that_is_gone_is_told_of() -> None:
    with pytest.raises(BenchError, match="the server process 999999999 is gone"):
        usage(999_999_999)
