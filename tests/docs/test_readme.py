"""What the README names exists, and what exists is named there."""

import configparser
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from obscura.api.routes import API_ROUTES, MANAGEMENT_ROUTES
from obscura.embedded_redis.binary import find_redis_server
from obscura.gateway import hub
from obscura.node.node import Node
from obscura.settings.model import SETTINGS
from tests.conftest import StartNode
from tests.support.client import Api
from tests.support.redis import RedisServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", README)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = README[README.index(f"# {heading}\n") :]
    table = re.findall(r"\n((?:\|.*\n)+)", section)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def packages(text: str) -> set[str]:
    return set(re.findall(r"^([\w-]+)", text, re.MULTILINE))


SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def test_every_setting_it_names_exists() -> None:
    """A variable in the README is one that the server reads."""
    named = set(re.findall(r"OBSCURA_[A-Z_]+", README))
    assert named
    assert named <= {setting.env for setting in SETTINGS.values()}


def test_every_path_it_names_exists() -> None:
    """A file or folder in the README is in the repository, or is the data directory."""
    files = {code.split()[0] for code in CODE if re.match(r"(script|examples|lua|proto|tests|obscura|config)/", code)}
    files |= set(re.findall(r"\b(?:script|examples)/[\w.-]+", README))
    assert {"script/server", "script/test", "examples/tour.py"} <= files
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []
    assert SETTINGS["data_dir"].default.removeprefix("./") + "/" in CODE


def test_every_route_it_names_exists() -> None:
    """A path in the README is one that is served."""
    served = {route.path for route in [*API_ROUTES, *MANAGEMENT_ROUTES]}
    named = {path.partition("?")[0] for path in re.findall(r"(?<=[ `])(/(?:v1/)?[a-z]+[\w/{}.]*)", "\n".join(CODE))}
    assert {"/v1/gateway", "/v1/keys", "/readyz", "/openapi.yaml"} <= named
    assert [path for path in sorted(named) if not any(route.startswith(path) for route in served)] == []


def test_the_map_of_the_rooms_lists_every_module() -> None:
    """One line per module, no line for what is gone."""
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "obscura").rglob("*.py") if file.name != "__init__.py"}
    listed = [cells[0].strip("`") for cells in rows("Map of the rooms")]
    assert sorted(listed) == sorted(modules)


def test_the_map_follows_the_layers() -> None:
    """Imports go down the list, so the folders stand in the order of the layers."""
    folders = list(dict.fromkeys(cells[0].strip("`").split("/")[1] for cells in rows("Map of the rooms")))
    order = ["cli.py", "node.py", "api", "gateway", "services", "store", "wire.py", "frames.py", "crypto", "config.py"]
    assert [folder for folder in folders if folder in order] == order


def test_the_table_of_dependencies_is_that_of_the_package() -> None:
    """Each dependency has its reason; no row is left of one that went."""
    listed = {cells[0].strip("`") for cells in rows("Dependencies")}
    assert listed == packages(SETUP["options"]["install_requires"])


def test_every_extra_is_mentioned() -> None:
    """What can be installed besides is said below the table."""
    section = README[README.index("# Dependencies\n") : README.index("# Map of the rooms\n")]
    assert {f"`{name}`" for name in SETUP["options.extras_require"]} <= set(re.findall(r"`\w+`", section))


def test_every_close_code_of_the_gateway_is_listed() -> None:
    """A client author finds what to do for each code that the server sends."""
    sent = {str(value) for name, value in vars(hub).items() if name.startswith("CLOSE_")} | {"1009"}
    listed = ", ".join(cells[0] for cells in rows("How a connection ends, and what to do"))
    assert sent <= set(listed.split(", "))
    assert "1000" not in listed


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
    for question, cell in rows("Questions to Redis"):
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
