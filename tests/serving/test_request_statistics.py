"""What the charts of requests show is what the counters say."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.serving.charts import interval_chart, line_chart, top_of
from ratchet.serving.metrics import Metrics
from ratchet.serving.protocols import Fixed
from ratchet.serving.request_statistics import SharedCounters, Traffic, quantile


@pytest.fixture
def counted():
    metrics, now = Metrics(Fixed([])), [100.0]
    traffic = Traffic(metrics, clock=lambda: now[0])

    def ask(seconds: float, status: str = "200", route: str = "/predict/{use_case}") -> None:
        metrics.requests.labels(route, "POST", status).inc()
        metrics.seconds.labels(route).observe(seconds)

    def wait(seconds: float) -> None:
        now[0] += seconds
        traffic.sample()

    return traffic, ask, wait


def test_rates_and_errors_are_those_between_two_looks(counted):
    traffic, ask, wait = counted
    for _ in range(20):
        ask(0.003)
    wait(10)
    ask(0.003, "422")
    ask(0.003, "503")
    wait(10)

    first, second = traffic.points()[:2]

    assert (first.rate, first.refused, first.failed) == (2.0, 0, 0)
    assert (second.rate, second.refused, second.failed) == (0.2, 1, 1)
    assert traffic.whole().rate == pytest.approx(1.1)


def test_a_probe_that_is_told_to_wait_is_no_failure(counted):
    traffic, ask, wait = counted
    ask(0.001, "503", route="/health/ready")
    ask(0.001, "200", route="/health/ready")
    ask(0.001, "500")
    wait(10)

    assert traffic.whole().failed == 1


def test_latency_is_that_of_predictions_alone(counted):
    traffic, ask, wait = counted
    for _ in range(99):
        ask(0.0015)
    ask(0.4)
    ask(4.0, route="/docs")
    wait(10)

    point = traffic.points()[0]

    assert 1 <= point.median <= 2
    assert 1 <= point.slow <= 2
    wait(10)
    assert traffic.points()[1].median is None  # nobody asked


def test_an_hour_is_kept_and_no_more(counted):
    traffic, _, wait = counted
    for _ in range(500):
        wait(10)

    assert len(traffic.points()) == 361


ENDS = (0.001, 0.01, 0.1, 1.0, math.inf)


@settings(max_examples=50)
@given(st.lists(st.floats(0.0, 0.99), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times, share):
    counts = {end: float(sum(t <= end for t in times)) for end in ENDS}

    found = quantile(counts, share) / 1e3

    true = sorted(times)[max(0, math.ceil(share * len(times)) - 1)]
    low = max([0.0, *(end for end in ENDS if end < true)])
    high = min(end for end in ENDS if end >= true)
    assert low - 1e-9 <= found <= high + 1e-9


@pytest.mark.parametrize("counts", [{}, {0.1: 0.0, math.inf: 0.0}])
def test_nothing_has_no_quantile(counts):
    assert quantile(counts, 0.5) is None


def test_what_took_longer_than_all_buckets_counts_as_their_end():
    assert quantile({1.0: 0.0, math.inf: 5.0}, 0.5) == 1000.0


@pytest.mark.parametrize(
    ("values", "top"),
    [([], 1.0), ([0.0, None], 1.0), ([3.0], 5.0), ([0.011], 0.02), ([10.0], 10.0), ([11.0], 20.0)],
)
def test_the_upper_edge_is_round_and_above_all_values(values, top):
    assert top_of(values) == pytest.approx(top)


def test_a_line_has_gaps_where_nothing_is_known():
    chart = ET.fromstring(line_chart([1.0, 2.0, None, 4.0, None, 5.0, 5.0], top=5.0, label="a < b"))

    lines = chart.findall("polyline")
    assert [len(line.get("points").split()) for line in lines] == [2, 2, 2]
    assert chart.get("aria-label") == "a < b"
    assert "style" not in chart.attrib


def test_an_interval_of_no_width_is_drawn_too():
    assert "nan" not in interval_chart(1.0, 1.0, 1.0)
    assert ET.fromstring(interval_chart(3.0, 2.0, 5.0)).find("rect").get("width") == "400.0"


@pytest.fixture
def workers(tmp_path):
    """Several workers of one service, whose counters can be raised."""

    def start(number: int):
        metrics = Metrics(Fixed([]))
        shared = SharedCounters(tmp_path / "traffic", number)
        return metrics, Traffic(metrics, clock=lambda: 100.0, shared=shared)

    return start


def ask(metrics: Metrics, times: int, status: str = "200") -> None:
    for _ in range(times):
        metrics.requests.labels("/predict/{use_case}", "POST", status).inc()
        metrics.seconds.labels("/predict/{use_case}").observe(0.0015)


def test_every_worker_shows_the_requests_of_all(workers):
    (first, one), (second, two) = workers(0), workers(1)
    ask(first, 30)
    ask(second, 2, "503")
    one.sample()
    two.sample()

    assert [each.whole().failed for each in (one, two)] == [2, 2]
    assert one.whole().rate == two.whole().rate
    assert 1 <= one.whole().median <= 2


def test_what_a_worker_has_counted_stays_when_it_is_started_anew(workers):
    (_, one), (before, two) = workers(0), workers(1)
    ask(before, 3, "500")
    two.sample()
    assert one.whole().failed == 3
    after, anew = workers(1)
    ask(after, 2, "500")
    anew.sample()

    assert one.whole().failed == 5


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"process": "1:2", "buckets": {"x": 1}}'])
def test_counters_that_cannot_be_read_are_left_out(workers, tmp_path, content):
    metrics, one = workers(0)
    (tmp_path / "traffic" / "1.json").write_text(content)
    ask(metrics, 1, "500")

    assert one.whole().failed == 1
