"""Programs that stand in for redis-server."""

from pathlib import Path

import pytest

from obscura.embedded_redis import binary as redis_binary


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is all of PATH, on a machine without the `embedded` extra."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(redis_binary, "_bundled", lambda: None)
    return folder
