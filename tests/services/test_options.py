"""What services go by, made from the settings: each number in the unit of its name."""

import pytest

from obscura.services.attachments import AttachmentOptions
from obscura.services.keys import KeyOptions
from obscura.services.sessions import SessionOptions
from obscura.settings.model import Settings
from obscura.store.messages import InboxLimits

DAY_MS = 86_400_000


def test_times_are_in_milliseconds() -> None:
    """A fraction of a day too."""
    settings = Settings(ttl_days=0.5, refresh_token_ttl_days=1.5)
    assert InboxLimits.from_settings(settings).ttl_ms == DAY_MS // 2
    assert AttachmentOptions.from_settings(settings).ttl_ms == DAY_MS // 2
    assert SessionOptions.from_settings(settings, "secret").refresh_ttl_ms == DAY_MS * 3 // 2


def test_each_setting_has_its_place() -> None:
    """No two numbers are taken for each other."""
    settings = Settings(max_inbox_size=11, max_inbox_bytes=2**24, max_pre_keys=30, pre_key_refill_threshold=4)
    limits, keys = InboxLimits.from_settings(settings), KeyOptions.from_settings(settings)
    assert (limits.max_count, limits.max_bytes) == (11, 2**24)
    assert (keys.max_pre_keys, keys.threshold, keys.reserve) == (30, 4, settings.pre_key_reserve)


@pytest.mark.parametrize("is_on", [True, False])
def test_there_is_a_key_for_retries_if_they_are_allowed(is_on: bool) -> None:
    """The same on every node with the same secret, and not that secret."""
    settings = Settings(refresh_token_retry=is_on)
    keys = [SessionOptions.from_settings(settings, secret).retry_key for secret in ("one", "one", "another")]
    assert (keys[0] is not None) is is_on
    assert keys[0] == keys[1]
    assert (keys[0] != keys[2]) is is_on
    assert keys[0] != b"one"
