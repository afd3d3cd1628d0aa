"""The questions of docs/redis-cli.md: each line runs as it stands and gets its answer."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from obscura.embedded_redis.binary import find_redis_server
from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Api
from tests.support.pages import rows
from tests.support.redis import RedisServer


def ask(server: RedisServer, line: str) -> list[str]:
    """Run a redis-cli line against a server, with the redis-cli that came with it or any other."""
    beside = Path(find_redis_server().path)
    found = [shutil.which(beside.with_name(name)) or shutil.which(name) for name in ("redis-cli", "valkey-cli")]
    program = next(filter(None, found), None) or pytest.skip("there is no redis-cli on this machine")
    command = [program, "-s", str(server.path), *shlex.split(line)[1:]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


async def test_every_question_to_redis_gets_its_answer(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Each redis-cli line runs as it stands and says what the table claims."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    user = await api.register(pre_keys=7)
    await user.deliver(user, b"one", b"three")
    ended = await user.another_session()
    await ended.logout()
    alive = await user.another_session()
    uploaded = await api.call("POST", "/v1/attachments", token=user.token, data=b"12345")
    placeholders = {"alice": user.name, "<uid>": user.id, "<sid>": user.session_id, "<id>": uploaded.json["id"]}
    answers = {}
    for question, cell in rows("docs/redis-cli.md", "Questions to Redis"):
        line = re.findall(r"`(redis-cli [^`]+)`", cell)[0]
        for placeholder, value in placeholders.items():
            line = line.replace(placeholder, value)
        answers[question] = ask(own_redis, line)

    about = answers.pop("Who is this user?")
    assert (about[0], about[2:]) == (user.name, [str(user.device.registration_id), user.device.identity_key])
    assert len(answers.pop("What is there of this user?")) >= 6
    assert int(answers.pop("How many bytes wait in it?")[0]) == len(b"onethree") + 2 * 4
    assert re.fullmatch(r"\d{13}-\d+", answers.pop("Since when does the oldest wait?")[0])
    assert {alive.session_id, user.session_id} == set(answers.pop("Which sessions does this user have?")[::2])
    assert re.fullmatch(r"\d{13}", answers.pop("When did this one log in?")[0])
    assert ended.session_id in answers.pop("Which sessions ended lately?")
    assert answers.pop("How large is this attachment?")[0] == "5"
    assert answers.pop("Which attachments go next?")[0] == uploaded.json["id"]
    assert len(answers.pop("Who cleans up now?")) == 2
    answers.pop("Which inboxes wait for clean-up?")  # none, perhaps; that it ran is enough
    assert answers == {
        "Who is alice?": [user.id],
        "How long is this inbox?": ["2"],
        "How many one-time keys are left?": ["7"],
    }
