"""What Redis knows of attachments: which exist, how large they are, when they expire.

The steps of an upload: its id is listed for clean-up before its first byte is stored,
its hash is written after the last, and then the list gets its real expiry. So a crash
at any point leaves nothing that is never cleaned up, and nothing that can be read in
part. The hash and the list lie in different slots of a Cluster, so no script can do both.
"""

from dataclasses import dataclass
from uuid import UUID

from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.redis_client.transport import Argument
from obscura.store import keyspace

_PAGE = 1000

CLAIM_MS = 60_000
"""What could not be removed is due again after so long."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A stored attachment; times are milliseconds since the epoch."""

    size_bytes: int
    expires_ms: int


class AttachmentStore:
    """The hash of each attachment, and the index of when they are due for removal."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts) -> None:
        self._commands = commands
        self._scripts = scripts

    async def begin(self, attachment_id: UUID, abandoned_ms: int) -> None:
        """Enter an upload for clean-up at ``abandoned_ms``, unless `finish` comes before. Safe to repeat."""
        await self._commands.call("ZADD", keyspace.ATTACHMENT_EXPIRY, abandoned_ms, str(attachment_id))

    async def finish(self, attachment_id: UUID, abandoned_ms: int, attachment: Attachment) -> bool:
        """Make a whole upload readable until it expires. False: the clean-up has taken it. Safe to repeat.

        Raises:
            StoreUnavailable: No reply. It may be readable, and is cleaned up in any case.
        """
        key = keyspace.attachment(attachment_id)
        await self._commands.call("HSET", key, "size", attachment.size_bytes, "expires_at", attachment.expires_ms)
        await self._commands.call("PEXPIREAT", key, attachment.expires_ms)
        args: list[Argument] = [str(attachment_id), abandoned_ms, attachment.expires_ms]
        if await self._scripts.run("attachments_finish", [keyspace.ATTACHMENT_EXPIRY], args):
            return True
        await self._commands.call("DEL", key)
        return False

    async def find(self, attachment_id: UUID) -> Attachment | None:
        """What is known of an attachment. None: it was never stored as a whole, or has expired. Safe to repeat."""
        size, expires = await self._commands.call("HMGET", keyspace.attachment(attachment_id), "size", "expires_at")
        return None if size is None else Attachment(int(size), int(expires))

    @staticmethod
    async def sizes(commands: CommandExecutor) -> dict[str, int | None]:
        """All that are listed, each with its bytes; None of an upload that is not finished, or has expired."""
        sizes: dict[str, int | None] = {}
        while page := await commands.call("ZRANGE", keyspace.ATTACHMENT_EXPIRY, len(sizes), len(sizes) + _PAGE - 1):
            for one in map(bytes.decode, page):
                size = await commands.call("HGET", keyspace.attachment(UUID(one)), "size")
                sizes[one] = None if size is None else int(size)
        return sizes

    async def claim_due(self, max_count: int) -> list[UUID]:
        """Attachments to remove by now, the longest overdue first; due again after `CLAIM_MS`. Safe to repeat."""
        reply = await self._scripts.run("attachments_claim", [keyspace.ATTACHMENT_EXPIRY], [max_count, CLAIM_MS])
        return [UUID(attachment_id.decode()) for attachment_id in reply]

    async def hide(self, attachment_id: UUID) -> None:
        """Have it found no more, before its bytes are removed. Safe to repeat."""
        await self._commands.call("DEL", keyspace.attachment(attachment_id))

    async def forget(self, attachment_id: UUID) -> None:
        """Take it off the list for clean-up, once its bytes are gone. Safe to repeat."""
        await self._commands.call("ZREM", keyspace.ATTACHMENT_EXPIRY, str(attachment_id))
