"""A disk of a few MiB that a test may fill."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(mib: int) -> Iterator[Path]:
    """A file system of its own with so many MiB, empty; skips the test where none may be mounted."""
    with tempfile.TemporaryDirectory(prefix="obscura-", dir="/tmp") as folder:
        options = ["-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs"]
        try:
            mounted = subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            mounted = False
        if not mounted:
            pytest.skip("this user may mount no file system")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
