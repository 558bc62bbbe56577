# SPDX-License-Identifier: Apache-2.0
"""Guardrails: what must not pass is blocked or redacted, in requests, answers and streams."""

import json
import time

import pytest
from harness import KEY_ACME, KEY_GLOBEX, Sluice, Upstream, chat_body, chat_chunk, config_for, sse_events

SECRET = "sk-abcdefghijklmnopqrstuvwx"
MARK = "[REDACTED:keys]"
RULES = [
    {"name": "words", "type": "contains", "terms": ["blue whale"], "action": "block"},
    {"name": "mail", "type": "pii", "entities": ["email"], "action": "redact"},
    {"name": "acme-only", "type": "regex", "patterns": ["only for globex"], "action": "block", "tenants": ["acme"]},
    {
        "name": "keys",
        "stage": "response",
        "type": "regex",
        "patterns": ["sk-[A-Za-z0-9]{20,}"],
        "action": "redact",
        "stream_window": 128,
    },
    {
        "name": "stop",
        "stage": "response",
        "type": "contains",
        "terms": ["forbidden fruit"],
        "action": "block",
        "stream_window": 128,
    },
    {
        "name": "noted",
        "stage": "response",
        "type": "contains",
        "terms": ["remarkable"],
        "action": "flag",
        "stream_window": 128,
    },
    {
        "name": "shape",
        "stage": "response",
        "type": "json_schema",
        "schema": {"type": "object", "required": ["a"]},
        "models": ["slow"],
    },
]


@pytest.fixture(scope="module")
def gate(upstream_for_module):
    with Sluice(config_for(upstream_for_module, guardrails=RULES)) as gate:
        yield gate


@pytest.fixture(scope="module")
def upstream_for_module():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(upstream_for_module):
    upstream_for_module.answer = None
    return upstream_for_module


def ask(gate, content, **more):
    return gate.chat(messages=[{"role": "user", "content": content}], **more)


def test_a_request_is_blocked_before_anything_is_sent(gate, upstream):
    before = len(upstream.calls)
    answer = ask(gate, "tell me of the BLUE \\u0057hale".encode().decode("unicode_escape"))
    assert answer.status == 400
    error = answer.json["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "content_policy_violation")
    assert "words" in error["message"]
    assert len(upstream.calls) == before


def test_what_is_redacted_in_a_request_never_leaves(gate, upstream):
    body = '{"model":"fast", "messages":[{"role":"user","content":"to \\u006aane@example.com, \\u00e4"}], "x":1.50}'
    answer = gate.post("/v1/chat/completions", body, headers={"Content-Type": "application/json"})
    assert answer.status == 200
    sent = upstream.last().body
    assert b'"content":"to [REDACTED:mail], \\u00e4"' in sent and b'"x":1.50' in sent
    assert upstream.last().json["model"] == "upstream-model"


def test_rules_are_for_the_tenants_they_name(gate, upstream):
    assert ask(gate, "only for globex", key=KEY_ACME).status == 400
    assert ask(gate, "only for globex", key=KEY_GLOBEX).status == 200


def test_an_answer_is_redacted(gate, upstream):
    upstream.answer = lambda call: call.respond(body=chat_body(f"your key is {SECRET}, keep it"))
    answer = ask(gate, "hi")
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == f"your key is {MARK}, keep it"
    assert SECRET.encode() not in answer.body


def test_an_answer_is_blocked(gate, upstream):
    upstream.answer = lambda call: call.respond(body=chat_body("take the forbidden fruit"))
    answer = ask(gate, "hi")
    assert answer.status == 400 and answer.json["error"]["code"] == "content_policy_violation"
    assert b"fruit" not in answer.body
    row = gate.ledger_row(answer.header("x-request-id"))
    assert row["input_tokens"] > 0, "the provider has counted it"


def stream(*pieces, finish=True, pause_at=None):
    def answer(call):
        call.begin_stream()
        for i, piece in enumerate(pieces):
            if i == pause_at:
                time.sleep(0.3)
            call.event({"choices": [{"index": 0, "delta": {"content": piece}}]})
        if finish:
            call.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        call.event("[DONE]")
        call.end_stream()

    return answer


def text_of(events):
    parts = [json.loads(event) for event in events if event != "[DONE]"]
    return "".join(c["delta"].get("content", "") for part in parts for c in part.get("choices", []))


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_a_stream_is_redacted_however_it_is_cut(gate, upstream, step, finish):
    text = "x" * 300 + f" {SECRET} " + "y" * 300 + f" {SECRET}"
    upstream.answer = stream(*[text[i : i + step] for i in range(0, len(text), step)], finish=finish)
    answer = ask(gate, "hi", stream=True)
    events = sse_events(answer.body)
    assert events[-1] == "[DONE]"
    assert text_of(events) == text.replace(SECRET, MARK)


def test_a_stream_is_blocked_with_a_last_event(gate, upstream):
    text = "x" * 400 + " forbidden fruit " + "y" * 400
    upstream.answer = stream(*[text[i : i + 5] for i in range(0, len(text), 5)], pause_at=80)
    answer = ask(gate, "hi", stream=True)
    assert answer.status == 200
    events = sse_events(answer.body)
    assert b"forbidden" not in answer.body and b"yyy" not in answer.body
    assert json.loads(events[-1])["error"]["code"] == "content_policy_violation"
    assert text_of(events[:-1]).startswith("x" * 100)


def test_events_that_repeat_the_text_are_redacted_too(gate, upstream):
    def answer(call):
        call.begin_stream()
        for piece in (f"key {SECRET[:9]}", SECRET[9:], " ok"):
            call.event({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": piece})
        part = {"type": "output_text", "text": f"key {SECRET} ok"}
        call.event({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": part["text"]})
        usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
        response = {"id": "resp_1", "status": "completed", "usage": usage, "output": [{"content": [part]}]}
        call.event({"type": "response.completed", "response": response})
        call.end_stream()

    upstream.answer = answer
    answer = gate.post("/v1/responses", {"model": "fast", "input": "hi", "stream": True, "store": False})
    assert SECRET.encode() not in answer.body
    assert answer.body.count(MARK.encode()) == 3, answer.body
    assert json.loads(sse_events(answer.body)[-1])["type"] == "response.completed"


def test_an_answer_must_fit_its_schema(gate, upstream):
    upstream.answer = lambda call: call.respond(body=chat_body('{"a": 1}'))
    assert ask(gate, "hi", model="slow").status == 200
    upstream.answer = lambda call: call.respond(body=chat_body("sure! here it is"))
    assert ask(gate, "hi", model="slow").status == 400
    upstream.answer = stream('{"a"', ": 1}")
    assert text_of(sse_events(ask(gate, "hi", model="slow", stream=True).body)) == '{"a": 1}'
    upstream.answer = stream('{"b"', ": 1}")
    answer = ask(gate, "hi", model="slow", stream=True)
    assert b'\\"b' not in answer.body and b"content_policy_violation" in answer.body


def test_what_is_flagged_passes_and_is_noted(gate, upstream):
    upstream.answer = lambda call: call.respond(body=chat_body("how remarkable"))
    answer = ask(gate, "hi")
    assert answer.json["choices"][0]["message"]["content"] == "how remarkable"
    assert "noted" in answer.header("x-sluice-guardrails")


def test_a_kept_response_is_looked_at_when_it_is_fetched(gate, upstream):
    made = iter(range(100))

    def kept(words):
        part = {"type": "output_text", "text": words}
        return {"id": f"resp_kept{next(made)}", "status": "completed", "output": [{"content": [part]}], "store": True}

    def answer(call):
        response = kept(words)
        if "stream" in call.target:
            call.begin_stream()
            call.event({"type": "response.output_text.delta", "output_index": 0, "delta": words})
            call.event({"type": "response.completed", "response": response})
            call.end_stream()
        elif call.method == "POST" and not call.path.endswith("/cancel"):
            call.respond(body=json.dumps({**response, "status": "queued", "output": []}).encode())
        else:
            call.respond(body=json.dumps(response).encode())

    upstream.answer = answer
    for words, status in ((f"key {SECRET} ok", 200), ("take the forbidden fruit", 400)):
        first = gate.post("/v1/responses", {"model": "fast", "input": "hi", "background": True})
        assert first.status == 200, first
        path = f"/v1/responses/{first.json['id']}"
        for fetched in (gate.get(path), gate.post(path + "/cancel", b"")):
            assert fetched.status == status, fetched
            assert SECRET.encode() not in fetched.body and b"fruit" not in fetched.body
        streamed = gate.get(path + "?stream=true")
        assert SECRET.encode() not in streamed.body and b"fruit" not in streamed.body
        assert (MARK.encode() in streamed.body) == (status == 200)


@pytest.mark.parametrize("more", [
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"description": "a blue whale"}}}]},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["a blue whale"]}}}},
    {"functions": [{"name": "f", "description": "a blue whale"}]},
])
def test_schemas_are_looked_at(gate, upstream, more):
    before = len(upstream.calls)
    assert ask(gate, "hi", **more).status == 400
    assert len(upstream.calls) == before


@pytest.mark.parametrize("streams", [False, True])
def test_thoughts_in_parts_are_looked_at(gate, upstream, streams):
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": f"the key is {SECRET}."}]}]

    def answer(call):
        if not streams:
            call.respond(body=json.dumps({"choices": [{"index": 0, "message": {"content": content}}]}).encode())
            return
        call.begin_stream()
        call.event({"choices": [{"index": 0, "delta": {"content": content}}]})
        call.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    answer = ask(gate, "hi", stream=streams)
    assert SECRET.encode() not in answer.body and MARK.encode() in answer.body


def test_a_redacted_answer_may_be_longer_than_what_an_answer_may_be(upstream):
    """Markers make it five times as long, more than the 8 MiB that are looked at as a whole; none of it is lost."""
    parts = [{"type": "text", "text": "k1 " * 1000} for _ in range(700)]
    body = chat_body("")
    body["choices"][0]["message"]["content"] = parts
    rule = {"name": "key", "stage": "response", "type": "regex", "patterns": ["k[0-9]"], "action": "redact"}
    upstream.answer = lambda call: call.respond(200, body)
    with Sluice(config_for(upstream, guardrails=[rule])) as gate:
        got = gate.chat(options={"timeout": 60})
        assert got.status == 200 and len(got.body) > 10 << 20, got.status
        content = got.json["choices"][0]["message"]["content"]
        assert len(content) == 700 and all(part["text"] == "[REDACTED:key] " * 1000 for part in content)


@pytest.mark.parametrize("model", ["fast", "slow"], ids=["window", "gathered"])
def test_the_time_to_the_first_token_has_the_hold_in_it(gate, upstream_for_module, model):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"role": "assistant", "content": ""}))
        call.event(chat_chunk({"content": '{"a": 1}'}))
        time.sleep(0.3)  # so long at least it is held: it may be the beginning of something
        call.event(chat_chunk({}, finish="stop"))
        call.event("[DONE]")
        call.end_stream()

    upstream_for_module.answer = answer
    answer = gate.chat(model=model, stream=True)
    assert answer.status == 200 and b"[DONE]" in answer.body
    assert gate.access_line(answer.header("x-request-id"))["ttft_ms"] >= 300
