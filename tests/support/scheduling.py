"""Which worker of pytest-xdist runs what: the tests of a module together, the modules that take longest first."""

from zlib import crc32

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# About the seconds that a module takes on an idle machine, where it is more than a few; wrong ones cost time, no test.
_SECS = {
    "faults/test_scenarios.py": 300,
    "processes/test_workers.py": 50,
    "bench/test_bench.py": 40,
    "cli/test_cli.py": 60,
    "api/test_fuzz.py": 30,
    "redis_client/test_cluster.py": 20,
    "redis_client/test_cluster_subscriber.py": 15,
    "redis_client/test_sentinel.py": 15,
    "inspect/test_command_over_groups.py": 15,
    "node/test_on_cluster.py": 15,
    "node/test_on_sentinel.py": 12,
    "node/test_shutdown.py": 12,
    "api/test_browser.py": 12,
    "blobs/test_blobs.py": 12,
    "deployment/test_proxies.py": 12,
    "api/test_attachments.py": 10,
    "gateway/test_socket_writer.py": 10,
    "observability/test_tracing.py": 8,
    "api/test_accounts.py": 8,
    "observability/test_metrics.py": 8,
    "redis_client/test_replication.py": 8,
    "http/test_floods.py": 6,
    "inspect/test_command.py": 6,
    "crypto/test_tokens.py": 6,
    "docs/test_tour.py": 5,
}
_SECS_OF_ANOTHER_TEST = 0.04
# Modules whose tests share nothing that is dear to start, so that several workers may have a part of them each. Not
# the faults: each loads a relay with hundreds of messages a second, and two at once measure each other.
_PARTS = {
    "bench/test_bench.py": 4,
    "cli/test_cli.py": 5,
    "processes/test_workers.py": 4,
    "api/test_fuzz.py": 2,
}


class LongestFirst(LoadScopeScheduling):
    """A worker that is nearly done takes the group that takes the longest of those that are left."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = max(self.workqueue, key=lambda group: secs_of(group, len(self.workqueue[group])))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def group_of(test_id: str) -> str:
    """The tests of one group run in one worker, and share what their module started: its path, or that and a part."""
    path, _, name = test_id.partition("::")
    module = path.removeprefix("tests/")
    parts = _PARTS.get(module, 1)
    return module if parts == 1 else f"{module}::{crc32(name.encode()) % parts}"


def secs_of(group: str, count: int) -> float:
    """About how long that many tests of a group take."""
    module = group.partition("::")[0]
    return _SECS[module] / _PARTS.get(module, 1) if module in _SECS else count * _SECS_OF_ANOTHER_TEST
