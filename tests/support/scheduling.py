"""Which worker of pytest-xdist runs what: the tests of a module together, the modules that take longest first."""

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# The seconds of the modules that take the most, on two idle cores. Wrong ones cost time at the end of a run, no test.
SECS: dict[str, float] = {}
_SECS_OF_ANOTHER_TEST = 0.04


class LongestFirst(LoadScopeScheduling):
    """A worker that is nearly done takes the group that takes the longest of those that are left."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = max(self.workqueue, key=lambda group: secs_of(group, len(self.workqueue[group])))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def group_of(test_id: str) -> str:
    """What the tests of one group have in common: they run in one worker, and share what their module started."""
    return test_id.partition("::")[0]


def secs_of(group: str, count: int) -> float:
    """About how long that many tests of a group take."""
    return SECS.get(group.removeprefix("tests/"), count * _SECS_OF_ANOTHER_TEST)
