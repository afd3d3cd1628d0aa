"""What one process of several is to do."""

import pytest

from obscura.bench.options import parse


def test_a_share_of_the_work_adds_up() -> None:
    """What does not divide is spread, not lost."""
    options = parse(["--users", "10", "--concurrency", "7", "--rate", "9", "--sockets", "100"])
    shares = [options.share(index, 3) for index in range(3)]
    assert sum(share.users for share in shares) == 10
    assert sum(share.concurrency for share in shares) == 7
    assert sum(share.rate_per_sec or 0 for share in shares) == pytest.approx(9)
