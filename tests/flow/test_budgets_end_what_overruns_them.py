# SPDX-License-Identifier: Apache-2.0
"""What uses more than was held for it: streams and sessions are extended, or ended with a clear error; budgets warn and
degrade as they are told."""

import json

import pytest
from harness import (
    KEY_ACME,
    Sluice,
    chat_body,
    config_for,
    eventually,
    merged,
    provider_for,
    sha256_hash,
    sse_events,
)

pytestmark = pytest.mark.threads


def tenant(**changes):
    return merged({"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}, changes)


def endless(words, at_once=1):
    def answer(call):
        call.begin_stream()
        for i in range(0, words, at_once):
            text = "".join(f"word {i + k} " for k in range(at_once))
            call.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        call.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        call.event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": words + 10}})
        call.event("[DONE]")
        call.end_stream()

    return answer


def test_a_stream_beyond_its_bound_is_extended(upstream):
    upstream.answer = endless(3000)
    with Sluice(config_for(upstream, tenants=[tenant(budget={"amount": "1 USD", "period": "day"})])) as gate:
        answer = gate.chat(stream=True, max_tokens=50)
        assert answer.status == 200 and answer.body.endswith(b"data: [DONE]\n\n")
        assert gate.usage_total("output_tokens", tenant="acme") == 3000


@pytest.mark.parametrize("at_once, most", [(1, 30_000_000), (50, 120_000_000)])
def test_a_stream_ends_when_the_budget_is_gone(upstream, at_once, most):
    upstream.answer = endless(100000, at_once)
    with Sluice(config_for(upstream, tenants=[tenant(budget={"amount": "0.01 USD", "period": "day"})])) as gate:
        answer = gate.chat(stream=True, max_tokens=50)
        assert answer.status == 200
        last = json.loads(sse_events(answer.body)[-1])
        assert last["error"]["code"] == "insufficient_quota", last
        assert b"[DONE]" not in answer.body
        row = gate.ledger_row(answer.header("x-request-id"))
        # A target that minds no max_tokens is booked with all that came before it was stopped: one read more; of
        # many tokens in one event nobody knows how many they are, until they are surely too many.
        assert row["outcome"] == "partial" and 0 < row["cost_nanos"] <= most, row


def test_a_stream_of_a_dearer_model_is_held_for_at_its_price(upstream):
    """The model that the call asks for fails, and a fallback answers, which costs ten times as much."""
    budget = {"amount": "0.01 USD", "period": "day"}
    config = config_for(upstream, tenants=[tenant(budget=budget)])
    config["models"] = [
        {"name": "fast", "policy": "falls", "targets": [
            {"id": "near", "provider": "up", "model": "cheap", "price": {"input": 0.1, "output": 0.4}}]},
        {"name": "dear", "targets": [{"id": "far", "provider": "up", "model": "dear", "price": {"input": 1.0, "output": 4.0}}]}]
    config["routing"] = {"policies": [{"name": "falls", "fallback": ["dear"]}]}
    config["providers"] = [provider_for(upstream, retry={"attempts": 2, "backoff": "1ms", "max_backoff": "5ms"})]

    def answer(call):
        if call.json["model"] == "cheap":
            call.respond(500, {"error": {"message": "no", "type": "server_error"}})
        else:
            endless(100000)(call)

    upstream.answer = answer
    with Sluice(config) as gate:
        answer = gate.chat(stream=True, max_tokens=50)
        assert answer.header("x-sluice-target") == "far", answer
        assert json.loads(sse_events(answer.body)[-1])["error"]["code"] == "insufficient_quota", answer.body[-300:]
        row = gate.ledger_row(answer.header("x-request-id"))
        assert row["outcome"] == "partial" and 0 < row["cost_nanos"] <= 30_000_000, row


@pytest.mark.parametrize("ending", ["whole", "broken"])
@pytest.mark.parametrize("text", ["internationalisation ", "\u6771\u4eac"], ids=["long words", "escapes"])
def test_a_stream_as_long_as_it_may_be_is_not_ended(upstream, text, ending):
    """However its text makes it look: by its bytes it has far more tokens than the budget pays for."""
    def greedy(call):
        most = call.json["max_completion_tokens"]
        call.begin_stream()
        for _ in range(most):
            call.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        if ending == "broken":
            call.close()
            return
        call.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
        call.event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": most, "total_tokens": most + 10}})
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = greedy
    with Sluice(config_for(upstream, tenants=[tenant(budget={"amount": "0.002 USD", "period": "day"})])) as gate:
        answer = gate.chat(stream=True)
        most = int(answer.header("x-sluice-max-tokens"))
        assert 200 < most < 500 and answer.text.count('"content"') == most
        assert answer.body.endswith(b"data: [DONE]\n\n") == (ending == "whole")
        row = gate.ledger_row(answer.header("x-request-id"))
        assert row["output_tokens"] == most and row["cost_nanos"] <= 2_000_000, row
        assert gate.chat(stream=True).status == 429


def test_a_budget_that_degrades_takes_the_cheapest_target(upstream):
    upstream.answer = lambda call: call.respond(
        200, chat_body(model=call.json["model"], usage={"prompt_tokens": 10, "completion_tokens": 400, "total_tokens": 410}))
    targets = [{"id": "dear", "provider": "up", "model": "dear", "price": {"input": 1, "output": 4}, "priority": 1},
               {"id": "cheap", "provider": "up", "model": "cheap", "price": {"input": 0.1, "output": 0.4}, "priority": 2}]
    budget = {"amount": "0.004 USD", "period": "day", "on_exceeded": "degrade"}
    with Sluice(config_for(upstream, models=[{"name": "fast", "targets": targets}], tenants=[tenant(budget=budget)])) as gate:
        used = [gate.chat(max_tokens=400).header("x-sluice-target") for _ in range(4)]
        assert used[0] == "dear" and used[-1] == "cheap", used


def test_a_budget_that_only_warns_shortens_nothing(upstream):
    """Neither when it is spent, nor because nobody knows how long an answer may be."""
    upstream.answer = lambda call: call.respond(
        200, chat_body(usage={"prompt_tokens": 0, "completion_tokens": 6000, "total_tokens": 6000}))
    budget = {"amount": "0.030 USD", "period": "day", "on_exceeded": "warn"}
    with Sluice(config_for(upstream, tenants=[tenant(budget=budget)])) as gate:
        for _ in range(3):
            answer = gate.chat()
            assert answer.status == 200 and not answer.header("x-sluice-max-tokens"), answer
            assert not {"max_tokens", "max_completion_tokens"} & set(upstream.last().json)


def test_marks_of_a_budget_are_told_once(upstream):
    upstream.answer = lambda call: call.respond(
        200, chat_body(usage={"prompt_tokens": 0, "completion_tokens": 100, "total_tokens": 100}))
    budget = {"amount": "0.004 USD", "period": "day", "warn_at": [0.3, 0.6], "on_exceeded": "warn"}
    with Sluice(config_for(upstream, tenants=[tenant(budget=budget)])) as gate:
        for _ in range(9):
            assert gate.chat(max_tokens=100).status == 200

        def marks():
            return [line["msg"] for line in gate.log_lines() if line.get("component") == "budget"]

        eventually(lambda: len(marks()) == 2, what="two marks")
        assert ["30.0" in mark for mark in marks()] == [True, False], marks()
