# SPDX-License-Identifier: Apache-2.0
"""A call may ask for a dearer tier of service: the most that it costs there is held, and it is booked at what its answer names."""

import json

import pytest
from harness import KEY_ACME, PRICE, Sluice, chat_body, config_for, eventually, merged, model_for, provider_for, sha256_hash
from raw_upstream import USAGE

INPUT, OUTPUT = 1000, 4000  # nano-dollars per token (harness.PRICE)
TIERS = {"priority": {"input": 3, "output": 12}, "flex": {"input": 0.5, "output": 2}}
PLAIN = USAGE["prompt_tokens"] * INPUT + USAGE["completion_tokens"] * OUTPUT
TIMES = {"standard": 1, "priority": 3, "flex": 0.5}


def gate_for(upstream, nanos=None, price=TIERS, kind="openai", **more):
    target = {"id": "one", "provider": "up", "model": "upstream-model", "price": {**PRICE, **price}}
    tenant = {"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}
    if nanos is not None:
        tenant["budget"] = {"amount": f"{nanos / 1e9:.9f} USD", "period": "month"}
    provider = {key: more.pop(key) for key in ("service_tier", "base_url") if key in more}
    return Sluice(config_for(upstream, tenants=[tenant], models=[merged(model_for("fast"), {"targets": [target]})],
                             providers=[provider_for(upstream, type=kind, **provider)], **more))


def chat(**more):
    return {"model": "fast", "messages": [{"role": "user", "content": "x"}], "max_tokens": 100, **more}


def answers(tier, **usage):
    """Whole or as a stream, with the tier in each chunk as OpenAI has it."""
    word = {} if tier is None else {"service_tier": tier}

    def answer(call):
        if not call.json.get("stream"):
            call.respond(200, {**chat_body(), **word})
            return
        call.begin_stream()
        piece = {"id": "c", "object": "chat.completion.chunk", "model": "m", **word}
        for choices, more in (([{"index": 0, "delta": {"content": "a"}, "finish_reason": None}], {}),
                              ([{"index": 0, "delta": {}, "finish_reason": "stop"}], {}), ([], {"usage": USAGE})):
            call.event(json.dumps({**piece, "choices": choices, **more}))
        call.event("[DONE]")
        call.end_stream()
    return answer


def row_of(gate, answer):
    return gate.ledger_row(answer.header("x-request-id"))


ASKED_ANSWERED_BOOKED = [
    (None, None, "standard"),
    (None, "default", "standard"),
    ("priority", "priority", "priority"),
    ("fast", "priority", "priority"),
    ("priority", "default", "standard"),  # it was full: then the plain price is charged
    ("priority", None, "priority"),       # who does not say is believed to have done as asked
    ("flex", "flex", "flex"),
    ("flex", None, "standard"),           # but cheaper is only what the answer says
    ("batch", None, "standard"),
    ("auto", "priority", "priority"),     # as the project is set up
    ("auto", None, "standard"),
    ("default", "default", "standard"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_says_what_is_booked(upstream, stream):
    with gate_for(upstream) as gate:
        for asked, answered, booked in ASKED_ANSWERED_BOOKED:
            upstream.answer = answers(answered)
            more = {} if asked is None else {"service_tier": asked}
            answer = gate.post("/v1/chat/completions", chat(stream=stream, **more))
            assert answer.status == 200, answer
            row = row_of(gate, answer)
            assert (row["service_tier"], row["cost_nanos"]) == (booked, PLAIN * TIMES[booked]), (asked, answered)
            if not stream:
                assert float(answer.header("x-sluice-cost-usd")) == pytest.approx(row["cost_nanos"] / 1e9)
            assert upstream.last().json.get("service_tier") == asked


def test_the_dearest_tier_is_held(upstream):
    """What pays for so many tokens pays for a third of them in a tier that is three times as dear."""
    upstream.answer = answers("priority")
    body = {key: value for key, value in chat().items() if key != "max_tokens"}
    with gate_for(upstream, nanos=1000 * 3 * OUTPUT) as gate:
        plain = int(gate.post("/v1/chat/completions", {**body, "service_tier": "default"}).header("x-sluice-max-tokens"))
    with gate_for(upstream, nanos=1000 * 3 * OUTPUT) as gate:
        dear = int(gate.post("/v1/chat/completions", {**body, "service_tier": "priority"}).header("x-sluice-max-tokens"))
        assert 2.9 * dear <= plain <= 3.5 * dear


def test_a_budget_is_not_exceeded_in_a_dear_tier(upstream):
    def greedy(call):
        tokens = call.json.get("max_completion_tokens") or call.json["max_tokens"]
        usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
        call.respond(200, {**chat_body(usage=usage), "service_tier": "priority"})

    upstream.answer = greedy
    amount = 5000 * OUTPUT
    with gate_for(upstream, nanos=amount) as gate:
        for _ in range(20):
            gate.post("/v1/chat/completions", chat(service_tier="priority", max_tokens=300))
        spent = gate.usage_total("cost_nanos")
        assert 0.5 * amount < spent <= amount


def test_the_account_may_be_set_up_for_a_dear_tier(upstream):
    upstream.answer = answers(None)
    with gate_for(upstream, service_tier="priority") as gate:
        answer = gate.post("/v1/chat/completions", chat())
        assert row_of(gate, answer)["cost_nanos"] == 3 * PLAIN
        answer = gate.post("/v1/chat/completions", chat(service_tier="default"))
        assert row_of(gate, answer)["cost_nanos"] == PLAIN


def test_what_nobody_knows_the_price_of_is_not_asked_for(upstream):
    upstream.answer = answers("priority")
    with gate_for(upstream, price={}) as gate:
        for word in ("priority", "fast", "turbo", "prior\\u0069ty"):
            body = json.dumps(chat(service_tier="WORD")).replace("WORD", word).encode()
            answer = gate.post("/v1/chat/completions", body)
            assert answer.status == 400 and answer.json["error"]["param"] == "service_tier", answer
        assert gate.post("/v1/chat/completions", chat(service_tier="flex")).status == 200
        assert len(upstream.calls) == 1


def test_another_target_whose_price_is_known_gets_it(upstream):
    upstream.answer = answers("priority")
    targets = [{"id": "one", "provider": "up", "model": "a", "price": PRICE},
               {"id": "two", "provider": "up", "model": "b", "price": {**PRICE, **TIERS}}]
    config = config_for(upstream, models=[merged(model_for("fast"), {"targets": targets})], providers=[provider_for(upstream)])
    with Sluice(config) as gate:
        for _ in range(6):
            answer = gate.post("/v1/chat/completions", chat(service_tier="priority"))
            assert answer.header("x-sluice-target") == "two"
            assert row_of(gate, answer)["cost_nanos"] == 3 * PLAIN


@pytest.mark.parametrize("ledger, times", [
    ({"unknown_price": "zero"}, 1),
    ({"unknown_price": "cap", "price_cap": {"input": 10, "output": 40}}, 10),
])
def test_an_unknown_price_is_as_the_ledger_says(upstream, ledger, times):
    upstream.answer = answers("priority")
    with gate_for(upstream, price={}, ledger=ledger) as gate:
        answer = gate.post("/v1/chat/completions", chat(service_tier="priority"))
        assert row_of(gate, answer)["cost_nanos"] == times * PLAIN


def test_own_servers_have_one_tier(upstream):
    upstream.answer = answers(None)
    with gate_for(upstream, price={}, kind="vllm") as gate:
        answer = gate.post("/v1/chat/completions", chat(service_tier="priority"))
        assert row_of(gate, answer)["cost_nanos"] == PLAIN


@pytest.mark.parametrize("asked, answered, booked", [
    ({"speed": "fast"}, {"speed": "fast"}, "priority"),
    ({"speed": "fast"}, {"speed": "standard"}, "standard"),
    ({"speed": "fast"}, {}, "priority"),
    ({"service_tier": "auto"}, {"service_tier": "priority"}, "standard"),  # that was paid for in advance
    ({}, {"service_tier": "standard"}, "standard"),
])
def test_anthropics_fast_mode_is_dear(upstream, asked, answered, booked):
    usage = {"input_tokens": 11, "output_tokens": 7, **answered}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
               "content": [{"type": "text", "text": "x"}], "usage": usage}
    upstream.answer = lambda call: call.respond(200, message)
    with gate_for(upstream, kind="anthropic") as gate:
        answer = gate.post("/v1/messages", chat(**asked))
        assert answer.status == 200, answer
        assert row_of(gate, answer)["cost_nanos"] == PLAIN * TIMES[booked]


@pytest.mark.parametrize("field", ["serviceTier", "service_tier"])
@pytest.mark.parametrize("header, booked", [("priority", "priority"), ("standard", "standard"), (None, "priority")])
def test_gemini_says_it_in_a_header(upstream, field, header, booked):
    body = {"candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}}
    headers = {"x-gemini-service-tier": header} if header else {}
    upstream.answer = lambda call: call.respond(200, body, headers=headers)
    with gate_for(upstream, kind="gemini") as gate:
        answer = gate.post("/v1beta/models/fast:generateContent", {"contents": [{"parts": [{"text": "x"}]}], field: "priority"})
        assert answer.status == 200, answer
        assert row_of(gate, answer)["cost_nanos"] == PLAIN * TIMES[booked]


def test_a_target_that_is_not_told_is_not_dear(upstream):
    """Anthropic's messages have no word for OpenAI's tier: it is left out, and nothing more is charged."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
               "content": [{"type": "text", "text": "x"}], "usage": {"input_tokens": 11, "output_tokens": 7}}
    upstream.answer = lambda call: call.respond(200, message)
    with gate_for(upstream, kind="anthropic", price={}) as gate:
        answer = gate.post("/v1/chat/completions", chat(service_tier="priority"))
        assert answer.status == 200 and "service_tier" in answer.header("x-sluice-dropped"), answer
        assert row_of(gate, answer)["cost_nanos"] == PLAIN


def test_what_a_call_may_cost_is_reckoned_in_its_tier(upstream):
    upstream.answer = answers("priority")
    target = {"id": "one", "provider": "up", "model": "upstream-model",
              "price": {**PRICE, "priority": {"input": 100, "output": 400}}}
    tenant = {"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}], "may_set": ["policy"]}
    config = config_for(upstream, tenants=[tenant], models=[merged(model_for("fast"), {"targets": [target]})],
                        providers=[provider_for(upstream)])
    most = {"x-sluice-max-cost": f"{5 * 100 * OUTPUT / 1e9:.9f}"}
    with Sluice(config) as gate:
        assert gate.post("/v1/chat/completions", chat(), headers=most).status == 200
        answer = gate.post("/v1/chat/completions", chat(service_tier="priority"), headers=most)
        assert answer.status == 400 and "may cost" in answer.text, answer


# --------------------------------------------------------------- what is said is not what is told

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
           "content": [{"type": "text", "text": "x"}], "usage": {"input_tokens": 11, "output_tokens": 7}}
CONVERSE = {"output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18}}
CHEAP = {**TIERS, "batch": {"input": 0.5, "output": 2}}


@pytest.mark.parametrize("word", ["batch", "flex", "default"])
def test_a_header_of_bedrock_is_nobody_elses(upstream, word):
    header = {"x-amzn-bedrock-service-tier": word}
    upstream.answer = lambda call: call.respond(200, MESSAGE)
    with gate_for(upstream, kind="anthropic", price=CHEAP) as gate:
        assert row_of(gate, gate.post("/v1/messages", chat(), headers=header))["cost_nanos"] == PLAIN
    upstream.answer = answers(None)
    with gate_for(upstream, service_tier="priority", price=CHEAP) as gate:
        assert row_of(gate, gate.post("/v1/messages", chat(), headers=header))["cost_nanos"] == 3 * PLAIN
        assert row_of(gate, gate.post("/v1/chat/completions", chat(), headers=header))["cost_nanos"] == 3 * PLAIN


def bedrock_gate(upstream, **more):
    return Sluice(config_for(upstream, models=[merged(model_for("fast"), {"targets": [
        {"id": "one", "provider": "up", "model": "upstream-model", "price": {**PRICE, **CHEAP}}]})],
        providers=[provider_for(upstream, type="bedrock", region="us-east-1", **more)]))


def test_bedrocks_header_counts_for_bedrock(upstream):
    upstream.answer = lambda call: call.respond(200, CONVERSE)
    path = "/model/fast/converse"
    body = {"messages": [{"role": "user", "content": [{"text": "x"}]}]}
    with bedrock_gate(upstream) as gate:
        answer = gate.post(path, body, headers={"x-amzn-bedrock-service-tier": "priority"})
        assert answer.status == 200 and row_of(gate, answer)["cost_nanos"] == 3 * PLAIN, answer
        twice = [("x-amzn-bedrock-service-tier", "priority"), ("x-amzn-bedrock-service-tier", "flex")]
        assert gate.post(path, body, headers=twice).status == 400


@pytest.mark.parametrize("field", ["serviceTier", "service_tier"])
@pytest.mark.parametrize("word", ["flex", "SERVICE_TIER_FLEX", "batch", "priority", "standard"])
def test_what_geminis_clients_say_is_not_told_to_others(upstream, field, word):
    body = {"contents": [{"parts": [{"text": "x"}]}], field: word}
    upstream.answer = answers(None)
    for account, times in (("default", 1), ("priority", 3)):
        with gate_for(upstream, service_tier=account, price=CHEAP) as gate:
            answer = gate.post("/v1beta/models/fast:generateContent", body)
            assert answer.status == 200 and "service_tier" not in upstream.last().json, answer
            assert row_of(gate, answer)["cost_nanos"] == times * PLAIN


@pytest.mark.parametrize("more", [{}, {"x_service_tier": 1}])
def test_what_was_written_for_the_target_is_booked(upstream, more):
    upstream.answer = lambda call: call.respond(200, CONVERSE)
    with bedrock_gate(upstream) as gate:
        answer = gate.post("/v1/chat/completions", chat(service_tier="priority", **more))
        assert upstream.last().json["serviceTier"] == {"type": "priority"}, answer
        assert row_of(gate, answer)["cost_nanos"] == 3 * PLAIN
    upstream.answer = answers(None)
    with gate_for(upstream, price=CHEAP) as gate:
        for word, times in (("priority", 3), ("flex", 0.5), ("auto", 1)):
            answer = gate.post("/v1/messages", chat(service_tier=word, **more))
            assert upstream.last().json["service_tier"] == word, answer
            assert row_of(gate, answer)["cost_nanos"] == times * PLAIN


@pytest.mark.parametrize("more", [{"service_tier": "standard_only"}, {"speed": "standard"}, {}])
def test_a_word_that_is_dropped_leaves_the_accounts_tier(upstream, more):
    def greedy(call):
        tokens = call.json.get("max_completion_tokens") or call.json["max_tokens"]
        usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
        call.respond(200, {**chat_body(usage=usage), "service_tier": "priority"})

    upstream.answer = greedy
    amount = 12_000_000
    with gate_for(upstream, nanos=amount, service_tier="priority") as gate:
        for _ in range(20):
            gate.post("/v1/messages", chat(max_tokens=300, **more))
        served = sum(call.json["max_completion_tokens"] > 0 for call in upstream.calls)
        eventually(lambda: len(gate.ledger_rows()) >= served, what="the rows are in the database")
        rows = gate.ledger_rows()
        billed = sum(3 * (row["input_tokens"] * INPUT + row["output_tokens"] * OUTPUT) for row in rows)
        assert billed == gate.usage_total("cost_nanos") <= amount and billed > amount / 2


def test_the_dearest_of_two_accounts_is_held(upstream):
    upstream.answer = answers("priority")
    targets = [{"id": "one", "provider": "up", "model": "a", "price": {"input": 1.5, "output": 6}},
               {"id": "two", "provider": "dear", "model": "b", "price": {**PRICE, **TIERS}}]
    tenant = {"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}],
              "budget": {"amount": f"{1000 * 3 * OUTPUT / 1e9:.9f} USD", "period": "month"}}
    config = config_for(upstream, tenants=[tenant], models=[merged(model_for("fast"), {"targets": targets})],
                        providers=[provider_for(upstream), provider_for(upstream, name="dear", service_tier="priority")])
    given = {}
    for word in (None, "standard"):
        with Sluice(config) as gate:
            body = {**chat(), "max_tokens": 100_000, **({"speed": word} if word else {})}
            given[word] = gate.post("/v1/messages", body).header("x-sluice-max-tokens")
    # the one that says it is longer by these words
    assert 0.98 * int(given[None]) < int(given["standard"]) <= int(given[None])


def test_a_mirror_is_not_asked_for_what_has_no_price(upstream):
    upstream.answer = answers("priority")
    targets = [{"id": "one", "provider": "up", "model": "a", "price": {**PRICE, **TIERS}}]
    shadow = [{"id": "two", "provider": "up", "model": "b", "price": PRICE}]
    config = config_for(upstream, models=[merged(model_for("fast"), {"targets": targets}), merged(model_for("shadow"), {"targets": shadow})],
                        providers=[provider_for(upstream)],
                        routing={"rules": [{"name": "all", "when": {"model": ["fast"]}, "use": {"mirror": {"target": "two"}}}]})
    with Sluice(config) as gate:
        assert gate.post("/v1/chat/completions", chat()).status == 200
        eventually(lambda: len(upstream.calls) == 2, what="it is mirrored")
        assert gate.post("/v1/chat/completions", chat(service_tier="priority")).status == 200
        assert gate.post("/v1/chat/completions", chat()).status == 200
        eventually(lambda: len(upstream.calls) == 5)
        assert [call.json["model"] for call in upstream.calls if call.json.get("service_tier")] == ["a"]
