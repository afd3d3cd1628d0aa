"""The mark of the relay's data."""

from tests.support.redis import RedisServer
from tests.support.scripts import ScriptRunner

KEY = "obscura:data:0"


def test_the_first_mark_stays(own_redis: RedisServer) -> None:
    """Whoever comes later reads it, and may make its generation rise."""
    scripts = ScriptRunner(own_redis)
    assert scripts.run("data_mark", [KEY], ["first", 0]) == [b"first", b"0"]
    assert scripts.run("data_mark", [KEY], ["second", 1]) == [b"first", b"1"]
    assert scripts.run("data_mark", [KEY], ["third", 0]) == [b"first", b"1"]
    scripts.close()


def test_a_full_memory_takes_the_mark(own_redis: RedisServer) -> None:
    """A node can start then."""
    scripts = ScriptRunner(own_redis)
    scripts.redis.config_set("maxmemory", 1)
    assert scripts.run("data_mark", [KEY], ["first", 1]) == [b"first", b"1"]
    scripts.close()
