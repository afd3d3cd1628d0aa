"""A disk that attachments have filled: messages, logins and the node's own Redis go on."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Api, User
from tests.support.inspection import metric
from tests.support.outages import is_refusal
from tests.support.small_disk import small_disk

MIB = 2**20
DISK_MIB, RESERVE_MIB = 64, 16

ConnectApi = Callable[[Node], Api]


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(DISK_MIB) as folder:
        yield folder


async def upload(user: User, size_bytes: int) -> int:
    answer = await user.api.call("POST", "/v1/attachments", token=user.token, data=io.BytesIO(bytes(size_bytes)))
    assert answer.status == 201 or is_refusal(answer), answer
    return answer.status


async def test_one_account_that_fills_the_disk_stops_attachments_and_nothing_else(
    start_node: StartNode, connect_api: ConnectApi, disk: Path
) -> None:
    """All sends 201 and logins 200, Redis never restarts, and /readyz says that the storage has no room."""
    reserve = {"storage_min_free_bytes": RESERVE_MIB * MIB}
    node = await start_node(redis_url=None, jwt_secret="", data_dir=disk, **reserve)
    all_ok = await node.readiness()
    assert set(all_ok.values()) == {"ok"}
    one, other = [await connect_api(node).register() for _ in range(2)]
    restarts = metric("obscura_embedded_redis_restarts_total")
    stored = 0
    while await upload(one, 4 * MIB) == 201:
        stored += 1
    assert stored == (DISK_MIB - RESERVE_MIB) // 4 - 1  # what Redis has there is part of the rest
    assert await node.readiness() == all_ok | {"status": "degraded", "storage": "error"}
    assert {(await one.send(other, bytes(10_000))).status for _ in range(100)} == {201}
    assert (await other.api.login(other.name)).status == 200
    assert await upload(other, 4 * MIB) == 503
    assert metric("obscura_embedded_redis_restarts_total") == restarts
    shutil.rmtree(disk / "attachments")
    (disk / "attachments").mkdir()
    assert (await node.readiness())["storage"] == "ok"
    assert await upload(other, 4 * MIB) == 201


async def test_by_default_a_disk_with_little_room_takes_no_attachment(
    start_node: StartNode, connect_api: ConnectApi, disk: Path
) -> None:
    """The reserve is more than it has; messages go on."""
    node = await start_node(redis_url=None, jwt_secret="", data_dir=disk)
    user = await connect_api(node).register()
    assert await upload(user, 1) == 503
    assert (await node.readiness())["storage"] == "error"
    assert (await user.send(user, b"hello")).status == 201


async def test_a_write_that_was_refused_shows_until_one_is_taken(
    start_node: StartNode, connect_api: ConnectApi, disk: Path
) -> None:
    """Without a reserve, on a disk of its own that is full: the directory is there, and takes nothing."""
    node = await start_node(storage_dir=disk / "attachments", storage_min_free_bytes=0)
    user = await connect_api(node).register()
    (disk / "of others").write_bytes(bytes(DISK_MIB * MIB - 8192))
    assert (await node.readiness())["storage"] == "ok"
    assert await upload(user, MIB) == 503
    for _ in range(2):
        assert (await node.readiness())["storage"] == "error"
    (disk / "of others").unlink()
    assert (await node.readiness())["storage"] == "ok"
    assert [file.name for file in (disk / "attachments").rglob("*") if file.is_file()] == []
