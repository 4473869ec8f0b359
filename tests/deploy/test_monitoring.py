"""Alert rules and the dashboard against the metrics that the service really has."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet.compiled.answers import Answer, Prediction
from ratchet.serving.app import ROUTERS
from ratchet.serving.metrics import Metrics
from ratchet.serving.overview import MonitoringReport
from ratchet.serving.protocols import Fixed, Serving
from ratchet.serving.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
GRAFANA = DEPLOY / "grafana"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((GRAFANA / "dashboards/service.json").read_text())
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
QUERIES |= {f"annotation {each['name']}": each["expr"] for each in DASHBOARD["annotations"]["list"]}
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in RULES} | QUERIES
FAILING = "films"
EMPTY = {"annotation Alerts"}
"""Queries that may have no result while all is well."""


class Log:
    waiting = 3


def version(name: str) -> Any:
    return Serving(
        use_case=None,  # type: ignore[arg-type]  # metrics do not look at it
        name=name,
        version="7",
        digest="0" * 64,
        since=dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
        answerer=None,  # type: ignore[arg-type]
        inputs={},
    )


def report(name: str) -> MonitoringReport:
    alert = {"level": "warning", "text": "", "advice": ""}
    return MonitoringReport(name, dt.datetime.now(dt.UTC), "none", "", [alert], [], True, "LOW")


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    """Metrics of a service in which everything has happened."""
    versions = [version("films"), version("power")]
    metrics = Metrics(Fixed(versions), Log(), report)  # type: ignore[arg-type]
    answer(metrics, versions)
    return metrics


def answer(metrics: Metrics, versions: list[Any]) -> None:
    """Two answers, a refused request, and one on which a model fails."""
    predictions = {"success": Prediction("Alto"), "rating": Prediction(7.0)}
    metrics.answered(versions[0], [Answer("1", predictions)], 0.004)
    metrics.answered(versions[1], [Answer("2", {"load": Prediction(4.2)})], 0.002)
    for status in ("200", "422", "500"):
        metrics.requests.labels("/predict/{use_case}", "POST", status).inc()
    metrics.requests.labels("/health", "GET", "200").inc()
    metrics.seconds.labels("/predict/{use_case}").observe(0.006)
    metrics.refused.labels("films").inc()
    metrics.failures.labels(FAILING).inc()
    metrics.not_shadowed.labels("films").inc()
    metrics.handed_in.labels("power", "measurements", "new").inc()


@pytest.fixture(scope="module")
def labels(metrics) -> dict[str, set[str]]:
    """Series -> its labels."""
    found: dict[str, set[str]] = {"up": {"job"}, "ALERTS": {"alertname", "alertstate", "severity"}}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_series_and_labels_exist(name, labels):
    expression = EXPRESSIONS[name]
    series = set(re.findall(r"\b(?:ratchet_\w+|up|ALERTS)\b", expression))

    assert series
    assert series <= labels.keys()
    for metric, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", selector)) <= labels[metric]
    every = {label for metric in series for label in labels[metric]}
    for grouped in re.findall(r"(?:by|ignoring) \(([^)]*)\)", expression):
        assert set(grouped.split(", ")) <= every


def test_routes_in_queries_exist():
    routes = {route.path for router in ROUTERS for route in router.routes}
    patterns = set(re.findall(r'route=~"([^"]+)"', " ".join(EXPRESSIONS.values())))

    assert patterns
    for pattern in patterns:
        for part in pattern.split("|"):
            assert [route for route in routes if re.fullmatch(part, route)], part


def test_the_alert_counts_the_requests_that_the_dashboard_shows():
    errors = EXPRESSIONS["HighErrorRate"], QUERIES["Failed requests A"]
    left_out = [set(re.findall(r'route!~"([^"]+)"', expression)) for expression in errors]

    assert left_out[0] == left_out[1] != set()


def test_documented_metrics_are_those_of_the_service(labels):
    page = (DEPLOY.parent / "docs/reference/serving-metrics.md").read_text()
    documented = set(re.findall(r"^\| `(ratchet_\w+)` \|", page, re.MULTILINE))

    suffixes = r"_(bucket|count|sum)$"
    own = {re.sub(suffixes, "", name) for name in labels if name.startswith("ratchet_")}
    assert documented == own


def test_the_limits_are_those_that_were_agreed():
    limits = {rule["alert"]: rule["expr"] for rule in RULES}

    assert limits["HighErrorRate"].endswith("> 0.02")
    assert limits["SlowPredictions"].endswith("> 0.5")
    assert "quantile(0.95" in limits["SlowPredictions"]
    assert limits["FailingModel"].endswith("> 0.05")
    assert f"> {Settings().queue_rows // 2} " in (PROMETHEUS / "rules.yml").read_text()
    assert all(rule["annotations"].keys() == {"summary", "action"} for rule in RULES)


@pytest.mark.parametrize(
    "command",
    [["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]],
    ids=lambda command: command[0],
)
def test_promtool_accepts_configuration_and_rules(command):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(
        ["promtool", *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test():
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    fired = [
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    ]

    assert set(fired) == {rule["alert"] for rule in RULES}


def test_the_dashboard_can_be_provisioned():
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    (provided,) = source["datasources"]
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    reference = {"type": provided["type"], "uid": provided["uid"]}
    panels = DASHBOARD["panels"]

    assert "id" not in DASHBOARD  # Grafana gives one; a file with one can clash
    assert DASHBOARD["uid"]
    assert provided["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    parts = [*panels, *DASHBOARD["annotations"]["list"], *DASHBOARD["templating"]["list"]]
    assert all(part["datasource"] == reference for part in parts)
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [cell for panel in panels for cell in cells_of(panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < 24


def cells_of(place):
    return [
        (place["x"] + column, place["y"] + row)
        for column in range(place["w"])
        for row in range(place["h"])
    ]


@pytest.mark.slow
def test_every_query_of_the_dashboard_has_a_result_in_a_real_prometheus(metrics, tmp_path):
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    scraped, listens = free_port(), free_port()
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["scrape_configs"] = [
        {"job_name": "ratchet", "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}]}
    ]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    shutil.copy(PROMETHEUS / "rules.yml", tmp_path)
    server = metrics.serve("127.0.0.1", scraped)
    process = subprocess.Popen(
        [
            *("prometheus", f"--config.file={tmp_path / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={tmp_path / 'data'}", "--log.level=error"),
            f"--web.listen-address=127.0.0.1:{listens}",
        ]
    )
    try:
        versions = [version("films"), version("power")]
        wait_for(lambda: get(listens, "-/ready"))
        wait_for(lambda: ask(listens, 'up{job="ratchet"} == 1'))
        for _ in range(4):  # a rate takes two scrapes between which something has happened
            answer(metrics, versions)
            time.sleep(1)
        wrong = {
            name: result
            for name, query in QUERIES.items()
            if not (result := ask(listens, filled_in(query))) and name not in EMPTY
        }
        assert wrong == {}
        shares = ask(listens, filled_in(QUERIES["Predictions by version and class A"]))
        assert [(one["metric"]["label"], one["value"][1]) for one in shares] == [("Alto", "1")]
        (failed,) = ask(listens, filled_in(QUERIES["Failed requests A"]))
        assert float(failed["value"][1]) == pytest.approx(1 / 3)
    finally:
        process.terminate()
        process.wait(20)
        server.shutdown()
        server.server_close()


def filled_in(query: str) -> str:
    """A query as Grafana sends it, with all use cases chosen."""
    return query.replace("$__rate_interval", "30s").replace("$use_case", ".*")


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def ask(port: int, query: str) -> list[Any]:
    """What a query gives; an error of Prometheus fails the test."""
    path = f"api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        return list(json.loads(get(port, path))["data"]["result"])
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{query}: {error.read().decode()}") from None


def get(port: int, path: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/{path}", timeout=10) as response:
        return bytes(response.read())


def wait_for(found: Any, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError):
            if found():
                return
        time.sleep(0.1)
    raise AssertionError(f"not there after {seconds:.0f} s")
