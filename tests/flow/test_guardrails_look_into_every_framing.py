# SPDX-License-Identifier: Apache-2.0
"""Streams of Ollama (lines), of Bedrock (AWS' frames) and of Gemini without alt=sse (one array) are redacted and blocked like
server-sent events, whether they pass as they are or are written from another dialect's, however they are cut."""

import base64
import json
import struct
import sys
import threading
import zlib
from pathlib import Path

import pytest
from harness import Sluice, chat_request, config_for, model_for, provider_for

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "recorded"))
from meaning import aws_frames  # noqa: E402

SECRET = "sk-abcdefgh"
SAID = 'my key: sk-abcdefgh, "ok" \u2603 and again sk-abcdefgh'
LEFT = SAID.replace(SECRET, "[REDACTED:key]")
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
USAGE = {"inputTokens": 20, "outputTokens": 30, "totalTokens": 50}


def pieces(text, size=3):
    return [text[at : at + size] for at in range(0, len(text), size)]


def frame(name, body):
    headers = b""
    for key, value in ((":event-type", name), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    payload = json.dumps(body).encode()
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = head + struct.pack(">I", zlib.crc32(head)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def anthropic_events(text):
    return [
        {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": [],
                                              "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 20, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces(text)),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 30}},
        {"type": "message_stop"},
    ]


def ollama_stream(text):
    rows = [{"model": "m", "message": {"role": "assistant", "content": piece}, "done": False} for piece in pieces(text)]
    rows.append({"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 20, "eval_count": 30})
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def converse_stream(text):
    return b"".join([
        frame("messageStart", {"role": "assistant"}),
        *(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}, "p": "abcdef"}) for piece in pieces(text)),
        frame("contentBlockStop", {"contentBlockIndex": 0}), frame("messageStop", {"stopReason": "end_turn"}),
        frame("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})])


def invoke_stream(text):
    return b"".join(frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "ab"}) for event in anthropic_events(text))


def chat_stream(text):
    rows = [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces(text)]
    rows.append({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                 "usage": {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}})
    return b"".join(b"data: %s\n\n" % json.dumps(row).encode() for row in rows) + b"data: [DONE]\n\n"


STREAMS = {"/api/chat": (ollama_stream, "application/x-ndjson"), "/converse-stream": (converse_stream, "application/vnd.amazon.eventstream"),
           "/invoke-with-response-stream": (invoke_stream, "application/vnd.amazon.eventstream"), "/chat/completions": (chat_stream, "text/event-stream")}


def answers(text, size, go_on=None):
    """Each target's own stream, in chunks of <size> bytes, whatever stands in them; its last fifth once <go_on> says so."""
    def answer(call):
        make, kind = next(STREAMS[end] for end in STREAMS if call.path.endswith(end))
        stream = make(text)
        call.head(200, [("content-type", kind), ("transfer-encoding", "chunked")])
        for at in range(0, len(stream), size):
            if go_on and at > len(stream) * 4 // 5:
                assert go_on.wait(20)
            call.chunk(stream[at : at + size])
        call.end_stream()
    return answer


# --------------------------------------------------------------------------- clients

HELLO = [{"role": "user", "content": [{"text": "hi"}]}]
CLIENTS = {  # path, body
    "ollama": ("/api/chat", {"model": "{m}", "messages": [{"role": "user", "content": "hi"}]}),
    "converse": ("/model/{m}/converse-stream", {"messages": HELLO}),
    "invoke": ("/model/{m}/invoke-with-response-stream", {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}),
    "array": ("/v1beta/models/{m}:streamGenerateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}
# Those whose bytes pass as they are, and those who get them from another dialect.
WAYS = [("ollama", "llama"), ("ollama", "chat"), ("ollama", "claude"), ("converse", "claude"), ("converse", "chat"), ("invoke", "claude"),
        ("invoke", "chat"), ("array", "chat"), ("array", "claude"), ("array", "llama")]


def read(client, body):
    """(text, whether the stream ended well, what else it said)"""
    if client == "ollama":
        rows = [json.loads(line) for line in body.splitlines()]
        return "".join(row.get("message", {}).get("content", "") for row in rows), rows[-1].get("done") is True, rows[-1].get("error", "")
    if client == "array":
        rows = json.loads(body)
        parts = [part for row in rows if "candidates" in row for part in row["candidates"][0].get("content", {}).get("parts", [])]
        ended = "candidates" in rows[-1] and rows[-1]["candidates"][0].get("finishReason") == "STOP"
        return "".join(part["text"] for part in parts), ended, rows[-1].get("error", {}).get("message", "")
    text, ended, said = "", False, ""
    for headers, payload in aws_frames(body):
        value = json.loads(payload)
        if headers[":message-type"] == "exception":
            said = value["message"]
        elif client == "converse":
            text += value.get("delta", {}).get("text", "")
            ended = ended or headers[":event-type"] == "metadata"
        else:
            event = json.loads(base64.b64decode(value["bytes"]))
            text += event.get("delta", {}).get("text", "")
            ended = ended or event["type"] == "message_stop"
    return text, ended, said


def configure(upstream, action):
    root = upstream.url.removesuffix("/v1")
    providers = [provider_for(upstream), provider_for(upstream, "llama", type="ollama", base_url=root),
                 provider_for(upstream, "aws", type="bedrock", base_url=root, region="eu-west-1")]
    models = [model_for("chat"), model_for("llama", provider="llama"), model_for("claude", provider="aws", model=CLAUDE)]
    rule = {"name": "key", "stage": "response", "type": "regex", "patterns": ["sk-[a-z]{8}"], "action": action, "stream_window": 256}
    return config_for(upstream, providers=providers, models=models, guardrails=[rule])


@pytest.fixture(scope="module", params=["redact", "block"])
def guarded(request, upstream):
    with Sluice(configure(upstream, request.param)) as gate:
        yield request.param, gate


def call_of(client, model):
    path, body = CLIENTS[client]
    return path.replace("{m}", model), json.loads(json.dumps(body).replace("{m}", model))


def ask(gate, client, model):
    return gate.post(*call_of(client, model))


@pytest.mark.parametrize("size", [1, 50, 100000])
@pytest.mark.parametrize("client, model", WAYS)
def test_a_secret_does_not_pass(guarded, upstream, client, model, size):
    action, gate = guarded
    upstream.answer = answers(SAID, size)
    got = ask(gate, client, model)
    if action == "block" and got.status != 200:  # nothing had left
        assert got.status == 400 and "guardrail" in got.text and SECRET not in got.text, got
        return
    text, ended, said = read(client, got.body)
    assert got.status == 200 and SECRET not in text, got
    if action == "redact":
        assert (text, ended) == (LEFT, True), got
        row = gate.ledger_row(got.header("x-request-id"))
        assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == ("complete", 20, 30), row
    else:
        assert SAID.startswith(text) and "sk-" not in text and "guardrail" in said, got


@pytest.mark.parametrize("client, model", WAYS)
def test_what_has_left_before_a_block_is_followed_by_the_error(guarded, upstream, client, model):
    """So much stands in front of it that the window lets it go; the rest comes when that has been seen."""
    action, gate = guarded
    front, seen = "x" * 3000, threading.Event()
    upstream.answer = answers(front + SAID, 64, seen)
    path, body = call_of(client, model)
    with gate.connect() as connection:
        connection.send(chat_request(body, path=path))
        head = connection.begin_response("POST")
        got = b""
        for piece in connection.pieces(head):
            got += piece
            if len(got) > 10000:
                seen.set()
    text, ended, said = read(client, got)
    assert head.status == 200 and SECRET not in text and text.startswith("x" * 100), got
    if action == "redact":
        assert (text, ended) == (front + LEFT, True), got
    else:
        assert (front + SAID).startswith(text) and not ended and "guardrail" in said, got
        assert gate.ledger_row(head.header("x-request-id"))["outcome"] == "partial"


@pytest.mark.parametrize("client, model", [way for way in WAYS if way in (("ollama", "llama"), ("converse", "claude"), ("invoke", "claude"))])
def test_what_does_not_match_passes_byte_for_byte(guarded, upstream, client, model):
    _, gate = guarded
    make = {"ollama": ollama_stream, "converse": converse_stream, "invoke": invoke_stream}[client]
    upstream.answer = answers("nothing to hide", 10)
    assert ask(gate, client, model).body == make("nothing to hide")
