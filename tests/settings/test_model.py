"""The settings of a node: their defaults, and which go together."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from obscura.settings.loading import load
from obscura.settings.model import Settings
from tests.support.settings import SECRET, refusal

pytestmark = pytest.mark.libraries


def test_defaults_are_those_of_the_design() -> None:
    """With nothing configured each setting has the default that the design gives it."""
    settings = load([], {})
    assert (settings.host, settings.port, settings.mgmt_port, settings.workers) == ("0.0.0.0", 3000, 9090, 1)
    assert (settings.redis_url, settings.jwt_secret, settings.data_dir) == (None, (), Path("obscura-data"))
    assert (settings.access_token_ttl_secs, settings.refresh_token_ttl_days, settings.ttl_days) == (900, 30, 30)
    assert (settings.max_inbox_size, settings.batch_limit, settings.max_sockets) == (1000, 50, 20_000)
    assert (settings.pre_key_refill_threshold, settings.max_pre_keys) == (20, 100)
    assert (settings.ws_ping_interval_secs, settings.ws_ping_timeout_secs) == (30, 10)
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.1/32", "fc00::/7", "::1/128")
    assert settings.trusted_proxies == tuple(map(ip_network, private))


def test_settings_made_directly_read_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Settings of a test does not depend on the machine."""
    monkeypatch.setenv("OBSCURA_PORT", "1234")
    assert Settings().port == 3000


def test_settings_cannot_be_changed() -> None:
    """The model is frozen."""
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_an_inbox_holds_at_least_one_message_of_the_greatest_size() -> None:
    """Else the byte limit would be broken by a message that is allowed."""
    assert "OBSCURA_MAX_INBOX_BYTES" in refusal(MAX_INBOX_BYTES="1000", MAX_MESSAGE_BYTES="1001")


def test_a_reserve_leaves_keys_for_others() -> None:
    """A reserve of all the keys there can be would be a switch, and there is one for that."""
    assert refusal(PRE_KEY_RESERVE="100").endswith("must be smaller than OBSCURA_MAX_PRE_KEYS")
    assert load([], {"OBSCURA_PRE_KEY_RESERVE": "99"}).pre_key_reserve == 99


@pytest.mark.parametrize("name", ["MAX_SOCKETS", "MAX_SOCKETS_PER_ADDRESS", "RATE_LIMIT_BURST"])
def test_a_limit_that_processes_divide_is_one_for_each_at_least(name: str) -> None:
    """Else a node would admit more than it says, or one of its processes nobody."""
    said = refusal(WORKERS="3", **{name: "2"})
    assert said == f"OBSCURA_{name} must not be smaller than OBSCURA_WORKERS, which divide it among them"
    assert load([], {"OBSCURA_WORKERS": "3", f"OBSCURA_{name}": "3"}).workers == 3


def test_a_refresh_token_lives_no_shorter_than_an_access_token() -> None:
    """Otherwise a session would end before its access token."""
    assert "OBSCURA_REFRESH_TOKEN_TTL_DAYS must not be shorter" in refusal(REFRESH_TOKEN_TTL_DAYS="0.01")


def test_the_two_ports_differ_unless_any_will_do() -> None:
    """The same port twice is refused; 0 twice is two free ones."""
    assert "OBSCURA_PORT and OBSCURA_MGMT_PORT must differ" in refusal("--port", "9090")
    assert load(["--port", "0", "--mgmt-port", "0"], {}).port == 0


def test_a_shared_redis_needs_a_secret_of_the_operator() -> None:
    """A secret made up by each node would be refused by the others."""
    assert refusal(REDIS_URL="redis://h").startswith("OBSCURA_REDIS_URL needs OBSCURA_JWT_SECRET")


def test_the_model_shows_no_secret() -> None:
    """Neither its repr nor pydantic's own error holds one."""
    settings = Settings(jwt_secret=(SECRET,), redis_url="redis://:hush@h", storage_secret_key="hush")
    assert "hush" not in repr(settings)
    assert SECRET not in repr(settings)
    with pytest.raises(ValidationError) as caught:
        Settings(jwt_secret=("hush",))
    assert "hush" not in str(caught.value)
