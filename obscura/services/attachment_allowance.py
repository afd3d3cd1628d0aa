"""What one upload may take of the bytes that its account and all attachments may have."""

from contextlib import suppress
from uuid import UUID

from obscura.errors import StoreUnavailable
from obscura.store.attachment_budgets import AttachmentBudgets


class Allowance:
    """Takes bytes for an upload before they are stored, and gives back what is not needed.

    If a process dies on the way, the account has them back after a day, and all after ``until_ms``.
    """

    def __init__(self, budgets: AttachmentBudgets, user_id: UUID, until_ms: int) -> None:
        self._budgets = budgets
        self._user_id = user_id
        self._until_ms = until_ms
        self._spent = self._reserved = 0

    async def require(self, size_bytes: int, ahead_bytes: int = 0) -> None:
        """Have bytes for an upload of this size, and some ahead if there are more.

        Raises:
            TooManyRequests: The account has no more today.
            StorageFull: All attachments together have no more.
            StoreUnavailable: Redis is away.
        """
        least = size_bytes - min(self._spent, self._reserved)
        if least > 0:
            spent = await self._budgets.spend(self._user_id, least + ahead_bytes, least)
            self._spent += spent
            self._reserved += await self._budgets.reserve(spent, least, self._until_ms)

    async def keep(self, size_bytes: int, until_ms: int) -> None:
        """Have an upload counted by what it turned out to be, until it expires."""
        await self._settle(size_bytes, until_ms)

    async def drop(self) -> None:
        """Give back all of it."""
        await self._settle(0, 0)

    async def _settle(self, kept: int, until_ms: int) -> None:
        spent, reserved = self._spent - kept, self._reserved
        self._spent = self._reserved = 0
        with suppress(StoreUnavailable):  # then they come back by themselves
            await self._budgets.settle(reserved, self._until_ms, kept, until_ms)
            await self._budgets.give_back(self._user_id, spent)
