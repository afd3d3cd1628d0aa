"""A snapshot of all that Redis has at one moment, in a file that Redis writes."""

import asyncio
from pathlib import Path

import hiredis

from obscura.errors import ObscuraError
from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.requirements import parse_info

_POLL_SECS = 0.05
_BEGIN_DEADLINE_SECS = 10.0


async def save_snapshot(commands: CommandExecutor, file: Path) -> None:
    """Have Redis write its snapshot; what was answered before the call is in it.

    Args:
        file: Where this Redis writes it; an older one there is removed.

    Raises:
        ObscuraError: Redis could not write it.
        StoreUnavailable: Redis is away.
    """
    file.unlink(missing_ok=True)  # noqa: ASYNC240  of a command that has nothing else to do
    try:
        await commands.call("BGSAVE", "SCHEDULE")  # after a rewrite of the append-only file that is under way
    except hiredis.ReplyError as error:
        raise ObscuraError(f"Redis makes no snapshot now: {error}") from error
    clock = asyncio.get_running_loop().time
    idle_since = clock()
    while True:
        info = parse_info(await commands.call("INFO", "persistence"))
        is_saving = info["rdb_bgsave_in_progress"] == "1"
        if file.exists() and not is_saving:  # noqa: ASYNC240
            return
        if is_saving or info["aof_rewrite_in_progress"] == "1":
            idle_since = clock()
        elif info["rdb_last_bgsave_status"] != "ok" or clock() - idle_since > _BEGIN_DEADLINE_SECS:
            raise ObscuraError("Redis could not write its snapshot: is its disk full? See redis.log in its directory")
        await asyncio.sleep(_POLL_SECS)
