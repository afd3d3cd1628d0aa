"""Asking the servers of a Cluster which master owns which slot."""

import random
from collections.abc import Iterable

from obscura.errors import StoreUnavailable
from obscura.redis_client.addresses import Address
from obscura.redis_client.endpoints import ClusterEndpoints
from obscura.redis_client.handshake import closed_on_failure
from obscura.redis_client.slot_map import SlotMap, parse_slot_map


async def fetch_slot_map(endpoints: ClusterEndpoints, addresses: Iterable[Address]) -> SlotMap:
    """Ask one server after the other, until one answers that does not see the Cluster down.

    One that sees it down may itself be cut off from it; its answer counts only if there is no better one.

    Raises:
        StoreUnavailable: None answers.
    """
    second_best: SlotMap | None = None
    reason = "no address"
    for address in sorted(addresses, key=lambda _: random.random()):  # noqa: S311  not a secret
        try:
            is_up, slot_map = await _ask(endpoints, address)
        except StoreUnavailable as error:
            reason = str(error)
            continue
        if is_up:
            return slot_map
        second_best = slot_map
    if second_best is None:
        raise StoreUnavailable(f"no server of the Cluster answers: {reason}")
    return second_best


async def _ask(endpoints: ClusterEndpoints, address: Address) -> tuple[bool, SlotMap]:
    transport = await endpoints.at(address).connect()
    try:
        async with closed_on_failure(transport):
            info = await transport.ask("CLUSTER", "INFO")
        async with closed_on_failure(transport):
            slots = await transport.ask("CLUSTER", "SLOTS")
    finally:
        transport.close()
    return b"cluster_state:ok" in info, parse_slot_map(slots, address)
