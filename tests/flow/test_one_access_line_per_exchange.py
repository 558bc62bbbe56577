# SPDX-License-Identifier: Apache-2.0
"""Structured, complete, escaped, and without a secret."""

import base64
import json
import signal

import pytest
from harness import KEY_ACME, KEY_WRONG, SECRETS, Sluice, config_for, eventually, request_bytes, run_cli

FIELDS = {
    "ts", "level", "msg", "request_id", "tenant", "key", "dialect", "model", "provider", "target", "status", "outcome",
    "stream", "attempts", "ttft_ms", "duration_ms", "overhead_ms", "input_tokens", "output_tokens", "cached_tokens", "cost_usd",
    "method", "path", "peer", "bytes_in", "bytes_out",
}


@pytest.mark.parametrize("stream", [False, True])
def test_its_fields(gate, stream):
    answer = gate.chat(stream=stream, headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
    line = gate.access_line(answer.header("x-request-id"))
    assert FIELDS <= set(line), FIELDS - set(line)
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert (line["tenant"], line["key"], line["model"], line["provider"], line["target"]) == ("acme", "main", "fast", "up", "fast-1")
    assert (line["status"], line["outcome"], line["stream"], line["attempts"]) == (200, "complete", stream, 1)
    assert (line["input_tokens"], line["output_tokens"], float(line["cost_usd"])) == (11, 7, 0.000039)
    assert (line["method"], line["path"], line["peer"]) == ("POST", "/v1/chat/completions", "127.0.0.1")
    assert line["bytes_in"] > 50 and line["bytes_out"] > 50


def test_one_per_exchange(gate):
    ids = [gate.chat(stream=i % 2 == 0).header("x-request-id") for i in range(20)]
    ids += [gate.chat(key=KEY_WRONG).header("x-request-id"), gate.chat("nobody").header("x-request-id"),
            gate.get("/v1/nothing").header("x-request-id")]
    for request_id in ids:
        gate.access_line(request_id)
    lines = [line["request_id"] for line in gate.access_lines()]
    for request_id in ids:
        assert lines.count(request_id) == 1


NASTY = 'a"b\\c\x7f\x1b[31m\u202e\u00e9{"x":1}'


def test_what_comes_from_outside_is_escaped(gate):
    from raw_client import Client

    model = NASTY + "\n{\"level\":\"error\",\"msg\":\"forged\"}"
    answer = gate.chat(model)
    assert answer.status in (400, 404)
    with Client(gate.address()) as client:
        client.send(b"GET /v1/\x80\xff\x01 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.read_response()
    answer = gate.chat(headers={"x-sluice-tags": 'a="b\\,c=\x7f'})
    gate.chat(headers={"User-Agent": 'x"y\\z'})
    assert gate.chat().status == 200
    eventually(lambda: len(gate.access_lines()) > 3)
    lines = gate.log().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("{"))  # before it: words on the configuration
    for line in lines[first:]:
        assert isinstance(json.loads(line), dict), line
        assert json.loads(line).get("msg") != "forged"
    assert "\x1b" not in gate.log()


def every_form(secret):
    yield secret
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
    yield secret.replace("-", "%2D")
    yield secret[8:]


def test_no_secret_leaves(upstream):
    """At debug level, through every door: log, metrics, answers, ledger, commands, core files."""
    with Sluice(config_for(upstream)) as gate:
        outputs = {}
        for name, key in (("good", KEY_ACME), ("wrong", KEY_WRONG)):
            for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}, {"Authorization": f"Basic {key}"},
                            {"Authorization": f"Bearer {key} trailing"}, {"Authorization": key}, {"Cookie": f"k={key}"}):
                answer = gate.post("/v1/chat/completions", {"model": "fast"}, key=None, headers=headers)
                outputs[f"answer {name} {sorted(headers)}"] = answer.text + str(answer.fields)
            for path in (f"/v1/models?key={key}", f"/v1/files?api_key={key}", f"/v1beta/models/x:generateContent?key={key}"):
                answer = gate.get(path, key=None)
                outputs[f"answer {path[:12]}"] = str(answer.fields)
        upstream.answer = lambda call: call.respond(401, {"error": {"message": "Incorrect API key", "type": "x", "param": None, "code": None}})
        answer = gate.chat()
        outputs["upstream 401"] = answer.text + str(answer.fields)
        upstream.answer = lambda call: call.close()
        outputs["upstream gone"] = gate.chat().text
        with gate.connect() as client:
            client.send(request_bytes("POST", "/v1/chat/completions", [("Authorization", f"Bearer {KEY_ACME}"), ("Bad Name", "x")], b"{}"))
            outputs["bad request"] = client.read_response().text
        outputs["metrics"] = gate.get("/metrics", key=None).text
        for command in (("config", "show", "--effective", "--origin"), ("check",), ("status",), ("usage",)):
            done = gate.cli(*command)
            outputs[" ".join(command)] = done.stdout + done.stderr
        gate.signal(1)
        gate.chat(key=None)
        gate.stop()
        outputs["log"] = gate.log()
        for path in gate.state.rglob("*"):
            if path.is_file():
                outputs[f"file {path.name}"] = path.read_bytes().decode("latin-1")
        for secret in SECRETS:
            for form in every_form(secret):
                for where, text in outputs.items():
                    assert form not in text, f"{secret[:10]}… is in {where}"


def test_a_process_with_keys_leaves_no_core(gate):
    limits = open(f"/proc/{gate.worker_pid}/limits").read()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4] == "0", core


def test_no_secret_on_the_command_line_or_in_the_environment(gate):
    for pid in (gate.process.pid, gate.worker_pid):
        text = open(f"/proc/{pid}/cmdline").read()
        assert "sk-" not in text


def test_the_log_is_reopened_after_it_was_moved_away(upstream, tmp_path):
    path, moved = tmp_path / "sluice.log", tmp_path / "sluice.log.1"
    with Sluice(config_for(upstream, telemetry={"log": {"file": str(path)}})) as gate:
        first = gate.chat().header("x-request-id")
        eventually(lambda: first in path.read_text())
        path.rename(moved)
        gate.signal(signal.SIGUSR1)
        eventually(path.exists)
        second = gate.chat().header("x-request-id")
        eventually(lambda: second in path.read_text())
        assert second not in moved.read_text()


def test_a_line_has_the_fields_that_were_chosen(upstream):
    fields = ["status", "model", "request_id", "cost_usd", "error.type"]
    with Sluice(config_for(upstream, telemetry={"access_log": {"fields": fields}})) as gate:
        good, bad = gate.chat(), gate.chat("nobody")
        lines = eventually(lambda: [line for line in gate.log().splitlines() if line.startswith('{"status"')][1:] and
                           [json.loads(line) for line in gate.log().splitlines() if line.startswith('{"status"')])
        assert list(lines[0]) == ["status", "model", "request_id", "cost_usd"]
        assert lines[0]["request_id"] == good.header("x-request-id")
        assert list(lines[1]) == fields and lines[1]["error.type"] == "unknown_model", (lines[1], bad)


def test_a_field_that_no_line_has_is_an_error(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text("version: 1\ntelemetry: {access_log: {fields: [ts, statsu, ts]}}\n")
    done = run_cli("check", str(path))
    assert done.returncode == 1 and 'no "statsu"; did you mean "status"?' in done.stderr and '"ts" stands twice' in done.stderr


def test_what_did_not_go_well_is_not_left_out_of_a_sample(upstream):
    with Sluice(config_for(upstream, telemetry={"access_log": {"sample": 0}})) as gate:
        good = [gate.chat().header("x-request-id") for _ in range(5)]
        bad = gate.chat("nobody").header("x-request-id")
        upstream.answer = lambda call: call.respond(500, {"error": {"message": "x"}})
        worse = gate.chat().header("x-request-id")
        eventually(lambda: bad in gate.log() and worse in gate.log())
        lines = [json.loads(line).get("request_id") for line in gate.log().splitlines() if '"component":"access"' in line]
        assert bad in lines and worse in lines and not set(good) & set(lines)
