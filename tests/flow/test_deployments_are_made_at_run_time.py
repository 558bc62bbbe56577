# SPDX-License-Identifier: Apache-2.0
"""The admin API makes, changes, orders about and removes deployments; what it makes is checked as the file is, and outlives everything."""

import json
import os
import signal

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import Client, Sluice, chat_request, eventually, run_cli


def cli(gate, *words):
    return run_cli("deployments", *words, "-c", gate.file, env=gate.env)


@pytest.fixture(scope="module")
def gate():
    with Sluice(deployed(server_for("filed"))) as sluice:
        yield sluice


@pytest.fixture
def desk(gate):
    return Desk(gate)


def make(desk, name, *options, **changes):
    answer = desk.ask("POST", "/deployments", server_for(name, *options, **changes))
    assert answer.status == 201, answer
    return answer.json


def test_it_is_made_called_changed_and_removed(gate, desk):
    made = make(desk, "made", "--say", "one", env={"SECRET": "5ecre7-value"})
    assert (made["version"], made["origin"], made["spec"]["env"]) == (1, "api", {"SECRET": "********"}), made
    assert gate.chat("made").json["choices"][0]["message"]["content"].startswith("one")
    spec = server_for("made", "--say", "two")
    changed = desk.ask("PATCH", "/deployments/made", {"command": spec["command"], "env": None}, [("If-Match", '"1"')])
    assert changed.status == 200 and changed.json["version"] == 2 and changed.json["spec"]["env"] == {}, changed
    eventually(lambda: gate.chat("made").json["choices"][0]["message"]["content"].startswith("two"), what="the new revision answers")
    late = desk.ask("PATCH", "/deployments/made", {"scaling": {"max": 2}}, [("If-Match", '"1"')])
    assert late.status == 412 and "version is 2" in late.json["detail"], late
    versions = desk.ask("GET", "/deployments/made/revisions").json
    assert [one["version"] for one in versions["data"]] == [2, 1] and versions["revision"] == 2, versions
    assert desk.ask("DELETE", "/deployments/made").status == 204
    assert desk.ask("GET", "/deployments/made").status == 404 and gate.chat("made").status == 404
    eventually(lambda: not pids(), what="its servers have ended")
    assert "5ecre7-value" not in gate.log()


@pytest.mark.parametrize("change, field, words", [
    ({"scaling": {"max": 0}}, "scaling.max", "from 1 to 64"),
    ({"scalin": {}}, "scalin", "did you mean"),
    ({"name": "Bad Name"}, "name", "lower-case"),
    ({"name": "fast"}, "name", "model"),
    ({"command": []}, "command", "needs a"),
    ({"resources": {"memory": "900TiB"}}, "resources", "could never start"),
    ({"node": "nowhere"}, "node", "no node"),
    ({"probe": {"path": "/health\r\nX: y"}}, "probe.path", "visible"),
    ({"token_file": "/etc/passwd"}, "token_file", "cannot be named here"),
    ({"registry": {"password_file": "/etc/passwd"}}, "registry.password_file", "cannot be named here"),
])
def test_what_is_wrong_is_named(desk, change, field, words):
    answer = desk.ask("POST", "/deployments", {**server_for("odd"), **change})
    assert answer.status == 422 and words in answer.json["detail"] and answer.json["field"] == field, answer
    assert "root:" not in answer.text and not desk.ask("GET", "/deployments/odd").status == 200


def test_variables_of_the_gateway_stay_its_own(gate, desk):
    make(desk, "curious", env={"SHOW": "${HOME}"}, command=[*server_for("curious")["command"], "--print-env", "SHOW"])
    assert gate.chat("curious").status == 200
    logs = eventually(lambda: "\n".join(desk.ask("GET", "/deployments/curious/logs").json["logs"]), what="lines")
    assert "${HOME}" in logs, logs
    assert desk.ask("DELETE", "/deployments/curious").status == 204


def test_names_are_nobodys_twice(desk):
    assert desk.ask("POST", "/deployments", server_for("filed")).status == 409
    assert desk.ask("PATCH", "/deployments/filed", {}).status == 409
    refused = desk.ask("DELETE", "/deployments/filed")
    assert refused.status == 409 and "file" in refused.json["detail"], refused


def test_orders(gate, desk):
    assert gate.chat("filed").status == 200
    assert desk.order("scale", "filed", {"replicas": 0}).status in (200, 400, 409)
    assert desk.order("scale", "filed", {"min": 2, "max": 2}).status == 200
    eventually(lambda: desk.show("filed")["ready"] == 2, what="two")
    assert desk.order("restart", "filed").status == 200
    assert desk.order("scale", "filed", {"min": 0, "max": 1}).status == 200
    assert desk.order("stop", "filed").status == 200
    desk.until("stopped", "filed")
    assert desk.order("start", "filed").status == 200
    desk.until("ready", "filed")
    assert desk.order("rollout", "filed", {"action": "dance"}).status == 400
    assert desk.order("rollout", "filed", {"action": "promote"}).status == 409, "there is none"
    assert desk.order("stop", "nobody").status == 404
    fits = desk.ask("POST", "/placement/simulate", server_for("thought"))
    assert fits.status == 200 and fits.json["fits"] is True, fits
    [node] = desk.ask("GET", "/placement").json["nodes"]
    assert node["name"] == "local" and node["replicas"] >= 1, node


def test_one_that_is_made_again_has_no_orders_of_the_one_before(gate, desk):
    """Though a server of that still ends, with a call on it."""
    make(desk, "again", "--tps", 5, "--tokens", 1000, stop={"drain": "60s"})
    client, response = gate.open_stream("again")
    next(iter(client.pieces(response)))
    assert desk.order("stop", "again").status == 200 and desk.order("pin", "again").status == 200
    assert desk.ask("DELETE", "/deployments/again").status == 204
    make(desk, "again")
    answer = gate.chat("again", options={"timeout": 30})
    assert answer.status == 200, answer
    client.close()
    assert desk.ask("DELETE", "/deployments/again").status == 204
    eventually(lambda: not pids("again-model"), what="its servers have ended")


def test_a_call_whose_deployment_has_gone_meanwhile_does_not_wait_for_it(gate, desk):
    make(desk, "leaving")
    with gate.connect() as client:
        head, _, body = chat_request({"model": "leaving", "messages": []}, headers=[("Expect", "100-continue")]).partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        assert client.sock.recv(1000).startswith(b"HTTP/1.1 100")  # the configuration of now is in force for it
        assert desk.ask("DELETE", "/deployments/leaving").status == 204
        assert gate.chat("leaving").status == 404
        client.send(body)
        answer = client.begin_response("POST")
        text = b"".join(client.pieces(answer))
        assert answer.status in (404, 503) and b"not ready in time" not in text, (answer, text)


def test_adapters(gate, desk):
    make(desk, "based", engine="vllm", adapters=[{"name": "legal", "source": "/a/legal"}])
    assert gate.chat("based:legal").status == 200
    added = desk.ask("POST", "/deployments/based/adapters", {"name": "poet", "source": "/a/poet"})
    assert added.status == 201, added
    assert eventually(lambda: gate.chat("based:poet").status == 200, what="the new one answers")
    listed = {one["id"]: one for one in gate.get("/v1/models").json["data"]}
    assert listed["based:poet"]["parent"] == "based"
    shown = {one["name"]: one for one in desk.ask("GET", "/deployments/based/adapters").json["data"]}
    assert shown["legal"]["ready"] == 1 and shown["poet"]["ready"] == 1, shown
    assert desk.launches("based") == 1, "this engine loads them while it runs"
    assert desk.ask("DELETE", "/deployments/based/adapters/legal").status == 204
    assert gate.chat("based:legal").status == 404 and gate.chat("based:poet").status == 200
    assert desk.ask("DELETE", "/deployments/based").status == 204


def test_nobody_waits_for_an_adapter_that_cannot_be_loaded(gate, desk):
    make(desk, "halved", "--fail-lora", "/a/bad", engine="vllm", scaling={"min": 1},
         adapters=[{"name": "good", "source": "/a/good"}, {"name": "bad", "source": "/a/bad"}])

    def states():
        return {one["name"]: one for one in desk.ask("GET", "/deployments/halved/adapters").json["data"]}

    eventually(lambda: states()["bad"].get("failed") == 1, 20, what="it has been tried in vain")
    refused = gate.chat("halved:bad", options={"timeout": 90})
    assert refused.status == 503 and "could not load the adapter" in refused.error["message"], refused
    assert gate.chat("halved:good").status == 200 and gate.chat("halved").status == 200
    assert desk.ask("DELETE", "/deployments/halved").status == 204


def test_events_and_logs(gate, desk):
    make(desk, "told")
    assert gate.chat("told").status == 200
    events = desk.events("told")
    assert [event["id"] for event in events] == sorted(event["id"] for event in events) and "ready" in [e["reason"] for e in events]
    assert desk.ask("GET", f"/deployments/told/events?after={events[-1]['id']}").json["data"] == []
    def lines():
        return "\n".join(desk.ask("GET", "/deployments/told/logs?n_lines=5").json["logs"])

    eventually(lambda: "loaded" in lines(), what="what it has written")
    done = cli(gate, "ls", "--format", "json")
    assert done.returncode == 0 and "told" in [one["name"] for one in json.loads(done.stdout)], done
    assert "loaded" in cli(gate, "logs", "told").stdout
    assert "ready" in cli(gate, "events", "told").stdout
    assert desk.ask("DELETE", "/deployments/told").status == 204


def follow(gate, path, within=10):
    """What comes of an endless answer, until it has said `ready`."""
    client = Client(str(gate.state / "admin.sock"))
    client.send(f"GET /admin/v1{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    response = client.begin_response("GET")
    assert response.status == 200 and response.header("content-type") == "text/event-stream", response
    return client, client.pieces(response)


def test_events_and_lines_are_followed(gate, desk):
    make(desk, "followed", "--load-ms", 300)
    client, pieces = follow(gate, "/deployments/followed/events?follow=1")
    lines, more = follow(gate, "/deployments/followed/logs?follow=1")
    assert gate.chat("followed").status == 200
    text = b""
    while b'"reason":"ready"' not in text:
        text += next(pieces)
    assert text.startswith(b"id: 1\ndata: {"), text
    text = b""
    while b"data: fakellm: model loaded" not in text:
        text += next(more)
    client.close()
    lines.close()
    assert desk.ask("DELETE", "/deployments/followed").status == 204


def test_the_command_line_shows_how_it_gets_on(gate, desk, tmp_path):
    file = tmp_path / "cli.json"
    file.write_text(json.dumps(server_for("cli", "--load-ms", 500, scaling={"min": 1})))
    done = cli(gate, "create", file, "--wait")
    assert done.returncode == 0 and "cli: starting" in done.stderr and "cli: ready" in done.stderr, done
    assert cli(gate, "stop", "cli", "--wait").returncode == 0
    assert cli(gate, "show", "cli").returncode == 0
    assert cli(gate, "show", "nobody").returncode == 5
    assert cli(gate, "delete", "cli").returncode == 0


def test_the_command_line_says_what_is_wrong(gate, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("name: wrong\ncomand: [x]\nscaling: {max: 0}\n")
    done = cli(gate, "create", file)
    assert done.returncode == 1, done
    assert "sluice: comand: unknown key" in done.stderr and 'did you mean "command"?' in done.stderr, done.stderr
    assert 'scaling.max: "max" must be' in done.stderr, done.stderr


def test_an_order_says_how_it_stands_now(gate):
    for word in ("stop", "start"):
        done = cli(gate, word, "filed")
        assert done.returncode == 0 and done.stderr.startswith("filed: "), done



def test_they_outlive_whatever_dies():
    gate = Sluice(deployed(server_for("filed")))
    try:
        desk = Desk(gate)
        make(desk, "made", "--say", "api")
        assert gate.chat("made").status == 200
        assert desk.order("stop", "filed").status == 200
        [pid] = pids("api")
        gate.kill()
        gate.start()
        desk.until("ready", "made")
        assert pids("api") == [pid] and gate.chat("made").status == 200
        eventually(lambda: desk.show("filed")["state"] == "stopped", what="what was ordered holds")
        service = gate.worker_pid
        os.kill(service, signal.SIGKILL)
        eventually(lambda: gate.worker_pid != service, what="another service")
        gate.wait_ready()
        assert eventually(lambda: gate.chat("made").status == 200) and pids("api") == [pid]
        gate.config["deployments"]["models"].append(server_for("made", "--say", "file"))
        gate.write(gate.config)
        assert gate.cli("reload").returncode == 0, "what the file declares wins"
        assert eventually(lambda: gate.chat("made").json["choices"][0]["message"]["content"].startswith("file"))
    finally:
        gate.may_crash = True
        gate.__exit__(None)
