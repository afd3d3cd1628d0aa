"""What tests of the client of Redis share."""

import pytest

from obscura.redis_client import connection, replication


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of replicas, and with replies, for a machine that is busy."""
    monkeypatch.setattr(replication, "_WAIT_MS", 15_000)
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECS", 20.0)
