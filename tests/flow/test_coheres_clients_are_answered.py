# SPDX-License-Identifier: Apache-2.0
"""Clients of Cohere's API (v2 chat), and Cohere as a target: as it is, and across."""

import json
import time

import pytest
from harness import Sluice, config_for, model_for, provider_for
from raw_upstream import chat_body, stream_chat

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}}
USAGE = {"billed_units": {"input_tokens": 4, "output_tokens": 5}, "tokens": {"input_tokens": 40, "output_tokens": 7}, "cached_tokens": 30}
ANSWER = {"id": "c-1", "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}, "finish_reason": "COMPLETE",
          "usage": USAGE}


def rows(answer):
    assert answer.header("content-type").startswith("text/event-stream"), answer
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


def text_of(got):
    return "".join(row["delta"]["message"]["content"]["text"] for row in got if row["type"] == "content-delta")


def events(*given):
    return b"".join(b"event: %s\ndata: %s\n\n" % (row["type"].encode(), json.dumps(row).encode()) for row in given)


STREAM = [
    {"id": "c-1", "type": "message-start", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [],
                                                                 "citations": []}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hel"}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "lo"}}}},
    {"type": "content-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": USAGE}},
]


def answer_cohere(call):
    if not call.json.get("stream"):
        call.respond(200, ANSWER)
        return
    call.begin_stream()
    for row in STREAM:
        call.chunk(events(row))
    call.chunk(b"data: [DONE]\n\n")
    call.end_stream()


def gate_for(upstream):
    provider = provider_for(upstream, type="cohere")
    provider["base_url"] = provider["base_url"].removesuffix("/v1")
    return Sluice(config_for(upstream, providers=[provider], models=[model_for()]))


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_of_cohere_asks_another(gate, upstream, stream):
    upstream.answer = stream_chat if stream else lambda call: call.respond(200, chat_body("Hello there"))
    got = gate.post("/v2/chat", {"model": "fast", "messages": HI, "stream": stream, "max_tokens": 9, "p": 0.5})
    if stream:
        parts = rows(got)
        assert text_of(parts) == "Hello there" and parts[0]["type"] == "message-start" and parts[0]["id"], got
        end = parts[-1]["delta"]
        assert got.text.endswith("data: [DONE]\n\n"), got
    else:
        end = got.json
        assert end["message"] == {"role": "assistant", "content": [{"type": "text", "text": "Hello there"}]} and end["id"], got
    assert end["finish_reason"] == "COMPLETE" and end["usage"]["tokens"]["output_tokens"] > 0, end
    sent = upstream.last()
    assert sent.path == "/v1/chat/completions" and sent.json["max_completion_tokens"] == 9 and sent.json["top_p"] == 0.5, sent.json
    row = gate.ledger_row(got.header("x-request-id"))
    assert row["dialect"] == "cohere" and row["counted"] == "provider" and row["output_tokens"] == end["usage"]["tokens"]["output_tokens"]


def test_errors_have_its_shape(gate, upstream):
    got = gate.post("/v2/chat", {"model": "nobody", "messages": HI})
    assert got.status == 404 and set(got.json) == {"message", "id"} and "nobody" in got.json["message"], got
    for body in ({"messages": [{"role": "king", "content": "x"}]}, {"messages": []}, {"messages": HI, "tool_choice": "weather"},
                 {"messages": HI, "temperature": "warm"}):
        assert gate.post("/v2/chat", {"model": "fast", **body}).status == 400, body

    def broken(call):
        call.begin_stream()
        call.event({"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hel"}}]})
        time.sleep(0.2)
        call.close()

    upstream.answer = broken
    end = rows(gate.post("/v2/chat", {"model": "fast", "stream": True, "messages": HI}))[-1]
    assert end["type"] == "message-end" and end["delta"]["finish_reason"] == "ERROR" and end["delta"]["error"], end


@pytest.mark.parametrize("stream", [True, False])
def test_cohere_passes_as_it_is(upstream, stream):
    upstream.answer = answer_cohere
    with gate_for(upstream) as gate:
        got = gate.post("/v2/chat", {"model": "fast", "stream": stream, "messages": HI, "safety_mode": "OFF"})
        assert got.body == events(*STREAM) + b"data: [DONE]\n\n" if stream else got.json == ANSWER, got
        assert upstream.last().path == "/v2/chat" and upstream.last().json["safety_mode"] == "OFF"
        row = gate.ledger_row(got.header("x-request-id"))
        assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"], row["counted"]) == (40, 30, 7, "provider"), row
        assert row["outcome"] == "complete", row


@pytest.mark.parametrize("stream", [True, False])
def test_cohere_is_asked_by_others(upstream, stream):
    upstream.answer = answer_cohere
    with gate_for(upstream) as gate:
        got = gate.post("/v1/chat/completions", {"model": "fast", "stream": stream, "messages": HI, "tools": [TOOL], "top_p": 1,
                                                 "tool_choice": {"type": "function", "function": {"name": "weather"}}})
        assert got.status == 200 and got.header("x-sluice-dropped") == "tool_choice,top_p", got
        if stream:
            said = "".join(row["choices"][0]["delta"].get("content") or "" for row in rows(got) if row["choices"])
        else:
            said = got.json["choices"][0]["message"]["content"]
        assert said == "Hello", got
        sent = upstream.last().json
        assert upstream.last().path == "/v2/chat" and sent["tool_choice"] == "REQUIRED" and sent["tools"][0] == TOOL and sent["p"] == 0.99
        assert sent["model"] == "upstream-model" and sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
        row = gate.ledger_row(got.header("x-request-id"))
        assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (40, 30, 7), row


WORD = "sesame"
PIECES = ("Open, s", "esa", "me, please.")


def guard(stage, action):
    return [{"name": "g", "stage": stage, "type": "contains", "terms": [WORD], "action": action}]


def secret(call):
    if not call.json.get("stream"):
        call.respond(200, {**ANSWER, "message": {"role": "assistant", "content": [{"type": "text", "text": "".join(PIECES)}]}})
        return
    call.begin_stream()
    parts = [{**STREAM[2], "delta": {"message": {"content": {"text": piece}}}} for piece in PIECES]
    for row in (*STREAM[:2], *parts, *STREAM[-2:]):
        call.chunk(events(row))
    call.chunk(b"data: [DONE]\n\n")
    call.end_stream()


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("action", ["redact", "block"])
def test_an_answer_is_guarded(upstream, own, action):
    provider = provider_for(upstream, type="cohere" if own else "openai")
    if own:
        provider["base_url"] = provider["base_url"].removesuffix("/v1")
    with Sluice({**config_for(upstream, providers=[provider], models=[model_for()]), "guardrails": guard("response", action)}) as gate:
        for stream in (True, False):
            upstream.answer = secret if own else lambda call: (
                stream_chat(call, PIECES) if call.json.get("stream") else call.respond(200, chat_body("".join(PIECES))))
            got = gate.post("/v2/chat", {"model": "fast", "stream": stream, "messages": HI})
            assert WORD not in got.text, got
            if action == "redact":
                text = text_of(rows(got)) if stream else got.json["message"]["content"][0]["text"]
                assert text.startswith("Open, ") and text.endswith(", please."), got
                assert not stream or rows(got)[-1]["delta"]["finish_reason"] == "COMPLETE", got
            elif not stream:
                assert got.status == 400 and got.json["message"], got
            elif got.status == 200:
                assert rows(got)[-1]["delta"]["finish_reason"] == "ERROR", got


def test_a_request_is_guarded(upstream):
    part = {"type": "document", "document": {"data": {"a": [WORD]}}}
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    bodies = [
        ("/v2/chat", {"messages": [{"role": "user", "content": WORD}]}),
        ("/v2/chat", {"messages": HI, "documents": [WORD]}),
        ("/v2/chat", {"messages": HI, "documents": [{"data": {"title": WORD}}]}),
        ("/v2/chat", {"messages": [*HI, {"role": "assistant", "tool_plan": WORD, "tool_calls": calls}]}),
        ("/v2/chat", {"messages": [*HI, {"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_call_id": "1", "content": [part]}]}),
        ("/v2/embed", {"texts": ["x", WORD], "input_type": "clustering"}),
        ("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": WORD}]}], "input_type": "clustering"}),
        ("/v2/rerank", {"query": "q", "documents": [WORD]}),
        ("/api/embed", {"input": [WORD]}),
        ("/v1beta/models/fast:batchEmbedContents", {"requests": [{"content": {"parts": [{"text": WORD}]}}]}),
    ]
    with Sluice({**config_for(upstream), "guardrails": guard("request", "block")}) as gate:
        for path, body in bodies:
            got = gate.post(path, {"model": "fast", **body} if "models/" not in path else body)
            assert got.status == 400 and not upstream.calls, (path, body, got)
