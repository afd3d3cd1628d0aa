"""The table of limits: its rows name settings that there are, and read them rightly."""

import pytest

from obscura.observability.metrics.http import RATE_LIMITED
from obscura.settings.limits import QUOTAS, RATE_LIMITS, SOCKET_LIMITS, TIERS, RateLimitConfig, RateLimitRow
from obscura.settings.model import SETTINGS, Settings


def test_each_limit_is_counted_under_a_name_of_its_own() -> None:
    """Its series are there from the start, so that the first refusal is seen as a rise."""
    assert len(set(TIERS)) == len(TIERS)
    (family,) = RATE_LIMITED.collect()
    assert {sample.labels["tier"] for sample in family.samples} == set(TIERS)


def test_each_limit_has_its_settings() -> None:
    """What a row names can be set."""
    named = [name for row in RATE_LIMITS for name in (row.rate_setting, row.burst_setting)]
    named += [row.setting for row in (*SOCKET_LIMITS, *QUOTAS)]
    assert set(named) <= SETTINGS.keys()
    assert {name for name in SETTINGS if "rate_limit" in name} <= set(named)


@pytest.mark.parametrize("row", RATE_LIMITS, ids=lambda row: row.tier)
def test_a_rate_is_told_per_second(row: RateLimitRow) -> None:
    """Whatever the unit of the setting."""
    settings = Settings(**{row.rate_setting: 30, row.burst_setting: 7})  # type: ignore[arg-type]
    per_second = 30 / 60 if row.rate_setting.endswith("per_minute") else 30
    assert row.config(settings) == RateLimitConfig(row.tier, per_second, 7, row.refusal)
