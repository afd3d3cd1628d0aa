"""One Lua script at a time, on a real Redis and without the server around it."""

from collections.abc import Sequence
from typing import Any

from redis import Redis

from obscura.redis_client.scripts import script_folder
from tests.support.redis import RedisServer


class ScriptRunner:
    """Runs the scripts of ``lua/`` by name. Replies are as Redis gives them: bytes, integers, lists.

    Attributes:
        redis: The same Redis, to prepare it and to look at what a script did; also in bytes.
    """

    def __init__(self, server: RedisServer) -> None:
        self.redis = Redis(unix_socket_path=str(server.path))

    def run(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int] = ()) -> Any:
        source = (script_folder() / f"{name}.lua").read_text()
        return self.redis.eval(source, len(keys), *keys, *args)

    def close(self) -> None:
        self.redis.close()
