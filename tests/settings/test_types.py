"""What each type of setting accepts, and what is said of the rest."""

import pytest

from obscura.settings.loading import load
from tests.support.settings import SECRET, refusal

pytestmark = pytest.mark.libraries


@pytest.mark.parametrize("level", ["INFO", "Warn", "error"])
def test_log_levels_of_other_servers_are_understood(level: str) -> None:
    """Case does not matter, and warn is warning."""
    assert load([], {"OBSCURA_LOG_LEVEL": level}).log_level in {"info", "warning", "error"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("TTL_DAYS", "0"),
        ("TTL_DAYS", "-1"),
        ("TTL_DAYS", "nan"),
        ("TTL_DAYS", "inf"),
        ("ACCESS_TOKEN_TTL_SECS", "0"),
        ("MAX_PRE_KEYS", "0"),
        ("MAX_INBOX_BYTES", "64MB"),
        ("REFRESH_TOKEN_RETRY", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,localhost"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("REDIS_WAIT_REPLICAS", "-1"),
        ("RATE_LIMIT_PER_SECOND", "0"),
        ("AUTH_RATE_LIMIT_BURST", "0"),
        ("LOGIN_RATE_LIMIT_PER_MINUTE", "-1"),
        ("MAX_SOCKETS_PER_ACCOUNT", "0"),
        ("MAX_SOCKETS_PER_ADDRESS", "0"),
        ("PRE_KEY_RESERVE", "-1"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: str) -> None:
    """Values of the wrong kind or out of range stop the start."""
    assert refusal(**{name: value}).startswith(f"OBSCURA_{name} ")


@pytest.mark.parametrize(
    "origin", ["https://a.example", "http://localhost:8080", "http://[::1]:8080", "capacitor://localhost", "app://."]
)
def test_origins_of_pages_and_apps_are_taken(origin: str) -> None:
    """As browsers and web views write them."""
    assert load([], {"OBSCURA_CORS_ORIGINS": origin}).cors_origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "a.example", "https://", "https://*.a.example", "https://A.example", "https://u@a.example"),
        *("https://a.example/", "https://a.example?x", "https://a.example b", "https://a.example:443", "http://a:80"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    """It would allow nobody, or everybody, without a word."""
    said = refusal(CORS_ORIGINS=f"https://b.example,{origin}")
    example = "https://chat.example or http://localhost:8080"
    assert said == f"OBSCURA_CORS_ORIGINS has {origin!r}, which is no origin like {example}"


def test_lifetimes_may_be_fractional() -> None:
    """Days can be given in parts."""
    settings = load(["--ttl-days", "0.25", "--refresh-token-ttl-days=1.5"], {})
    assert (settings.ttl_days, settings.refresh_token_ttl_days) == (0.25, 1.5)


def test_a_short_secret_is_refused_among_long_ones() -> None:
    """Each entry of the list has to have 32 bytes."""
    assert refusal(JWT_SECRET=f"{SECRET},{'x' * 31}") == "OBSCURA_JWT_SECRET has an entry shorter than 32 bytes"
    assert load([], {"OBSCURA_JWT_SECRET": "x" * 32}).jwt_secret == ("x" * 32,)
