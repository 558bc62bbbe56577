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
    sha256_hash,
    sse_events,
)

pytestmark = pytest.mark.threads


def tenant(**changes):
    return merged({"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}, changes)


def endless(words):
    def answer(call):
        call.begin_stream()
        for i in range(words):
            call.event({"choices": [{"index": 0, "delta": {"content": f"word {i} "}, "finish_reason": None}]})
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


def test_a_stream_ends_when_the_budget_is_gone(upstream):
    upstream.answer = endless(100000)
    with Sluice(config_for(upstream, tenants=[tenant(budget={"amount": "0.01 USD", "period": "day"})])) as gate:
        answer = gate.chat(stream=True, max_tokens=50)
        assert answer.status == 200
        last = json.loads(sse_events(answer.body)[-1])
        assert last["error"]["code"] == "insufficient_quota", last
        assert b"[DONE]" not in answer.body
        row = gate.ledger_row(answer.header("x-request-id"))
        # A target that minds no max_tokens is booked with all that came before it was stopped: one read more.
        assert row["outcome"] == "partial" and 0 < row["cost_nanos"] <= 30_000_000, row


def test_a_budget_that_degrades_takes_the_cheapest_target(upstream):
    upstream.answer = lambda call: call.respond(
        200, chat_body(model=call.json["model"], usage={"prompt_tokens": 10, "completion_tokens": 400, "total_tokens": 410}))
    targets = [{"id": "dear", "provider": "up", "model": "dear", "price": {"input": 1, "output": 4}, "priority": 1},
               {"id": "cheap", "provider": "up", "model": "cheap", "price": {"input": 0.1, "output": 0.4}, "priority": 2}]
    budget = {"amount": "0.004 USD", "period": "day", "on_exceeded": "degrade"}
    with Sluice(config_for(upstream, models=[{"name": "fast", "targets": targets}], tenants=[tenant(budget=budget)])) as gate:
        used = [gate.chat(max_tokens=400).header("x-sluice-target") for _ in range(4)]
        assert used[0] == "dear" and used[-1] == "cheap", used


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
