"""The Redis of a node that is given none: its own, in the data directory."""

from contextlib import AsyncExitStack
from pathlib import Path

from obscura.data_dir import load_or_create_jwt_secret
from obscura.embedded_redis.server import EmbeddedRedis
from obscura.errors import StartupError, StoreUnavailable
from obscura.node.data_mark_file import check_data_mark, write_data_mark
from obscura.redis_client.client import connect_to
from obscura.redis_client.scripts import Scripts
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.data_marks import DataMarks


async def _keep_mark(url: str, data_dir: Path) -> None:
    """See that Redis has the data of this directory, and begin another generation of them.

    Raises:
        StartupError: It has others, older ones or none.
    """
    commands = connect_to(url, keyspace.client_name("start"))
    try:
        await commands.start()
        marks = DataMarks(commands, Scripts(commands))
        check_data_mark(data_dir, await marks.read())
        write_data_mark(data_dir, await marks.make(steps=1))
    except StoreUnavailable as error:
        raise StartupError(f"Redis is not available: {error}") from error
    finally:
        await commands.stop()


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
    await _keep_mark(embedded.url, settings.data_dir)
    # The directory is locked from here on, so nobody else makes a secret in it.
    secrets = settings.jwt_secret or (load_or_create_jwt_secret(settings.data_dir),)
    description = f"data in {settings.data_dir.absolute()}\nlook inside: {embedded.cli_line}"
    return settings.model_copy(update={"redis_url": embedded.url, "jwt_secret": secrets}), description
