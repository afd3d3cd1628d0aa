"""The files of config/ say what the settings and the server say."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from obscura.redis_client.requirements import check_info
from obscura.settings.loading import load
from obscura.settings.model import SETTINGS, Settings
from tests.support.redis import RedisServer

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
EXAMPLE = re.compile(r"^#(OBSCURA_[A-Z0-9_]+)=(.*)$", re.MULTILINE)

UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


def read(name: str) -> str:
    return (CONFIG / name).read_text()


def directives(text: str) -> list[str]:
    """The lines that are no comment and not blank."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_the_example_environment_lists_every_setting() -> None:
    """In the order of the help, each with its default; all of them commented out."""
    expected = [(one.env, "" if one.default == "unset" else one.default) for one in SETTINGS.values()]
    assert EXAMPLE.findall(read("example.env")) == expected
    assert directives(read("example.env")) == []


def test_the_example_environment_changes_nothing() -> None:
    """With every comment sign taken away it is what the server does with nothing configured."""
    assert load([], dict(EXAMPLE.findall(read("example.env")))) == Settings()


@pytest.mark.parametrize("name", ["docker-compose.yaml", "haproxy.cfg", "nginx.conf", "redis.conf", "obscura.service"])
def test_settings_named_in_a_file_exist(name: str) -> None:
    """But for the addresses that haproxy's own environment gives it."""
    named = {
        word for word in re.findall(r"OBSCURA_[A-Z_0-9]+", read(name)) if not re.search(r"BIND|NODE_|MGMT_\d", word)
    }
    assert named
    assert named <= {setting.env for setting in SETTINGS.values()}


def test_redis_conf_keeps_what_it_is_given(own_redis: RedisServer) -> None:
    """A server with that file passes the check of the start, and is durable."""
    own_redis.stop()
    given = [line.split(" ", 1) for line in directives(read("redis.conf")) if not line.startswith(("port", "bind"))]
    options = [word for name, value in given for word in (f"--{name}", *value.replace('""', "").split(" "))]
    own_redis.start(*options)
    with own_redis.client as client:
        info = {name: str(value) for name, value in client.info("all").items()}
        assert client.config_get("appendfsync")["appendfsync"] == "everysec"
    check_info(info)
    assert (info["aof_enabled"], info["maxmemory_policy"]) == ("1", "noeviction")


def test_nginx_lets_every_body_pass() -> None:
    """Its limit is above that of an attachment and of a message: the node is the one to refuse."""
    number, unit = re.findall(r"client_max_body_size (\d+)([kmg]);", read("nginx.conf"))[0]
    settings = Settings()
    assert int(number) * UNITS[unit] > max(settings.storage_max_size_bytes, settings.max_message_bytes)
    assert "proxy_request_buffering off;" in read("nginx.conf")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("nginx.conf", r"keepalive_timeout (\d+)s"), ("haproxy.cfg", r"timeout http-keep-alive (\d+)s")],
)
def test_a_balancer_gives_up_an_idle_connection_first(name: str, pattern: str) -> None:
    """Before the 75 seconds of the node."""
    assert int(re.findall(pattern, read(name))[0]) < 75


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("nginx.conf", r"proxy_read_timeout (\d+)s"), ("haproxy.cfg", r"timeout tunnel (\d+)s")],
)
def test_a_balancer_outlasts_the_pings(name: str, pattern: str) -> None:
    """A socket that answers its pings is never cut for being idle."""
    settings = Settings()
    longest = max(map(int, re.findall(pattern, read(name))))
    assert longest > settings.ws_ping_interval_secs + settings.ws_ping_timeout_secs


def test_the_compose_file_is_whole() -> None:
    """What a service names is there, both nodes are alike, and only the balancer has a port to the outside."""
    compose: dict[str, Any] = yaml.safe_load(read("docker-compose.yaml"))
    services = compose["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["haproxy"]
    differing = [
        {key: value for key, value in services[name].items() if key != "networks"} for name in ("node1", "node2")
    ]
    assert differing[0] == differing[1]
    addresses = {name: services[name]["networks"]["relay"]["ipv4_address"] for name in ("node1", "node2", "haproxy")}
    for number in (1, 2):
        assert services["haproxy"]["environment"][f"OBSCURA_NODE_{number}"] == f"{addresses[f'node{number}']}:3000"
    trusted = services["node1"]["environment"]["OBSCURA_TRUSTED_PROXIES"]
    assert trusted == f"{addresses['haproxy']}/32"
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert {name for name in mounted if name.startswith("./")} == {"./haproxy.cfg", "./redis.conf"}
    assert {name for name in mounted if not name.startswith("./")} == compose["volumes"].keys()


def test_the_settings_of_the_compose_file_are_right() -> None:
    """The nodes would start with them."""
    environment = yaml.safe_load(read("docker-compose.yaml"))["services"]["node1"]["environment"]
    values = {name: re.sub(r"^\$\{.*\}$", "x" * 32, value) for name, value in environment.items()}
    assert load([], values).storage_bucket == "attachments"


def test_the_unit_leaves_time_and_files_enough() -> None:
    """More seconds than a stop takes, more open files than sockets, and no way to gain rights."""
    unit = dict(line.split("=", 1) for line in directives(read("obscura.service")) if "=" in line)
    settings = Settings()
    assert int(unit["TimeoutStopSec"]) > settings.drain_secs + settings.shutdown_timeout_secs
    assert int(unit["LimitNOFILE"]) > settings.max_sockets
    assert (unit["NoNewPrivileges"], unit["ProtectSystem"], unit["DynamicUser"]) == ("yes", "strict", "yes")
    assert (unit["KillMode"], unit["Restart"]) == ("mixed", "on-failure")


def test_the_image_is_built_of_what_is_there() -> None:
    """Every file copied is in the repository and let through, and no secret is."""
    dockerfile, ignored = (ROOT / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text()
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for name in line.split()
    ]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {f"!{name}" for name in copied} <= set(ignored.split())
    assert re.search(r"^USER obscura$", dockerfile, re.MULTILINE)
    assert re.search(r'^CMD \["serve"\]$', dockerfile, re.MULTILINE)
    assert "SECRET" not in dockerfile
