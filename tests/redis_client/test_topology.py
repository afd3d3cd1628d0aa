"""Which server of a Cluster is believed about who owns the slots."""

import asyncio
import itertools
from typing import Any

import hiredis
import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.addresses import Address
from obscura.redis_client.topology import fetch_slot_map

UP, CUT_OFF = b"cluster_state:ok\r\ncluster_slots_assigned:16384", b"cluster_state:fail\r\ncluster_slots_assigned:16384"


class Server:
    """A server of a Cluster as far as it is asked, its own endpoint and connection."""

    def __init__(self, info: bytes | Exception, owner_port: int = 0) -> None:
        self.info = info
        self.owner_port = owner_port
        self.is_closed = False

    async def connect(self) -> "Server":
        return self

    async def ask(self, *command: str) -> Any:
        if isinstance(self.info, Exception):
            raise self.info
        slots = [[0, 16_383, [b"10.0.0.9", self.owner_port, b"id", []]]]
        return {("CLUSTER", "INFO"): self.info, ("CLUSTER", "SLOTS"): slots}[command]

    def close(self) -> None:
        self.is_closed = True


class Servers:
    """The servers by their addresses, as `ClusterEndpoints` has them."""

    def __init__(self, *servers: Server) -> None:
        self.by_address = {Address("10.0.0.1", port): server for port, server in enumerate(servers)}

    def at(self, address: Address) -> Server:
        return self.by_address[address]


async def owner_by(*servers: Server) -> int:
    """The port of the owner that is believed, which must not depend on who is asked first."""
    ports = set()
    for order in itertools.islice(itertools.permutations(servers), 6):
        known = Servers(*order)
        slot_map = await fetch_slot_map(known, known.by_address)  # type: ignore[arg-type]
        ports.add(slot_map.masters[0].port)
    (port,) = ports
    return port


async def test_one_that_sees_the_cluster_up_is_believed() -> None:
    """Whatever one says that is cut off from the others, and though some do not answer."""
    servers = [Server(UP, 1), Server(CUT_OFF, 2), Server(ConnectionError("reset"))]
    assert await owner_by(*servers) == 1
    assert servers[0].is_closed
    assert servers[2].is_closed


async def test_one_that_is_cut_off_is_better_than_none() -> None:
    """Some of the slots may still be served."""
    assert await owner_by(Server(hiredis.ReplyError("LOADING")), Server(CUT_OFF, 2)) == 2


async def test_none_that_answers_is_unavailable() -> None:
    """With what the last one said."""
    with pytest.raises(StoreUnavailable, match="no server of the Cluster answers: cannot connect to Redis: disabled"):
        await owner_by(Server(hiredis.ReplyError("ERR disabled")))
    with pytest.raises(StoreUnavailable, match="no server of the Cluster answers: no address"):
        await owner_by()


async def test_a_cancelled_question_leaves_no_connection() -> None:
    """It is closed in the middle."""

    class Silent(Server):
        async def ask(self, *command: str) -> Any:
            await asyncio.Event().wait()

    silent = Silent(UP)
    asking = asyncio.create_task(owner_by(silent))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert silent.is_closed
