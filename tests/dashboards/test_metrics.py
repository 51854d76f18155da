"""The table of metrics and what comes out of it."""

import json
import math
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import hedgerow
import hedgerow.dashboards
from hedgerow.dashboards.metrics import METRICS, SERIES_LIMIT, Metrics, Type, UndeclaredMetric

GRAFANA = Path(hedgerow.dashboards.__file__).parent / "grafana"
IGNORED = "hedgerow_metrics_ignored_total"

# Labels whose values are few and known beforehand, or are names from the policy file (a list's name, a category).
BOUNDED_LABELS = {"version", "verdict", "reason", "transport", "cause", "lane", "direction", "role", "result", "category", "source"}


def samples(metrics):
    text = metrics.exposition()[0].decode()
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in parse_text(text) for sample in family.samples}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus_own_rules(metric):
    assert re.fullmatch(r"hedgerow_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.type is Type.COUNTER)
    assert set(metric.labels) <= BOUNDED_LABELS
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.type is Type.HISTOGRAM)
    assert list(metric.buckets) == sorted(metric.buckets)
    for unit in ("milliseconds", "_ms", "kilobytes", "minutes"):
        assert unit not in metric.name


def test_names_are_declared_once():
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_name_in_the_code_is_declared():
    package = Path(hedgerow.__file__).parent
    declared = {metric.name for metric in METRICS}
    for file in package.rglob("*.py"):
        used = set(re.findall(r"""["'](hedgerow_(?:dns|proxy|worker|events|policy|list|access|metrics|build)_[a-z_]+)""", file.read_text()))
        assert used <= declared, file


def test_a_fresh_start_already_shows_every_metric():
    text = Metrics().exposition()[0].decode()
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE hedgerow_")} == {metric.name for metric in METRICS}
    assert "\nhedgerow_dns_cache_hits_total 0.0\n" in text
    assert "process_cpu_seconds_total" in text


@pytest.mark.parametrize(("accept", "parse"), [("", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)])
def test_both_formats_are_what_prometheus_own_parser_reads(accept, parse):
    metrics = Metrics(strict=True)
    metrics.add("hedgerow_dns_queries_total", ("block", "category", "udp"), 3)
    metrics.observe("hedgerow_dns_upstream_seconds", 0.02)
    body, content_type = metrics.exposition(accept)
    assert content_type.startswith(accept.partition(";")[0] or "text/plain")
    found = {sample.name: sample for family in parse(body.decode()) for sample in family.samples}
    assert found["hedgerow_dns_queries_total"].value == 3
    assert found["hedgerow_dns_queries_total"].labels == {"verdict": "block", "reason": "category", "transport": "udp"}


def test_workers_counters_add_up_and_stay_while_gauges_leave_with_them():
    metrics = Metrics(strict=True)
    for worker, level in (("gate-0", 3.0), ("gate-1", 4.0)):
        metrics.set("hedgerow_proxy_open_tunnels", (), level, worker)
        metrics.add("hedgerow_proxy_bytes_total", ("tunnel", "in"), 10)
    assert samples(metrics)["hedgerow_proxy_open_tunnels", ()] == 7
    metrics.worker_left("gate-0")
    after = samples(metrics)
    assert after["hedgerow_proxy_open_tunnels", ()] == 4
    assert after["hedgerow_proxy_bytes_total", (("direction", "in"), ("lane", "tunnel"))] == 20


def test_histogram_from_observations_and_from_a_workers_own_buckets():
    metrics = Metrics(strict=True)
    metrics.observe("hedgerow_dns_upstream_seconds", 0.02)
    for bound in ("0.025", "1", "1.0", "+Inf"):
        metrics.add("hedgerow_dns_upstream_seconds_bucket", (bound,))
    metrics.add("hedgerow_dns_upstream_seconds_sum", (), 0.5)
    metrics.add("hedgerow_dns_upstream_seconds_count", ())
    found = samples(metrics)
    bucket = "hedgerow_dns_upstream_seconds_bucket"
    assert [found[bucket, (("le", bound),)] for bound in ("0.01", "0.025", "1.0", "+Inf")] == [0, 2, 3, 2]
    assert found["hedgerow_dns_upstream_seconds_sum", ()] == pytest.approx(0.52)
    assert found["hedgerow_dns_upstream_seconds_count", ()] == 2


WRONG = [
    lambda metrics: metrics.add("hedgerow_dns_cache_hists_total"),
    lambda metrics: metrics.add("hedgerow_dns_queries_total", ("block",)),
    lambda metrics: metrics.add("hedgerow_dns_cache_hits_total", (), -1.0),
    lambda metrics: metrics.add("hedgerow_dns_cache_hits_total", (), math.inf),
    lambda metrics: metrics.add("hedgerow_dns_cache_hits_total", (), math.nan),
    lambda metrics: metrics.add("hedgerow_proxy_open_tunnels"),
    lambda metrics: metrics.add("hedgerow_dns_upstream_seconds_bucket", ("0.3",)),
    lambda metrics: metrics.add("hedgerow_dns_upstream_seconds_bucket", ("much",)),
    lambda metrics: metrics.set("hedgerow_dns_cache_hits_total", (), 1.0),
    lambda metrics: metrics.set("hedgerow_proxy_open_tunnels", (), math.nan),
    lambda metrics: metrics.set_all("hedgerow_unknown", {(): 1.0}),
]


@pytest.mark.parametrize("report", WRONG)
def test_what_is_not_declared_is_an_error_in_tests_and_counted_at_run_time(report):
    with pytest.raises(UndeclaredMetric):
        report(Metrics(strict=True))
    metrics = Metrics()
    before = samples(metrics)
    report(metrics)
    after = samples(metrics)
    hedgerows = {key for key in after if key[0].startswith("hedgerow_") and after[key] != before.get(key)}
    assert hedgerows == {(IGNORED, ())}
    assert after[IGNORED, ()] == 1


def test_the_number_of_series_is_bounded():
    metrics = Metrics()
    for number in range(SERIES_LIMIT + 50):
        metrics.add("hedgerow_dns_dropped_total", (f"cause-{number}",))
    assert sum(name == "hedgerow_dns_dropped_total" for name, _ in samples(metrics)) == SERIES_LIMIT
    assert samples(metrics)[IGNORED, ()] == 50
    metrics.add("hedgerow_dns_dropped_total", ("cause-0",))
    assert samples(metrics)["hedgerow_dns_dropped_total", (("cause", "cause-0"),)] == 2


def test_a_label_with_line_breaks_and_quotes_does_not_break_the_exposition():
    metrics = Metrics(strict=True)
    name = 'my "list"\nhedgerow_dns_cache_hits_total 99\\'
    metrics.set_all("hedgerow_list_age_seconds", {(name,): 5.0})
    found = samples(metrics)
    assert found["hedgerow_list_age_seconds", (("source", name),)] == 5
    assert found["hedgerow_dns_cache_hits_total", ()] == 0
    metrics.set_all("hedgerow_list_age_seconds", {})
    assert ("hedgerow_list_age_seconds", (("source", name),)) not in samples(metrics)


def test_a_total_kept_elsewhere_never_goes_down():
    metrics = Metrics(strict=True)
    for total in (5.0, 3.0, 8.0):
        metrics.set_total("hedgerow_events_dropped_total", ("control",), total)
    assert samples(metrics)["hedgerow_events_dropped_total", (("role", "control"),)] == 8


def sample_names(metric):
    if metric.type is Type.HISTOGRAM:
        return {f"{metric.name}_{ending}" for ending in ("bucket", "sum", "count")}
    return {metric.name}


def test_the_grafana_dashboard_asks_only_for_what_exists_and_shows_all_of_it():
    dashboard = json.loads((GRAFANA / "hedgerow.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"hedgerow_\w+", query)}
    declared = {name for metric in METRICS for name in sample_names(metric)}
    assert asked <= declared
    shown = {metric.name for metric in METRICS if sample_names(metric) & asked}
    assert {metric.name for metric in METRICS} - shown == {IGNORED}
    labels = {metric.name: set(metric.labels) for metric in METRICS}
    for query in queries:
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            names = [name for name in labels if any(sample in query for sample in sample_names_of(name))]
            assert set(re.split(r",\s*", grouped)) <= {"le"}.union(*(labels[name] for name in names)), query


def sample_names_of(name):
    return sample_names(next(metric for metric in METRICS if metric.name == name))


def test_panels_do_not_overlap():
    dashboard = json.loads((GRAFANA / "hedgerow.json").read_text())
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_scrape_example_is_a_scrape_of_metrics():
    (job,) = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8053"]}]
