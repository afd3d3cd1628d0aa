"""A share of a core for a process, so that a machine of few cores can show what one of many would do.

Control groups, version 1 or 2 (kernel.org: admin-guide/cgroup-v2, scheduler/sched-bwc), which take root.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

_PERIOD_US = 10_000
_UNIFIED = Path("/sys/fs/cgroup")
_OF_VERSION_1 = Path("/sys/fs/cgroup/cpu")


@contextmanager
def limited(share: float, pids: list[int]) -> Iterator[None]:
    """Give each process so much of one core, for the length of the block.

    Raises:
        OSError: Not on this system, or not for this user.
    """
    with ExitStack() as groups:
        for pid in pids:
            groups.enter_context(_limited(share, pid))
        yield


def are_quotas_possible() -> bool:
    """Whether `limited` works here."""
    try:
        with _group(1.0):
            return True
    except OSError:
        return False


@contextmanager
def _limited(share: float, pid: int) -> Iterator[None]:
    with _group(share) as group:
        _write(group / "cgroup.procs", pid)
        try:
            yield
        finally:
            _write(group.parent / "cgroup.procs", pid)  # a group that has a process cannot be removed


@contextmanager
def _group(share: float) -> Iterator[Path]:
    quota_us = round(share * _PERIOD_US)
    is_unified = (_UNIFIED / "cgroup.controllers").exists()
    group = (_UNIFIED if is_unified else _OF_VERSION_1) / f"obscura-bench-{uuid4().hex}"
    group.mkdir()
    try:
        if is_unified:
            _write(group / "cpu.max", f"{quota_us} {_PERIOD_US}")
        else:
            _write(group / "cpu.cfs_period_us", _PERIOD_US)
            _write(group / "cpu.cfs_quota_us", quota_us)
        yield group
    finally:
        group.rmdir()


def _write(file: Path, value: object) -> None:
    file.write_text(f"{value}\n")
