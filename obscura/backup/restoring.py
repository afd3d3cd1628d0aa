"""Restoring a backup: checked before anything is written, and started once before it is called restored."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from obscura.backup.contents import (
    ATTACHMENTS,
    JWT_SECRET,
    REDIS,
    attachments_in,
    checked_sums,
    copy_file,
    refuse_used,
    sync_tree,
)
from obscura.embedded_redis.directory import UNFINISHED
from obscura.embedded_redis.server import EmbeddedRedis
from obscura.errors import ObscuraError
from obscura.files import make_directory, sync_directory
from obscura.redis_client.client import connect_to
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.attachments import AttachmentStore

_REDIS_FILE = "appendonly.aof"  # every redis-server reads a snapshot under this name, and 7 makes its own files of it


@dataclass(frozen=True, slots=True)
class Restored:
    """What there is now.

    Attributes:
        keys: Of Redis.
        missing: Attachments that Redis knows and of which the backup has no whole file.
    """

    keys: int
    attachments: int
    missing: int


def restore_backup(settings: Settings, source: Path) -> Restored:
    """Put a backup into the data directory, and the directory of attachments, which are both empty.

    Raises:
        ObscuraError: The backup is damaged, a directory is not empty, or Redis cannot read it.
        OSError: Something cannot be read or written.
    """
    data_dir, attachments = settings.data_dir, settings.storage_dir or settings.data_dir / "attachments"
    for folder in (data_dir, attachments):
        refuse_used(folder)
    sums = checked_sums(source)
    for folder in (data_dir, attachments):
        make_directory(folder)
    unfinished = data_dir / UNFINISHED  # no node starts there meanwhile, nor if this ends on the way
    unfinished.touch()
    sync_directory(data_dir)
    for name, digest in sums.items():
        if name.startswith(f"{ATTACHMENTS}/"):
            target = attachments / name.removeprefix(f"{ATTACHMENTS}/")
            target.parent.mkdir(mode=0o700, exist_ok=True)
        else:
            target = data_dir / {REDIS: _REDIS_FILE, JWT_SECRET: JWT_SECRET}[name]
        if copy_file(source / name, target) != digest:
            raise ObscuraError(f"{source / name} has changed while it was restored")
    for folder in (data_dir, attachments):
        sync_tree(folder)
    unfinished.unlink()
    sync_directory(data_dir)
    return asyncio.run(_start_once(settings, attachments))


async def _start_once(settings: Settings, attachments: Path) -> Restored:
    """Have Redis read it, and compare the attachments with what it knows of them."""
    embedded = EmbeddedRedis(settings.data_dir)
    await embedded.start()
    commands = connect_to(embedded.url, keyspace.CLIENT_NAME)
    try:
        await commands.start()
        known = await AttachmentStore.sizes(commands)
        files = dict(attachments_in(attachments))
        if settings.storage_bucket is None:
            for attachment_id in files.keys() - known.keys():
                files[attachment_id].unlink()  # of a later moment: nobody would ever remove it
        whole = [one for one, size in known.items() if one in files and files[one].stat().st_size == size]
        stored = [one for one, size in known.items() if size is not None]
        missing = len(set(stored) - set(whole)) if settings.storage_bucket is None else 0
        return Restored(int(await commands.call("DBSIZE")), len(whole), missing)
    finally:
        await commands.stop()
        await embedded.stop()
