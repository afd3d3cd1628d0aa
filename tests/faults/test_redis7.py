"""The kinds of Redis that faults are injected into come up whole, and fail over."""

import pytest

from tests.support.redis7 import ClusterRedis, SentinelRedis
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(150)


async def test_sentinel_promotes_a_replica_when_its_master_dies() -> None:
    """Two replicas and three Sentinels agree on another master."""
    async with SentinelRedis() as group:
        first = group.master
        assert first is group.servers[0]
        first.kill()
        await eventually(lambda: group.master is not first, 60)


async def test_a_cluster_promotes_a_replica_when_a_master_dies() -> None:
    """Six servers, three of them masters, before and after."""
    async with ClusterRedis() as cluster:
        before = cluster.masters
        assert len(before) == 3
        before[0].kill()
        await eventually(lambda: len(cluster.masters) == 3 and before[0] not in cluster.masters, 60)
