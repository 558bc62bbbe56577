# SPDX-License-Identifier: Apache-2.0
"""Prometheus text format 0.0.4, names that dashboards rely on, bounded labels."""

import re

import pytest
from harness import KEY_WRONG, Sluice, config_for, eventually

pytestmark = pytest.mark.threads
NAMES = {
    "sluice_http_requests_total", "sluice_requests_total", "sluice_request_duration_seconds_bucket", "sluice_overhead_seconds_bucket",
    "sluice_inflight_requests", "sluice_upstream_attempts_total", "sluice_tokens_total", "sluice_cost_usd_total",
    "sluice_config_last_reload_successful", "sluice_config_last_reload_success_timestamp_seconds", "sluice_build_info",
    "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds",
}
LINE = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\\n])*",?)*\})? [-+0-9.eEInfNa]+\Z')


def test_the_text_is_valid(gate):
    gate.chat()
    gate.chat("nobody")
    answer = gate.get("/metrics", key=None)
    assert answer.header("content-type").startswith("text/plain") and "version=0.0.4" in answer.header("content-type")
    assert answer.text.endswith("\n")
    typed = set()
    for line in answer.text.splitlines():
        if line.startswith("# TYPE"):
            name = line.split()[2]
            assert name not in typed, f"{name} is typed twice"
            typed.add(name)
        elif not line.startswith("#"):
            assert LINE.match(line), line
            family = re.match(r"[a-zA-Z0-9_:]+", line)[0]
            base = re.sub(r"_(bucket|sum|count)$", "", family)
            assert family in typed or base in typed, f"{family} has no type"
    series = [line.rpartition(" ")[0] for line in answer.text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series)), "a series stands twice"


def test_the_names(gate):
    gate.chat(stream=True)
    names = {series.partition("{")[0] for series in gate.metrics()}
    assert NAMES <= names, NAMES - names


def test_calls_are_counted(gate, upstream):
    def figures():
        return (gate.metric("sluice_requests_total", model="fast", outcome="complete"),
                gate.metric("sluice_tokens_total", model="fast"), gate.metric("sluice_cost_usd_total", model="fast"))

    gate.chat()
    before = figures()
    for i in range(10):
        gate.chat(stream=i % 2 == 0)
    after = figures()
    assert after[0] - before[0] == 10 and after[1] - before[1] == 180
    assert abs(after[2] - before[2] - 10 * 0.000039) < 1e-9
    assert gate.metric("sluice_inflight_requests") == 0
    refused = gate.metric("sluice_http_requests_total", code="401")
    gate.chat(key=KEY_WRONG)
    assert gate.metric("sluice_http_requests_total", code="401") == refused + 1
    upstream.answer = lambda call: call.respond(500, {})
    failed = gate.metric("sluice_upstream_attempts_total", target="fast-1")
    gate.chat()
    assert gate.metric("sluice_upstream_attempts_total", target="fast-1") == failed + 1


def test_buckets_are_cumulative(gate):
    gate.chat()
    groups = {}
    for series, value in gate.metrics().items():
        if "_bucket{" in series:
            bound = re.search(r'le="([^"]+)"', series)[1]
            groups.setdefault(re.sub(r'le="[^"]+",?', "", series), []).append((float(bound), value))
    assert groups
    for name, buckets in groups.items():
        values = [value for _, value in sorted(buckets)]
        assert values == sorted(values) and max(buckets)[0] == float("inf"), name
        count = name.replace("_bucket{", "_count{").replace(",}", "}").replace("{}", "")
        assert gate.metrics()[count] == values[-1], count


def test_names_that_clients_choose_make_no_series(gate):
    gate.chat()
    gate.chat("nobody-0")
    gate.get("/v1/path-0")
    before = len(gate.metrics())
    for i in range(200):
        gate.chat(f"nobody-{i}", user=f"user-{i}", headers={"x-sluice-tags": f"t={i}"})
        gate.get(f"/v1/path-{i}", key=f"sk-{i}")
    text = gate.get("/metrics", key=None).text
    assert len(gate.metrics()) <= before + 5
    assert "nobody" not in text and "user-" not in text and "path-" not in text and "sk-" not in text


def test_connections_are_counted(gate):
    clients = [gate.connect() for _ in range(10)]
    for client in clients:
        client.request("GET", "/livez")
    name = next(n for n in (s.partition("{")[0] for s in gate.metrics()) if n.endswith("connections") and "upstream" not in n)
    assert gate.metric(name) >= 10
    for client in clients:
        client.close()
    eventually(lambda: gate.metric(name) <= 2)


def test_off_when_told_so(upstream):
    with Sluice(config_for(upstream, telemetry={"metrics": {"enabled": False}})) as gate:
        assert gate.get("/metrics", key=None).status == 404
        assert gate.chat().status == 200


def test_health_pages(gate):
    for path in ("/livez", "/readyz", "/healthz", "/health", "/health/liveliness", "/health/readiness"):
        answer = gate.get(path, key=None)
        assert answer.status == 200 and answer.text.strip() == "ok", (path, answer)
    assert len(gate.get("/readyz?verbose", key=None).text.splitlines()) > 1
    assert gate.post("/livez", b"", key=None).status == 405
