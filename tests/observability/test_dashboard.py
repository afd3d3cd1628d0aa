"""script/generate-dashboard: no metric stays undrawn, and what is drawn by hand stays as it is."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import promql_parser
import pytest

from obscura.observability.metrics.declaration import Description, LabelValues

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "script" / "generate-dashboard"
DASHBOARD = ROOT / "config" / "grafana-dashboard.json"


def test_generating_the_dashboard_anew_changes_nothing(tmp_path: Path) -> None:
    """Each metric has its panel, and none is left of one that went."""
    made = tmp_path / "dashboard.json"
    subprocess.run([sys.executable, SCRIPT, made], check=True)
    assert made.read_text() == DASHBOARD.read_text()


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram"])
@pytest.mark.parametrize("labels", [{}, {"kind": ("a",), "outcome": ()}])
def test_a_metric_that_nobody_drew_gets_a_panel(kind: str, labels: LabelValues) -> None:
    """With a query of Prometheus that has all its labels, below all that is there."""
    script = runpy.run_path(str(SCRIPT))
    metric = Description("obscura_new_seconds", kind, "New.", labels, "", "")
    panel = script["panel"](metric, 4, 137)
    expression = panel["targets"][0]["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
    promql_parser.parse(expression)
    assert all(label in expression for label in labels)
    assert panel["gridPos"] == {"h": 8, "w": 8, "x": 8, "y": 145}
    assert not script["is_drawn"](metric, json.loads(DASHBOARD.read_text())["panels"])
    assert script["is_drawn"](metric, [panel])
