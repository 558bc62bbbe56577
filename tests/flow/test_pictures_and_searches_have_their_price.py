# SPDX-License-Identifier: Apache-2.0
"""What is not text has a price of its own: pictures, searches of the web, what is cached for an hour. It is held, and booked."""

import json

import pytest
from harness import KEY_ACME, Sluice, chat_body, config_for, eventually, model_for, merged, provider_for, request_bytes, sha256_hash

TEXT = {"input": 1, "output": 4}  # nano-dollars per token: 1000 and 4000
CHAT, MESSAGES, RESPONSES, PICTURES = "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/images/generations"
GEMINI = "/v1beta/models/fast:generateContent"
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}


def gate_for(upstream, price, kind="openai", model="upstream-model", usd=None, **more):
    target = {"id": "one", "provider": "up", "model": model, "context_window": 1000, "price": price}
    tenant = {"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}
    if usd is not None:
        tenant["budget"] = {"amount": f"{usd} USD", "period": "month"}
    base = upstream if kind == "openai" else upstream.url
    return Sluice(config_for(upstream, tenants=[tenant], models=[merged(model_for("fast"), {"targets": [target]})],
                             providers=[provider_for(base, type=kind)], **more))


def answers(**body):
    return lambda call: call.respond(200, body)


def message(**usage):
    return answers(id="msg_1", type="message", role="assistant", model="c", content=[{"type": "text", "text": "hi"}], stop_reason="end_turn",
                   usage={"input_tokens": 100, "output_tokens": 5, **usage})


def ask(**more):
    return {"model": "fast", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}], **more}


def row_of(gate, answer):
    assert answer.status == 200, answer.body
    return gate.ledger_row(answer.header("x-request-id"))


@pytest.mark.parametrize("model, per_token", [("gpt-image-1", 40000), ("gpt-image-1-mini", 8000), ("gpt-image-2", 30000)])
def test_a_picture_costs_what_the_catalogue_says_of_pictures(upstream, model, per_token):
    usage = {"input_tokens": 50, "output_tokens": 6240, "total_tokens": 6290, "input_tokens_details": {"text_tokens": 50, "image_tokens": 0}}
    upstream.answer = answers(created=1, data=[{"b64_json": "AA"}], usage=usage)
    text = 2000 if model.endswith("mini") else 5000
    with gate_for(upstream, "catalog", model=model) as gate:
        row = row_of(gate, gate.post(PICTURES, {"model": "fast", "prompt": "x"}))
        assert row["cost_nanos"] == 50 * text + 6240 * per_token
        assert row["image_output_tokens"] == 6240


def test_pictures_within_a_chat_cost_what_pictures_cost(upstream):
    upstream.answer = answers(candidates=[{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
                              usageMetadata={"promptTokenCount": 10, "candidatesTokenCount": 1300, "totalTokenCount": 1310,
                                             "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]})
    with gate_for(upstream, "catalog", kind="gemini", model="gemini-2.5-flash-image") as gate:
        row = row_of(gate, gate.post(GEMINI, {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}))
        assert (row["cost_nanos"], row["image_output_tokens"], row["units"]) == (10 * 300 + 10 * 2500 + 1290 * 30000, 1290, 0)


def test_what_is_cached_for_an_hour_costs_twice_the_input(upstream):
    upstream.answer = message(cache_creation_input_tokens=1000, cache_creation={"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600})
    with gate_for(upstream, TEXT, kind="anthropic") as gate:
        row = row_of(gate, gate.post(MESSAGES, ask()))
        assert row["cost_nanos"] == 100 * 1000 + 400 * 1000 + 600 * 2000 + 5 * 4000
        assert (row["cache_write_tokens"], row["cache_write_1h_tokens"]) == (1000, 600)
    with gate_for(upstream, {**TEXT, "cache_write": 1.25, "cache_write_1h": 3}, kind="anthropic") as gate:
        row = row_of(gate, gate.post(MESSAGES, ask()))
        assert row["cost_nanos"] == 100 * 1000 + 400 * 1250 + 600 * 3000 + 5 * 4000


def test_what_may_be_cached_for_an_hour_is_held(upstream):
    upstream.answer = message(input_tokens=0, cache_creation_input_tokens=900, cache_creation={"ephemeral_1h_input_tokens": 900})
    with gate_for(upstream, TEXT, kind="anthropic", usd="0.004") as gate:
        prompt = ask(messages=[{"role": "user", "content": [{"type": "text", "text": "x" * 900, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}])
        while (answer := gate.post(MESSAGES, prompt)).status == 200:
            pass
        assert answer.status == 429
        assert gate.usage_total("cost_nanos") <= 4_000_000


@pytest.mark.parametrize("ttl, status", [(None, 200), ("5m", 200), ("1h", 429)])
def test_an_hour_is_held_for_only_where_it_is_asked_for(upstream, ttl, status):
    upstream.answer = message()
    cached = {"cache_control": {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}}
    with gate_for(upstream, TEXT, kind="anthropic", usd="0.0016") as gate:  # a thousand tokens, once, not twice
        answer = gate.post(MESSAGES, ask(messages=[{"role": "user", "content": [{"type": "text", "text": "x y " * 200, **cached}]}]))
        assert answer.status == status, answer.body


def test_a_compaction_is_paid_for_beside_the_message(upstream):
    upstream.answer = message(iterations=[{"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                                          {"type": "message", "input_tokens": 100, "output_tokens": 5}])
    with gate_for(upstream, TEXT, kind="anthropic") as gate:
        row = row_of(gate, gate.post(MESSAGES, ask()))
        assert (row["input_tokens"], row["output_tokens"]) == (180100, 3505)



@pytest.mark.parametrize("edit, size, status", [("compact_20260112", 60_000, 429), ("clear_tool_uses_20250919", 60_000, 200), ("compact_20260112", 40_000, 200)])
def test_a_compaction_is_held_for_where_it_may_come(upstream, edit, size, status):
    upstream.answer = message()
    with gate_for(upstream, TEXT, kind="anthropic", usd="0.08") as gate:  # 60,000 tokens once, not twice
        answer = gate.post(MESSAGES, ask(messages=[{"role": "user", "content": "x" * size}], context_management={"edits": [{"type": edit}]}))
        assert answer.status == status, answer.body

def test_searches_are_held_and_booked(upstream):
    upstream.answer = message(server_tool_use={"web_search_requests": 5})
    price = {"input": 0, "output": 0, "search": 0.01}
    with gate_for(upstream, price, kind="anthropic", usd="0.04") as gate:
        assert gate.post(MESSAGES, ask(tools=[SEARCH])).status == 429
        assert not upstream.calls
    with gate_for(upstream, price, kind="anthropic", usd="0.08") as gate:
        row = row_of(gate, gate.post(MESSAGES, ask(tools=[SEARCH])))
        assert (row["cost_nanos"], row["searches"]) == (50_000_000, 5)
        assert gate.post(MESSAGES, ask(tools=[SEARCH])).status == 429


def test_the_catalogue_knows_what_a_search_costs(upstream):
    upstream.answer = message(server_tool_use={"web_search_requests": 5})
    with gate_for(upstream, "catalog", kind="anthropic", model="claude-opus-4-5") as gate:
        assert row_of(gate, gate.post(MESSAGES, ask(tools=[SEARCH])))["cost_nanos"] == 100 * 5000 + 5 * 25000 + 5 * 10_000_000


def test_a_search_of_unknown_price_is_as_any_unknown_price(upstream):
    upstream.answer = message(server_tool_use={"web_search_requests": 2})
    with gate_for(upstream, TEXT, kind="anthropic", usd=1) as gate:
        answer = gate.post(MESSAGES, ask(tools=[SEARCH]))
        assert answer.status == 400 and "search" in answer.json["error"]["message"]
        assert not upstream.calls
        own = {"name": "web_search", "input_schema": {"type": "object"}}
        assert gate.post(MESSAGES, ask(tools=[own])).status == 200
    for price, ledger, cost in (({**TEXT, "search": 0}, {}, 0), (TEXT, {"unknown_price": "zero"}, 0),
                                (TEXT, {"unknown_price": "cap", "price_cap": {"input": 10, "output": 50, "search": 0.02}}, 40_000_000)):
        with gate_for(upstream, price, kind="anthropic", usd=1, ledger=ledger) as gate:
            assert row_of(gate, gate.post(MESSAGES, ask(tools=[SEARCH])))["cost_nanos"] == 100 * 1000 + 5 * 4000 + cost


def test_where_no_budget_would_pay_a_search_needs_no_price(upstream):
    upstream.answer = message(server_tool_use={"web_search_requests": 2})
    with gate_for(upstream, TEXT, kind="anthropic") as gate:
        row = row_of(gate, gate.post(MESSAGES, ask(tools=[SEARCH])))
        assert (row["cost_nanos"], row["searches"]) == (100 * 1000 + 5 * 4000, 2)
        eventually(lambda: "has searched 2 times" in gate.log())


def test_where_all_is_free_a_search_is(upstream):
    upstream.answer = answers(**chat_body())
    with gate_for(upstream, {"input": 0, "output": 0}, usd=1) as gate:
        assert gate.post(CHAT, ask(web_search_options={})).status == 200


@pytest.mark.parametrize("more, status", [({"plugins": []}, 200), ({"plugins": None}, 200), ({"search_parameters": {"mode": "off"}}, 200),
                                          ({"plugins": [{"id": "web"}]}, 400), ({"search_parameters": {"mode": "auto"}}, 400),
                                          ({"search_parameters": {}}, 400), ({"web_search_options": {}}, 400)])
def test_what_does_not_search_needs_no_price_of_a_search(upstream, more, status):
    upstream.answer = answers(**chat_body())
    with gate_for(upstream, TEXT, kind="xai", usd=1) as gate:
        assert gate.post(CHAT, ask(**more)).status == status


def test_a_search_in_files_is_none_of_the_web(upstream):
    upstream.answer = answers(id="resp_1", object="response", status="completed", output=[], usage={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})
    with gate_for(upstream, TEXT, usd=1) as gate:
        body = {"model": "fast", "input": "x", "max_output_tokens": 10}
        for kind, status in (("file_search", 200), ("web_search_preview", 400)):
            assert gate.post(RESPONSES, {**body, "tools": [{"type": kind}]}).status == status


def test_codex_may_go_to_azure_under_a_budget(upstream):
    upstream.answer = answers(id="resp_1", object="response", status="completed", output=[], usage={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})
    with gate_for(upstream, "catalog", kind="azure-openai", model="gpt-5.1-codex", usd=9) as gate:
        answer = gate.post(RESPONSES, {"model": "fast", "input": "x", "max_output_tokens": 10, "tools": [{"type": "web_search"}]})
        assert answer.status == 200, answer.body


@pytest.mark.parametrize("stream", [False, True])
def test_searches_of_a_response_are_counted(upstream, stream):
    response = {"id": "resp_1", "object": "response", "status": "completed", "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
                "output": [{"type": "web_search_call", "id": "ws", "status": "completed"}] * 3}

    def answer(call):
        if not stream:
            return call.respond(200, response)
        call.begin_stream()
        call.event(json.dumps({"type": "response.completed", "response": response}))
        call.end_stream()
    upstream.answer = answer
    with gate_for(upstream, {**TEXT, "search": 0.01}) as gate:
        row = row_of(gate, gate.post(RESPONSES, {"model": "fast", "input": "x", "stream": stream, "tools": [{"type": "web_search"}]}))
        assert (row["searches"], row["cost_nanos"]) == (3, 10 * 1000 + 5 * 4000 + 30_000_000)


def test_pages_that_are_opened_are_no_searches(upstream):
    items = [{"type": "web_search_call", "id": f"ws{i}", "action": {"type": kind}} for i, kind in enumerate(("search", "open_page", "find_in_page", "search"))]
    upstream.answer = answers(id="resp_1", object="response", status="completed", output=items, usage={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})
    with gate_for(upstream, {**TEXT, "search": 0.01}) as gate:
        row = row_of(gate, gate.post(RESPONSES, {"model": "fast", "input": "x", "tools": [{"type": "web_search"}]}))
        assert (row["searches"], row["cost_nanos"]) == (2, 10 * 1000 + 5 * 4000 + 20_000_000)


def typed(kind, **members):
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **members}).encode() + b"\n\n"


def response_with_searches(count):
    done = [typed("response.output_item.done", item={"type": "web_search_call", "id": f"ws_{i}", "action": {"type": "search"}}) for i in range(count)]
    return b"".join([typed("response.created", response={"id": "resp_1"}), *done, typed("response.output_text.delta", delta="answer " * 50)])


def message_with_searches(count):
    begin = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": {"input_tokens": 10, "output_tokens": 1}}
    blocks = [{"type": kind, "id": f"t{i}", "name": name} for i in range(count)
              for kind, name in (("server_tool_use", "web_search"), ("server_tool_use", "code_execution"), ("tool_use", "web_search"))]
    return b"".join([typed("message_start", message=begin), *(typed("content_block_start", index=i, content_block=block) for i, block in enumerate(blocks))])


def leave(gate, upstream, path, body, shown):
    """Ask, be shown so much of the answer, and leave; the row of that."""
    def answer(call):
        if shown:
            call.begin_stream()
            call.chunk(shown)
        call.wait_gone(60)
    upstream.answer = answer
    asked, seen = len(upstream.calls), b""
    client = gate.connect()
    client.send(request_bytes("POST", path, [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", "application/json")], body))
    while shown and shown[-40:].strip() not in seen:
        seen += client.sock.recv(65536)
    eventually(lambda: len(upstream.calls) > asked)
    client.close()
    row, = eventually(gate.ledger_rows)
    return row


@pytest.mark.parametrize("usd", [None, 1])
@pytest.mark.parametrize("kind, path, tool, shown", [("openai", RESPONSES, {"type": "web_search"}, response_with_searches(7)),
                                                     ("anthropic", MESSAGES, SEARCH, message_with_searches(7))])
def test_searches_that_a_stream_has_shown_are_booked_though_its_client_leaves(upstream, kind, path, tool, shown, usd):
    words = {"input": "x"} if path == RESPONSES else {"messages": [{"role": "user", "content": "x"}], "max_tokens": 500}
    with gate_for(upstream, {"input": 0, "output": 0, "search": 0.01}, kind=kind, usd=usd) as gate:
        row = leave(gate, upstream, path, {"model": "fast", "stream": True, "tools": [tool], **words}, shown)
        assert (row["outcome"], row["searches"], row["cost_nanos"]) == ("partial", 7, 70_000_000), row


@pytest.mark.parametrize("usd", [None, 1])
@pytest.mark.parametrize("kind, path, body, most", [
    ("anthropic", MESSAGES, ask(tools=[SEARCH]), 5),
    ("openai", RESPONSES, {"model": "fast", "input": "x", "tools": [{"type": "web_search"}], "max_tool_calls": 3}, 3),
    ("openai", CHAT, ask(tools=[{"type": "function", "function": {"name": "web_search"}}]), 0),
    ("openai", CHAT, ask(stream=True, web_search_options={}), 10),
])
def test_an_answer_that_nobody_saw_may_have_searched_as_often_as_the_call_allows(upstream, kind, path, body, most, usd):
    shown = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": null}]}\n\n' if "stream" in body else b""
    with gate_for(upstream, {"input": 0, "output": 0, "search": 0.01}, kind=kind, usd=usd) as gate:
        row = leave(gate, upstream, path, body, shown)
        assert (row["searches"], row["cost_nanos"]) == (0 if shown and usd is None else most, row["searches"] * 10_000_000), row


def test_searches_are_counted_as_they_pass_where_the_end_has_no_items(upstream):
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}}

    def answer(call):
        call.begin_stream()
        call.chunk(response_with_searches(3) + typed("response.completed", response=response))
        call.end_stream()
    upstream.answer = answer
    with gate_for(upstream, {**TEXT, "search": 0.01}) as gate:
        row = row_of(gate, gate.post(RESPONSES, {"model": "fast", "input": "x", "stream": True, "tools": [{"type": "web_search"}]}))
        assert (row["searches"], row["cost_nanos"]) == (3, 10 * 1000 + 5 * 4000 + 30_000_000)


def test_queries_that_gemini_grounds_on_are_counted(upstream):
    upstream.answer = answers(candidates=[{"content": {"role": "model", "parts": [{"text": "hi" * 2000}]}, "finishReason": "STOP",
                                           "groundingMetadata": {"webSearchQueries": ["a", "b"]}}],
                              usageMetadata={"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15})
    with gate_for(upstream, {**TEXT, "search": 0.014}, kind="gemini") as gate:
        row = row_of(gate, gate.post(GEMINI, {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": [{"google_search": {}}]}))
        assert (row["searches"], row["cost_nanos"]) == (2, 10 * 1000 + 5 * 4000 + 28_000_000)


@pytest.mark.parametrize("model, searches", [("gemini-2.5-flash", 1), ("gemini-3-flash-preview", 5)])
def test_gemini_before_3_bills_searches_by_the_prompt(upstream, model, searches):
    each = 35_000_000 if searches == 1 else 14_000_000
    upstream.answer = answers(candidates=[{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP",
                                           "groundingMetadata": {"webSearchQueries": ["a", "b", "c", "d", "e"]}}],
                              usageMetadata={"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0})
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": [{"google_search": {}}], "generationConfig": {"maxOutputTokens": 10}}
    with gate_for(upstream, "catalog", kind="gemini", model=model) as gate:
        row = row_of(gate, gate.post(GEMINI, body))
        assert row["searches"] == searches and 0 <= row["cost_nanos"] - searches * each < 1_000_000
    with gate_for(upstream, "catalog", kind="gemini", model=model, usd="0.1") as gate:  # ten are held for where each is paid
        assert gate.post(GEMINI, body).status == (200 if searches == 1 else 429)


@pytest.mark.parametrize("more", [{}, {"web_search_options": {}}])
@pytest.mark.parametrize("model, each", [("gpt-5-search-api", 10_000_000), ("gpt-4o-search-preview", 25_000_000)])
def test_a_model_for_searches_is_paid_for_one_in_each_chat(upstream, model, each, more):
    upstream.answer = answers(**chat_body(usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}))
    with gate_for(upstream, "catalog", model=model, usd="0.2") as gate:
        row = row_of(gate, gate.post(CHAT, ask(**more)))
        assert row["searches"] == 1 and 0 <= row["cost_nanos"] - each < 1_000_000
        upstream.answer = lambda call: call.respond(400, {"error": {"message": "no", "type": "invalid_request_error"}})
        answer = gate.post(CHAT, ask(**more))
        assert answer.status == 400
        assert gate.ledger_row(answer.header("x-request-id"))["cost_nanos"] == 0
    with gate_for(upstream, "catalog", model=model, usd=f"{each * 0.9 / 1e9:.4f}") as gate:
        assert gate.post(CHAT, ask(**more)).status == 429


@pytest.mark.parametrize("kind, cost", [("openrouter", 0.75), ("perplexity", {"request_cost": 0.7, "total_cost": 0.75})])
def test_what_the_provider_says_that_it_costs_is_booked_where_it_is_more(upstream, kind, cost):
    upstream.answer = answers(**chat_body(usage={"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000, "cost": cost}))
    for price, nanos in ((TEXT, 750_000_000), ({"input": 0, "output": 0}, 0), ({"input": 1000, "output": 0}, 1_000_000_000)):
        with gate_for(upstream, price, kind=kind) as gate:
            assert row_of(gate, gate.post(CHAT, ask()))["cost_nanos"] == nanos


def test_who_else_says_what_it_costs_is_not_believed(upstream):
    upstream.answer = answers(**chat_body(usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.75}))
    with gate_for(upstream, TEXT) as gate:
        assert row_of(gate, gate.post(CHAT, ask()))["cost_nanos"] == 10 * 1000 + 5 * 4000


@pytest.mark.parametrize("more", [{"models": ["openai/o1-pro"]}, {"route": "fallback"}, {"preset": "@preset/x"}])
def test_a_call_names_one_model_of_openrouters(upstream, more):
    with gate_for(upstream, TEXT, kind="openrouter") as gate:
        answer = gate.post(CHAT, ask(**more))
        assert answer.status == 400 and answer.json["error"]["param"] == "models"
        assert not upstream.calls


def test_no_models_are_none_that_a_call_names(upstream):
    upstream.answer = answers(**chat_body())
    with gate_for(upstream, TEXT, kind="openrouter") as gate:
        assert gate.post(CHAT, ask(models=[])).status == 200


def test_a_regions_surcharge_is_booked(upstream):
    upstream.answer = message(input_tokens=1000, output_tokens=1000, inference_geo="us")
    with gate_for(upstream, "catalog", kind="anthropic", model="claude-opus-4-6") as gate:
        assert row_of(gate, gate.post(MESSAGES, ask(inference_geo="us")))["cost_nanos"] == (1000 * 5000 + 1000 * 25000) * 11 // 10


@pytest.mark.parametrize("kind", ["image_generation", "image_edit"])
@pytest.mark.parametrize("usd", [None, 1])
def test_each_picture_of_a_stream_is_booked(upstream, kind, usd):
    """Each of several has an event of its own that says what it used."""
    def answer(call):
        call.begin_stream()
        for i in range(3):
            call.chunk(typed(f"{kind}.partial_image", partial_image_index=0, b64_json="AA"))
            call.chunk(typed(f"{kind}.completed", b64_json="AA", usage={"input_tokens": 50 if i == 0 else 10, "output_tokens": 1000 + i, "total_tokens": 1050 + i,
                                                                        "input_tokens_details": {"text_tokens": 50, "image_tokens": 4}}))
        call.end_stream()
    upstream.answer = answer
    with gate_for(upstream, {**TEXT, "image_output": 10}, usd=usd) as gate:
        answered = gate.post(PICTURES, {"model": "fast", "prompt": "x", "n": 3, "stream": True})
        row = row_of(gate, answered)
        assert answered.body.count(b".completed\n") == 3
        assert (row["outcome"], row["input_tokens"], row["output_tokens"], row["image_output_tokens"]) == ("complete", 70, 3003, 3003), row
        assert row["cost_nanos"] == 70 * 1000 + 3003 * 10000


@pytest.mark.parametrize("usd", [None, 1])
def test_a_picture_that_was_begun_behind_a_whole_one_is_booked_though_its_client_leaves(upstream, usd):
    begun = typed("image_generation.partial_image", partial_image_index=0, b64_json="AA")
    whole = typed("image_generation.completed", b64_json="AA", usage={"input_tokens": 50, "output_tokens": 1000, "total_tokens": 1050})
    with gate_for(upstream, {**TEXT, "image_output": 10}, usd=usd) as gate:
        row = leave(gate, upstream, PICTURES, {"model": "fast", "prompt": "x", "n": 3, "stream": True}, begun + whole + begun)
        assert (row["outcome"], row["output_tokens"], row["image_output_tokens"]) == ("partial", 1000 + 8192, 1000 + 8192), row


LARGE = "x" * 400_000
SEARCHED = [{"type": "web_search_call", "id": f"ws{i}", "action": {"type": kind, "sources": [{"url": "{[\"}" * size}]}}
            for i, (kind, size) in enumerate((("search", 1), ("open_page", 2), ("search", 2000), ("find_in_page", 0)))]
SAID = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": LARGE + '{"type": "web_search_call"}'}]}


@pytest.mark.parametrize("usd", [None, 1])
@pytest.mark.parametrize("output", [[*SEARCHED, SAID], [SAID, *SEARCHED], [SEARCHED[0], SAID, SEARCHED[2]]])
def test_searches_of_a_large_response_are_counted_as_it_passes(upstream, output, usd):
    upstream.answer = answers(id="resp_1", object="response", status="completed", output=output, usage={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})
    with gate_for(upstream, {**TEXT, "search": 0.01}, usd=usd) as gate:
        row = row_of(gate, gate.post(RESPONSES, {"model": "fast", "input": "x", "max_output_tokens": 10, "tools": [{"type": "web_search"}]}))
        assert (row["searches"], row["cost_nanos"]) == (2, 10 * 1000 + 5 * 4000 + 20_000_000), row


def test_queries_of_a_large_answer_of_geminis_are_counted_as_it_passes(upstream):
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * 400_000}}
    grounding = {"searchEntryPoint": {"renderedContent": "<div>" * 1000}, "webSearchQueries": ["a", "b"]}
    upstream.answer = answers(candidates=[{"content": {"role": "model", "parts": [picture]}, "finishReason": "STOP", "groundingMetadata": grounding}],
                              usageMetadata={"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15})
    with gate_for(upstream, {**TEXT, "search": 0.014}, kind="gemini") as gate:
        row = row_of(gate, gate.post(GEMINI, {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": [{"google_search": {}}]}))
        assert (row["searches"], row["cost_nanos"]) == (2, 10 * 1000 + 5 * 4000 + 28_000_000), row
