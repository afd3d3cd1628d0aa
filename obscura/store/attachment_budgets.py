"""How many bytes of attachments there may be: of one account in a day, and of all together.

Both are counted in Redis, for all nodes. Bytes are taken before they are stored, and given back
if they are not.
"""

import math
from dataclasses import dataclass
from uuid import UUID

from obscura.errors import StorageFull, TooManyRequests
from obscura.observability.metrics.attachments import STORAGE_ERRORS
from obscura.observability.metrics.http import RATE_LIMITED
from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.settings.limits import ATTACHMENT_BYTES
from obscura.settings.model import Settings
from obscura.store import keyspace

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class ByteLimits:
    """How many bytes there may be; 0 is no limit.

    Attributes:
        per_account_and_day: That one account may store in the 24 hours after its first.
        of_all: That are stored at a time.
    """

    per_account_and_day: int = 0
    of_all: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> "ByteLimits":
        return cls(settings.storage_daily_bytes_per_account, settings.storage_max_total_bytes)


class AttachmentBudgets:
    """What is left of both limits, over all nodes."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts, limits: ByteLimits) -> None:
        self._commands = commands
        self._scripts = scripts
        self._limits = limits
        self._refused_bytes = 0  # by the limit of all, of the last upload that was

    async def spend(self, user_id: UUID, wanted: int, least: int) -> int:
        """Take bytes of the account's day: as many as are left of those wanted. Not to be repeated.

        Raises:
            TooManyRequests: Fewer than the least are left, and none was taken.
            StoreUnavailable: They may be taken.
        """
        most = self._limits.per_account_and_day
        if not most:
            return wanted
        taken, left_ms = await self._scripts.run(
            "attachments_spend", [keyspace.attachment_bytes(user_id)], [wanted, least, most, _DAY_MS]
        )
        if not taken:
            RATE_LIMITED.labels(ATTACHMENT_BYTES.tier).inc()
            raise TooManyRequests(ATTACHMENT_BYTES.refusal, math.ceil(left_ms / 1000))
        return int(taken)

    async def give_back(self, user_id: UUID, size_bytes: int) -> None:
        """Put bytes back that `spend` took. Not to be repeated.

        Raises:
            StoreUnavailable: They may not be back before the day is over.
        """
        if size_bytes and self._limits.per_account_and_day:
            await self._scripts.run("attachments_unspend", [keyspace.attachment_bytes(user_id)], [size_bytes])

    async def reserve(self, wanted: int, least: int, until_ms: int) -> int:
        """Take bytes of those that all may have, counted until then or `settle`. Not to be repeated.

        Without a limit they are counted all the same: there may be one tomorrow.

        Raises:
            StorageFull: Fewer than the least are left, and none was taken.
            StoreUnavailable: They may be taken.
        """
        args = [wanted, least, self._limits.of_all, until_ms]
        taken = await self._scripts.run("attachments_reserve", [keyspace.ATTACHMENT_TOTALS], args)
        if not taken:
            self._refused_bytes = least
            STORAGE_ERRORS.labels("put").inc()
            raise StorageFull("attachments have all the bytes that they may have together")
        return int(taken)

    async def settle(self, reserved: int, until_ms: int, kept: int, kept_until_ms: int) -> None:
        """Count what is kept of an upload until its end, and no more what was reserved. Not to be repeated.

        Raises:
            StoreUnavailable: It may be counted as it was reserved.
        """
        if reserved:
            args = [reserved, until_ms, kept, kept_until_ms]
            await self._scripts.run("attachments_settle", [keyspace.ATTACHMENT_TOTALS], args)

    async def has_room(self, now_ms: int) -> bool:
        """Whether there is room for what was refused last, in what all may have.

        Raises:
            StoreUnavailable: Nobody knows.
        """
        if not self._limits.of_all:
            return True
        flat = await self._commands.call("HGETALL", keyspace.ATTACHMENT_TOTALS)
        total = sum(int(count) for until, count in zip(flat[::2], flat[1::2], strict=True) if int(until) > now_ms)
        if total + max(1, self._refused_bytes) > self._limits.of_all:
            return False
        self._refused_bytes = 0
        return True
