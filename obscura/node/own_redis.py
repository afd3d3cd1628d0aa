"""The Redis of a node that is given none: its own, in the data directory."""

from contextlib import AsyncExitStack

from obscura.data_dir import load_or_create_jwt_secret
from obscura.embedded_redis.server import EmbeddedRedis
from obscura.settings.model import Settings


async def ensure_redis(settings: Settings, running: AsyncExitStack) -> tuple[Settings, str]:
    """Start a Redis if the settings name none.

    Args:
        running: Is given what stops it again.

    Returns:
        The settings with the Redis and the secrets of access tokens that are to be used, and where the
        data is, in lines for an operator.

    Raises:
        StartupError: It cannot be started, or the data directory is in use or damaged.
    """
    if settings.redis_url is not None:
        return settings, "data in the Redis of OBSCURA_REDIS_URL"
    embedded = EmbeddedRedis(settings.data_dir)
    running.push_async_callback(embedded.stop)
    await embedded.start()
    # The directory is locked from here on, so nobody else makes a secret in it.
    secrets = settings.jwt_secret or (load_or_create_jwt_secret(settings.data_dir),)
    description = f"data in {settings.data_dir.absolute()}\nlook inside: {embedded.cli_line}"
    return settings.model_copy(update={"redis_url": embedded.url, "jwt_secret": secrets}), description
