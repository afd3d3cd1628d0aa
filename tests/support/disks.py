"""A disk of its own, small enough to be filled."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_STEP_BYTES = 4096


@contextmanager
def small_disk(size_bytes: int) -> Iterator[Path]:
    """Mount one in memory; skips the test where that is not allowed."""
    with tempfile.TemporaryDirectory(prefix="obscura-disk-", dir="/tmp") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", folder]
        if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("no disk can be mounted here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """The disk has no byte left, until the end."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(_STEP_BYTES))
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()
