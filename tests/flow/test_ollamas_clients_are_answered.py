# SPDX-License-Identifier: Apache-2.0
"""Clients of Ollama's API: lines of JSON, objects for arguments, models with tags, over any target."""

import json
import time

import pytest
from harness import Sluice, config_for, model_for, provider_for
from raw_upstream import chat_body, stream_chat

TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}}


def configure(upstream):
    return config_for(upstream, providers=[provider_for(upstream)], models=[model_for("qwen:7b"), model_for("fast")])


def lines(answer):
    assert answer.header("content-type").startswith("application/x-ndjson"), answer
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_chat_streams_unless_it_says_otherwise(gate, upstream):
    upstream.answer = stream_chat
    got = gate.post("/api/chat", {"model": "qwen:7b", "messages": [{"role": "user", "content": "hi"}], "options": {"num_predict": 9}})
    rows = lines(got)
    assert "".join(row["message"]["content"] for row in rows) == "Hello there" and [row["done"] for row in rows[:-1]] == [False] * (len(rows) - 1)
    last = rows[-1]
    assert last["done"] and last["done_reason"] == "stop" and last["eval_count"] > 0 and last["prompt_eval_count"] > 0
    assert all(row["model"] == "qwen:7b" and row["created_at"].endswith("Z") for row in rows)
    assert upstream.last().json["stream"] is True and upstream.last().json["max_completion_tokens"] == 9
    row = gate.ledger_row(got.header("x-request-id"))
    assert row["dialect"] == "ollama" and row["counted"] == "provider" and row["output_tokens"] == last["eval_count"]


def test_a_chat_in_one_piece(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    got = gate.post("/api/chat", {"model": "fast", "stream": False, "think": False, "format": "json", "messages": [
        {"role": "system", "content": "s"}, {"role": "user", "content": "hi", "images": ["iVBORw0KGgoAAAA="]}]})
    assert got.status == 200 and got.json["message"] == {"role": "assistant", "content": "Hello"} and got.json["done"], got
    sent = upstream.last().json
    assert sent["response_format"] == {"type": "json_object"} and not sent.get("stream")
    assert sent["messages"][1]["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgoAAAA="


def test_tools_are_called_and_answered(gate, upstream):
    body = chat_body(None)
    body["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_9", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"K\\u00f6ln\"}"}}]}
    body["choices"][0]["finish_reason"] = "tool_calls"
    upstream.answer = lambda call: call.respond(200, body)
    history = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "a", "arguments": {"x": 1}}}, {"function": {"name": "b", "arguments": {}}}]},
        {"role": "tool", "tool_name": "b", "content": "B"}, {"role": "tool", "tool_name": "a", "content": "A"}]
    got = gate.post("/api/chat", {"model": "fast", "stream": False, "tools": [TOOL], "messages": history})
    [call] = got.json["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": {"city": "K\u00f6ln"}}, got
    sent = upstream.last().json["messages"]
    ids = {call["function"]["name"]: call["id"] for call in sent[1]["tool_calls"]}
    assert len(set(ids.values())) == 2
    results = {message["tool_call_id"]: message["content"] for message in sent if message["role"] == "tool"}
    assert set(results) == set(ids.values()) and results[ids["b"]] == "B", sent


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_is_generated_from(gate, upstream, stream):
    upstream.answer = stream_chat if stream else lambda call: call.respond(200, chat_body("Hello there"))
    got = gate.post("/api/generate", {"model": "fast", "prompt": "hi", "system": "s", "stream": stream})
    rows = lines(got) if stream else [got.json]
    assert "".join(row["response"] for row in rows) == "Hello there" and rows[-1]["done"], got
    assert [message["role"] for message in upstream.last().json["messages"]] == ["system", "user"]


def test_errors_have_its_shape(gate, upstream):
    got = gate.post("/api/chat", {"model": "nobody", "messages": []})
    assert got.status == 404 and set(got.json) == {"error"} and "nobody" in got.json["error"], got
    got = gate.post("/api/chat", {"model": "fast", "messages": [{"role": "king", "content": "x"}]})
    assert got.status == 400 and "role" in got.json["error"], got

    def broken(call):
        call.begin_stream()
        call.event({"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hel"}}]})
        time.sleep(0.2)
        call.close()

    upstream.answer = broken
    got = gate.post("/api/chat", {"model": "fast", "messages": [{"role": "user", "content": "x"}]})
    last = json.loads(got.text.splitlines()[-1])
    assert "error" in last and not last.get("done"), got


def test_the_models_are_listed(gate):
    got = gate.get("/api/tags")
    assert {model["name"] for model in got.json["models"]} >= {"qwen:7b", "fast"}, got


def test_a_model_is_shown(upstream):
    models = [model_for("qwen:7b", capabilities=["chat", "vision", "tools"], context_window=32768, description="d\"x"), model_for("fast", model="text-embedding-3-small")]
    with Sluice(config_for(upstream, providers=[provider_for(upstream)], models=models)) as gate:
        got = gate.post("/api/show", {"model": "qwen:7b", "verbose": False})
        facts = got.json["model_info"]
        assert got.status == 200 and got.json["capabilities"] == ["completion", "tools", "vision"], got
        assert facts[facts["general.architecture"] + ".context_length"] == 32768 and facts["general.description"] == "d\"x", got
        assert got.json["details"]["families"] and got.json["modified_at"], got
        assert gate.post("/api/show", {"name": "fast"}).json["capabilities"] == ["embedding"]
        for body, status in (({"model": "nobody"}, 404), ({}, 400), ({"model": 7}, 400), ({"model": "x" * 4000}, 400), ({"model": ""}, 400)):
            got = gate.post("/api/show", body)
            assert got.status == status and set(got.json) == {"error"}, (body, got)
        assert gate.post("/api/show", b"{", headers=[("Content-Type", "application/json")]).status == 400
        assert gate.post("/api/show", {"model": "fast"}, key=None).status == 401
        assert gate.get("/api/show").status == 405
    assert not upstream.calls


def test_what_clients_ask_beforehand(gate):
    assert gate.get("/api/ps").json == {"models": []}
    assert int(gate.get("/api/version").json["version"].split(".")[1]) >= 9
    assert gate.get("/api/version", key=None).status == 401
    assert gate.request("HEAD", "/", key=None).status == 200
    for path in ("/api/pull", "/api/create", "/api/blobs/sha256:0"):
        got = gate.post(path, {"model": "x"})
        assert got.status == 404 and set(got.json) == {"error"}, got


def test_a_guarded_answer_is_not_let_through(upstream):
    whole = configure(upstream)
    whole["guardrails"] = [{"name": "g", "stage": "response", "type": "contains", "terms": ["secret"], "action": "block"}]
    with Sluice(whole) as gate:
        upstream.answer = lambda call: call.respond(200, chat_body("a secret"))
        for path, body in (("/api/chat", {"model": "fast", "messages": [{"role": "user", "content": "x"}]}),
                           ("/api/chat", {"model": "fast", "stream": False, "messages": [{"role": "user", "content": "x"}]}),
                           ("/api/generate", {"model": "fast", "stream": False, "prompt": "x"}),
                           ("/v1/messages", {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
                           ("/v1beta/models/fast:generateContent", {"contents": [{"parts": [{"text": "x"}]}]})):
            got = gate.post(path, body)
            assert got.status == 400 and "secret" not in got.text, got
