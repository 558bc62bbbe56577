# SPDX-License-Identifier: Apache-2.0
"""Rules, alerts and dashboard: understood by Prometheus, and each metric and label in them is in /metrics."""

import json
import re
import subprocess

import harness
import pytest
import tools
import yaml

FOLDER = harness.ROOT / "deploy"
RULES, ALERTS = FOLDER / "prometheus/rules.yaml", FOLDER / "prometheus/alerts.yaml"
BOARD = json.loads((FOLDER / "grafana/sluice.json").read_text())
SERIES = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)\Z")
LABEL = re.compile(r'(\w+)="((?:\\.|[^"\\])*)"')
SCRAPED = {"job", "instance"}  # Prometheus' own labels

# For each alert: what its metrics are when it should ring, one value a minute, and the labels that it then has.
RINGS = {
    "SluiceLedgerFull": {"sluice_ledger_full": "1x60"},
    "SluiceLedgerDamaged": {"sluice_ledger_damaged": "1x60"},
    "SluiceLedgerNotWritten": {"sluice_ledger_drain_errors_total": "0+6x60"},
    "SluiceUsageNotShared": {"sluice_ledger_shared_up": "0x60"},
    "SluiceLinesNotStored": {"sluice_ledger_unstored_lines_total": "0+6x60"},
    "SluiceStoreDown": {"sluice_store_up": "0x60"},
    "SluiceDown": {"up": "0x60"},
    "SluiceErrors": {'sluice_http_requests_total{listener="api",method="POST",code="200"}': "0+90x60",
                     'sluice_http_requests_total{listener="api",method="POST",code="503"}': "0+10x60"},
    "SluiceAnswersCut": {'sluice_requests_total{model="fast",outcome="complete"}': "0+70x60",
                         'sluice_requests_total{model="fast",outcome="partial"}': "0+30x60"},
    "SluiceTargetIll": {'sluice_upstream_attempts_total{target="t",result="good"}': "0+70x60",
                        'sluice_upstream_attempts_total{target="t",result="timeout"}': "0+30x60"},
    "SluiceSlowItself": {'sluice_overhead_seconds_bucket{model="fast",le="0.1"}': "0+50x60",
                         'sluice_overhead_seconds_bucket{model="fast",le="0.5"}': "0+60x60",
                         'sluice_overhead_seconds_bucket{model="fast",le="+Inf"}': "0+60x60"},
    "SluiceConfigNotInForce": {"sluice_config_last_reload_successful": "0x60"},
    "SluiceVersionsDiffer": {'sluice_build_info{version="0.1.0"}': "1x200", 'sluice_build_info{version="0.2.0"}': "1x200"},
    "SluiceDescriptors": {"process_open_fds": "90x60", "process_max_fds": "100x60"},
    "SluiceRestarts": {"process_start_time_seconds": "1+1x60"},
    "SluiceLogDropped": {"sluice_log_dropped_total": "0+6x60"},
    "SluiceDeploymentsPaused": {'sluice_deployment_paused{reason="redis_away"}': "1x60"},
    "SluiceDeploymentRestarts": {'sluice_deployment_restarts_total{deployment="d"}': "0+1x60"},
    "SluiceJobsWait": {"sluice_job_eldest_waiting_seconds": "7200x60"},
}


@pytest.fixture(scope="session")
def promtool():
    return tools.promtool()


def page_of(settled=None, **changes):
    """/metrics of the program after calls of all kinds, once these metrics have these values."""
    with harness.Mock() as mock:
        config = harness.config_for(mock.url, cache={"exact": {"enabled": True}}, **changes)
        config["tenants"][1].update(limits={"requests_per_minute": 4}, budget={"amount": "5.00 USD", "period": "month"})
        with harness.Sluice(config) as gate:
            assert gate.chat().status == 200 and gate.chat(stream=True).status == 200
            assert {gate.chat(key=harness.KEY_GLOBEX).status for _ in range(6)} <= {200, 429}
            assert gate.chat(key=harness.KEY_WRONG).status in (401, 503)  # 503: where Redis is away who has a key is not known
            for name, value in (settled or {}).items():
                harness.eventually(lambda name=name, value=value: gate.metric(name) == value, 20, what=name)
            return gate.get("/metrics", key=None).text


@pytest.fixture(scope="session")
def quiet():
    """Nothing unusual: no Redis, no deployment."""
    return page_of()


@pytest.fixture(scope="session")
def full():
    """With all that has metrics: a Redis (though nobody is there), a deployment, a queue of jobs."""
    return page_of(
        {"sluice_store_up": 0, "sluice_ledger_shared_up": 0, "sluice_deployment_paused": 1},
        store={"type": "redis", "redis": {"url": "redis://127.0.0.1:1", "on_error": {"budgets": "local"}}},
        deployments={"models": [{"name": "dep", "command": ["false"], "engine": "vllm"}]})


def series_of(page):
    """[(name, {label: value}, value)]"""
    found = [SERIES.match(line) for line in page.splitlines() if line and not line.startswith("#")]
    return [(match[1], dict(LABEL.findall(match[2] or "")), match[3]) for match in found]


def labels_of(page):
    """{name: labels}, also of metrics that have no series yet."""
    names = {line.split()[2]: set() for line in page.splitlines() if line.startswith("# TYPE")}
    for name, labels, _ in series_of(page):
        names.setdefault(name, set()).update(labels)
    return names


def panels():
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def questions():
    """{where: expression} of all there are, with the dashboard's variables filled in."""
    found = {}
    for path in (RULES, ALERTS):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                found[rule.get("alert") or rule["record"]] = rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for item in BOARD["annotations"]["list"]:
        found[item["name"]] = item["expr"]
    for item in BOARD["templating"]["list"]:
        if item["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", item["definition"]).groups()
            found[f"variable {item['name']}"] = f"count by ({label}) ({selector})"
    return {where: re.sub(r"\$(job|instance|model|tenant)\b", ".*", text.replace("$__rate_interval", "5m"))
            for where, text in found.items()}


def run_promtool(promtool, *args, cwd):
    done = subprocess.run([promtool, *map(str, args)], cwd=cwd, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def test_prometheus_takes_the_rules(promtool, tmp_path):
    for path in (RULES, ALERTS):
        count = sum(len(group["rules"]) for group in yaml.safe_load(path.read_text())["groups"])
        assert f"SUCCESS: {count} rules found" in run_promtool(promtool, "check", "rules", "--lint-fatal", path, cwd=tmp_path)
    (tmp_path / "prometheus.yml").write_text(f"rule_files: [{RULES}, {ALERTS}]\nscrape_configs: [{{job_name: sluice}}]\n")
    run_promtool(promtool, "check", "config", "prometheus.yml", cwd=tmp_path)


def test_prometheus_understands_every_question(promtool, tmp_path):
    rules = [{"record": f"question:{i}", "expr": text} for i, text in enumerate(questions().values())]
    (tmp_path / "questions.yaml").write_text(json.dumps({"groups": [{"name": "questions", "rules": rules}]}))
    run_promtool(promtool, "check", "rules", "questions.yaml", cwd=tmp_path)
    assert len(rules) > 100


def test_every_metric_and_label_exists(full):
    known = labels_of(full)
    # These have series only once something runs.
    known["sluice_deployment_replicas"] |= {"deployment", "state"}
    asked = 0
    for where, text in questions().items():
        bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
        names = re.findall(r"\b(?:sluice|process|gen_ai)_\w+", bare)
        assert names or "up{" in bare, where
        asked += len(names)
        for name in names:
            assert name in known, f"{where}: there is no {name}"
        labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*""', bare))
        for group in re.findall(r"\bby \(([^)]*)\)", bare):
            labels |= set(re.split(r",\s*", group))
        told = set().union(SCRAPED, *(known[name] for name in names))
        assert labels <= told, f"{where}: {sorted(labels - told)}"
    assert asked > 100


def test_each_label_is_on_its_own_metric(full):
    """A selector with a label that its metric has not would find nothing, and say nothing."""
    known = labels_of(full)
    for where, text in questions().items():
        for name, selector in re.findall(r"\b((?:sluice|process)_\w+)\{([^}]*)\}", text):
            labels = {label for label, _ in re.findall(r'(\w+)(=~|!~|!=|=)"', selector)}
            assert labels <= known[name] | SCRAPED, f"{where}: {name} has no {sorted(labels - known[name])}"


def test_legends_have_labels_that_are_there():
    for panel in panels():
        for target in panel["targets"]:
            used = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            groups = [set(re.split(r",\s*", each)) for each in re.findall(r"\bby \(([^)]*)\)", target["expr"])]
            kept = set().union(*groups) - {"le"} if groups else SCRAPED
            if not groups and re.match(r"(sum|max|min|count|histogram_quantile)\(", target["expr"]):
                kept = set()
            assert used <= kept, f"{panel['title']}: {target['legendFormat']}"


def alert_test(promtool, folder, alert, series, expected, minutes=60, groups=()):
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m",
                   "input_series": [{"series": name, "values": values} for name, values in series.items()],
                   "promql_expr_test": [
                       {"expr": f'count(ALERTS{{alertname=~"{alert}",alertstate="firing"}}) or vector(0)',
                        "eval_time": f"{minutes}m", "exp_samples": [{"labels": "{}", "value": expected}]}]}],
    }
    (folder / "test.yaml").write_text(json.dumps(test))
    run_promtool(promtool, "test", "rules", "test.yaml", cwd=folder)


def scraped(name, labels=None):
    inside = ",".join(f'{key}="{value}"' for key, value in {"job": "sluice", "instance": "a", **(labels or {})}.items())
    return f"{name}{{{inside}}}"


def test_every_alert_has_its_trial():
    named = [rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert sorted(named) == sorted(RINGS) and len(named) == len(set(named))


@pytest.mark.parametrize("alert", RINGS)
def test_the_alert_rings(promtool, tmp_path, alert):
    series = {}
    for name, values in RINGS[alert].items():
        name, _, labels = name.partition("{")
        series[scraped(name, dict(LABEL.findall(labels)))] = values
    alert_test(promtool, tmp_path, alert, series, 1, 150 if alert == "SluiceVersionsDiffer" else 59)


@pytest.mark.parametrize("page", ["quiet", "full"])
def test_no_alert_rings_without_cause(promtool, tmp_path, request, page):
    """What the program tells when all is well, for hours. In `full` only Redis is away."""
    series = {scraped(name, labels): f"{value}x200" for name, labels, value in series_of(request.getfixturevalue(page))}
    series[scraped("up")] = "1x200"
    expected = 0 if page == "quiet" else 3
    alert_test(promtool, tmp_path, ".*", series, expected, 180)
    alert_test(promtool, tmp_path, "SluiceStoreDown|SluiceUsageNotShared|SluiceDeploymentsPaused", series, expected, 180)


def test_the_guide_says_of_every_alert_when_it_rings_and_what_to_do():
    guide = (harness.ROOT / "docs/OPERATIONS.md").read_text()
    rows = re.findall(r"^\| `(Sluice\w+)` \|(.*)\|$", guide, re.M)
    cells = {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in rows}
    assert len(rows) == len(cells) and sorted(cells) == sorted(RINGS)
    for rule in (rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]):
        when, because, to_do = cells[rule["alert"]]
        number, unit = re.fullmatch(r"(\d+)([mh])", rule.get("for", "0m")).groups()
        unit = {"m": "minute", "h": "hour"}[unit] + ("s" if number != "1" else "")
        assert when.endswith(f" for {number} {unit}") if "for" in rule else " for " not in when, rule["alert"]
        assert because and len(to_do) > 10, rule["alert"]


def test_the_dashboard_is_of_one_piece():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids)) and BOARD["uid"] == "sluice" and "id" not in BOARD
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    names = {item["name"] for item in BOARD["templating"]["list"]}
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            used = set(re.findall(r"\$(?!__)(\w+)", target["expr"]))
            assert used <= names and {"job", "instance"} <= used, f"{panel['title']}: {target['expr']}"
