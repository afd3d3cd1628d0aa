"""URLs of a Redis: of one server, of Sentinels, of a Cluster."""

import pytest

from obscura.settings.loading import load
from tests.support.settings import SECRET, refusal


@pytest.mark.parametrize("url", ["redis://h", "rediss://u:p@h:6380/1", "unix:///run/redis.sock", "redis://[::1]:6379"])
def test_urls_of_a_single_redis_are_taken(url: str) -> None:
    """TCP, TLS and unix sockets."""
    assert load([], {"OBSCURA_REDIS_URL": url, "OBSCURA_JWT_SECRET": SECRET}).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h/name",
        "redis+sentinel://h1:26379,h2,[2001:db8::1]:26380/name?db=2&sentinel_password=p",
        "rediss+sentinel://user:p%40ss@h1,h2/name",
        "redis+cluster://h",
        "redis+cluster://user:a,b@h1:7000,[::1]:7001,h3",
        "rediss+cluster://:p@h1,h2/?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_urls_of_several_servers_are_taken(url: str) -> None:
    """Through Sentinels, with the name of the service, and of a Cluster."""
    assert load([], {"OBSCURA_REDIS_URL": url, "OBSCURA_JWT_SECRET": SECRET}).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("h:6379", "http://h", "redis://h:pass", "redis://[::1", "unix://", "redis://:hush@h1,h2"),
        *("redis+sentinel://:hush@h", "redis+sentinel://h1,,h2/name", "redis+sentinel:///name"),
        *("redis+cluster://:hush@h1,h2:port", "redis+cluster://h/1", "redis+cluster://h:0", "unix+cluster://h"),
        *("redis+proxy://h", "redis+cluster://:hush@h1,h2:70000"),
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    """What is no URL of Redis, a Sentinel without a service, a Cluster with a database; no password is quoted."""
    said = refusal(REDIS_URL=url, JWT_SECRET=SECRET)
    assert said.startswith("OBSCURA_REDIS_URL must be like redis://host:6379/0")
    assert "hush" not in said
