"""The table of metrics, the dashboard and the alerts name what there is, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import trio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from llmlb.http.bodies import BodyBudget
from llmlb.http.metrics.page import Metrics
from llmlb.http.upstream.client import PoolStatistics
from tests.fakes.house import scene_in
from tests.fakes.openai import chat, finish, says, usage_alone
from tests.fakes.upstream import sse_answer
from tests.test_documents import ROOT, spans, table

DASHBOARD = ROOT / "docs/grafana/llmlb.json"
ALERTS = ROOT / "docs/alerts.yml"

PROMETHEUS_OWN = frozenset({"up"})


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each metric, as the table has them."""
    rows = table(ROOT / "docs/observability.md", "Metrics")
    assert len({row[0] for row in rows}) == len(rows), "a metric stands there twice"
    return {spans(name)[0]: (kind, frozenset(spans(labels))) for name, kind, labels, _ in rows}


def series_names() -> frozenset[str]:
    return PROMETHEUS_OWN | {
        name + suffix
        for name, (kind, _) in documented().items()
        for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }


async def test_the_table_is_what_is_shown(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    metrics = Metrics()
    async with scene_in(tmp_path, on_answered=metrics.answered) as scene:
        endpoint = await scene.endpoint("a", slots=1)
        pools = {endpoint.id: PoolStatistics(idle=1, busy=2, opened=3, reused=4, stale=5)}
        metrics.follow(scene.house, BodyBudget(1), lambda: pools)
        scene.on("a", sse_answer(1.0, says("a"), 1.0, says("b"), finish(), usage_alone()))
        await scene.stream()
        await scene.settle()
        async with trio.open_nursery() as clients:
            for _ in range(2):
                clients.start_soon(scene.ask, chat(stream=True))
            await scene.settle()
            page, _ = await metrics.render("")

    shown = {}
    for family in text_string_to_metric_families(page.decode()):
        assert family.samples, f"{family.name} has not been seen at work here"
        labels = frozenset(label for sample in family.samples for label in sample.labels)
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown[name] = (family.type, labels - {"le"})
    assert shown == documented()


# -- expressions


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield panel
        yield from panel.get("panels", ())


def of_dashboard() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]


def of_alerts() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def selectors(expression: str) -> dict[str, set[str]]:
    """The series that *expression* looks at, and the labels that it chooses them by."""
    filled = expression.replace("$__rate_interval", "5m")
    found: dict[str, set[str]] = {}
    text = promql_parser.parse(filled).prettify()  # raises ValueError for what is no PromQL
    without_by = re.sub(r"\b(by|on|group_left|without) \([^)]*\)", "", text)
    for name, chosen in re.findall(r"\b([a-z_:]+)\b(?!\s*\()(?:\{([^}]*)\})?", without_by):
        if name not in {"or", "and", "unless", "bool"}:
            found.setdefault(name, set()).update(re.findall(r"(\w+)(?:=~|!~|!=|=)", chosen))
    return found


EXPRESSIONS = [*of_dashboard(), *of_alerts()]


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[t for t, _ in EXPRESSIONS])
def test_an_expression_is_promql_about_what_there_is(title: str, expression: str) -> None:
    looked_at = selectors(expression)

    assert looked_at
    assert looked_at.keys() <= series_names(), title
    for name, labels in looked_at.items():
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        known = documented().get(name) or documented().get(family) or ("", frozenset())
        assert labels <= known[1] | {"job", "instance", "le"}, name


def test_the_dashboard_asks_the_data_source_that_is_chosen() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}

    assert variables["DS_PROMETHEUS"]["type"] == "datasource"
    chosen = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    for part in [*panels(), *variables.values()]:
        if part["type"] not in ("row", "datasource"):
            assert part["datasource"] == chosen
            assert all(target["datasource"] == chosen for target in part.get("targets", ()))
    used = set(re.findall(r"\$(\w+)", " ".join(expr for _, expr in of_dashboard())))
    assert used <= variables.keys() | {"__rate_interval"}
    for name, variable in variables.items():
        if variable["type"] == "query":
            metric, _, label = variable["definition"].removeprefix("label_values(").partition(", ")
            assert metric.partition("{")[0] in series_names(), name
            assert label.rstrip(")")


def test_no_two_panels_overlap_or_are_called_alike() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in panels():
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (at["x"] + across, at["y"] + down)
            for across in range(at["w"])
            for down in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_an_alert_says_what_is_wrong_and_how_bad() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        names = [rule["alert"] for rule in group["rules"]]
        assert len(names) == len(set(names))
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"].keys() == {"summary", "description"}
            assert re.fullmatch(r"\d+m", rule["for"])
