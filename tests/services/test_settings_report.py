"""Nodes of one relay with different settings are noticed."""

import logging
from collections.abc import AsyncIterator

import pytest

from obscura.redis_client.client import connect_to
from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.services.settings_report import SettingsReport
from obscura.store.node_settings import NodeReports, NodeSettings, read_reports
from tests.support.inspection import metric
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

MINE, THEIRS = NodeSettings(30, 1000, 64), NodeSettings(7, 1000, 32)
KEY = "obscura:nodes"


@pytest.fixture
async def commands(own_redis: RedisServer) -> AsyncIterator[CommandExecutor]:
    commands = connect_to(own_redis.url, "obscura:test")
    await commands.start()
    yield commands
    await commands.stop()


@pytest.fixture
def reports(commands: CommandExecutor) -> NodeReports:
    return NodeReports(commands, Scripts(commands))


def differs(setting: str) -> float:
    return metric("obscura_settings_differ", setting=setting)


async def test_settings_that_differ_are_told_once(reports: NodeReports, caplog: pytest.LogCaptureFixture) -> None:
    """With their values; and again when they differ anew."""
    mine = SettingsReport(reports, "mine", MINE, 0.02)
    mine.start()
    for times in (1, 2):
        await reports.report("theirs", THEIRS)
        await eventually(lambda: differs("ttl_days") == differs("max_inbox_bytes") == 1)
        assert differs("max_inbox_size") == 0
        await reports.report("theirs", MINE)
        await eventually(lambda: differs("ttl_days") == differs("max_inbox_bytes") == 0)
        told = [(record.setting, record.values) for record in caplog.records if record.levelno == logging.WARNING]
        assert sorted(told) == [("OBSCURA_MAX_INBOX_BYTES", "32, 64")] * times + [("OBSCURA_TTL_DAYS", "7, 30")] * times
    await mine.stop()


async def test_a_node_that_stops_takes_its_report_back(reports: NodeReports, commands: CommandExecutor) -> None:
    """Its successor may have other settings, and they differ from nobody's."""
    report = SettingsReport(reports, "mine", MINE)
    report.start()

    async def is_told() -> bool:
        return (await read_reports(commands)) == {"mine": MINE}

    await eventually(is_told)
    await report.stop()
    assert await read_reports(commands) == {}


async def test_what_is_no_report_of_this_release_is_passed_over(reports: NodeReports, own_redis: RedisServer) -> None:
    """A later release may tell more; what is older than a minute, or damaged, goes."""
    with own_redis.client as redis:
        now_ms = int(redis.time()[0]) * 1000
        redis.hset(KEY, "later", f'{now_ms} {{"ttl_days": 30, "colour": "blue"}}')
        redis.hset(KEY, "odd", f"{now_ms} what?")
        redis.hset(KEY, "damaged", "what?")
        redis.hset(KEY, "old", f'{now_ms - 61_000} {{"ttl_days": 1}}')
        assert await reports.report("mine", MINE) == {
            "later": NodeSettings(30),
            "odd": NodeSettings(),
            "mine": MINE,
        }
        assert redis.hlen(KEY) == 3
        assert 0 < redis.pttl(KEY) <= 60_000
        redis.config_set("maxmemory", 1)
        assert (await reports.report("mine", THEIRS))["mine"] == THEIRS
