"""The files under docs/operations match the code."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from notify.api import metrics
from notify.domain.measures import Role
from notify.domain.outcomes import POISON, OutcomeName
from notify.wiring import STAGE_NAMES
from tests.support.alerts import rules
from tests.support.promtool import needs_promtool, promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/operations"
BOARD = json.loads((FOLDER / "board.json").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
NAME = re.compile(r"\bnotify_\w+")
MATCHER = re.compile(r'(\w+)=~?"([^"]*)"')
KNOWN_VALUES: Mapping[str, set[str]] = {
    "stage": set(STAGE_NAMES),
    "role": set(Role),
    "reason": {*metrics.OPEN_REASONS, POISON},
    "outcome": {*OutcomeName, *metrics.VERDICTS},
    "result": {"sent", "failed"},
}


def series() -> set[str]:
    """The names of all series."""
    timed = {*metrics.LATENCIES.values(), metrics.TO_VERDICT, "smtp_seconds"}
    parts = {f"{name}{part}" for name in timed for part in ("_bucket", "_sum", "_count")} - {"smtp_seconds_bucket"}
    return {f"notify_{name}" for name in (metrics.HELP.keys() - timed) | parts}


def queries() -> Iterator[str]:
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def conditions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules().values())


@pytest.mark.parametrize("expression", [*queries(), *conditions()])
def test_every_query_uses_existing_metrics(expression: str) -> None:
    assert set(NAME.findall(expression)) <= series()
    for label, value in MATCHER.findall(expression):
        assert set(value.split("|")) <= KNOWN_VALUES[label]


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for query in queries() for name in NAME.findall(query)}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    assert {f"notify_{name}" for name in metrics.HELP} <= families


def test_no_two_panels_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_alert_has_a_kind_and_an_instruction() -> None:
    for name, rule in rules().items():
        assert name.startswith("Notify")
        assert rule["labels"]["kind"] in {"symptom", "cause"}
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "action"}


def test_every_mounted_file_exists_where_its_reader_looks() -> None:
    mounted = {
        target: ROOT / source
        for service in ("prometheus", "grafana")
        for source, target, *_ in (volume.split(":") for volume in COMPOSE["services"][service]["volumes"])
        if source.startswith("./")
    }
    assert all(source.is_file() for source in mounted.values())
    (boards,) = yaml.safe_load((FOLDER / "grafana-boards.yml").read_text(encoding="utf-8"))["providers"]
    assert mounted[f"{boards['options']['path']}/notify.json"] == FOLDER / "board.json"
    prometheus = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    assert {mounted[path] for path in prometheus["rule_files"]} == {FOLDER / "alerts.yml"}


def test_prometheus_finds_the_api_and_grafana_finds_prometheus() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    api, port = target.split(":")
    assert f"--port {port}" in COMPOSE["services"][api]["command"]
    (source,) = yaml.safe_load((FOLDER / "grafana.yml").read_text(encoding="utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    sources = {target["datasource"]["uid"] for panel in BOARD["panels"] for target in panel["targets"]}
    assert sources == {"${datasource}"}


@needs_promtool
def test_promtool_accepts_the_rules_and_each_alert_fires_when_it_should() -> None:
    assert promtool("check", "rules", str(FOLDER / "alerts.yml")) == ""
    assert promtool("test", "rules", "alerts_test.yml", folder=Path(__file__).parent) == ""


def test_each_alert_has_a_promtool_test() -> None:
    tested = yaml.safe_load((Path(__file__).parent / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    expected = [
        sample["labels"] for test in tested for one in test["promql_expr_test"] for sample in one["exp_samples"]
    ]
    assert {re.findall(r'alertname="(\w+)"', labels)[0] for labels in expected} == set(rules())
