# SPDX-License-Identifier: Apache-2.0
"""A deployment that sleeps is started by its first call; calls wait for it, fairly and not for ever, and are told how far it is."""

import threading
import time

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import KEY_ACME, KEY_GLOBEX, Background, Sluice, eventually, provider_for


def many(gate, count, model="qwen", **fields):
    return [Background(lambda: gate.chat(model, options={"timeout": 60}, **fields)) for _ in range(count)]


def test_fifty_calls_wait_for_one_server():
    with Sluice(deployed(server_for("qwen", "--load-ms", 700, scaling={"parallel": 8}))) as gate:
        desk = Desk(gate)
        assert desk.show()["state"] == "idle" and not pids()
        calls = many(gate, 50)
        eventually(lambda: desk.show()["queue"]["held"] == 50, what="all wait")
        answers = [call.result() for call in calls]
        assert [answer.status for answer in answers] == [200] * 50, answers
        assert desk.launches() == 1 and len(pids()) == 1
        assert {answer.header("x-sluice-target") for answer in answers} == {"qwen"}
        [stats] = desk.stats()
        assert stats["calls"] == 50 and stats["most"] <= 8, stats
        shown = desk.show()
        assert (shown["queue"]["held"], shown["queue"]["in_flight"], shown["state"]) == (0, 0, "ready"), shown
    assert not pids(), "they end with the gateway"


def test_who_waits_is_sent_with_the_first_good_probe():
    """Not with the next one, nor with a timer: probes follow each other so closely that one of these would come in between."""
    probe = {"interval": "20ms", "liveness": "50ms"}
    with Sluice(deployed(server_for("qwen", "--load-ms", 400, probe=probe, scaling={"parallel": 8}))) as gate:
        calls = many(gate, 3)
        assert [call.result().status for call in calls] == [200] * 3
        [stats] = Desk(gate).stats()
        assert stats["probes"] == 1, stats


@pytest.fixture(scope="module")
def gate():
    servers = [
        server_for("qwen"),
        server_for("full", "--first-ms", 1500, scaling={"parallel": 1}, hold={"max_requests": 1}),
        server_for("late", "--load-ms", 60000, hold={"timeout": "600ms"}, probe={"start_timeout": "90s"}),
        server_for("busy", "--first-ms", 700, scaling={"parallel": 1}, hold={"policy": "reject"}),
        server_for("lazy", "--load-ms", 60000, hold={"policy": "fallback"}, attach_to=[{"model": "mixed", "priority": 1}]),
        server_for("broken", "--exit-at-once", 1, "--exit-code", 3, restart={"max_restarts": 1, "backoff": "50ms"}),
        {**server_for("wordy", restart={"max_restarts": 1, "backoff": "50ms"}),
         "command": ["/bin/sh", "-c", "echo no such model file; exit 3", "{port}"]},
        {**server_for("absent"), "command": ["/nowhere/to/be/found", "{port}"]},
        server_for("leaving", "--load-ms", 2000),
    ]
    config = deployed(*servers)
    config["providers"].append({"name": "mock", "type": "mock"})
    config["models"].append({"name": "mixed", "targets": [{"id": "cloud", "provider": "mock", "model": "mock", "priority": 2}]})
    config["tenants"][1]["models"].append("*")
    with Sluice(config) as sluice:
        yield sluice


def test_all_dialects_and_streams(gate):
    stream = gate.chat("qwen", stream=True)
    assert stream.status == 200 and stream.text.rstrip().endswith("[DONE]"), stream
    message = gate.post("/v1/messages", {"model": "qwen", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    assert message.status == 200 and message.json["content"][0]["text"].startswith("word0"), message
    row = gate.ledger_row(message.header("x-request-id"))
    assert (row["target"], row["provider"], row["upstream_model"], row["outcome"]) == ("qwen", "qwen", "qwen-model", "complete"), row


def test_a_revision_is_asked_for(gate):
    assert gate.chat("qwen@1").status == 200
    assert gate.chat("qwen@7").error["code"] == "model_not_found"
    assert gate.chat("qwen:nobody").error["code"] == "model_not_found"


def test_they_are_listed(gate):
    assert gate.chat("qwen").status == 200
    models = {model["id"]: model for model in gate.get("/v1/models").json["data"]}
    assert models["qwen"]["meta"]["state"] == "ready" and models["broken"]["owned_by"] == "broken", models
    assert gate.get("/v1/models/qwen").json["meta"]["ready"] == 1


def test_a_full_queue_says_so(gate):
    desk = Desk(gate)
    assert gate.chat("full").status == 200
    calls = many(gate, 2, "full")
    eventually(lambda: desk.show("full")["queue"]["held"] == 1, what="one waits")
    refused = gate.chat("full")
    assert refused.status == 503 and refused.error["code"] == "overloaded" and int(refused.header("retry-after")) >= 0, refused
    assert refused.json["loading"]["queued"] >= 1 and refused.json["loading"]["state"] == "ready", refused.json
    assert [call.result().status for call in calls] == [200, 200]


@pytest.mark.parametrize("path, body", [
    ("/v1/chat/completions", {"model": "late", "messages": []}),
    ("/v1/messages", {"model": "late", "max_tokens": 5, "messages": []}),
    ("/v1beta/models/late:generateContent", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
    ("/api/chat", {"model": "late", "messages": [], "stream": False}),
    ("/v1/generate", {"model": "late", "prompt": "Hi"}),
])
def test_who_waits_too_long_is_told_how_far_it_is(gate, path, body):
    begun = time.monotonic()
    answer = gate.post(path, body)
    assert answer.status == 503 and 0.5 < time.monotonic() - begun < 30, answer
    assert answer.json["loading"]["state"] == "starting" and "error" in answer.json, answer.json
    assert int(answer.header("retry-after")) >= 1
    row = gate.ledger_row(answer.header("x-request-id"))
    assert (row["outcome"], row["cost_nanos"], row["attempts"]) == ("refused", 0, 0), row


def test_nobody_waits_who_shall_be_rejected(gate):
    desk = Desk(gate)
    assert gate.chat("busy").status == 503  # and the server wakes all the same
    desk.until("ready", "busy")
    first = Background(lambda: gate.chat("busy"))
    eventually(lambda: desk.show("busy")["queue"]["in_flight"] == 1, what="one runs")
    refused = gate.chat("busy")
    assert refused.status == 503 and "free place" in refused.error["message"], refused
    assert first.result().status == 200


def test_another_target_answers_meanwhile(gate):
    answer = gate.chat("mixed")
    assert answer.status == 200 and answer.header("x-sluice-target") == "cloud", answer
    assert Desk(gate).show("lazy")["state"] == "starting", "it wakes for the next ones"


def test_a_server_that_cannot_start_fails_those_who_wait(gate):
    calls = many(gate, 5, "broken")
    for answer in [call.result() for call in calls]:
        assert answer.status == 503 and "broken" in answer.error["message"], answer
    shown = Desk(gate).until("failed", "broken")
    assert shown["restarts"] <= 2, shown


def test_a_failed_start_is_a_warning_and_giving_up_an_error(gate):
    gate.chat("wordy", options={"timeout": 60})
    Desk(gate).until("failed", "wordy")

    def told(level):
        return [line for line in gate.log_lines() if line["level"] == level and "wordy" in line["msg"]]

    eventually(lambda: told("error"), what="it was given up")
    assert any("launch_failed:exit:3" in line["msg"] and "no such model file" in line["msg"] for line in told("error")), told("error")
    ends = [line for line in told("warn") if ": exit:3: " in line["msg"] and "no such model file" in line["msg"]]
    assert len(ends) == 2, told("warn")  # one for each start


def test_a_program_that_is_not_there_is_said_at_once(gate):
    begun = time.monotonic()
    answer = gate.chat("absent")
    assert answer.status == 503 and "exec_failed" in answer.error["message"] and time.monotonic() - begun < 20, answer
    assert Desk(gate).show("absent")["state"] == "failed"


def test_who_leaves_waits_no_more(gate):
    desk = Desk(gate)
    clients = []
    for _ in range(10):
        client = gate.connect()
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + KEY_ACME.encode() +
                    b"\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n" + b'{"model":"leaving","messages":[]} ')
        clients.append(client)
    eventually(lambda: desk.show("leaving")["queue"]["held"] == 10, what="they wait")
    for client in clients[:9]:
        client.close()
    eventually(lambda: desk.show("leaving")["queue"]["held"] == 1, what="nine have gone")
    clients[9].close()
    eventually(lambda: desk.show("leaving")["queue"]["held"] == 0, what="all have gone")
    desk.until("ready", "leaving")  # the load was the deployment's
    assert gate.chat("leaving").status == 200


def test_keys_take_turns():
    """One that asks for much does not keep another one waiting to the end."""
    with Sluice(deployed(server_for("qwen", "--first-ms", 60, scaling={"parallel": 1}))) as gate:
        gate.config["tenants"][1]["models"].append("*")
        gate.write(gate.config)
        assert gate.cli("reload").returncode == 0
        order, lock = [], threading.Lock()

        def call(key):
            assert gate.chat("qwen", key=key, options={"timeout": 60}).status == 200
            with lock:
                order.append(key)

        greedy = [Background(call, KEY_ACME) for _ in range(20)]
        eventually(lambda: Desk(gate).show()["queue"]["held"] >= 18, what="they wait")
        modest = Background(call, KEY_GLOBEX)
        modest.result()
        assert order.index(KEY_GLOBEX) < 10, order
        for one in greedy:
            one.result()


def test_a_busy_one_is_joined_by_a_second(upstream):
    """Calls that wait are demand: a second replica comes, and both are used."""
    with Sluice(deployed(server_for("qwen", "--first-ms", 150, scaling={"max": 2, "parallel": 2, "up_window": "200ms"}))) as gate:
        desk = Desk(gate)
        assert gate.chat("qwen").status == 200
        calls = many(gate, 40)
        eventually(lambda: desk.show()["ready"] == 2, what="two are ready")
        assert [call.result().status for call in calls] == [200] * 40
        assert all(stats["calls"] > 2 for stats in desk.stats()) and desk.launches() == 2, desk.stats()
