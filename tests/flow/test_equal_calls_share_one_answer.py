# SPDX-License-Identifier: Apache-2.0
"""The exact cache: equal calls are answered once, streams included, and never across tenants."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import (
    KEY_ACME_FAST,
    KEY_GLOBEX,
    Sluice,
    chat_body,
    chat_request,
    config_for,
    eventually,
    sse_events,
    stream_chat,
)

pytestmark = pytest.mark.threads
CONFIG = {"cache": {"exact": {"enabled": True, "ttl": "1h", "max_temperature": 0.5}}}
COUNT = iter(range(1_000_000))


def ask(gate, text=None, key=None, headers=(), **fields):
    text = text or f"question {next(COUNT)}"
    body = {"model": "fast", "temperature": 0, "messages": [{"role": "user", "content": text}], **fields}
    options = {"key": key} if key else {}
    return gate.post("/v1/chat/completions", body, headers=headers, **options)


def said(answer):
    return answer.header("x-sluice-cache")


def test_an_equal_call_is_a_hit(gate, upstream):
    first, second = ask(gate, "same"), ask(gate, "same")
    assert (said(first), said(second)) == ("miss", "hit")
    assert first.body == second.body and len(upstream.calls) == 1
    assert second.header("x-sluice-cost-usd") == "0.000000000"
    assert second.header("x-sluice-target") == "fast-1"
    row = gate.ledger_row(second.header("x-request-id"))
    assert row["cost_nanos"] == 0 and row["saved_nanos"] > 0 and row["outcome"] == "complete", row


def test_order_and_spelling_make_no_difference(gate, upstream):
    bodies = [
        b'{"model":"fast","temperature":0,"messages":[{"role":"user","content":"sp\\u0065lled"}],"seed":1}',
        b'{ "seed": 1.0, "messages": [ {"content": "spelled", "role": "user"} ], "temperature": 0.0, "model": "fast" }',
        b'{"model":"fast","temperature":0,"messages":[{"role":"user","content":"spelled"}],"seed":1,"user":"u","n":1}',
    ]
    answers = [gate.post("/v1/chat/completions", body) for body in bodies]
    assert [said(a) for a in answers] == ["miss", "hit", "hit"] and len(upstream.calls) == 1


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"max_tokens": 5}, {"temperature": 0.1}, {"unknown_field": True}, {"tools": []}, {"top_k": 3},
    {"response_format": {"type": "json_object"}}, {"messages": [{"role": "system", "content": "same 2"}]}])
def test_whatever_may_change_the_answer_makes_a_difference(gate, upstream, change):
    assert said(ask(gate, f"differs {change}")) == "miss"
    assert said(ask(gate, f"differs {change}", **change)) == "miss"
    assert len(upstream.calls) == 2


@pytest.mark.parametrize("fields", [{"temperature": 0.6}, {"temperature": None}, {"n": 2}, {"temperature": 1e-1}])
def test_what_would_be_answered_otherwise_is_not_kept(gate, upstream, fields):
    assert said(ask(gate, "other", **fields)) in (None, "miss")
    answers = [ask(gate, f"not kept {fields}", **fields) for _ in range(2)]
    if fields == {"temperature": 0.1}:
        assert said(answers[1]) == "hit"
    else:
        assert [said(a) for a in answers] == [None, None]


def test_tenants_and_models_do_not_share(gate, upstream):
    assert said(ask(gate, "mine")) == "miss"
    assert said(ask(gate, "mine", key=KEY_GLOBEX)) == "miss"
    assert said(ask(gate, "mine", key=KEY_ACME_FAST)) == "hit"  # another key of the same tenant
    assert said(ask(gate, "mine", model="slow")) == "miss"


def test_the_client_decides_per_call(gate, upstream):
    assert said(ask(gate, "controlled")) == "miss"
    assert said(ask(gate, "controlled", headers={"Cache-Control": "no-cache"})) == "bypass"
    assert said(ask(gate, "controlled", headers={"Cache-Control": "no-store"})) == "bypass"
    assert len(upstream.calls) == 3
    assert said(ask(gate, "controlled", headers={"Cache-Control": "max-age=60"})) == "hit"
    time.sleep(1.1)
    assert said(ask(gate, "controlled", headers={"Cache-Control": "max-age=1"})) == "miss"
    ask(gate, "never", headers={"Cache-Control": "no-store"})
    assert said(ask(gate, "never")) == "miss"


def under_way(gate, count):
    """So many calls have come, and each has found whom to join."""
    eventually(lambda: gate.metric("sluice_inflight_requests") == count, what=f"{count} are under way")


def test_calls_at_once_are_one(gate, upstream):
    go = threading.Event()

    def slow(call):
        go.wait(60)
        call.respond(200, chat_body("slow"))

    upstream.answer = slow
    with ThreadPoolExecutor(20) as pool:
        asking = [pool.submit(ask, gate, "at once") for _ in range(20)]
        under_way(gate, 20)
        go.set()
        answers = [each.result() for each in asking]
    assert {a.status for a in answers} == {200} and len(upstream.calls) == 1
    words = [said(a) for a in answers]
    assert words.count("miss") == 1 and words.count("join") == 19, words


def test_a_leader_that_leaves_harms_nobody(gate, upstream):
    begun, go = threading.Event(), threading.Event()

    def answer(call):
        call.begin_stream()
        call.event({"choices": [{"index": 0, "delta": {"content": "one"}, "finish_reason": None}]})
        begun.set()
        go.wait(60)
        for word in ("two", "three"):
            call.event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
            time.sleep(0.02)
        call.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    body = {"model": "fast", "temperature": 0, "messages": [{"role": "user", "content": "leader"}], "stream": True}
    leader = gate.connect()
    leader.send(chat_request(body))
    leader.begin_response("POST")
    begun.wait(10)
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(gate.post, "/v1/chat/completions", body) for _ in range(2)]
        under_way(gate, 3)
        leader.close()
        time.sleep(0.1)
        go.set()
        answers = [other.result() for other in others]
    for answer_ in answers:
        assert answer_.status == 200 and said(answer_) == "join" and answer_.body.endswith(b"data: [DONE]\n\n")
    assert len(upstream.calls) == 1


def test_the_last_listener_ends_the_call(gate, upstream):
    gone = threading.Event()

    def answer(call):
        call.begin_stream()
        for i in range(200):
            call.event({"choices": [{"index": 0, "delta": {"content": str(i)}, "finish_reason": None}]})
            if call.wait_gone(0.05):
                gone.set()
                return

    upstream.answer = answer
    body = {"model": "fast", "temperature": 0, "messages": [{"role": "user", "content": "all leave"}], "stream": True}
    clients = []
    for _ in range(3):
        client = gate.connect()
        client.send(chat_request(body))
        client.begin_response("POST")
        clients.append(client)
        time.sleep(0.1)
    assert len(upstream.calls) == 1
    for client in clients:
        client.close()
    assert gone.wait(30)


@pytest.mark.parametrize("first", [False, True])
def test_a_whole_answer_serves_a_stream_and_the_other_way_round(gate, upstream, first):
    tools = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]
    whole = chat_body("Some words \u00e9 \"quoted\".")
    whole["choices"][0]["message"]["tool_calls"] = tools

    def answer(call):
        if not call.json.get("stream"):
            call.respond(200, whole)
            return
        call.begin_stream()
        deltas = [{"role": "assistant", "content": ""}, {"content": "Some words \u00e9 "}, {"content": "\"quoted\"."},
                  {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
                  {"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\""}}]},
                  {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}]
        for delta in deltas:
            call.event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "upstream-model",
                        "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        call.event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "upstream-model",
                    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        call.event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "upstream-model", "choices": [],
                    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}})
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    text = f"both forms {first}"
    assert said(ask(gate, text, stream=first)) == "miss"
    other = ask(gate, text, stream=not first, stream_options={"include_usage": True} if not first else None)
    assert (other.status, said(other), len(upstream.calls)) == (200, "hit", 1)
    if first:
        message = other.json["choices"][0]["message"]
        assert message["content"] == "Some words \u00e9 \"quoted\"." and message["tool_calls"] == tools
        assert other.json["usage"]["completion_tokens"] == 7 and other.json["object"] == "chat.completion"
        return
    chunks = [json.loads(event) for event in sse_events(other.body) if event != "[DONE]"]
    assert other.header("content-type").startswith("text/event-stream") and other.body.endswith(b"data: [DONE]\n\n")
    content = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert content == "Some words \u00e9 \"quoted\"."
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 7


def test_errors_and_cut_answers_are_not_kept(gate, upstream):
    upstream.answer = lambda call: call.respond(400, {"error": {"message": "no"}})
    assert ask(gate, "error").status == 400
    upstream.answer = lambda call: call.respond(200, chat_body())
    assert said(ask(gate, "error")) == "miss"

    def cut(call):
        call.begin_stream()
        call.event({"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]})
        call.reset()

    upstream.answer = cut
    ask(gate, "cut", stream=True)
    upstream.answer = stream_chat
    assert said(ask(gate, "cut", stream=True)) == "miss"


def test_a_hit_needs_no_money_but_counts_as_a_request(upstream):
    tenants = [{**config_for(upstream)["tenants"][0], "budget": {"amount": "0.001 USD", "period": "day"},
                "limits": {"requests_per_minute": 6}}]
    with Sluice(config_for(upstream, tenants=tenants, **CONFIG)) as gate:
        upstream.answer = lambda call: call.respond(
            200, chat_body(usage={"prompt_tokens": 10, "completion_tokens": 200, "total_tokens": 210}))
        assert said(ask(gate, "paid", max_tokens=200)) == "miss"
        assert ask(gate, "not paid", max_tokens=200).status == 429
        assert [said(ask(gate, "paid", max_tokens=200)) for _ in range(3)] == ["hit"] * 3
        eventually(lambda: [ask(gate, "paid", max_tokens=200).status for _ in range(3)][-1] == 429)
