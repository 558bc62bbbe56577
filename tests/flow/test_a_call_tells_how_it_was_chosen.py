# SPDX-License-Identifier: Apache-2.0
"""/admin/v1/requests/{id} and `sluice trace`: what was known when a call's target was chosen, also long after."""

import json
import threading

import pytest
from harness import Client, Sluice, Upstream, config_for, eventually, free_port, provider_for, sha256_hash

pytestmark = pytest.mark.threads
ADMIN, LEAD = "sk-admin-5ecre7-30", "sk-lead-5ecre7-31"


def target(name, price, provider="up"):
    return {"id": name, "provider": provider, "model": f"at-{name}", "price": {"input": price, "output": price}}


def configure(up, keep="7d"):
    config = config_for(up)
    config["providers"] = [provider_for(up, "up")]
    config["models"] = [{"name": "fast", "policy": "cheapest", "targets": [target("dear", 40), target("cheap", 2)]},
                        {"name": "small", "context_window": 16, "targets": [target("lone", 1)]}]
    config["routing"] = {"policies": [{"name": "cheapest", "strategy": "cost"}]}
    config["store"] = {"retention": {"decisions": keep}}
    config["admin"] = {"keys": [{"name": "ops", "hash": sha256_hash(ADMIN), "role": "admin"},
                                {"name": "lead", "hash": sha256_hash(LEAD), "role": "tenant", "tenant": "acme"}]}
    config["server"]["listeners"].append({"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
    return config


@pytest.fixture(scope="module")
def up():
    with Upstream() as one:
        yield one


def ask(gate, path):
    with Client(str(gate.state / "admin.sock")) as client:
        return client.request("GET", "/admin/v1" + path)


def call_of(gate, answer, what="decision"):
    """The call, once its decision has been written down."""
    path = "/requests/" + answer.header("x-request-id")

    def look():
        found = ask(gate, path)
        return found.json if found.status == 200 and (not what or found.json[what]) else None

    return eventually(look, what="the call and its decision are there")


@pytest.fixture(scope="module")
def gate(up):
    with Sluice(configure(up)) as one:
        yield one


def test_what_was_considered_is_told(gate):
    answers = [gate.chat("fast", max_tokens=50) for _ in range(5)]
    assert {answer.status for answer in answers} == {200}
    for answer in answers:
        call = call_of(gate, answer)
        decision = call["decision"]
        assert (decision["model"], decision["policy"], decision["strategy"]) == ("fast", "cheapest", "cost")
        assert decision["choice"] == call["target"] == "cheap"
        dear, cheap = decision["candidates"]
        assert (dear["target"], cheap["target"]) == ("dear", "cheap") and "strike" not in dear
        assert dear["cost_nanos"] > cheap["cost_nanos"] > 0 and dear["score_nanos"] > cheap["score_nanos"]


def test_each_call_has_its_own(gate):
    """They are found by their times and cost, as no record has an id: those that came at once are told apart."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(gate.chat("fast", max_tokens=10))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert call_of(gate, answer)["decision"]["choice"] == answer.header("x-sluice-target")


def test_a_tenant_sees_no_targets(gate):
    answer = gate.chat("fast")
    call_of(gate, answer)
    with gate.connect("ops") as client:
        seen = client.request("GET", "/admin/v1/requests/" + answer.header("x-request-id"), [("Authorization", f"Bearer {LEAD}")])
    assert seen.status == 200 and "decision" not in seen.json
    assert "decision" not in ask(gate, "/requests?limit=1").json["data"][0], "and lists have none"


def test_trace_shows_it(gate):
    answer = gate.chat("fast")
    call_of(gate, answer)
    done = gate.cli("trace", answer.header("x-request-id"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = lines.index("chosen   by policy cheapest, cost, from:")
    assert any(line.startswith("* cheap ") for line in lines[at:]) and any(line.startswith("  dear ") for line in lines[at:])
    assert json.loads(gate.cli("trace", answer.header("x-request-id"), "--format", "json").stdout)["decision"]["choice"] == "cheap"


def test_it_outlives_a_restart(gate):
    answer = gate.chat("fast")
    before = call_of(gate, answer)["decision"]
    gate.stop()
    gate.start()
    assert call_of(gate, answer)["decision"] == before


def test_where_none_is_kept_there_is_none(up):
    with Sluice(configure(up, keep="0s")) as gate:
        answer = gate.chat("fast")
        assert call_of(gate, answer, what=None)["decision"] is None
        done = gate.cli("trace", answer.header("x-request-id"))
        assert done.returncode == 0 and "chosen" not in done.stdout
