# SPDX-License-Identifier: Apache-2.0
"""The cache keeps answers of Ollama's clients and of Bedrock's, whole and streamed, and gives them in either form."""


import pytest
from harness import Sluice, merged
from test_guardrails_look_into_every_framing import (
    answers, call_of, configure, read)

TEXT = 'kept: "ok" \u2603'
USAGE = {"inputTokens": 20, "outputTokens": 30, "totalTokens": 50}
WAYS = [("ollama", "llama"), ("ollama", "chat"), ("converse", "claude"), ("converse", "chat"), ("invoke", "claude"), ("invoke", "chat")]
WHOLE = {
    "/api/chat": {"model": "m", "message": {"role": "assistant", "content": TEXT}, "done": True, "done_reason": "stop", "prompt_eval_count": 20, "eval_count": 30},
    "/converse": {"output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}}, "stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 1}},
    "/invoke": {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn",
                "stop_sequence": None, "usage": {"input_tokens": 20, "output_tokens": 30}},
    "/chat/completions": {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}},
}


def answer(call):
    streams = call.json.get("stream", call.path.endswith("/api/chat")) or "stream" in call.path
    if streams:
        return answers(TEXT, 50)(call)
    return call.respond(200, next(WHOLE[end] for end in WHOLE if call.path.endswith(end)))


@pytest.fixture(scope="module")
def gate(upstream):
    config = merged(configure(upstream, "block"), {"cache": {"exact": {"enabled": True, "ttl": "60s"}}})
    del config["guardrails"]
    with Sluice(config) as one:
        yield one


@pytest.fixture(autouse=True)
def scripted(watched, upstream):
    upstream.answer = answer


def cold(client, model, mark, streams=True):
    """A call whose answer may be kept, like no other."""
    path, body = call_of(client, model)
    if client == "ollama":
        body.update(options={"temperature": 0, "seed": mark}, **({} if streams else {"stream": False}))
    elif client == "converse":
        body.update(inferenceConfig={"temperature": 0, "maxTokens": mark})
    else:
        body.update(temperature=0, max_tokens=mark)
    if not streams:
        path = path.replace("/converse-stream", "/converse").replace("/invoke-with-response-stream", "/invoke")
    return path, body


def said(client, got, streams):
    if streams:
        return read(client, got.body)[:2]
    if client == "ollama":
        return got.json["message"]["content"], got.json["done"]
    content = got.json["output"]["message"]["content"] if client == "converse" else got.json["content"]
    return content[0]["text"], True


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("client, model", WAYS)
def test_an_equal_call_gets_the_same_bytes(gate, upstream, client, model, streams):
    first = gate.post(*cold(client, model, 100 + streams, streams))
    again = gate.post(*cold(client, model, 100 + streams, streams))
    assert (first.status, first.header("x-sluice-cache")) == (200, "miss") and said(client, first, streams) == (TEXT, True), first
    assert (again.status, again.header("x-sluice-cache")) == (200, "hit") and again.body == first.body, again
    assert again.header("content-type") == first.header("content-type")
    assert len(upstream.calls) == 1
    row = gate.ledger_row(again.header("x-request-id"))
    assert (row["outcome"], row["cost_nanos"]) == ("complete", 0) and row["saved_nanos"] > 0, row


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("client, model", WAYS)
def test_one_of_the_other_form_is_made_of_it(gate, upstream, client, model, streams):
    first = gate.post(*cold(client, model, 200 + streams, not streams))
    again = gate.post(*cold(client, model, 200 + streams, streams))
    assert (first.status, first.header("x-sluice-cache")) == (200, "miss"), first
    assert (again.status, again.header("x-sluice-cache")) == (200, "hit") and said(client, again, streams) == (TEXT, True), again
    kinds = {"ollama": "application/x-ndjson", "converse": "application/vnd.amazon.eventstream", "invoke": "application/vnd.amazon.eventstream"}
    assert again.header("content-type") == (kinds[client] if streams else "application/json")
    assert len(upstream.calls) == 1


def test_what_is_redacted_is_kept_so(upstream):
    config = merged(configure(upstream, "redact"), {"cache": {"exact": {"enabled": True, "ttl": "60s"}}})
    upstream.answer = answers("my key: sk-abcdefgh", 7)
    with Sluice(config) as gate:
        for client, model in WAYS:
            first, again = (gate.post(*cold(client, model, 300)) for _ in range(2))
            assert again.header("x-sluice-cache") == "hit" and again.body == first.body, again
            assert said(client, again, True) == ("my key: [REDACTED:key]", True), again


def test_an_array_is_not_kept(gate, upstream):
    path, body = call_of("array", "chat")
    body["generationConfig"] = {"temperature": 0}
    for _ in range(2):
        got = gate.post(path, body)
        assert got.status == 200 and got.header("x-sluice-cache") is None and read("array", got.body)[:2] == (TEXT, True), got
    assert len(upstream.calls) == 2
