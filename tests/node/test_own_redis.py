"""The Redis of a node that is given none."""

import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from obscura.embedded_redis.binary import find_tool
from obscura.errors import StartupError
from obscura.node.own_redis import ensure_redis
from obscura.redis_client.client import connect_to
from obscura.settings.model import Settings
from tests.conftest import JWT_SECRET


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="obscura-", dir="/tmp") as folder:
        yield Path(folder)


async def test_a_redis_that_is_given_is_used(tmp_path: Path) -> None:
    """Nothing is started, and the data directory is not even made."""
    settings = Settings(redis_url="redis://redis.example", jwt_secret=(JWT_SECRET,), data_dir=tmp_path / "data")
    async with AsyncExitStack() as running:
        assert await ensure_redis(settings, running) == (settings, "data in the Redis of OBSCURA_REDIS_URL")
    assert not settings.data_dir.exists()


async def test_without_one_a_node_starts_its_own(short_dir: Path) -> None:
    """The settings then name it and the secret of the directory, the same at every start; it ends with the stack."""
    secrets = set()
    for _ in range(2):
        async with AsyncExitStack() as running:
            settings, description = await ensure_redis(Settings(data_dir=short_dir), running)
            assert settings.redis_url is not None
            look = f"{find_tool('redis-cli')} -s {short_dir}/redis.sock"
            assert description == f"data in {short_dir}\nlook inside: {look}"
            secrets.update(settings.jwt_secret)
            commands = connect_to(settings.redis_url, "obscura:test")
            running.push_async_callback(commands.stop)
            await commands.start()
        assert not (short_dir / "redis.sock").exists()
    assert len(secrets) == 1


async def test_a_secret_that_is_given_is_used(short_dir: Path) -> None:
    """None is made beside it."""
    async with AsyncExitStack() as running:
        settings, _ = await ensure_redis(Settings(data_dir=short_dir, jwt_secret=(JWT_SECRET,)), running)
    assert settings.jwt_secret == (JWT_SECRET,)
    assert not (short_dir / "jwt_secret").exists()


async def test_a_directory_serves_one_node(short_dir: Path) -> None:
    """A second one is refused, and the first goes on."""
    async with AsyncExitStack() as running:
        await ensure_redis(Settings(data_dir=short_dir), running)
        async with AsyncExitStack() as others:
            with pytest.raises(StartupError):
                await ensure_redis(Settings(data_dir=short_dir), others)
        assert (short_dir / "redis.sock").exists()
