"""The alert rules, and the runbook that goes with them. That nodes have the metrics: observability/test_metrics."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from obscura.observability.metrics import TOPICS
from tests.support.balancers import find_program

ROOT = Path(__file__).parents[2]
RULES_FILE = ROOT / "config" / "prometheus-alerts.yaml"
RULES_TEST_FILE = ROOT / "tests" / "data" / "prometheus-alerts.test.yaml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^#+ |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
METRICS = set(re.findall(r"^\| `(obscura_\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
PARTS = ("Users: ", "Look at:\n\n```sh\n", "Do: ", "Over: ")


def test_every_rule_has_its_section_in_the_runbook() -> None:
    """And no section is left of a rule that went; both in the same order."""
    assert list(SECTIONS) == NAMES
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_says_how_bad_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """Its name is ours, its condition PromQL, its duration one, its link that of its section."""
    assert re.fullmatch(r"Obscura[A-Z]\w+", rule["alert"])
    promql_parser.parse(rule["expr"])
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert re.fullmatch(r"\d+(s|m|h)", rule.get("for", "0s"))
    assert rule["annotations"].keys() == {"summary", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert rule["annotations"]["summary"]


@pytest.mark.parametrize("name", NAMES)
def test_a_section_says_all_that_is_needed_at_night(name: str) -> None:
    """What users notice, what to look at, what to do, when it is over: in this order."""
    places = [SECTIONS[name].find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)


def made_up_metrics() -> str:
    """Lines as /metrics has them: each metric, with each value that a label of it may have."""
    lines = {f"{metric}{end} 1.0" for metric in METRICS for end in ("", "_bucket", "_sum", "_count")}
    lines |= {
        f'{metric.name}{{{label}="{value}"}} 1.0'
        for topic in TOPICS
        for metric in topic.metrics
        for label, values in metric.labels.items()
        for value in values
    }
    lines |= {
        'obscura_redis_errors_total{operation="messages_ack"} 1.0',
        'obscura_http_requests_total{status="503"} 1.0',
    }
    return "\n".join(sorted(lines))


@pytest.mark.parametrize("name", NAMES)
def test_a_section_looks_at_metrics_that_there_are(name: str, tmp_path: Path) -> None:
    """Each pattern of its `metrics` lines, and each alternative of one, has a hit."""
    (tmp_path / "metrics").write_text(made_up_metrics())
    functions = re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL)[0]
    for quoted, bare in re.findall(r"^ *metrics (?:'([^']*)'|(\w+))", SECTIONS[name], re.MULTILINE):
        for pattern in re.split(r"\|(?![^(]*\))", quoted or bare):
            script = f"curl() {{ cat metrics; }}\n{functions}\nmetrics '{pattern}'"
            found = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=True, timeout=60)
            assert found.stdout, pattern


@pytest.mark.parametrize("name", NAMES)
def test_a_section_leads_to_others_that_there_are(name: str) -> None:
    """By the names of their alerts."""
    assert set(re.findall(r"Obscura[A-Z]\w+", SECTIONS[name])) <= set(NAMES)


# Prometheus itself.


@pytest.fixture
def promtool() -> str:
    """The program that TEST_PROMTOOL names, else the one on PATH."""
    return os.environ.get("TEST_PROMTOOL") or find_program("promtool")


def test_prometheus_takes_the_rules(promtool: str) -> None:
    """As they are, templates of the texts included."""
    subprocess.run([promtool, "check", "rules", RULES_FILE], check=True, timeout=60)


def test_the_rules_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    """And only then: the cases of tests/data/prometheus-alerts.test.yaml, over made-up series."""
    for file in (RULES_FILE, RULES_TEST_FILE):
        shutil.copy(file, tmp_path)
    subprocess.run([promtool, "test", "rules", tmp_path / RULES_TEST_FILE.name], check=True, timeout=60)
