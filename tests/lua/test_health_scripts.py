"""The script that tries whether a message could be stored."""

import pytest
from redis.exceptions import ResponseError

from tests.support.redis import RedisServer
from tests.support.scripts import ScriptRunner

KEY = "obscura:health:0"


def test_nothing_is_left_of_a_probe(scripts: ScriptRunner) -> None:
    """However often it is run."""
    for _ in range(2):
        assert scripts.run("health_probe", [KEY], ["PUBLISH"]) == 1
        assert not scripts.redis.exists(KEY)


def test_a_full_memory_refuses_it(own_redis: RedisServer) -> None:
    """As it refuses a message."""
    scripts = ScriptRunner(own_redis)
    scripts.redis.config_set("maxmemory", 1)
    with pytest.raises(ResponseError, match="used memory > 'maxmemory'"):
        scripts.run("health_probe", [KEY], ["PUBLISH"])
    scripts.close()


@pytest.mark.parametrize("right", ["hmget", "xlen", "time", "xadd", "pexpire", "hset", "publish"])
def test_a_missing_right_refuses_it_and_leaves_no_more_than_one_entry(own_redis: RedisServer, right: str) -> None:
    """Each right that a message needs is tried."""
    scripts = ScriptRunner(own_redis)
    scripts.redis.execute_command("ACL", "SETUSER", "default", f"-{right}")
    for _ in range(3):
        with pytest.raises(ResponseError, match=r"NOPERM|can't run this command"):
            scripts.run("health_probe", [KEY], ["PUBLISH"])
    scripts.redis.execute_command("ACL", "SETUSER", "default", f"+{right}")
    assert scripts.redis.type(KEY) in {b"none", b"stream"}
    assert scripts.redis.xlen(KEY) <= 1
    assert scripts.run("health_probe", [KEY], ["PUBLISH"]) == 1
    scripts.close()
