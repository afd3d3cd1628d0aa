"""Redis Cluster: one connection to each master, and every command sent to the master that owns its slot.

Every command names a key, or a channel, whose slot says which master it is for
(redis.io/docs/reference/cluster-spec). A master that is not the owner any more refuses
and says who is; such a refusal proves that nothing was done, so the command is sent there.
The slot map is fetched again after a refusal, while a master is away, and now and
then: a promoted replica is found without anybody's command failing on it first.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import hiredis

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.redis import REDIS_REDIRECTIONS, REDIS_SLOT_CHANGES
from obscura.redis_client.addresses import Address
from obscura.redis_client.commands import Standalone
from obscura.redis_client.connection import CommandConnection
from obscura.redis_client.endpoints import ClusterEndpoints, StaticEndpoint
from obscura.redis_client.slot_map import SLOTS, SlotMap, parse_redirection, slot_of, slot_of_key
from obscura.redis_client.topology import fetch_slot_map
from obscura.redis_client.transport import REPLY_TIMEOUT_SECS, Argument
from obscura.redis_client.vetting import Vetting
from obscura.tasks import end_tasks, gather_all

log = logging.getLogger(__name__)

_REFRESH_PERIOD_SECS = 5.0
_HASTY_REFRESH_PERIOD_SECS = 0.25  # while something is wrong
_CALL_TIMEOUT_SECS = 1.8  # for a command with all that it is sent to: a request is refused within 2 s
_KEPT_SECS = 10.0  # the connection to a master without slots, after a redirection to it
_SLOT_UNDER_WAY_SECS = 0.02  # between two looks at a slot that is being moved


class Cluster:
    """The masters of one Cluster.

    Args:
        endpoints: Some of its servers; the others are learned from them.
        replicas: So many must have a copy of what is written with `call_replicated`.
        new_vetting: Makes what says whether a server may be used; one for each.

    Attributes:
        on_change: Called whenever slots may have changed their owner.
        master_addresses: Those that own slots, as far as is known.
    """

    publish = "SPUBLISH"

    def __init__(
        self,
        endpoints: ClusterEndpoints,
        replicas: int = 0,
        new_vetting: Callable[[], Vetting | None] = lambda: None,
    ) -> None:
        self._endpoints = endpoints
        self._replicas = replicas
        self._new_vetting = new_vetting
        self.master_addresses: tuple[Address, ...] = ()
        self._by_slot: list[Address | None] = [None] * SLOTS
        self._has_moved = False  # a slot, since the slot map was fetched
        self._clients: dict[Address, Standalone] = {}
        self._redirected: dict[Address, float] = {}  # when a command was last sent there by another master
        self._is_refresh_due = asyncio.Event()
        self._refreshing: asyncio.Task[None] | None = None
        self._stopping: dict[asyncio.Task[None], Standalone] = {}
        self._is_stopped = False
        self._loop = asyncio.get_running_loop()
        self.on_change: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Learn the owners of all slots and connect to each.

        Raises:
            StoreUnavailable: No server answers, a master is away, or that is no Cluster.
        """
        slot_map = await self._fetch_slot_map()
        self._by_slot, self.master_addresses = slot_map.by_slot, slot_map.masters
        self._clients = {address: self._new_client(address) for address in slot_map.masters}
        await gather_all(client.start() for client in self._clients.values())
        self._refreshing = asyncio.create_task(self._keep_slot_map())

    async def stop(self) -> None:
        self._is_stopped = True
        stopping = dict(self._stopping)
        await end_tasks(self._refreshing, *stopping)
        await asyncio.gather(*(client.stop() for client in [*self._clients.values(), *stopping.values()]))

    @property
    def masters(self) -> Collection[CommandConnection]:
        return [self._clients[address].connection for address in self.master_addresses]

    def one_for_each_master(self, keys: Sequence[str]) -> Collection[str]:
        return {self.owner_of(key): key for key in keys}.values()

    def endpoint(self, address: Address) -> StaticEndpoint:
        """Where connections to a master are made."""
        return self._endpoints.at(address)

    def owner_of(self, key: str) -> Address | None:
        """The master that a key or channel belongs to; None: nobody owns its slot now."""
        return self._by_slot[slot_of_key(key)]

    def refresh(self) -> None:
        """Have the slot map fetched again soon, because the caller found a sign that it changed."""
        self._is_refresh_due.set()

    async def call(self, *command: Argument) -> Any:
        return await self._route(command, replicated=False)

    async def call_replicated(self, *command: Argument) -> Any:
        return await self._route(command, replicated=True)

    async def _route(self, command: tuple[Argument, ...], replicated: bool) -> Any:
        slot = slot_of(command)
        address = self._by_slot[slot]
        deadline = self._loop.time() + _CALL_TIMEOUT_SECS
        try:
            try:
                return await self._call_at(address, command, replicated)
            except hiredis.ReplyError as error:
                refusal = error
            async with asyncio.timeout_at(deadline):  # a timer costs, so only those that are sent on get one
                return await self._follow_redirections(slot, address, refusal, command, replicated)
        except TimeoutError as error:
            raise StoreUnavailable("a slot is being moved, or its owner cannot be found") from error
        except StoreUnavailable:
            self.refresh()
            raise

    async def _follow_redirections(
        self,
        slot: int,
        asked: Address | None,
        refusal: hiredis.ReplyError,
        command: tuple[Argument, ...],
        replicated: bool,
    ) -> Any:
        """Send a command where its refusal says, until somebody runs it or refuses it as such."""
        pause_secs = 0.0  # the first goes at once; those that lead in a circle do not keep the servers busy
        while redirection := parse_redirection(str(refusal), asked):
            REDIS_REDIRECTIONS.labels(redirection.kind).inc()
            await asyncio.sleep(max(pause_secs, _SLOT_UNDER_WAY_SECS if redirection.kind == "TRYAGAIN" else 0))
            pause_secs = _SLOT_UNDER_WAY_SECS
            asked = redirection.address or self._by_slot[slot]
            if redirection.kind == "MOVED":  # for good, while ASK is for this one command
                self._set_owner(slot, asked)
            if asked is not None:
                self._redirected[asked] = self._loop.time()
            try:
                return await self._call_at(asked, command, replicated, asking=redirection.kind == "ASK")
            except hiredis.ReplyError as error:
                refusal = error
        raise refusal

    def _set_owner(self, slot: int, owner: Address | None) -> None:
        if self._by_slot[slot] != owner:
            self._by_slot[slot] = owner
            self._has_moved = True
        self.refresh()

    async def _call_at(
        self, address: Address | None, command: tuple[Argument, ...], replicated: bool, asking: bool = False
    ) -> Any:
        if address is None:
            raise StoreUnavailable("nobody owns the slot of this key")
        client = self._clients.get(address) or self._add_client(address)
        call = client.call_replicated if replicated else client.call
        return await call(*command, asking=asking)

    def _new_client(self, address: Address) -> Standalone:
        return Standalone(self.endpoint(address), self._replicas, self._new_vetting())

    def _add_client(self, address: Address) -> Standalone:
        if self._is_stopped:
            raise StoreUnavailable("the connections to the Cluster are closed")
        client = self._clients[address] = self._new_client(address)
        client.start_in_background()
        return client

    def _remove_client(self, address: Address) -> None:
        client = self._clients.pop(address)
        task = asyncio.create_task(self._stop_later(client))
        self._stopping[task] = client
        task.add_done_callback(self._stopping.pop)

    async def _stop_later(self, client: Standalone) -> None:
        await asyncio.sleep(REPLY_TIMEOUT_SECS)  # for the replies that are on their way
        await client.stop()

    def _apply_slot_map(self, slot_map: SlotMap) -> None:
        """Connect to new masters, and disconnect from those that own no slot and have not been redirected to lately."""
        has_changed = self._has_moved or slot_map.by_slot != self._by_slot
        self._by_slot, self.master_addresses, self._has_moved = slot_map.by_slot, slot_map.masters, False
        for address in slot_map.masters:
            if address not in self._clients:
                self._add_client(address)
        oldest = self._loop.time() - _KEPT_SECS
        self._redirected = {address: when for address, when in self._redirected.items() if when > oldest}
        for address in set(self._clients) - {*slot_map.masters, *self._redirected}:
            self._remove_client(address)
        if has_changed:
            REDIS_SLOT_CHANGES.inc()
            log.warning("the owners of slots in the Cluster have changed", extra={"masters": len(slot_map.masters)})
            self.on_change()

    async def _keep_slot_map(self) -> None:
        while True:
            is_well = all(master.is_connected for master in self.masters)
            try:
                async with asyncio.timeout(_REFRESH_PERIOD_SECS if is_well else _HASTY_REFRESH_PERIOD_SECS):
                    await self._is_refresh_due.wait()
                    await asyncio.sleep(_SLOT_UNDER_WAY_SECS)  # one refresh for all that asked for it
            except TimeoutError:
                pass  # nobody asked: it is fetched all the same, now and then
            self._is_refresh_due.clear()
            try:
                self._apply_slot_map(await self._fetch_slot_map())
            except StoreUnavailable as error:
                log.debug("nobody tells who owns the slots", extra={"reason": str(error)})
                await asyncio.sleep(_HASTY_REFRESH_PERIOD_SECS)

    async def _fetch_slot_map(self) -> SlotMap:
        return await fetch_slot_map(self._endpoints, {*self.master_addresses, *self._endpoints.seeds})
