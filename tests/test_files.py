"""Directories that are on disk, also where a file system cannot promise it."""

import errno
import os
import stat
from pathlib import Path

import aiohttp
import pytest

from obscura.files import make_directory, sync_directory
from tests.conftest import StartNode
from tests.support.client import Api


@pytest.fixture(params=[errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP])
def no_directory_syncs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directory of this machine is on a file system that cannot sync one."""
    refuse_syncs(monkeypatch, request.param)


def refuse_syncs(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    fsync = os.fsync

    def fsync_of_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_of_files)


@pytest.mark.usefixtures("no_directory_syncs")
async def test_a_node_starts_and_takes_attachments_where_no_directory_can_be_synced(
    start_node: StartNode, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A fresh start with its own Redis and secret, an upload, and storage that says so."""
    node = await start_node(redis_url=None, jwt_secret="", data_dir=tmp_path / "new" / "data")
    user = await Api(session, node.api_port).register()
    uploaded = await user.api.call("POST", "/v1/attachments", token=user.token, data=b"12345")
    assert uploaded.status == 201
    got = await user.api.call("GET", f"/v1/attachments/{uploaded.json['id']}", token=user.token)
    assert got.body == b"12345"
    assert (await node.readiness())["storage"] == "ok"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this machine has no such file system")
def test_a_file_system_that_cannot_sync_a_directory_is_taken_as_it_is() -> None:
    """A real one: /proc answers EINVAL."""
    descriptor = os.open("/proc", os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        os.fsync(descriptor)
    os.close(descriptor)
    sync_directory(Path("/proc"))


def test_a_disk_that_fails_at_the_sync_of_a_directory_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """EIO is no lack of a feature: what was written may be lost."""
    refuse_syncs(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        sync_directory(tmp_path)


def test_every_new_directory_is_synced_into_its_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only those that were made, and for their owner alone."""
    synced: list[str] = []
    monkeypatch.setattr("obscura.files.sync_directory", lambda folder: synced.append(folder.name))
    folder = tmp_path / "a" / "b"
    make_directory(folder)
    assert sorted(synced) == ["a", tmp_path.name]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    synced.clear()
    make_directory(folder)
    assert synced == []
