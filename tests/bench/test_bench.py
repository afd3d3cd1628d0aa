"""`obscura bench` against real nodes, and against a relay that has a fault."""

import asyncio
import json
import os
import re
import signal
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from benchmarks.bare_server import application
from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Api
from tests.support.commands import OBSCURA, Run, run
from tests.support.faulty_relay import STALL_SECS, FaultyRelay
from tests.support.limits import NO_LIMITS
from tests.support.processes import descendants_of, is_running
from tests.support.waiting import eventually

pytestmark = pytest.mark.processes

DEADLINE_SECS = 40.0
SHORT = ("--duration", "0.4", "--warmup", "0.1", "--users", "4", "--concurrency", "4", "--processes", "1")
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


class BenchRun(Run):
    """A run of the command."""

    @property
    def result(self) -> dict[str, Any]:
        """The only result in its JSON."""
        (result,) = json.loads(self.output)["results"]
        return dict(result)


async def bench(*arguments: str) -> BenchRun:
    done = await run(*OBSCURA, "bench", *arguments)
    return BenchRun(done.exit_code, done.output, done.errors)


def url(node: Node) -> str:
    return f"http://127.0.0.1:{node.api_port}"


async def short_run(node: Node, scenario: str, *arguments: str) -> dict[str, Any]:
    """A short run of one scenario that must find everything in order."""
    done = await bench(scenario, "--url", url(node), *SHORT, *arguments, "--json", "-")
    assert done.exit_code == 0, done
    assert done.result["scenario"] == scenario
    assert done.result["errors"] == {}
    return done.result


@pytest.mark.real_start
async def test_send_counts_every_201(node: Node) -> None:
    """As many messages are sent as are answered; nobody takes them."""
    result = await short_run(node, "send")
    messages = result["messages"]
    assert messages["sent"] == messages["accepted"] >= result["operations"]["send"]["count"] > 0
    assert messages["delivered"] is messages["acked"] is None


@pytest.mark.parametrize("load", [(), ("--rate", "100")], ids=["closed", "open"])
async def test_relay_accounts_for_every_message(node: Node, load: tuple[str, ...]) -> None:
    """What was sent was answered, delivered and acked once."""
    messages = (await short_run(node, "relay", *load))["messages"]
    assert messages["sent"] == messages["accepted"] == messages["delivered"] == messages["acked"] > 0
    assert (messages["duplicates"], messages["lost"]) == (0, 0)


async def test_relay_spreads_over_nodes_and_processes(start_node: StartNode) -> None:
    """With two nodes and two processes there is one balance."""
    nodes = [await start_node(), await start_node()]
    urls = [word for node in nodes for word in ("--url", url(node))]
    arguments = ("--duration", "0.5", "--warmup", "0", "--users", "4", "--processes", "2", "--concurrency", "5")
    done = await bench("relay", *urls, *arguments, "--json", "-")
    assert done.exit_code == 0, done
    assert len(done.result["generator"]["cpu_shares"]) == 2
    assert done.result["messages"]["sent"] == done.result["messages"]["acked"] > 0


async def test_backlog_drains_every_inbox(node: Node) -> None:
    """All that waited arrives and is acked, and each user's drain is timed."""
    result = await short_run(node, "backlog", "--pending", "150")
    assert result["messages"]["sent"] == result["messages"]["acked"] == 600
    assert result["operations"]["deliver"]["count"] == 600
    assert result["operations"]["drain"]["count"] == 4


async def test_bundles_go_on_when_keys_are_used_up(node: Node) -> None:
    """A user without one-time keys makes room for a new one."""
    result = await short_run(node, "bundles", "--users", "1")
    assert result["operations"]["fetch"]["count"] > 0


async def test_idle_opens_every_socket(start_node: StartNode) -> None:
    """The sockets are open at once, and the memory of the named process is watched."""
    node = await start_node(**NO_LIMITS)
    result = await short_run(node, "idle", "--sockets", "40", "--pid", str(os.getpid()))
    assert result["operations"]["connect"]["count"] == 20  # the first half is open before the clock starts
    assert result["servers"][0]["rss_before_kib"] > 0


async def test_login_checks_who_is_logged_in(node: Node) -> None:
    assert (await short_run(node, "login", "--users", "1"))["operations"]["login"]["count"] > 0


async def test_attachments_come_back_as_they_went(node: Node) -> None:
    operations = (await short_run(node, "attachments", "--size", "50000"))["operations"]
    assert operations["upload"]["count"] > 0
    assert operations["download"]["count"] > 0


async def test_mixed_does_everything(node: Node) -> None:
    """Messages, bundles, attachments and logins, with one balance."""
    result = await short_run(node, "mixed", "--duration", "3")
    assert {"deliver", "send", "fetch", "upload", "download", "login"} <= result["operations"].keys()
    assert result["messages"]["sent"] == result["messages"]["acked"]


async def test_a_bare_server_is_measured_by_the_same_generator() -> None:
    """The references need no accounts."""
    async with TestServer(application()) as server:
        target = f"http://127.0.0.1:{server.port}"
        done = await bench("send", "echo", "--reference", "--url", target, *SHORT, "--json", "-")
    assert done.exit_code == 0, done
    sent, echoed = json.loads(done.output)["results"]
    assert sent["messages"]["accepted"] == sent["messages"]["sent"] > 0
    assert echoed["messages"]["delivered"] == echoed["messages"]["sent"] > 0


@pytest.mark.parametrize(
    ("fault", "column", "count"), [("drop", "lost", 1), ("double", "duplicates", 1), ("500", "sent", None)]
)
async def test_a_message_that_goes_wrong_is_reported(fault: str, column: str, count: int | None) -> None:
    """One message of many that is lost, doubled or refused makes the exit code 1."""
    async with FaultyRelay(fault).running() as relay:
        done = await bench("relay", "--url", relay.url, *SHORT, "--timeout", "1", "--json", "-")
    assert done.exit_code == 1, done
    assert not done.result["ok"]
    if count is None:
        assert done.result["errors"] == {"HTTP 500": 1}
        assert done.result["messages"]["accepted"] == done.result["messages"]["sent"] - 1
    else:
        assert done.result["messages"][column] == count


async def test_a_relay_without_a_fault_passes() -> None:
    """The relay of these tests is not faulty by itself."""
    async with FaultyRelay().running() as relay:
        done = await bench("relay", "--url", relay.url, *SHORT, "--json", "-")
    assert done.exit_code == 0, done


async def test_a_message_that_was_changed_is_reported() -> None:
    """The recipient gets what was sent, byte for byte."""
    async with FaultyRelay("change").running() as relay:
        done = await bench("relay", "--url", relay.url, *SHORT, "--timeout", "1", "--json", "-")
    assert done.exit_code == 1
    assert done.result["errors"]["message was changed"] >= 1


async def test_acks_that_are_forgotten_are_reported() -> None:
    """A message that comes again on the next connection was not acked."""
    async with FaultyRelay("forget acks").running() as relay:
        done = await bench("relay", "--url", relay.url, *SHORT, "--rate", "50", "--json", "-")
    assert done.exit_code == 1
    messages = done.result["messages"]
    assert messages["delivered"] == messages["sent"] > 0 == messages["acked"]


async def test_latency_counts_from_the_intended_start() -> None:
    """A server that stalls once makes all who would have sent meanwhile wait, and the percentiles say so."""
    async with FaultyRelay("stall", at=100).running() as relay:
        load = ("--rate", "100", "--duration", "3", "--warmup", "0", "--concurrency", "2", "--processes", "1")
        done = await bench("send", "--url", relay.url, *load, "--users", "2", "--json", "-")
    assert done.exit_code == 0, done
    latency_ms = done.result["operations"]["send"]["latency_ms"]
    assert latency_ms["p90"] > 0.4 * STALL_SECS * 1000  # about a third were to start during the stall
    assert latency_ms["p99"] > 0.8 * STALL_SECS * 1000
    assert done.result["operations"]["send"]["count"] == 300


async def test_a_server_that_falls_behind_is_not_waited_for_without_end() -> None:
    """What could not even be started within the timeout after the end is counted as failed."""
    async with FaultyRelay("stall", at=2).running() as relay:
        load = ("--rate", "5000", "--duration", "0.5", "--warmup", "0", "--concurrency", "1", "--timeout", "0.2")
        done = await bench("send", "--url", relay.url, *load, "--users", "1", "--processes", "1", "--json", "-")
    assert done.exit_code == 1
    assert done.result["errors"]["not started in time"] > 0


async def test_a_limit_of_the_server_is_explained() -> None:
    """A 429 names the settings to raise."""
    async with FaultyRelay("limited").running() as relay:
        done = await bench("send", "--url", relay.url, *SHORT)
    assert done.exit_code == 1
    assert "HTTP 429" in done.errors
    assert "OBSCURA_AUTH_RATE_LIMIT_PER_SECOND" in done.errors
    assert "Traceback" not in done.errors


async def test_tokens_that_end_too_early_are_told_of_before_the_load() -> None:
    async with FaultyRelay("short tokens").running() as relay:
        done = await bench("send", "--url", relay.url, *SHORT)
    assert done.exit_code == 1
    assert "OBSCURA_ACCESS_TOKEN_TTL_SECS" in done.errors


async def test_a_limit_met_during_the_load_is_explained(start_node: StartNode) -> None:
    """The table says what to raise, and the exit code is 1."""
    node = await start_node(rate_limit_per_second=1, rate_limit_burst=5)
    done = await bench("send", "--url", url(node), *SHORT)
    assert done.exit_code == 1
    assert re.search(r"× HTTP 429; .*OBSCURA_RATE_LIMIT_PER_SECOND", done.output)


async def test_a_server_that_is_not_there_is_one_sentence() -> None:
    done = await bench("relay", "--url", "http://127.0.0.1:1", *SHORT)
    assert done.exit_code == 1
    assert done.output == ""
    assert len(done.errors.splitlines()) == 1
    assert "http://127.0.0.1:1: a user could not be registered: no connection" in done.errors


async def test_accounts_may_come_from_a_file(node: Node, api: Api, tmp_path: Path) -> None:
    """Who has many accounts, or tokens of their own making, registers none."""
    users = [await api.register() for _ in range(2)]
    file = tmp_path / "accounts"
    file.write_text("".join(json.dumps({"id": user.id, "token": user.token}) + "\n" for user in users))
    arguments = ("--users", "2", "--accounts", str(file), "--json", "-")
    done = await bench("relay", "--url", url(node), *SHORT, *arguments)
    assert done.exit_code == 0, done
    refused = await bench("relay", "--url", url(node), *SHORT, *arguments[2:], "--users", "3")
    assert refused.exit_code == 1
    assert "3 users are wanted" in refused.errors


async def test_the_json_and_the_plot_hold_what_the_table_says(node: Node, tmp_path: Path) -> None:
    """The table is for eyes; the file has the same figures, and the run second by second."""
    file, plot = tmp_path / "found.json", tmp_path / "found.svg"
    arguments = ("--duration", "2", "--json", str(file), "--plot", str(plot), "--pin", "0")
    done = await bench("relay", "--url", url(node), *SHORT, *arguments)
    assert done.exit_code == 0, done
    found = json.loads(file.read_text())
    (result,) = found["results"]
    assert found["machine"].keys() == {"system", "python", "cpus"}
    assert {"deliver", "send"} == result["operations"].keys()
    deliver = result["operations"]["deliver"]
    assert deliver["latency_ms"].keys() == {"p50", "p90", "p99", "p99_9", "max", "mean"}
    assert f"{deliver['count']:,}" in done.output
    assert sum(second["operations"]["deliver"]["count"] for second in result["timeline"]) == deliver["count"]
    assert result["per_second"] == pytest.approx(deliver["count"] / result["duration_secs"], rel=0.01)
    assert result["generator"]["pinned_to"] == "0"
    assert "pinned to CPU 0" in done.errors
    assert ET.parse(plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert "<script" not in plot.read_text().replace('<script type="text/javascript">window.pygal', "")


@pytest.mark.real_start
async def test_no_token_shows(node: Node) -> None:
    """Neither the output nor the process list tells one."""
    running = asyncio.create_task(bench("relay", "--url", url(node), *SHORT, "--duration", "1"))
    commands = set[str]()
    while not running.done():
        commands |= set(descendants_of(os.getpid()).values())
        await asyncio.sleep(0.05)
    assert any("spawn_main" in command for command in commands)
    assert (await running).exit_code == 0
    for text in ((await running).output, (await running).errors, *commands):
        assert not JWT.search(text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.real_start
async def test_no_process_outlives_the_command(node: Node, number: signal.Signals) -> None:
    """However the command ends, its load ends with it."""
    command = (sys.executable, "-m", "obscura", "bench", "idle", "--url", url(node), *SHORT, "--duration", "600")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")  # the first one is multiprocessing's own
    try:
        workers = await eventually(lambda: [int(pid) for pid in children.read_text().split()][1:], DEADLINE_SECS)
        process.send_signal(number)
        async with asyncio.timeout(DEADLINE_SECS):
            assert await process.wait() == (1 if number == signal.SIGTERM else -number)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    await eventually(lambda: not any(is_running(worker) for worker in workers))
