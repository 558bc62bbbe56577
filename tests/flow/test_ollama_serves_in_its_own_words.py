# SPDX-License-Identifier: Apache-2.0
"""A server of Ollama's: its own clients' bytes pass, OpenAI's go to its compatible paths, all others cross."""

import json

import pytest
from harness import Sluice, config_for, model_for, provider_for
from raw_upstream import chat_body

LINES = b"".join(line + b"\n" for line in (
    b'{"model":"upstream-model","created_at":"2025-01-01T00:00:00.5Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}',
    b'{ "model":"upstream-model", "message":{"role":"assistant","content":"Hel"}, "future":[1e2], "done":false}',
    b'{"model":"upstream-model","message":{"role":"assistant","content":"lo"},"done":false}',
    b'{"model":"upstream-model","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
    b'"total_duration":5,"prompt_eval_count":11,"eval_count":7}'))
BODY = (b'{"model":"upstream-model","created_at":"2025-01-01T00:00:00.5Z","message":{"role":"assistant","content":"Hello","thinking":"hm"},'
        b'"done":true,"done_reason":"length","prompt_eval_count":11,"eval_count":7}')
ASKED = {"model": "fast", "messages": [{"role": "user", "content": "hi"}], "keep_alive": "5m", "think": "high", "options": {"num_ctx": 8192}, "new": 1}


def gate_for(upstream, path="", guardrails=(), **changes):
    provider = provider_for(upstream, type="ollama", **changes)
    provider["base_url"] = provider["base_url"].removesuffix("/v1") + path
    settings = config_for(upstream, providers=[provider], models=[model_for()])
    if guardrails:
        settings["guardrails"] = list(guardrails)
    return Sluice(settings)


def streams(call):
    call.respond(200, LINES, [("Content-Type", "application/x-ndjson")])


def whole(call):
    call.respond(200, BODY, [("Content-Type", "application/json; charset=utf-8")])


@pytest.mark.parametrize("path, root", [("", ""), ("/v1", ""), ("/far/v1", "/far")])
def test_ollamas_clients_reach_it_byte_for_byte(upstream, path, root):
    with gate_for(upstream, path) as gate:
        for answer, want, stream in ((streams, LINES, {}), (whole, BODY, {"stream": False})):
            upstream.answer = answer
            got = gate.post("/api/chat", {**ASKED, **stream})
            assert got.body == want, got
            call = upstream.last()
            assert call.path == f"{root}/api/chat" and call.json == {**ASKED, **stream, "model": "upstream-model"}, call.json
            row = gate.ledger_row(got.header("x-request-id"))
            assert (row["dialect"], row["upstream_dialect"], row["counted"]) == ("ollama", "ollama", "provider"), row
            assert (row["input_tokens"], row["output_tokens"]) == (11, 7), row
        gate.post("/v1/chat/completions", {"model": "fast", "messages": []})
        assert upstream.last().path == f"{root}/v1/chat/completions"


def test_prompts_and_vectors_pass_too(upstream):
    with gate_for(upstream) as gate:
        lines = LINES.replace(b'"message":{"role":"assistant","content":"Hel"}', b'"response":"Hel"')
        upstream.answer = lambda call: call.respond(200, lines, [("Content-Type", "application/x-ndjson")])
        asked = {"model": "fast", "prompt": "x", "suffix": "y", "raw": True, "context": [1, 2]}
        got = gate.post("/api/generate", asked)
        assert got.body == lines and upstream.last().path == "/api/generate" and upstream.last().json == {**asked, "model": "upstream-model"}, got
        answer = b'{"model":"m","embeddings":[[0.010071,-1e-7]],"total_duration":1,"prompt_eval_count":3}'
        upstream.answer = lambda call: call.respond(200, answer, [("Content-Type", "application/json")])
        got = gate.post("/api/embed", {"model": "fast", "input": "x", "truncate": False})
        assert got.body == answer and upstream.last().path == "/api/embed", got
        assert gate.ledger_row(got.header("x-request-id"))["input_tokens"] == 3
        got = gate.post("/v1beta/models/fast:embedContent", {"content": {"parts": [{"text": "x"}]}})
        assert got.json["embedding"]["values"] == [0.010071, -1e-07] and upstream.last().path == "/api/embed", got


def test_openais_clients_are_served_in_their_own_words(upstream):
    answer = json.dumps(chat_body("Hello"), indent=2).encode()
    upstream.answer = lambda call: call.respond(200, answer, [("Content-Type", "application/json")])
    with gate_for(upstream) as gate:
        got = gate.post("/v1/chat/completions", {"model": "fast", "messages": [{"role": "user", "content": "x"}], "x": 1})
        assert got.body == answer and upstream.last().path == "/v1/chat/completions" and upstream.last().json["x"] == 1, got
        row = gate.ledger_row(got.header("x-request-id"))
        assert row["upstream_dialect"] == "openai", row


def test_all_others_cross_to_it(upstream):
    tools = [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}]},
               {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "r"}]}]
    upstream.answer = streams
    with gate_for(upstream) as gate:
        got = gate.post("/v1/messages", {"model": "fast", "max_tokens": 99, "messages": history, "tools": tools, "top_k": 5, "stream": True,
                                         "thinking": {"type": "enabled", "budget_tokens": 1024}})
        assert got.status == 200 and "event: message_stop" in got.text and '"text":"Hel"' in got.text and '"thinking":"hm"' in got.text, got
        sent = upstream.last()
        assert sent.path == "/api/chat" and sent.json["stream"] is True and sent.json["think"] is True, sent.json
        assert sent.json["options"]["num_predict"] == 99 and sent.json["options"]["top_k"] == 5, sent.json
        assert sent.json["messages"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}, sent.json
        assert sent.json["messages"][2]["role"] == "tool" and sent.json["messages"][2]["tool_name"] == "f", sent.json
        row = gate.ledger_row(got.header("x-request-id"))
        assert (row["dialect"], row["upstream_dialect"], row["output_tokens"]) == ("anthropic", "ollama", 7), row


def test_its_errors_and_broken_streams_are_told_as_such(upstream):
    with gate_for(upstream) as gate:
        words = b'{"error":"model \\"x\\" not found, try pulling it first"}'
        upstream.answer = lambda call: call.respond(404, words, [("Content-Type", "application/json")])
        got = gate.post("/api/chat", ASKED)
        assert got.status == 404 and got.body == words, got
        got = gate.post("/v1/messages", {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]})
        assert got.status == 404 and "try pulling it first" in got.json["error"]["message"], got
        cut = LINES[:LINES.rindex(b'{"model"')]
        upstream.answer = lambda call: call.respond(200, cut, [("Content-Type", "application/x-ndjson")])
        got = gate.post("/api/chat", ASKED)
        last = json.loads(got.text.splitlines()[-1])
        assert "error" in last and not last.get("done"), got
        failed = cut + b'{"error":"the runner has stopped"}\n'
        upstream.answer = lambda call: call.respond(200, failed, [("Content-Type", "application/x-ndjson")])
        got = gate.post("/api/chat", ASKED)
        assert got.body == failed, got


def test_the_longest_answer_is_lowered_in_its_options(upstream):
    upstream.answer = whole
    with gate_for(upstream) as gate:
        for asked in ({"num_predict": -2}, {"num_predict": -1}, {}):
            got = gate.post("/api/chat", {**ASKED, "stream": False, "options": asked})
            assert got.status == 200 and upstream.last().json["options"] == asked, got


def test_a_call_that_only_loads_a_model_makes_nothing(upstream):
    answer = b'{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}'
    upstream.answer = lambda call: call.respond(200, answer, [("Content-Type", "application/json")])
    with gate_for(upstream) as gate:
        got = gate.post("/api/chat", {"model": "fast", "messages": [], "stream": False})
        row = gate.ledger_row(got.header("x-request-id"))
        assert got.body == answer and (row["input_tokens"], row["output_tokens"], row["counted"]) == (0, 0, "provider"), row


def test_guardrails_look_into_its_answers(upstream):
    rule = {"name": "g", "stage": "response", "type": "contains", "terms": ["Hello"], "action": "block"}
    with gate_for(upstream, guardrails=[rule]) as gate:
        upstream.answer = whole
        got = gate.post("/api/chat", {**ASKED, "stream": False})
        assert got.status == 400 and "Hello" not in got.text, got
        upstream.answer = streams  # in two lines
        got = gate.post("/api/chat", ASKED)
        assert got.status == 400 and "Hel" not in got.text, got
        called = BODY.replace(b'"content":"Hello"', b'"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":"Hello"}}}]')
        upstream.answer = lambda call: call.respond(200, called, [("Content-Type", "application/json")])
        got = gate.post("/api/chat", {**ASKED, "stream": False})
        assert got.status == 400 and "Hello" not in got.text, got
