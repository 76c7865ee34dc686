"""What operators watch: the reference of metrics is the code's, dashboard and alerts name what exists, runbooks are there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

import api.metrics
import billing.metrics
import workers.metrics
from tests.tidy.source import ROOT

MONITORING = ROOT / "docs" / "monitoring"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
NOT_OURS = {"instance", "job", "le"}
"""Labels that Prometheus sets."""
NEVER_A_LABEL = {"org", "organization", "organisation", "key", "api_key", "user", "person", "title", "path", "model"}


def metrics_of(module: ModuleType) -> Iterator[Counter | Gauge | Histogram]:
    for metric in vars(module).values():
        if isinstance(metric, Counter | Gauge | Histogram) and metric._name.startswith("wonrouter_"):
            yield metric


ALL = [metric for module in (api.metrics, workers.metrics, billing.metrics) for metric in metrics_of(module)]


def shown_name(metric: Counter | Gauge | Histogram) -> str:
    return metric._name + ("_total" if isinstance(metric, Counter) else "")


LABELS = {shown_name(metric): set(metric._labelnames) for metric in ALL}


def reference() -> list[str]:
    """The table's rows as the code has them; paste them where the test below finds another."""
    return [
        f"| `{shown_name(metric)}` | {metric._type} | {', '.join(metric._labelnames)} | {metric._documentation} |"
        for metric in ALL
    ]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]


def test_the_reference_lists_every_metric_as_the_code_has_it() -> None:
    table = OPERATIONS.partition("<!-- metrics:")[2].partition("<!-- end of metrics -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == reference(), "\n".join(["the rows should be:", *reference()])


def test_no_metric_says_whose_call_it_was() -> None:
    assert [name for name, labels in LABELS.items() if labels & NEVER_A_LABEL] == []


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_what_is_watched_exists(where: str, expression: str) -> None:
    names = re.findall(r"\bwonrouter_\w+", expression)
    known = {re.sub(r"_(?:bucket|sum|count)$", "", name): name for name in names}
    for base, name in known.items():
        assert name in LABELS or base in LABELS, f"{name} is no metric"
    allowed = NOT_OURS.union(*(LABELS.get(name) or LABELS.get(base) or set() for base, name in known.items()))
    grouped = [label for found in re.findall(r"\bby \(([^)]*)\)", expression) for label in found.split(", ")]
    assert {*grouped, *re.findall(r"(\w+)=~?\"", expression)} <= allowed


def test_the_dashboard_can_be_imported_anywhere() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert all("${datasource}" in json.dumps(panel) for panel in DASHBOARD["panels"] if panel["type"] != "row")


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alert_has_a_runbook_and_a_severity(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
    section = OPERATIONS.partition(f"\n### {name}\n")[2].partition("\n##")[0]
    assert len(section.split()) > 10, f"no runbook for {name}"
    assert rule["labels"]["severity"] in {"page", "ticket"} and rule["annotations"]["summary"]


def test_every_runbook_belongs_to_an_alert_and_its_links_lead_somewhere() -> None:
    headings = set(re.findall(r"^### (\w+)$", OPERATIONS, re.MULTILINE))
    assert headings == {rule["alert"] for rule in RULES}
    anchors = {heading.lower() for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", OPERATIONS)) <= anchors
    for name in re.findall(r"\]\(([\w./-]+\.md)\)", OPERATIONS):
        assert (ROOT / "docs" / name).exists(), name
