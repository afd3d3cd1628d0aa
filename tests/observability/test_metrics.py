"""What /metrics says, that it says no more than it should, and that the page and the dashboard speak of the same."""

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import promql_parser
import pytest
import yaml
from prometheus_client import Metric

from obscura.api.routes import API_ROUTES, MANAGEMENT_ROUTES
from obscura.client.device_keys import Device, one_time_keys
from obscura.embedded_redis.server import EmbeddedRedis
from obscura.errors import StoreUnavailable
from obscura.node.node import Node
from obscura.observability.metrics import TOPICS
from obscura.redis_client.scripts import script_folder
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import Api, exchange
from tests.support.inspection import metric
from tests.support.limits import forwarded_for, new_address
from tests.support.node_process import serve
from tests.support.outages import killed, paused
from tests.support.raw_socket import RawSocket
from tests.support.redis import RedisServer
from tests.support.scrape import labels_of, scrape, series_names
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
DASHBOARD: Mapping[str, Any] = json.loads((ROOT / "config" / "grafana-dashboard.json").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((ROOT / "config" / "prometheus-alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

# Nothing as yet: what is counted is worth a line.
NOT_DRAWN: set[str] = set()
OF_EVERY_PYTHON_PROCESS = ("process_", "python_")
OF_PROMETHEUS = {"instance", "job", "le"}

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "other"}
COMMANDS = {
    *("DEL", "EXISTS", "GET", "HGET", "HMGET", "HSET", "INFO", "PEXPIREAT", "PING", "PTTL", "PUBLISH", "SET", "TIME"),
    *("XRANGE", "ZADD", "ZCARD", "ZRANGE", "ZRANGEBYSCORE", "ZREM"),
    *("SPUBLISH", "ROLE", "WAIT", "CLUSTER", "UNLINK", "SCAN"),
}

Families = Mapping[str, Metric]
LabelList = dict[str, set[str]]


async def use(api: Api) -> list[str]:
    """One of everything, right and wrong; returns names and ids that no metric may have."""
    alice, bob = await api.register(), await api.register(pre_keys=1)
    socket = await bob.connect()
    await socket.status()
    await alice.deliver(bob, b"hello")
    await socket.ack(await socket.envelope())
    await socket.connection.send_str("text")
    for _ in range(2):
        await alice.bundle_of(bob)
    other = await alice.another_session()
    await api.refresh(other.refresh_token)
    await other.logout()
    stored = await api.call("POST", "/v1/attachments", token=alice.token, data=b"12345")
    path = f"/v1/attachments/{stored.json['id']}"
    assert (await api.call("GET", path, token=alice.token)).body == b"12345"
    await bob.upload(Device().takeover(1, one_time_keys(1, 3)))
    await socket.close_code()
    await be_odd(api)
    return [alice.id, bob.id, alice.name, bob.name, stored.json["id"], alice.token, alice.session_id]


async def be_odd(api: Api) -> None:
    """Requests whose every part is made up."""
    for line in (
        *("ODD-METHOD /odd-path HTTP/1.1", "GET /v1/keys/odd-id HTTP/1.1", "PATCH /v1/users HTTP/1.1", "odd-line"),
        *("GET /v1/%6fdd HTTP/1.1", "GET http://odd.example/v1/users?odd=odd HTTP/1.1", "get /livez HTTP/1.1"),
        *("OPTIONS * HTTP/1.1", "POST /v1/messages/odd HTTP/1.1", "HEAD /v1/attachments/odd HTTP/1.1"),
    ):
        await exchange(api.port, f"{line}\r\nHost: odd\r\nx-request-id: odd\r\nConnection: close\r\n\r\n".encode())
    await api.login("odd-name", "odd-password-of-length")
    await api.call("POST", "/v1/users", json={"username": "odd" * 30})
    await api.call("GET", "/v1/gateway?token=odd")


@pytest.fixture
async def used(
    tmp_path: Path, redis_server: RedisServer, session: aiohttp.ClientSession
) -> AsyncIterator[tuple[Families, list[str]]]:
    """The figures of a node in a process of its own that has done one of everything, and its clients' secrets."""
    async with serve(tmp_path, redis_server.url, JWT_SECRET) as served:
        secrets = await use(Api(session, served.api_port))
        yield await scrape(Api(session, served.management_port)), secrets


def ours(families: Families) -> Families:
    return {name: family for name, family in families.items() if name.startswith("obscura_")}


def documented() -> Iterator[tuple[str, str, set[str]]]:
    """The rows of the page's tables: name, type, labels."""
    for line in PAGE.splitlines():
        if line.startswith("| `obscura_"):
            name, kind, labels, meaning, _ = [cell.strip() for cell in line.strip("|").split("|")]
            assert meaning, line
            yield name.strip("`"), kind, set(re.findall(r"`(\w+)`", labels))


def label_list() -> LabelList:
    """Every value that each label may have."""
    lists: LabelList = {}
    for labels in (one.labels for topic in TOPICS for one in topic.metrics):
        for name, values in labels.items():
            lists.setdefault(name, set()).update(values)
    scripts = {file.name.removesuffix(".lua") for file in script_folder().iterdir() if file.name.endswith(".lua")}
    lists["method"] = METHODS
    lists["route"] = {route.path for route in [*API_ROUTES, *MANAGEMENT_ROUTES]} | {"unknown"}
    lists["status"] = {str(status.value) for status in HTTPStatus}
    lists["operation"] |= scripts | COMMANDS
    lists["phase"] = {"wait", "run"}
    return lists


async def test_the_page_says_what_the_node_says(used: tuple[Families, list[str]]) -> None:
    """Each metric is on the page with its type and labels, and no row is left of one that went."""
    said = {(name, family.type, tuple(sorted(labels_of(family)))) for name, family in ours(used[0]).items()}
    assert {(name, kind, tuple(sorted(labels))) for name, kind, labels in documented()} == said


async def test_no_label_is_a_clients_to_choose(used: tuple[Families, list[str]]) -> None:
    """Whatever clients ask for and call themselves: every label has a value from a list."""
    lists = label_list()
    free = {"version", "python", "le"}
    strange = {
        (sample.name, name, value)
        for family in ours(used[0]).values()
        for sample in family.samples
        for name, value in sample.labels.items()
        if name not in free and value not in lists[name]
    }
    assert strange == set()


async def test_no_figure_names_anybody(used: tuple[Families, list[str]]) -> None:
    """Neither a user nor anything a user wrote is in any label."""
    families, secrets = used
    values = {value for one in families.values() for sample in one.samples for value in sample.labels.values()}
    assert "/v1/users" in values
    assert [value for value in values for secret in [*secrets, "odd"] if secret in value.lower()] == []


async def test_times_of_all_that_matters_were_taken(used: tuple[Families, list[str]]) -> None:
    """Each histogram has counted something, in buckets that rise."""
    histograms = {name: one for name, one in ours(used[0]).items() if one.type == "histogram"}
    assert len(histograms) >= 6
    for name, family in histograms.items():
        counted = [sample.value for sample in family.samples if sample.name.endswith("_count")]
        assert sum(counted) > 0, name


def test_every_name_follows_the_conventions() -> None:
    """Base units; a counter ends in ``_total``, a time in ``_seconds``, and nothing else does."""
    for name, kind, _ in documented():
        assert re.fullmatch(r"obscura(_[a-z]+)+", name), name
        assert (kind == "counter") == name.endswith("_total"), name
        assert kind != "histogram" or name.endswith("_seconds"), name
        assert not re.search(r"_(ms|millis|kb|mb|percent)(_|$)", name), name


# The dashboard.


def parsed(expression: str) -> promql_parser.Expr:
    """A PromQL expression, with Grafana's variables filled in as Grafana does."""
    assert "$" not in expression.replace("$__rate_interval", "").replace("$instance", "")
    return promql_parser.parse(expression.replace("$__rate_interval", "5m").replace("$instance", ".*"))


def nodes_of(expression: promql_parser.Expr) -> list[promql_parser.Expr]:
    found: list[promql_parser.Expr] = []

    def visit(one: promql_parser.Expr) -> bool:
        found.append(one)
        return True

    promql_parser.walk(expression, visit)
    return found


def selectors_of(expression: promql_parser.Expr) -> list[Any]:
    return [one for one in nodes_of(expression) if isinstance(one, promql_parser.VectorSelector)]


def labels_named(expression: promql_parser.Expr) -> set[str]:
    """Those that it filters and groups by."""
    filtered = {matcher.name for one in selectors_of(expression) for matcher in one.matchers.matchers}
    aggregates = [one for one in nodes_of(expression) if isinstance(one, promql_parser.AggregateExpr)]
    return filtered | {label for one in aggregates if one.modifier for label in one.modifier.labels}


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


async def test_the_dashboard_draws_what_there_is(used: tuple[Families, list[str]]) -> None:
    """Every series of every query exists in a running node, with every label that the query names."""
    families = used[0]
    labels_by_series = {sample.name: labels_of(family) for family in families.values() for sample in family.samples}
    for expression in expressions():
        query = parsed(expression)
        names = {one.name for one in selectors_of(query)}
        assert names, expression
        assert names <= series_names(families), expression
        known = OF_PROMETHEUS.union(*(labels_by_series[name] for name in names))
        assert labels_named(query) <= known, expression


async def test_the_dashboard_draws_all_there_is(used: tuple[Families, list[str]]) -> None:
    """Every metric of the node is in some query, or is listed above as one that nobody needs to see."""
    drawn = {selector.name for expression in expressions() for selector in selectors_of(parsed(expression))}
    undrawn = {name for name, family in ours(used[0]).items() if drawn.isdisjoint({one.name for one in family.samples})}
    assert undrawn == NOT_DRAWN


def test_the_dashboard_can_be_used_anywhere() -> None:
    """Its data source and its nodes are variables, and every query goes by both."""
    variables = {one["name"]: one["type"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    for panel in PANELS:
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for expression in expressions():
        assert expression.count('instance=~"$instance"') == len(selectors_of(parsed(expression))), expression
    assert "__inputs" not in DASHBOARD
    assert DASHBOARD["schemaVersion"] >= 39


def test_every_panel_has_its_place() -> None:
    """A title, a text, a unit, an id of its own, and room that it shares with none."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert taken.isdisjoint(cells), panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters))


# The alerts.


async def test_every_alert_can_fire(used: tuple[Families, list[str]]) -> None:
    """Each rule is PromQL over series that a node has, or Prometheus itself, by labels that they have."""
    families = used[0]
    labels_by_series = {sample.name: labels_of(family) for family in families.values() for sample in family.samples}
    labels_by_series["up"] = set()
    for rule in ALERTS:
        query = promql_parser.parse(rule["expr"])
        names = {one.name for one in selectors_of(query)}
        assert names, rule["alert"]
        assert names <= labels_by_series.keys(), rule["alert"]
        known = OF_PROMETHEUS.union(*(labels_by_series[name] for name in names))
        assert labels_named(query) <= known, rule["alert"]


def test_every_alert_asks_for_values_that_there_are() -> None:
    """A reason, a cause, a route or a status that a rule names is one that the node can say."""
    lists = label_list()
    matchers = [
        (rule["alert"], matcher)
        for rule in ALERTS
        for selector in selectors_of(promql_parser.parse(rule["expr"]))
        for matcher in selector.matchers.matchers
    ]
    assert len(matchers) >= 6
    for alert, matcher in matchers:
        pattern = matcher.value if "Re" in str(matcher.op) else re.escape(matcher.value)
        assert any(re.fullmatch(pattern, value) for value in lists[matcher.name]), alert


# Figures that move when they should.

Figure = Callable[[], float]


def figure(name: str, **labels: str) -> Figure:
    return lambda: metric(name, **labels)


async def rises(count: Figure, act: Callable[[], Awaitable[object]], by: float = 1) -> None:
    """Act, and see a figure rise by just so much."""
    before = count()
    await act()
    await eventually(lambda: count() >= before + by)
    assert count() == before + by


async def test_sessions_are_counted_by_how_they_begin_and_end(api: Api) -> None:
    """A registration, a login, a refresh, a logout, a stolen token and a takeover: one each."""

    def started(by: str) -> Figure:
        return figure("obscura_sessions_started_total", by=by)

    def ended(reason: str) -> Figure:
        return figure("obscura_sessions_ended_total", reason=reason)

    await rises(started("registration"), api.register)
    user = await api.register()
    await rises(started("login"), user.another_session)
    second = await user.another_session()
    await rises(figure("obscura_sessions_refreshed_total"), lambda: api.refresh(second.refresh_token))
    await rises(ended("logout"), (await user.another_session()).logout)
    takeover = Device().takeover(1, one_time_keys(1, 3))
    await rises(ended("takeover"), lambda: user.upload(takeover), by=2)


async def test_a_login_too_many_is_counted(start_node: StartNode, connect_api: Callable[[Node], Api]) -> None:
    """The session that makes room is one that ended."""
    api = connect_api(await start_node(max_sessions_per_account=1))
    user = await api.register()
    await rises(figure("obscura_sessions_ended_total", reason="too many"), user.another_session)


async def test_keys_that_run_out_are_counted(api: Api) -> None:
    """The last key is a bundle like any other; the bundle after it has none, and is counted."""
    user = await api.register(pre_keys=1)
    await rises(figure("obscura_pre_keys_exhausted_total"), lambda: user.bundle_of(user), by=0)
    await rises(figure("obscura_pre_keys_exhausted_total"), lambda: user.bundle_of(user))


async def test_passwords_are_timed(api: Api) -> None:
    """Each hash by its wait and its run, and none is left under way."""
    runs = figure("obscura_password_hash_duration_seconds_count", phase="run")
    await rises(figure("obscura_password_hash_duration_seconds_count", phase="wait"), api.register)
    await rises(runs, lambda: api.login("nobody-at-all", "a password of a stranger"))
    assert metric("obscura_password_hashes_running") == 0


async def test_a_fault_is_counted_by_its_cause(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api], tmp_path: Path
) -> None:
    """Redis away, the storage away: each has a figure of its own, and so have the calls that failed."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    user = await api.register()
    shutil.rmtree(tmp_path / "attachments")
    (tmp_path / "attachments").write_text("in the way")

    async def upload() -> None:
        assert (await api.call("POST", "/v1/attachments", token=user.token, data=b"1")).status == 503

    def cause(name: str) -> Figure:
        return figure("obscura_http_server_errors_total", cause=name)

    await rises(cause("storage"), upload)
    await rises(figure("obscura_storage_errors_total", operation="put"), upload)
    failed = figure("obscura_redis_errors_total", operation="messages_append")
    reconnects = figure("obscura_redis_reconnects_total")
    before = reconnects()
    with killed(own_redis):
        await eventually(lambda: metric("obscura_redis_connected") == 0)
        await rises(cause("redis"), lambda: user.send(user, b"hello"))
        await rises(failed, lambda: user.send(user, b"hello"))
    await eventually(lambda: metric("obscura_redis_connected") == 1)
    assert reconnects() == before + 1


@pytest.mark.real_passwords
async def test_a_login_for_which_there_is_no_thread_is_counted(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Its cause is the queue of passwords, not Redis."""
    api = connect_api(await start_node(password_workers=1))
    queue = figure("obscura_http_server_errors_total", cause="password queue")
    before = queue()
    answers = await asyncio.gather(*(api.login("nobody", "a password of a stranger") for _ in range(60)))
    refused = [answer for answer in answers if answer.status == 503]
    assert refused
    assert queue() == before + len(refused)


async def test_a_node_hears_itself(node: Node) -> None:
    """Probes are timed, and the silence since the last is short."""
    await eventually(lambda: metric("obscura_events_probe_duration_seconds_count") >= 1)
    assert 0 <= metric("obscura_events_silence_seconds") < 5


async def test_a_client_that_does_not_wait_is_counted(api: Api) -> None:
    """A request without an answer is no request in the other figures, but it is in one."""
    user = await api.register()

    async def leave() -> None:
        client = await RawSocket.connect(api.port)
        head = f"POST /v1/messages/{user.id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
        await client.send_bytes(f"{head}Content-Length: 100\r\n\r\nx".encode())
        client.reset()

    await rises(figure("obscura_http_requests_aborted_total"), leave)


async def test_a_socket_is_timed_when_it_ends(api: Api) -> None:
    """Not before: how long it lasts is not known yet."""
    user = await api.register()
    socket = await user.connect()
    await rises(figure("obscura_gateway_socket_duration_seconds_count"), socket.close)


async def test_a_limit_is_counted_by_its_tier(start_node: StartNode, connect_api: Callable[[Node], Api]) -> None:
    """The standard one, here."""
    api = connect_api(await start_node(rate_limit_per_second=0.01, rate_limit_burst=1))
    headers = forwarded_for(new_address())
    await api.call("GET", "/openapi.yaml", headers=headers)
    limited = figure("obscura_rate_limited_total", tier="standard")
    await rises(limited, lambda: api.call("GET", "/openapi.yaml", headers=headers))


async def test_an_embedded_redis_that_dies_is_counted(tmp_path: Path) -> None:
    """Each time that it ends by itself, and not when it is stopped."""
    restarts = figure("obscura_embedded_redis_restarts_total")
    redis = EmbeddedRedis(tmp_path)
    await redis.start()
    try:
        pid = redis.pid
        assert pid is not None

        async def kill() -> None:
            os.kill(pid, signal.SIGKILL)

        await rises(restarts, kill)
        await eventually(lambda: redis.pid != pid)
        before = restarts()
    finally:
        await redis.stop()
    assert restarts() == before


async def test_a_message_that_is_sent_again_is_counted_as_that(api: Api) -> None:
    """Stored once, whatever number of times it comes with the same key."""
    user = await api.register()

    async def send() -> None:
        assert (await user.send(user, b"hello", headers={"Idempotency-Key": "retry-1"})).status == 201

    repeated = figure("obscura_messages_repeated_total")
    await rises(repeated, send, by=0)
    await rises(repeated, send)
    await rises(figure("obscura_messages_sent_total"), send, by=0)


async def test_what_redis_is_away_for_is_counted(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Acks that wait and could not be written, and a node that is not ready."""
    user = await connect_api(await start_node(redis_url=own_redis.url)).register()
    socket = await user.connect()
    await user.deliver(user, b"hello")
    envelope = await socket.envelope()
    failures = figure("obscura_acks_write_failures_total")
    failed_before = failures()
    assert (metric("obscura_ready"), metric("obscura_acks_waiting")) == (1, 0)
    with killed(own_redis):
        await eventually(lambda: metric("obscura_ready") == 0)
        await socket.ack(envelope)
        await eventually(lambda: metric("obscura_acks_waiting") == 1 and failures() > failed_before)
    await eventually(lambda: metric("obscura_ready") == 1)
    await eventually(lambda: metric("obscura_acks_waiting") == 0)


async def test_an_exchange_without_an_answer_is_counted_when_it_is_taken_back(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """After Redis is back."""
    node = await start_node(redis_url=own_redis.url)
    user = await connect_api(node).register()

    async def lose_the_answer() -> None:
        with paused(own_redis), pytest.raises(StoreUnavailable):
            # Not over HTTP: there the count of the client's requests would be what Redis is too slow for.
            await node._services.sessions.refresh(user.refresh_token)

    await rises(figure("obscura_refresh_unanswered_total", outcome="taken back"), lose_the_answer)


async def test_a_gap_in_the_events_is_counted_by_the_sockets_it_concerns(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Each of them has its inbox read again."""
    user = await connect_api(await start_node(redis_url=own_redis.url)).register()
    sockets = [await user.connect() for _ in range(2)]

    async def cut() -> None:
        with own_redis.client as client:
            client.client_kill_filter(_type="pubsub")

    await rises(figure("obscura_gateway_rescans_total"), cut, by=2)
    for socket in sockets:
        await socket.close()


async def test_a_redis_that_is_full_is_told_from_others(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """By the first word of its refusals."""
    user = await connect_api(await start_node(redis_url=own_redis.url)).register()

    async def send() -> None:
        assert (await user.send(user, b"refused")).status == 503

    with own_redis.client as client:
        client.config_set("maxmemory", 1)
    await rises(figure("obscura_redis_refusals_total", reason="OOM"), send)


async def test_a_script_that_redis_lost_is_counted_when_it_is_sent_again(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Once, and the request notices nothing."""
    user = await connect_api(await start_node(redis_url=own_redis.url)).register()
    await user.deliver(user, b"loads what a send needs")
    with own_redis.client as client:
        client.script_flush()
    loaded = figure("obscura_redis_scripts_loaded_total")
    await rises(loaded, lambda: user.deliver(user, b"first"))
    await rises(loaded, lambda: user.deliver(user, b"second"), by=0)


@pytest.mark.parametrize(("retry", "outcome", "status"), [(False, "refused", 401), (True, "retried", 200)])
async def test_a_refresh_token_that_comes_twice_at_once_is_counted(
    start_node: StartNode, connect_api: Callable[[Node], Api], retry: bool, outcome: str, status: int
) -> None:
    """As what became of it."""
    api = connect_api(await start_node(refresh_token_retry=retry))
    user = await api.register()
    await api.refresh(user.refresh_token)

    async def again() -> None:
        assert (await api.refresh(user.refresh_token)).status == status

    await rises(figure("obscura_refresh_raced_total", outcome=outcome), again)


async def test_uploads_of_keys_that_meet_are_counted(api: Api) -> None:
    """Of several devices at once one is first; the others begin anew."""
    user = await api.register()
    begun_anew = figure("obscura_key_uploads_restarted_total")
    before = begun_anew()

    async def race() -> bool:
        takeovers = [Device().takeover(number, one_time_keys(1, 3)) for number in range(1, 6)]
        await asyncio.gather(*(user.upload(takeover) for takeover in takeovers))
        return begun_anew() > before

    await eventually(race)


async def test_a_node_tells_its_limit_of_sockets(start_node: StartNode) -> None:
    """To compare the open ones with."""
    await start_node(max_sockets=123)
    assert metric("obscura_gateway_sockets_limit") == 123
