# SPDX-License-Identifier: Apache-2.0
"""A search of the web by the model's provider, asked for in one dialect and made by a target of another."""

import json

import pytest
from harness import KEY_ACME, Sluice, config_for, eventually, model_for, provider_for, request_bytes
from test_calls_cross_into_the_targets_dialect import events

URL = "https://example.org/lock"
WORDS = "The lock was opened."
PLACE = {"type": "approximate", "city": "K\u00f6ln", "country": "DE", "region": None, "timezone": "Europe/Berlin"}
PRICE = {"input": 0, "output": 0, "search": 0.01}
CITATION = {"type": "web_search_result_location", "url": URL, "title": "Locks", "encrypted_index": "Eo8B", "cited_text": "opened"}
USE = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "lock"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
         "content": [{"type": "web_search_result", "url": URL, "title": "Locks", "encrypted_content": "Eq", "page_age": None}]}
USAGE = {"input_tokens": 100, "output_tokens": 5, "server_tool_use": {"web_search_requests": 2}}
CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn", "stop_sequence": None,
          "content": [{"type": "text", "text": "I look. "}, USE, FOUND, {"type": "text", "text": WORDS, "citations": [CITATION]}], "usage": USAGE}
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": WORDS}]}, "finishReason": "STOP", "index": 0,
                          "groundingMetadata": {"webSearchQueries": ["lock", "opened"], "groundingChunks": [{"web": {"uri": URL, "title": "Locks"}}],
                                                "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 8, "text": "The lock"},
                                                                       "groundingChunkIndices": [0]}]}}],
          "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 5, "totalTokenCount": 105}, "modelVersion": "g", "responseId": "r"}


def blocks(*rows):
    for index, (block, deltas) in enumerate(rows):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}


def claude_stream():
    start = {**CLAUDE, "content": [], "stop_reason": None, "usage": {"input_tokens": 100, "output_tokens": 1}}
    text = {"type": "text", "text": ""}
    return events({"type": "message_start", "message": start},
                  *blocks((text, [{"type": "text_delta", "text": "I look. "}]),
                          ({**USE, "input": {}}, [{"type": "input_json_delta", "partial_json": "{\"query\":\"lock\"}"}]), (FOUND, []),
                          ({**text, "citations": []}, [{"type": "citations_delta", "citation": CITATION}, {"type": "text_delta", "text": WORDS}])),
                  {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
                  {"type": "message_stop"})


def answer(call):
    stream = "streamGenerateContent" in call.path or (call.json or {}).get("stream")
    if "/messages" not in call.path:
        if not stream:
            return call.respond(200, GEMINI)
        data = b"data: %s\r\n\r\n" % json.dumps(GEMINI).encode()
    elif not stream:
        return call.respond(200, CLAUDE)
    else:
        data = claude_stream()
    call.begin_stream()
    call.chunk(data)
    return call.end_stream()


def configure(upstream):
    root = upstream.url.removesuffix("/v1")
    kinds = {"anthropic": "claude-x", "gemini": "gemini-3-x", "deepseek-anthropic": "d"}
    providers = [provider_for(upstream, name, type=name, base_url=root) for name in kinds]
    models = [model_for(name, targets=[{"id": name, "provider": name, "model": model, "price": PRICE}])
              for name, model in kinds.items()]
    return config_for(upstream, providers=providers, models=models)


@pytest.fixture(autouse=True)
def fresh(watched, upstream):
    upstream.answer = answer


def respond(gate, model, tool=None, stream=False, **more):
    tools = [{"type": "web_search", **(tool or {})}]
    return gate.post("/v1/responses", {"model": model, "input": "Who opened the lock?", "store": False, "stream": stream, "tools": tools, **more})


def response_of(got, stream):
    if not stream:
        return got.json
    rows = [json.loads(line[6:]) for line in got.body.decode().splitlines() if line.startswith("data: {")]
    assert rows[-1]["type"] == "response.completed", rows[-1]
    return rows[-1]["response"]


def sent_tools(upstream):
    return upstream.last().json["tools"]


@pytest.mark.parametrize("stream", [False, True])
def test_claude_searches_for_a_response(gate, upstream, stream):
    got = respond(gate, "anthropic", {"filters": {"allowed_domains": ["example.org"]}, "user_location": PLACE, "search_context_size": "low"}, stream)
    assert got.status == 200, got
    assert sent_tools(upstream) == [{"type": "web_search_20250305", "name": "web_search", "max_uses": 10, "allowed_domains": ["example.org"],
                                     "user_location": PLACE}]
    assert "tools[0].search_context_size" in got.header("x-sluice-dropped")
    parts = [part for item in response_of(got, stream)["output"] if item["type"] == "message" for part in item["content"]]
    assert "".join(part["text"] for part in parts) == "I look. " + WORDS
    notes = [note for part in parts for note in part["annotations"]]
    assert [(note["type"], note["url"], note["title"]) for note in notes] == [("url_citation", URL, "Locks")], parts
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["searches"], row["cost_nanos"]) == (2, 20_000_000), row


@pytest.mark.parametrize("stream", [False, True])
def test_gemini_searches_for_a_response(gate, upstream, stream):
    got = respond(gate, "gemini", {"user_location": PLACE}, stream)
    assert got.status == 200 and sent_tools(upstream) == [{"googleSearch": {}}], got
    assert "tools[0].user_location" in got.header("x-sluice-dropped")
    parts = [part for item in response_of(got, stream)["output"] if item["type"] == "message" for part in item["content"]]
    assert [note["url"] for part in parts for note in part["annotations"]] == [URL], parts
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["searches"], row["cost_nanos"]) == (2, 20_000_000), row


def test_claude_searches_for_a_client_of_gemini(gate, upstream):
    got = gate.post("/v1beta/models/anthropic:generateContent", {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": [{"google_search": {}}]})
    assert got.status == 200 and sent_tools(upstream) == [{"type": "web_search_20250305", "name": "web_search", "max_uses": 10}], got
    assert WORDS in got.text and URL in got.text


def test_gemini_searches_for_a_client_of_claude(gate, upstream):
    asked = {"model": "gemini", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}
    got = gate.post("/v1/messages", {**asked, "tools": [{"type": "web_search_20250305", "name": "web_search"}]})
    assert got.status == 200 and sent_tools(upstream) == [{"googleSearch": {}}] and URL in got.text, got


def test_a_bound_of_all_tools_bounds_the_searches(gate, upstream):
    assert respond(gate, "anthropic", max_tool_calls=3).status == 200
    assert sent_tools(upstream)[0]["max_uses"] == 3


def test_with_functions_beside(gate, upstream):
    function = {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}}
    got = respond(gate, "anthropic", tools=[function, {"type": "web_search_preview"}])
    assert got.status == 200 and [tool["name"] for tool in sent_tools(upstream)] == ["now", "web_search"], got


FUNCTION = {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}}
LOST = {
    "both lists": ("anthropic", {"filters": {"allowed_domains": ["a.org"], "blocked_domains": ["b.org"]}}, {}, "tools[0].filters"),
    "a member nobody else has": ("anthropic", {"external_web_access": False}, {}, "tools[0].external_web_access"),
    "no search": ("anthropic", {}, {"max_tool_calls": 0}, "tools[0].type"),
    "domains": ("gemini", {"filters": {"allowed_domains": ["a.org"]}}, {}, "tools[0].filters"),
    "a bound": ("gemini", {}, {"max_tool_calls": 2}, "max_tool_calls"),
    "functions": ("gemini", {}, {"tools": [{"type": "web_search"}, FUNCTION]}, "tools[0].type"),
    "who cannot": ("deepseek-anthropic", {}, {}, "tools[0].type"),
}


@pytest.mark.parametrize("case", LOST)
def test_what_is_lost_is_refused_by_name(gate, upstream, case):
    model, tool, more, name = LOST[case]
    got = respond(gate, model, tool, **more)
    assert got.status == 400 and name in got.error["message"] and not upstream.calls, got


def test_a_bound_of_claudes_is_not_googles(gate, upstream):
    asked = {"model": "gemini", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}
    got = gate.post("/v1/messages", {**asked, "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]})
    assert got.status == 400 and "max_uses" in got.error["message"] and not upstream.calls, got


def test_searches_are_held_at_the_targets_price(upstream):
    whole = configure(upstream)
    whole["tenants"][0]["budget"] = {"amount": "0.09 USD", "period": "month"}
    with Sluice(whole) as gate:
        got = respond(gate, "anthropic", max_output_tokens=10)
        assert got.status == 429 and not upstream.calls, got  # ten of them
        assert respond(gate, "anthropic", max_output_tokens=10, max_tool_calls=2).status == 200
        assert sent_tools(upstream)[0]["max_uses"] == 2


def test_searches_of_an_answer_that_its_client_left_are_booked_as_held(upstream):
    """What of them was made is not seen before the last event."""
    def begin(call):
        call.begin_stream()
        call.chunk(claude_stream().partition(b"event: message_delta")[0])
        call.wait_gone(60)

    whole = configure(upstream)
    whole["tenants"][0]["budget"] = {"amount": "1 USD", "period": "month"}
    upstream.answer = begin
    with Sluice(whole) as gate:
        body = {"model": "anthropic", "input": "x", "store": False, "stream": True, "max_tool_calls": 3, "tools": [{"type": "web_search"}]}
        client, seen = gate.connect(), b""
        client.send(request_bytes("POST", "/v1/responses", [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", "application/json")], body))
        while b"opened" not in seen:
            seen += client.sock.recv(65536)
        client.close()
        row, = eventually(gate.ledger_rows)
        assert (row["outcome"], row["searches"], row["cost_nanos"]) == ("partial", 3, 30_000_000), row
