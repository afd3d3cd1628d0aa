"""Redis Cluster: one connection to each master, and who owns which slot at this moment.

Every command names a key, or a channel, whose slot says which master it is for
(redis.io/docs/reference/cluster-spec). A master that is not the owner any more refuses
and says who is; such a refusal proves that nothing was done, so the command is sent there.
The table of owners is read again after a refusal, while a master is away, and now and
then: a promoted replica is found without anybody's command failing on it first.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from typing import Any

import hiredis

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.redis import REDIS_REDIRECTIONS, REDIS_SLOT_CHANGES
from obscura.redis_client.commands import Standalone
from obscura.redis_client.connection import Connection
from obscura.redis_client.endpoints import Address, ClusterAddresses, StaticEndpoint, ask
from obscura.redis_client.slot_map import SLOTS, Owners, parse_owners, parse_redirection, slot_of, slot_of_key
from obscura.redis_client.transport import REPLY_TIMEOUT_SECS, Argument
from obscura.tasks import all_of, end_tasks

log = logging.getLogger(__name__)

_READ_AGAIN_SECS = 5.0
_READ_AGAIN_SOON_SECS = 0.25  # while something is wrong
_ALL_SECS = 1.8  # for a command with all that it is sent to: a request is refused within 2 s
_KEPT_SECS = 10.0  # the connection to one that owns no slot, after it was asked for something
_SLOT_UNDER_WAY_SECS = 0.02  # between two looks at a slot that is being moved


class Cluster:
    """The masters of one Cluster.

    Args:
        addresses: Of some of its servers; the others are learned from them.
        replicas: So many must have a copy of what is written with `call_replicated`.

    Attributes:
        on_change: Called whenever slots may have changed their owner.
        masters: Those that own slots, as far as is known.
    """

    publish = "SPUBLISH"

    def __init__(self, addresses: ClusterAddresses, replicas: int = 0) -> None:
        self._addresses = addresses
        self._replicas = replicas
        self.masters: tuple[Address, ...] = ()
        self._by_slot: list[Address | None] = [None] * SLOTS
        self._has_moved = False  # a slot, since the owners were read
        self._connected: dict[Address, Standalone] = {}
        self._redirected: dict[Address, float] = {}  # when a command was last sent there by another master
        self._read_soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._leaving: dict[asyncio.Task[None], Standalone] = {}
        self._is_over = False
        self._loop = asyncio.get_running_loop()
        self.on_change: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Learn the owners and connect to all of them.

        Raises:
            StoreUnavailable: No server answers, a master is away, or that is no Cluster.
        """
        owners = await self._read_owners()
        self._by_slot, self.masters = owners.by_slot, owners.masters
        self._connected = {address: self._new_master(address) for address in owners.masters}
        await all_of(master.start() for master in self._connected.values())
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        self._is_over = True
        leaving = dict(self._leaving)
        await end_tasks(self._task, *leaving)
        await asyncio.gather(*(master.stop() for master in [*self._connected.values(), *leaving.values()]))

    @property
    def servers(self) -> Collection[Connection]:
        return [self._connected[address].connection for address in self.masters]

    def server(self, address: Address) -> StaticEndpoint:
        """Where connections to one of `masters` are made."""
        return self._addresses.server(address)

    def owner_of(self, key: str) -> Address | None:
        """The master that a key or channel belongs to; None: nobody owns its slot now."""
        return self._by_slot[slot_of_key(key)]

    def refresh(self) -> None:
        """Have the owners read again soon, for somebody found a sign that they changed."""
        self._read_soon.set()

    async def call(self, *command: Argument) -> Any:
        return await self._routed(command, copied=False)

    async def call_replicated(self, *command: Argument) -> Any:
        return await self._routed(command, copied=True)

    async def _routed(self, command: tuple[Argument, ...], copied: bool) -> Any:
        slot = slot_of(command)
        address = self._by_slot[slot]
        deadline = self._loop.time() + _ALL_SECS
        try:
            try:
                return await self._call_at(address, command, copied)
            except hiredis.ReplyError as error:
                refusal = error
            async with asyncio.timeout_at(deadline):  # a timer costs, so only those that are sent on get one
                return await self._follow_redirections(slot, address, refusal, command, copied)
        except TimeoutError as error:
            raise StoreUnavailable("a slot is being moved, or its owner cannot be found") from error
        except StoreUnavailable:
            self.refresh()
            raise

    async def _follow_redirections(
        self, slot: int, asked: Address | None, refusal: hiredis.ReplyError, command: tuple[Argument, ...], copied: bool
    ) -> Any:
        """Send a command where its refusal says, until somebody runs it or refuses it as such."""
        pause_secs = 0.0  # the first goes at once; those that lead in a circle do not keep the servers busy
        while redirection := parse_redirection(str(refusal), asked):
            REDIS_REDIRECTIONS.labels(redirection.kind).inc()
            await asyncio.sleep(max(pause_secs, _SLOT_UNDER_WAY_SECS if redirection.kind == "TRYAGAIN" else 0))
            pause_secs = _SLOT_UNDER_WAY_SECS
            asked = redirection.address or self._by_slot[slot]
            if redirection.kind == "MOVED":
                self._note_owner(slot, asked)
            if asked is not None:
                self._redirected[asked] = self._loop.time()
            try:
                return await self._call_at(asked, command, copied, asking=redirection.kind == "ASK")
            except hiredis.ReplyError as error:
                refusal = error
        raise refusal

    def _note_owner(self, slot: int, owner: Address | None) -> None:
        if self._by_slot[slot] != owner:
            self._by_slot[slot] = owner
            self._has_moved = True
        self.refresh()

    async def _call_at(
        self, address: Address | None, command: tuple[Argument, ...], copied: bool, asking: bool = False
    ) -> Any:
        if address is None:
            raise StoreUnavailable("nobody owns the slot of this key")
        master = self._connected.get(address) or self._connect_to(address)
        call = master.call_replicated if copied else master.call
        return await call(*command, asking=asking)

    def _new_master(self, address: Address) -> Standalone:
        return Standalone(self._addresses.server(address), self._replicas)

    def _connect_to(self, address: Address) -> Standalone:
        if self._is_over:
            raise StoreUnavailable("the connections to the Cluster are closed")
        master = self._connected[address] = self._new_master(address)
        master.start_connecting()
        return master

    def _leave(self, address: Address) -> None:
        master = self._connected.pop(address)
        task = asyncio.create_task(self._stop_later(master))
        self._leaving[task] = master
        task.add_done_callback(self._leaving.pop)

    async def _stop_later(self, master: Standalone) -> None:
        await asyncio.sleep(REPLY_TIMEOUT_SECS)  # for the replies that are on their way
        await master.stop()

    def _adopt(self, owners: Owners) -> None:
        """Connect to new masters, and leave those that own nothing any more and are not about to."""
        has_changed = self._has_moved or owners.by_slot != self._by_slot
        self._by_slot, self.masters, self._has_moved = owners.by_slot, owners.masters, False
        for address in owners.masters:
            if address not in self._connected:
                self._connect_to(address)
        oldest = self._loop.time() - _KEPT_SECS
        self._redirected = {address: when for address, when in self._redirected.items() if when > oldest}
        for address in set(self._connected) - {*owners.masters, *self._redirected}:
            self._leave(address)
        if has_changed:
            REDIS_SLOT_CHANGES.inc()
            log.warning("the owners of slots in the Cluster have changed", extra={"masters": len(self.masters)})
            self.on_change()

    async def _follow(self) -> None:
        while True:
            is_well = all(server.connected for server in self.servers)
            try:
                async with asyncio.timeout(_READ_AGAIN_SECS if is_well else _READ_AGAIN_SOON_SECS):
                    await self._read_soon.wait()
                    await asyncio.sleep(_SLOT_UNDER_WAY_SECS)  # one reading for all that noticed
            except TimeoutError:
                pass  # nobody noticed anything: the owners are read all the same, now and then
            self._read_soon.clear()
            try:
                self._adopt(await self._read_owners())
            except StoreUnavailable as error:
                log.debug("nobody tells who owns the slots", extra={"reason": str(error)})
                await asyncio.sleep(_READ_AGAIN_SOON_SECS)

    async def _read_owners(self) -> Owners:
        """Ask one server after the other. One that sees the Cluster down may be cut off from it: it counts last."""
        fallback: Owners | None = None
        known = {*self.masters, *self._addresses.seeds}
        reason = "no address"
        for address in sorted(known, key=lambda _: random.random()):  # noqa: S311  not a secret
            try:
                sees_all, owners = await self._ask_for_owners(address)
            except StoreUnavailable as error:
                reason = str(error)
                continue
            if sees_all:
                return owners
            fallback = owners
        if fallback is None:
            raise StoreUnavailable(f"no server of the Cluster answers: {reason}")
        return fallback

    async def _ask_for_owners(self, address: Address) -> tuple[bool, Owners]:
        connection = await self._addresses.server(address).connect()
        try:
            info = await ask(connection, "CLUSTER", "INFO")
            slots = await ask(connection, "CLUSTER", "SLOTS")
        finally:
            await connection.disconnect(nowait=True)
        return b"cluster_state:ok" in info, parse_owners(slots, address)
