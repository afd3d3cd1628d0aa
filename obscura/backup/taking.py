"""Taking a backup of a running relay, while it serves."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from obscura.backup.contents import (
    ATTACHMENTS,
    JWT_SECRET,
    REDIS,
    attachments_in,
    copy_file,
    refuse_used,
    write_sums,
)
from obscura.data_dir import lock_file
from obscura.embedded_redis.server import EmbeddedRedis
from obscura.errors import ObscuraError, StartupError, StoreUnavailable
from obscura.files import make_directory
from obscura.redis_client.client import connect_to
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.snapshots import save_snapshot


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied."""

    redis_bytes: int
    attachments: int


def take_backup(settings: Settings, target: Path) -> Backup:
    """Copy all that a relay has at one moment into a new directory.

    First Redis, then the attachments: those that Redis knew of lay there whole by then. Whatever
    fails, no backup is left that looks finished.

    Raises:
        ObscuraError: No relay runs there, there is no room, or the directory is not empty.
        OSError: Something cannot be read or written.
    """
    refuse_used(target)
    snapshot = settings.data_dir / "dump.rdb"
    lock = lock_file(settings.data_dir / "backup.lock") if settings.data_dir.is_dir() else -1
    if lock is None:
        raise ObscuraError("another backup of this relay is under way")
    try:
        asyncio.run(_save(settings, snapshot))
        make_directory(target)
        _require_room(settings, snapshot, target)
        return _copy(settings, snapshot, target)
    finally:
        if lock >= 0:
            snapshot.unlink(missing_ok=True)
            os.close(lock)


async def _save(settings: Settings, snapshot: Path) -> None:
    commands = connect_to(EmbeddedRedis(settings.data_dir).url, keyspace.CLIENT_NAME)
    try:
        await commands.start()
        await save_snapshot(commands, snapshot)
    except StoreUnavailable as error:
        raise StartupError(
            f"no server answers in the data directory {settings.data_dir.absolute()}: while none runs there, "
            f"it can be copied as it is ({error})"
        ) from error
    finally:
        await commands.stop()


def _require_room(settings: Settings, snapshot: Path, target: Path) -> None:
    sizes = [snapshot.stat().st_size, *(file.stat().st_size for _, file in _attachments(settings))]
    disk = os.statvfs(target)
    is_shared = target.stat().st_dev == settings.data_dir.stat().st_dev
    reserve = settings.storage_min_free_bytes if is_shared else 0
    if disk.f_bavail * disk.f_frsize < sum(sizes) + reserve:
        raise ObscuraError(f"the backup takes {sum(sizes)} bytes, and {target} has no room for them")


def _copy(settings: Settings, snapshot: Path, target: Path) -> Backup:
    sums = {REDIS: copy_file(snapshot, target / REDIS)}
    secret = settings.data_dir / "jwt_secret"
    if secret.exists():
        sums[JWT_SECRET] = copy_file(secret, target / JWT_SECRET)
    count = 0
    for attachment_id, file in _attachments(settings):
        name = f"{ATTACHMENTS}/{attachment_id[:2]}/{attachment_id}"
        (target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            sums[name] = copy_file(file, target / name)
        except FileNotFoundError:
            continue  # it has expired
        count += 1
    write_sums(target, sums)
    return Backup((target / REDIS).stat().st_size, count)


def _attachments(settings: Settings) -> list[tuple[str, Path]]:
    if settings.storage_bucket is not None:
        return []
    return list(attachments_in(settings.storage_dir or settings.data_dir / "attachments"))
