"""The tour of the README: its script and its commands do what it says, on a real node."""

import json
import re
import secrets
import shutil
import sys
from pathlib import Path
from uuid import UUID

import pytest

from obscura.node.node import Node
from obscura.settings.model import Settings
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.support.client import Api
from tests.support.commands import run
from tests.support.limits import NO_LIMITS
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
UUID_TEXT = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


async def output_of(*command: str) -> str:
    """Run a command to its end in the project's root and return what it printed; it must succeed."""
    done = await run(*command, is_merged=True)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
async def limited_node(start_node: StartNode, own_redis: RedisServer) -> Node:
    """A node as a reader starts it: with the limits that other tests do without."""
    limits = {name: Settings.model_fields[name].default for name in NO_LIMITS}
    return await start_node(redis_url=own_redis.url, **limits)


async def test_the_script_holds_its_conversation(limited_node: Node, own_redis: RedisServer) -> None:
    """examples/tour.py runs to its end against a node, and leaves an empty inbox behind: all was acked."""
    output = await output_of(sys.executable, "examples/tour.py", f"http://127.0.0.1:{limited_node.api_port}")
    alice, bob = re.findall(rf"^\w+ is ({UUID_TEXT})$", output, re.MULTILINE)
    assert f"received: hello bob (from {alice[0]})" in output
    assert f"received: are you there? (from {alice[0]})" in output
    assert f"received: note to myself (from {bob[0]})" in output
    assert output.count("received:") == 3
    assert output.endswith("both are logged out\n")
    assert "alice has bob's keys: signed 1, one-time 1" in output
    with own_redis.client as client:
        await eventually(lambda: client.exists(keyspace.inbox(UUID(bob[0]))) == 0)


async def test_the_script_prints_a_body_that_registers(api: Api) -> None:
    """With --registration it is the helper of the commands."""
    name = f"carol-{secrets.token_hex(4)}"
    body = json.loads(await output_of(sys.executable, "examples/tour.py", "--registration", name))
    assert body["username"] == name
    assert (await api.call("POST", "/v1/users", json=body)).status == 201


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
async def test_the_commands_of_the_readme_work(api: Api) -> None:
    """The README's curl commands, run as they stand, register two users and send from one to the other."""
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"```sh\n(.*?)```", readme[readme.index("## The first message") :], re.DOTALL)[0]
    tag = secrets.token_hex(4)
    commands = commands.replace("localhost:3000", f"127.0.0.1:{api.port}").replace(".venv/bin/python", sys.executable)
    output = await output_of("sh", "-eu", "-c", re.sub(r"\(register \w+", rf"\g<0>-{tag}", commands))
    bundle = json.loads(re.findall(r"^{.*}$", output, re.MULTILINE)[0])
    assert bundle["oneTimePreKey"]["keyId"] == 1
    assert output.rstrip().endswith("201")
