# SPDX-License-Identifier: Apache-2.0
"""What was known of each target when one was chosen is kept; replay asks another policy."""

import json
import shutil
import time

import jsonschema
import pytest
from harness import ROOT, Client, Sluice, Upstream, config_for, eventually, merged, provider_for, run_cli


def target(name, price):
    return {"id": name, "provider": "up", "model": f"at-{name}", "price": {"input": price, "output": price}}


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    with Upstream() as up:
        config = config_for(up)
        config["providers"] = [provider_for(up, "up")]
        config["models"] = [{"name": "fast", "policy": "in-order", "targets": [target("dear", 40), target("cheap", 2)]},
                            {"name": "other", "targets": [target("lone", 1)]}]
        config["routing"] = {"policies": [{"name": "in-order", "strategy": "priority"}],
                             "rules": [{"name": "noted", "when": {"model": ["fast"]}, "use": {"policy": "in-order"}}]}
        config["telemetry"]["access_log"] = {"decisions": True}
        with Sluice(config) as gate:
            answers = [gate.chat("fast", max_tokens=50) for _ in range(30)]
            answers += [gate.chat("other") for _ in range(3)]
            assert {answer.header("x-sluice-target") for answer in answers[:30]} == {"dear"}
            line = gate.access_line(answers[0].header("x-request-id"))
            lines = [gate.access_line(answer.header("x-request-id")) for answer in answers]
    log = folder / "access.log"
    log.write_text("no JSON\n" + "".join(json.dumps(one) + "\n" for one in lines))
    return folder, log, line


def replay(folder, log, policy, *more):
    file = folder / "policy.yaml"
    file.write_text(policy)
    return run_cli("replay", "--policy", str(file), *more, str(log))


def test_a_line_has_its_rule_and_its_decision(logged):
    line = logged[2]
    assert line["rule"] == "noted"
    assert line["decision"]["choice"] == "dear" and line["decision"]["policy"] == "in-order"
    assert [one["target"] for one in line["decision"]["candidates"]] == ["dear", "cheap"]


def test_another_policy_is_asked(logged):
    folder, log, line = logged
    done = replay(folder, log, "{name: cheap, strategy: cost}", "--model", "fast", "--format", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["calls"], said["to_another_target"], said["left_out"]) == (30, 30, 0)
    costs = {one["target"]: one["cost_nanos"] / 1e9 for one in line["decision"]["candidates"]}
    assert abs(said["cost_usd"]["replayed"] / said["cost_usd"]["recorded"] - costs["cheap"] / costs["dear"]) < 0.01
    assert said["cost_usd"]["difference"] < 0
    assert {one["target"]: (one["recorded"], one["replayed"]) for one in said["targets"]} == {
        "dear": (30, 0), "cheap": (0, 30)}


def test_the_same_policy_chooses_the_same(logged):
    folder, log, _ = logged
    done = replay(folder, log, "{name: in-order, strategy: priority}", "--format", "json")
    said = json.loads(done.stdout)
    assert (said["calls"], said["to_another_target"]) == (33, 0)
    assert said["cost_usd"]["difference"] == said["cost_usd"]["half_interval"] == 0


def test_a_table_says_it_to_people(logged):
    folder, log, _ = logged
    done = replay(folder, log, "{name: cheap, strategy: cost}", "--since", "1h")
    assert done.returncode == 0 and "33 calls, 30 of them to another target" in done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The same without an access log: from what the gateway keeps itself."""
    folder = tmp_path_factory.mktemp("kept")
    with Upstream() as up:
        config = config_for(up)
        config["models"] = [{"name": "fast", "policy": "in-order", "targets": [target("dear", 40), target("cheap", 2)]},
                            {"name": "other", "targets": [target("lone", 1)]}]
        config["routing"] = {"policies": [{"name": "in-order", "strategy": "priority"}]}
        config["telemetry"]["access_log"] = {"enabled": False}
        with Sluice(config) as gate:
            for _ in range(30):
                assert gate.chat("fast", max_tokens=50).header("x-sluice-target") == "dear"
            up.answer = lambda call: call.respond(500, {"error": {"message": "x"}})
            for _ in range(3):
                gate.chat("other")
            eventually(lambda: gate.metric("sluice_decisions_kept_total") == 33)
            assert gate.metric("sluice_decisions_dropped_total") == 0
            yield folder, gate


def replay_kept(kept, policy, *more):
    folder, gate = kept
    file = folder / "policy.yaml"
    file.write_text(policy)
    return gate.cli("replay", "--policy", str(file), *more)


def test_what_is_kept_needs_no_log(kept):
    done = replay_kept(kept, "{name: cheap, strategy: cost}", "--model", "fast", "--format", "json", "--since", "1h")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["calls"], said["to_another_target"], said["left_out"]) == (30, 30, 0)
    assert abs(said["cost_usd"]["replayed"] / said["cost_usd"]["recorded"] - 2 / 40) < 0.01
    assert {one["target"]: (one["recorded"], one["replayed"]) for one in said["targets"]} == {
        "dear": (30, 0), "cheap": (0, 30)}
    other = json.loads(replay_kept(kept, "{name: cheap, strategy: cost}", "--model", "other", "--format", "json").stdout)
    assert other["calls"] == 3 and other["failing"]["recorded"] == 1
    same = json.loads(replay_kept(kept, "{name: same, strategy: priority}", "--format", "json").stdout)
    assert (same["calls"], same["to_another_target"]) == (33, 0)
    assert replay_kept(kept, "{name: cheap, strategy: cost}", "--model", "nobody").returncode == 5


def asked(gate, body):
    with Client(str(gate.state / "admin.sock")) as client:
        return client.request("POST", "/admin/v1/replay", [("Content-Type", "application/json")], json.dumps(body).encode())


def test_the_admin_api_is_asked(kept):
    gate = kept[1]
    cheap = {"name": "cheap", "strategy": "cost"}
    answer = asked(gate, {"policy": cheap, "model": "fast", "since": "1h"})
    assert answer.status == 200, answer
    done = replay_kept(kept, json.dumps(cheap), "--model", "fast", "--format", "json", "--since", "1h")
    assert answer.json == json.loads(done.stdout) and answer.json["to_another_target"] == 30
    whole = json.loads((ROOT / "gateway/openapi.json").read_text())
    jsonschema.Draft202012Validator(
        {**whole["components"]["schemas"]["Replay"], "components": whole["components"]}).validate(answer.json)
    assert asked(gate, {"policy": cheap}).json["calls"] == 33
    assert asked(gate, {"policy": cheap, "model": "nobody"}).json["calls"] == 0


@pytest.mark.parametrize("body, field, words", [
    ({}, "policy", "routing.policies"), ({"policy": "cheap"}, "policy", "routing.policies"),
    ({"policy": {"name": "x", "strategy": "chep"}}, "policy", "must be one of"),
    ({"policy": {"name": "x", "strategy": "${HOME}"}}, "policy", "${HOME}"),
    ({"policy": {"name": "x", "strateg": "cost"}}, "policy", "unknown key"),
    ({"policy": {"name": "x"}, "since": "soon"}, "since", "soon"), ({"policy": {"name": "x"}, "since": 7}, "since", "string"),
    ({"policy": {"name": "x"}, "modle": "x"}, "modle", "no such member"), ({"policy": {"name": "x"}, "model": None}, "model", "string")])
def test_the_admin_api_says_what_is_wrong(kept, body, field, words):
    answer = asked(kept[1], body)
    assert answer.status == 400 and answer.json["field"] == field and words in answer.json["detail"], answer


def test_decisions_that_cannot_be_read_are_not_none(kept):
    gate = kept[1]
    (gate.state / "decisions" / "9999999999999999.decisions").mkdir()
    answer = asked(gate, {"policy": {"name": "cheap", "strategy": "cost"}})
    (gate.state / "decisions" / "9999999999999999.decisions").rmdir()
    assert answer.status == 500 and "cannot be read" in answer.json["detail"], answer
    with Sluice(config_for("http://127.0.0.1:1", store={"retention": {"decisions": "0s"}})) as other:
        shutil.rmtree(other.state / "decisions", ignore_errors=True)
        answer = asked(other, {"policy": {"name": "cheap", "strategy": "cost"}})
        assert answer.status == 200 and answer.json["calls"] == 0, answer


def test_a_record_is_small(kept):
    files = list((kept[1].state / "decisions").glob("*.decisions"))
    assert 33 * 40 < sum(file.stat().st_size for file in files) < 33 * 160
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_they_outlive_a_crash_and_are_forgotten_when_told(kept):
    gate = kept[1]
    gate.may_crash = True
    gate.kill()
    gate.start()
    said = json.loads(replay_kept(kept, "{name: cheap, strategy: cost}", "--format", "json").stdout)
    assert said["calls"] == 33
    gate.write(merged(gate.config, {"store": {"retention": {"decisions": "0s"}}}))
    assert gate.cli("reload").returncode == 0
    eventually(lambda: not list((gate.state / "decisions").glob("*.decisions")), 5)
    gate.chat("fast")
    time.sleep(2)
    assert not list((gate.state / "decisions").glob("*.decisions"))


def test_what_cannot_be_replayed_is_said(logged):
    folder, log, _ = logged
    done = replay(folder, log, "{name: odd, strategy: chaep}")
    assert done.returncode == 1 and 'policy.yaml:1:23' in done.stderr, done.stderr
    empty = folder / "empty.log"
    empty.write_text("{}\n")
    done = replay(folder, empty, "{name: cheap, strategy: cost}")
    assert done.returncode == 5 and "decisions: true" in done.stderr
    assert replay(folder, log, "{name: cheap, strategy: cost}", "--since", "tomorrow-ish").returncode == 2
    assert run_cli("replay", str(log)).returncode == 2
    assert run_cli("replay").returncode == 2
