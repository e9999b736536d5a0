"""
Evaluates the alert rules on scrapes: which would fire now, or in an hour if nothing changed.

It knows the PromQL that the rules use: comparisons of ``sum``, ``max`` and ``absent`` over one metric, and ``increase``
over a range, joined by ``and``. It refuses everything else.
"""

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parents[2] / "docs/operations/alerts.yml"
HOUR = 3600.0
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {"==": operator.eq, ">": operator.gt}
REDUCERS: Mapping[str, Callable[[list[float]], float]] = {"sum": sum, "max": max}
TERM = re.compile(
    r"(?P<reduce>sum|max|absent)?(?: by \((?P<by>[\w, ]+)\) )?\(?(?P<increase>increase\()?"
    r"(?P<metric>\w+)(?:\{(?P<labels>[^}]*)\})?(?:\[\w+\])?\)*(?: (?P<operator>==|>) (?P<limit>[\d.]+))?"
)
MATCHER = re.compile(r'(\w+)(=|!=)"([^"]*)"')

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of ``/metrics``: the value of each series by its name and labels."""

    series: Mapping[tuple[str, Labels], float]

    @classmethod
    def read(cls, text: str) -> "Scrape":
        found = [one for family in text_string_to_metric_families(text) for one in family.samples]
        return cls({(one.name, frozenset(one.labels.items())): one.value for one in found})

    def an_hour_later(self) -> "Scrape":
        """The same scrape with every running age an hour higher."""
        ages = {"notify_oldest_due_seconds", "notify_oldest_snapshot_seconds"}
        return Scrape({key: value + HOUR * (key[0] in ages and value > 0) for key, value in self.series.items()})


def rules() -> dict[str, Any]:
    """All rules by the name of their alert."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def firing(before: Scrape, after: Scrape, *, kind: str) -> set[str]:
    """The alerts of this kind whose condition holds in *after*, ignoring ``for``."""
    found = {name: rule for name, rule in rules().items() if rule["labels"]["kind"] == kind}
    return {name for name, rule in found.items() if _holds(rule["expr"], before, after)}


def _holds(expression: str, before: Scrape, after: Scrape) -> bool:
    return all(_term(term, before, after) for term in expression.split(" and "))


def _term(term: str, before: Scrape, after: Scrape) -> bool:
    found = TERM.fullmatch(term)
    assert found is not None, f"not understood: {term}"
    values = _values(found, after)
    if found["reduce"] == "absent":
        return not values
    if found["increase"]:
        past = _values(found, before)
        values = {labels: value - past.get(labels, 0.0) for labels, value in values.items()}
    groups: dict[Labels, list[float]] = defaultdict(list)
    by = {name.strip() for name in (found["by"] or "").split(",")}
    for labels, value in values.items():
        groups[frozenset(one for one in labels if one[0] in by)].append(value)
    reduce, compare, limit = REDUCERS[found["reduce"]], OPERATORS[found["operator"]], float(found["limit"])
    return any(compare(reduce(group), limit) for group in groups.values())


def _values(found: re.Match[str], scrape: Scrape) -> dict[Labels, float]:
    wanted = MATCHER.findall(found["labels"] or "")
    return {
        labels: value
        for (name, labels), value in scrape.series.items()
        if name == found["metric"] and all(((label, text) in labels) is (how == "=") for label, how, text in wanted)
    }
