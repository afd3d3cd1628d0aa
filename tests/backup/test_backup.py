"""`obscura backup` and `obscura restore`: what was answered before a backup is there after it is restored."""

import asyncio
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from redis import Redis

from obscura.node.node import Node
from obscura.tasks import end_tasks
from tests.conftest import StartNode
from tests.support.client import Api, User
from tests.support.commands import OBSCURA, Run, run
from tests.support.inspection import uuid_of
from tests.support.waiting import eventually

ConnectApi = Callable[[Node], Api]
OWN = {"redis_url": None, "jwt_secret": ""}


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a path short enough for sockets below it."""
    with tempfile.TemporaryDirectory(prefix="obscura-", dir="/tmp") as folder:
        yield Path(folder)


async def obscura(action: str, place: Path, data_dir: Path, **settings: object) -> Run:
    """Run the command with nothing set but the data directory and ``settings``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OBSCURA_")}
    given = {"data_dir": data_dir, **settings}
    environ = inherited | {f"OBSCURA_{name.upper()}": str(value) for name, value in given.items()}
    return await run(*OBSCURA, action, str(place), environ=environ)


@dataclass
class Load:
    """What a user was answered 201 for, while it goes on."""

    user: User
    sent: list[bytes] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)

    async def send_on(self) -> None:
        for number in count():
            body = b"message %d" % number
            if (await self.user.send(self.user, body)).status == 201:  # a slow disk may make it a 503
                self.sent.append(body)

    async def upload_on(self) -> None:
        while True:
            data = os.urandom(20_000)
            answer = await self.user.api.call("POST", "/v1/attachments", token=self.user.token, data=io.BytesIO(data))
            if answer.status == 201:
                self.stored[f"/v1/attachments/{answer.json['id']}"] = data


@asynccontextmanager
async def under_load(load: Load, socket: Path) -> AsyncIterator[None]:
    """Messages, attachments and rewrites of the append-only file, all the time."""

    async def rewrite_on() -> None:
        with Redis(unix_socket_path=str(socket)) as client:
            while True:
                if not client.info("persistence")["aof_rewrite_in_progress"]:
                    client.bgrewriteaof()
                await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(work()) for work in (load.send_on, load.upload_on, rewrite_on)]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        await end_tasks(*tasks)


async def test_backups_under_load_have_all_that_was_answered_before(
    start_node: StartNode, connect_api: ConnectApi, folder: Path
) -> None:
    """Each starts, with every message in order and every attachment whole; sessions go on, and nothing is left over."""
    node = await start_node(**OWN, data_dir=folder / "data", max_inbox_size=100_000)
    load = Load(await connect_api(node).register())
    before: list[tuple[int, dict[str, bytes]]] = []
    async with under_load(load, folder / "data/redis.sock"):
        for number in range(3):
            known = len(load.sent), len(load.stored)
            await eventually(lambda known=known: len(load.sent) > known[0] + 20 and len(load.stored) > known[1])
            before.append((len(load.sent), dict(load.stored)))
            done = await obscura("backup", folder / f"backup{number}", folder / "data")
            assert (done.exit_code, done.errors) == (0, "")
    assert not (folder / "data/dump.rdb").exists()
    for number, (sent, stored) in enumerate(before):
        data_dir = folder / f"restored{number}"
        done = await obscura("restore", folder / f"backup{number}", data_dir)
        assert (done.exit_code, done.errors) == (0, "")
        user = load.user.at(connect_api(await start_node(**OWN, data_dir=data_dir)))
        socket = await user.connect()
        for body in load.sent[:sent]:
            while (await socket.envelope()).message.content != body:
                pass  # one whose answer was a 503 may be there too
        for path, data in stored.items():
            assert (await user.api.call("GET", path, token=user.token)).body == data
        with Redis(unix_socket_path=str(data_dir / "redis.sock"), decode_responses=True) as client:
            listed = set(client.zrange("obscura:attachments:expiry", 0, -1))
        files = {file.name for file in (data_dir / "attachments").rglob("*") if file.is_file()}
        assert files <= listed
        assert (await user.send(user, b"goes on")).status == 201


async def test_a_damaged_or_unfinished_backup_is_not_restored(
    start_node: StartNode, connect_api: ConnectApi, folder: Path
) -> None:
    """One byte that changed, a file that is gone, no list of files: refused in a sentence, before anything is made."""
    node = await start_node(**OWN, data_dir=folder / "data")
    await connect_api(node).register()
    assert (await obscura("backup", folder / "backup", folder / "data")).exit_code == 0
    snapshot = folder / "backup/redis.rdb"
    whole = snapshot.read_bytes()
    snapshot.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert "redis.rdb is not as it was written" in (await obscura("restore", folder / "backup", folder / "new")).refusal
    snapshot.unlink()
    assert "redis.rdb is not as it was written" in (await obscura("restore", folder / "backup", folder / "new")).refusal
    (folder / "backup/SHA256SUMS").unlink()
    assert "is no finished backup" in (await obscura("restore", folder / "backup", folder / "new")).refusal
    assert not (folder / "new").exists()


async def test_neither_overwrites_anything(start_node: StartNode, connect_api: ConnectApi, folder: Path) -> None:
    """A directory in use is refused, and stays as it is."""
    node = await start_node(**OWN, data_dir=folder / "data")
    await connect_api(node).register()
    (folder / "full").mkdir()
    (folder / "full/mine").write_text("mine")
    assert "full is not empty" in (await obscura("backup", folder / "full", folder / "data")).refusal
    assert (await obscura("backup", folder / "backup", folder / "data")).exit_code == 0
    assert "is not empty" in (await obscura("restore", folder / "backup", folder / "data")).refusal
    assert (
        "is not empty"
        in (await obscura("restore", folder / "backup", folder / "new", storage_dir=folder / "full")).refusal
    )
    assert os.listdir(folder / "full") == ["mine"]
    modes = {file.stat().st_mode & 0o077 for file in (folder / "backup").rglob("*")}
    assert modes == {0}


async def test_what_cannot_be_backed_up_is_said_in_a_sentence(folder: Path) -> None:
    """No relay there, a Redis of one's own, and nothing named."""
    (folder / "data").mkdir()
    assert (
        "no server answers in the data directory"
        in (await obscura("backup", folder / "backup", folder / "data")).refusal
    )
    other = {"redis_url": "redis://redis.example", "jwt_secret": "x" * 40}
    assert "docs/backup.md" in (await obscura("backup", folder / "backup", folder / "data", **other)).refusal
    assert (await run(*OBSCURA, "backup")).exit_code == 2
    assert "usage: obscura backup DIR" in (await run(*OBSCURA, "restore", "--help")).output
    assert not (folder / "backup").exists()


async def test_no_node_starts_on_a_restore_that_was_not_finished(start_node: StartNode, folder: Path) -> None:
    """It would come up with a part of the data, or none."""
    (folder / "restore.unfinished").touch()
    with pytest.raises(Exception, match="was not finished: empty it, and restore again"):
        await start_node(**OWN, data_dir=folder)


async def test_attachments_that_a_backup_has_not_are_told(
    start_node: StartNode, connect_api: ConnectApi, folder: Path
) -> None:
    """The rest is restored."""
    node = await start_node(**OWN, data_dir=folder / "data")
    user = await connect_api(node).register()
    await user.api.call("POST", "/v1/attachments", token=user.token, data=b"12345")
    next((folder / "data/attachments").glob("??/*")).unlink()
    assert (await obscura("backup", folder / "backup", folder / "data")).exit_code == 0
    done = await obscura("restore", folder / "backup", folder / "new")
    assert (done.exit_code, done.errors) == (1, "obscura: 1 attachments are missing in the backup\n")
    assert (folder / "new").is_dir()
    assert uuid_of(user)
