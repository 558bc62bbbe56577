# SPDX-License-Identifier: Apache-2.0
"""Monster API's way to ask a model and wait for it: /v1/generate, its models' lengths, its errors; in front of any target."""

import json

import pytest
from harness import KEY_ACME_FAST, config_for, model_for, provider_for
from raw_upstream import chat_body

# What the Python client sends (its data model with all its defaults).
DEFAULTS = {
    "formatted_prompt": None, "messages": None, "max_tokens": 256, "n": 1, "best_of": 1, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "repetition_penalty": 1.0, "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "use_beam_search": False, "length_penalty": 1.0,
    "early_stopping": False, "mock_response": False,
}
CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Gr\u00fc\u00df \"Gott\""}],
          "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2}}


def configure(upstream):
    return config_for(upstream, providers=[
        provider_for(upstream), provider_for(upstream, "claude", type="anthropic", base_url=upstream.url.removesuffix("/v1"))],
        models=[model_for("fast", context_window=8192), model_for("slow"), model_for("claude", "claude", context_window=200000)])


def generate(gate, path="/v1/generate", key=None, **fields):
    options = {} if key is None else {"key": key}
    return gate.post(path, {"model": "fast", **DEFAULTS, **fields}, **options)


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/private_deployment/generate"])
@pytest.mark.parametrize("how", ["messages", "formatted_prompt", "prompt"])
def test_a_text_is_generated(gate, upstream, path, how):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello \u2603"))
    got = generate(gate, path, **{how: [{"role": "user", "content": "hi"}] if how == "messages" else "hi"})
    assert got.status == 200 and got.json == {"response": {"text": ["Hello \u2603"]}}, got
    sent = upstream.last()
    assert sent.target == "/v1/chat/completions"
    assert sent.json == {"model": "upstream-model", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 256,
                         "temperature": 1.0, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
    assert "x-sluice-dropped" not in got.fields
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["dialect"], row["operation"], row["outcome"], row["counted"]) == ("monster", "chat", "complete", "provider")


def test_several_texts(gate, upstream):
    body = chat_body("one")
    body["choices"].append({"index": 1, "message": {"role": "assistant", "content": "two"}, "finish_reason": "length"})
    upstream.answer = lambda call: call.respond(200, body)
    got = generate(gate, prompt="hi", n=2, best_of=2)
    assert got.json == {"response": {"text": ["one", "two"]}}, got
    assert upstream.last().json["n"] == 2


def test_a_target_of_another_dialect(gate, upstream):
    upstream.answer = lambda call: call.respond(200, json.dumps(CLAUDE).encode())
    got = generate(gate, model="claude", messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
                   temperature=0.5, top_k=7)
    assert got.json == {"response": {"text": ["Gr\u00fc\u00df \"Gott\""]}}, got
    sent = upstream.last().json
    assert (sent["temperature"], sent["top_k"], sent["max_tokens"]) == (0.5, 7, 256) and "Be brief." in json.dumps(sent["system"])


def test_older_names(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    got = gate.post("/v1/generate", {"model": "fast", "prompt": "hi", "temp": 0.98, "max_length": 99, "beam_size": 1, "repetition_penalty": 1.2,
                                     "top_k": -1, "top_p": 0.9})
    assert got.status == 200 and got.header("x-sluice-dropped") == "repetition_penalty", got
    sent = upstream.last().json
    assert sent["temperature"] == 0.98 and 99 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


@pytest.mark.parametrize("fields, name", [
    ({"prompt": "hi", "mock_response": True}, "mock_response"), ({"prompt": "hi", "use_beam_search": True}, "use_beam_search"),
    ({"prompt": "hi", "stream": True}, "stream"), ({}, "messages"), ({"prompt": 1}, "prompt"), ({"prompt": "hi", "min_p": "x"}, "min_p"),
    ({"prompt": "hi", "messages": [{"role": "user", "content": "hi"}]}, "prompt"), ({"prompt": "hi", "n": 0}, "n"),
])
def test_what_cannot_be_done_is_refused_by_name(gate, upstream, fields, name):
    got = generate(gate, **fields)
    assert got.status == 400 and name in got.json["message"] and got.error["code"] == 400, got
    assert got.json["message"] == got.error["message"] and got.error["type"] == "invalid_request_error"
    assert not upstream.calls


def test_errors_have_their_shape(gate, upstream):
    got = generate(gate, prompt="hi", model="nobody")
    assert got.status == 404 and got.error["code"] == 404 and "nobody" in got.json["message"], got
    got = generate(gate, prompt="hi", model="slow", key=KEY_ACME_FAST)
    assert got.status == 403 and got.error["type"] == "permission_error", got
    got = gate.post("/v1/generate", {}, key=None)
    assert got.status == 401 and got.error["code"] == 401 and got.json["message"], got
    upstream.answer = lambda call: call.respond(429, b'{"error": {"message": "Slow down, please."}}', [("Retry-After", "7")])
    got = generate(gate, prompt="hi")
    assert got.status == 429 and "Slow down" in got.json["message"] and got.header("retry-after") == "7", got


@pytest.mark.parametrize("path", ["/v1/models/info", "/models/info"])
def test_how_much_goes_into_a_model(gate, path):
    """LlamaIndex asks for it before its first call."""
    got = gate.get(path)
    assert got.status == 200 and got.json == {"maximum_context_length": {"fast": 8192, "claude": 200000}}, got
    assert gate.get(path, key=KEY_ACME_FAST).json == {"maximum_context_length": {"fast": 8192}}


@pytest.mark.parametrize("method, path", [("POST", "/apis/nothing"), ("GET", "/v1/finetune/nothing")])
def test_what_is_not_there_is_said_in_its_shape(gate, upstream, method, path):
    got = gate.request(method, path, body=b"{}" if method == "POST" else None, headers={"Content-Type": "application/json"})
    assert got.status == 404 and got.error["code"] == 404 and path in got.json["message"], got
    assert not upstream.calls
