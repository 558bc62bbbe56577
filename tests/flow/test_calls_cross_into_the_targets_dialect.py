# SPDX-License-Identifier: Apache-2.0
"""A client of any dialect gets the answer of a target of any other, streamed and not, booked and guarded as ever."""

import json
import time

import pytest
from harness import KEY_ACME, Sluice, config_for, eventually, model_for, provider_for
from raw_upstream import chat_body, stream_chat

JSON = [("Content-Type", "application/json")]
PRICE = {"input": 1, "output": 10}

ANTHROPIC = {
    "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "tool_use", "stop_sequence": None,
    "content": [
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        {"type": "text", "text": "It is \u00fc\u2603 \"there\"."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "K\u00f6ln", "days": [1, 2.50]}},
    ],
    "usage": {"input_tokens": 20, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 30},
}


def events(*rows):
    return b"".join(b"event: %s\ndata: %s\n\n" % (row["type"].encode(), json.dumps(row).encode()) for row in rows)


ANTHROPIC_START = {"type": "message_start", "message": {**ANTHROPIC, "content": [], "stop_reason": None,
                                                        "usage": {**ANTHROPIC["usage"], "output_tokens": 1}}}
ANTHROPIC_TEXT = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
]
ANTHROPIC_END = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 30}},
    {"type": "message_stop"},
]
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}],
          "usageMetadata": {"promptTokenCount": 28, "candidatesTokenCount": 20, "thoughtsTokenCount": 10, "totalTokenCount": 58},
          "modelVersion": "gemini-x", "responseId": "r1"}

ASK = {
    "openai": ("/v1/chat/completions", {"model": "{m}", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}),
    "responses": ("/v1/responses", {"model": "{m}", "max_output_tokens": 50, "input": "hi", "store": False}),
    "anthropic": ("/v1/messages", {"model": "{m}", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}),
    "gemini": ("/v1beta/models/{m}:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}],
                                                      "generationConfig": {"maxOutputTokens": 50}}),
}


def text_of(dialect, body):
    if dialect == "openai":
        return body["choices"][0]["message"]["content"]
    if dialect == "responses":
        return "".join(part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"])
    if dialect == "anthropic":
        return "".join(part["text"] for part in body["content"] if part["type"] == "text")
    return "".join(part.get("text", "") for part in body["candidates"][0]["content"]["parts"] if not part.get("thought"))


def streamed(dialect, data):
    """The text of a stream, and whether it ended as its dialect says."""
    rows = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    parsed = [json.loads(row) for row in rows if row != "[DONE]"]
    if dialect == "openai":
        return "".join(row["choices"][0]["delta"].get("content") or "" for row in parsed if row.get("choices")), rows[-1] == "[DONE]"
    if dialect == "responses":
        return ("".join(row["delta"] for row in parsed if row["type"] == "response.output_text.delta"),
                parsed[-1]["type"] == "response.completed")
    if dialect == "anthropic":
        return ("".join(row["delta"]["text"] for row in parsed if row["type"] == "content_block_delta" and "text" in row["delta"]),
                parsed[-1]["type"] == "message_stop")
    return ("".join(part.get("text", "") for row in parsed for part in row["candidates"][0].get("content", {}).get("parts", [])),
            parsed[-1]["candidates"][0].get("finishReason") == "STOP")


def answer_openai(call):
    if call.json.get("stream"):
        stream_chat(call)
    else:
        call.respond(200, chat_body("Hello"))


def answer_anthropic(call):
    if not call.json.get("stream"):
        call.respond(200, json.dumps({**ANTHROPIC, "stop_reason": "end_turn", "content": [{"type": "text", "text": "Hello"}]}).encode())
        return
    call.begin_stream()
    for piece in (events(ANTHROPIC_START), *(events(row) for row in ANTHROPIC_TEXT), events(*ANTHROPIC_END)):
        call.chunk(piece)
    call.end_stream()


def answer_gemini(call):
    if "streamGenerateContent" not in call.path:
        call.respond(200, json.dumps(GEMINI).encode())
        return
    assert "alt=sse" in call.target
    call.begin_stream()
    first = json.loads(json.dumps(GEMINI))
    first["candidates"][0]["content"]["parts"] = [{"text": "Hel"}]
    del first["candidates"][0]["finishReason"], first["usageMetadata"]
    last = json.loads(json.dumps(GEMINI))
    last["candidates"][0]["content"]["parts"] = [{"text": "lo"}]
    for row in (first, last):
        call.chunk(b"data: %s\r\n\r\n" % json.dumps(row).encode())
    call.end_stream()




def answer_responses(call):
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
               "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}
    body = {"id": "resp_1", "object": "response", "status": "completed", "model": "x", "output": [message], "store": False,
            "usage": {"input_tokens": 9, "output_tokens": 12, "total_tokens": 21}}
    if not call.json.get("stream"):
        call.respond(200, json.dumps(body).encode())
        return
    call.begin_stream()
    call.chunk(events({"type": "response.created", "response": {**body, "status": "in_progress", "output": []}},
                      {"type": "response.output_text.delta", "delta": "Hello"}, {"type": "response.completed", "response": body}))
    call.end_stream()


ANSWERS = {"responses": answer_responses, "openai": answer_openai, "anthropic": answer_anthropic, "gemini": answer_gemini}


def answer(call):
    for part, kind in (("/responses", "responses"), ("/messages", "anthropic"), ("/v1beta/", "gemini"), ("/chat/completions", "openai")):
        if part in call.path:
            return ANSWERS[kind](call)
    return call.respond(404, b"{}")


def configure(upstream, **changes):
    providers = [provider_for(upstream)] + [
        provider_for(upstream, name, type=name, base_url=upstream.url.removesuffix("/v1"), retry={"attempts": attempts}, **changes)
        for name, attempts in (("anthropic", 0), ("gemini", 2))]
    models = [model_for()] + [
        model_for(name, targets=[{"id": name, "provider": name, "model": f"{name}-x", "price": PRICE}]) for name in ("anthropic", "gemini")]
    models.append(model_for("any", targets=[{"id": f"any-{name}", "provider": name, "model": "x", "priority": place, "price": PRICE}
                                            for place, name in enumerate(("gemini", "up"))]))
    return config_for(upstream, providers=providers, models=models)


@pytest.fixture(autouse=True)
def fresh(watched, upstream):
    upstream.answer = answer


def ask(gate, dialect, model, stream=False, headers=(), **more):
    path, body = ASK[dialect]
    body = json.loads(json.dumps(body).replace("{m}", model))
    body.update(more)
    if stream and dialect == "gemini":
        path = path.replace("generateContent", "streamGenerateContent") + "?alt=sse"
    elif stream:
        body["stream"] = True
    return gate.post(path.replace("{m}", model), body, headers=list(headers))


TARGETS = {"fast": "openai", "anthropic": "anthropic", "gemini": "gemini"}


@pytest.mark.parametrize("model", TARGETS)
@pytest.mark.parametrize("dialect", ASK)
def test_every_client_gets_every_targets_answer(gate, upstream, dialect, model):
    got = ask(gate, dialect, model)
    assert got.status == 200, got
    assert text_of(dialect, got.json) == "Hello"
    assert got.header("content-type").startswith("application/json") and got.header("x-sluice-provider")
    row = gate.ledger_row(got.header("x-request-id"))
    assert row["output_tokens"] > 0 and row["input_tokens"] > 0 and row["outcome"] == "complete"
    assert row["upstream_dialect"] == TARGETS[model]


@pytest.mark.parametrize("model", TARGETS)
@pytest.mark.parametrize("dialect", ASK)
def test_every_client_gets_every_targets_stream(gate, upstream, dialect, model):
    got = ask(gate, dialect, model, stream=True)
    assert got.status == 200 and got.header("content-type").startswith("text/event-stream"), got
    text, ended = streamed(dialect, got.body)
    assert text.startswith("Hello") and ended, got.body
    row = gate.ledger_row(got.header("x-request-id"))
    assert row["counted"] == "provider" and row["output_tokens"] == {"fast": row["output_tokens"]}.get(model, 30), row
    if model == "anthropic":
        assert (row["input_tokens"], row["cached_tokens"], row["cache_write_tokens"]) == (28, 5, 3), row
    if model == "gemini":
        assert (row["input_tokens"], row["reasoning_tokens"]) == (28, 10), row


def test_tools_thinking_and_escapes_go_across(gate, upstream):
    upstream.answer = lambda call: call.respond(200, json.dumps(ANTHROPIC).replace("2.5", "2.500").encode())
    got = gate.chat("anthropic", max_tokens=50, tools=[{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}}}}], tool_choice="required",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "wie wird's? \u00fc"}])
    message = got.json["choices"][0]["message"]
    assert message["content"] == "It is \u00fc\u2603 \"there\"."
    [call] = message["tool_calls"]
    assert call["id"] == "toolu_1" and call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "K\u00f6ln", "days": [1, 2.5]} and "2.500" in call["function"]["arguments"]
    assert message["reasoning_content"] == "Let me see." and "c2ln" in json.dumps(message)
    assert got.json["choices"][0]["finish_reason"] == "tool_calls"
    sent = upstream.last()
    assert sent.header("x-api-key") and sent.header("anthropic-version") and not sent.header("authorization")
    assert sent.json["model"] == "anthropic-x" and sent.json["tool_choice"] == {"type": "any"}
    assert sent.json["tools"][0]["input_schema"]["properties"] == {"city": {"type": "string"}}
    assert "Be brief." in json.dumps(sent.json["system"]) and sent.json["max_tokens"] == 50


def test_what_a_target_cannot_do_is_refused_by_name_and_nothing_is_sent(gate, upstream):
    got = ask(gate, "anthropic", "gemini", tools=[{"type": "computer_20250124", "name": "computer", "display_width_px": 1,
                                                   "display_height_px": 1}])
    assert got.status == 400 and got.json["type"] == "error" and "tools" in got.error["message"], got
    assert not upstream.calls


def test_another_target_that_can_do_it_is_asked(gate, upstream):
    """Log probabilities of tokens: the one that comes first has no way to bias them."""
    got = ask(gate, "openai", "any", logit_bias={"50256": -100}, n=1, prediction={"type": "content", "content": "x"})
    assert got.status == 200, got
    assert got.header("x-sluice-target") in ("any-up", "any-gemini")
    assert got.header("x-sluice-target") == "any-up" or got.header("x-sluice-dropped"), got


def test_a_lenient_provider_leaves_it_out_and_says_so(upstream):
    with Sluice(configure(upstream, lenient=True)) as gate:
        got = ask(gate, "anthropic", "gemini", tools=[{"type": "computer_20250124", "name": "computer", "display_width_px": 1,
                                                       "display_height_px": 1}])
        assert got.status == 200 and "tools" in got.header("x-sluice-dropped"), got
        assert "computer" not in json.dumps(upstream.last().json)


def test_hints_are_named(gate, upstream):
    got = ask(gate, "openai", "anthropic", metadata={"a": "b"}, user="ann", seed=7)
    assert got.status == 200 and "seed" in got.header("x-sluice-dropped"), got


@pytest.mark.parametrize("dialect", ASK)
@pytest.mark.parametrize("status, body", [
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down, please."}}),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: too large"}}),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
])
def test_errors_of_the_target_come_in_the_clients_words(gate, upstream, dialect, status, body):
    upstream.answer = lambda call: call.respond(status, json.dumps(body).encode(), headers=[("retry-after", "7")])
    got = ask(gate, dialect, "anthropic")
    assert got.status == status and got.header("retry-after") == "7", got
    assert body["error"]["message"] in got.error["message"], got
    shape = {"openai": {"message", "type", "param", "code"}, "responses": {"message", "type", "param", "code"},
             "anthropic": {"type", "message"}, "gemini": {"code", "message", "status"}}[dialect]
    assert shape <= set(got.error), got
    if dialect == "anthropic":
        assert got.json == body  # the same dialect: its own bytes


LONG = "messages.3.content.1: unexpected \"tool_use_id\" found in `tool_result` blocks:\ntoolu_\u00fc. Each must have its `tool_use` block in the message before; " \
       "this one was not there, and neither was what came before it, which is told here at such a length that a log would cut it."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["openai", "responses", "gemini"])
def test_the_words_of_an_error_cross_whole(gate, upstream, dialect, stream):
    """What stands behind escapes is meant, and a client's developer needs the end of it, too."""
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": LONG}}
    upstream.answer = lambda call: call.respond(400, json.dumps(body).encode())
    got = ask(gate, dialect, "anthropic", stream=stream)
    assert got.status == 400 and got.error["message"].startswith("invalid_request_error: " + LONG), got
    upstream.answer = lambda call: call.respond(400, b"<html>Bad Request</html>", content_type="text/html")
    got = ask(gate, dialect, "anthropic", stream=stream)
    assert got.status == 400 and "status 400" in got.error["message"], got


@pytest.mark.parametrize("status, message, error", [
    (400, "prompt is too long: 210000 tokens > 200000 maximum", ("invalid_request_error", "context_length_exceeded")),
    (400, "Output blocked by content filtering policy", ("invalid_request_error", "content_policy_violation")),
    (400, "max_tokens: too large", ("invalid_request_error", None)),
    (529, "Overloaded", ("server_error", "overloaded")),
    (429, "Slow down.", ("requests", "rate_limit_exceeded")),
])
def test_an_error_that_crosses_has_the_code_that_clients_look_for(gate, upstream, status, message, error):
    body = {"type": "error", "error": {"type": "overloaded_error" if status == 529 else "invalid_request_error", "message": message}}
    upstream.answer = lambda call: call.respond(status, json.dumps(body).encode())
    for dialect in ("openai", "responses"):
        got = ask(gate, dialect, "anthropic")
        assert (got.status, got.error["type"], got.error["code"]) == (status, *error), got


@pytest.mark.parametrize("dialect", ["openai", "responses", "gemini"])
def test_a_stream_that_breaks_off_is_never_whole(gate, upstream, dialect):
    def broken(call):
        call.begin_stream()
        call.chunk(events(ANTHROPIC_START, *ANTHROPIC_TEXT[:3]))
        call.close()

    upstream.answer = broken
    got = ask(gate, dialect, "anthropic", stream=True)
    text, ended = "", False
    try:
        text, ended = streamed(dialect, got.body)
    except (KeyError, IndexError):
        pass  # the event with the error has none of it
    assert not ended and "error" in got.body.decode(), got.body
    row = gate.ledger_row(got.header("x-request-id"))
    assert row["outcome"] == "partial" and row["input_tokens"] >= 28, row


def test_a_response_that_breaks_off_has_failed(gate, upstream):
    def broken(call):
        call.begin_stream()
        call.chunk(events(ANTHROPIC_START, *ANTHROPIC_TEXT[:3]))
        call.close()

    upstream.answer = broken
    got = ask(gate, "responses", "anthropic", stream=True)
    rows = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: ")]
    assert rows[-1]["type"] == "response.failed" and rows[-1]["response"]["status"] == "failed", rows[-1]
    assert [row["sequence_number"] for row in rows] == list(range(len(rows)))


def test_what_a_response_builds_on_is_not_there(gate, upstream):
    got = ask(gate, "responses", "anthropic", previous_response_id="resp_123")
    assert got.status == 400 and got.error["param"] == "previous_response_id", got
    assert not upstream.calls


@pytest.mark.parametrize("dialect", ASK)
def test_a_stream_that_is_broken_before_it_began_goes_to_another_target(gate, upstream, dialect):
    def first_broken(call):
        if "v1beta" in call.path:
            call.begin_stream()
            call.chunk(b"data: {\"error\": {\"code\": 503, \"message\": \"overloaded\", \"status\": \"UNAVAILABLE\"}}\r\n\r\n")
            call.end_stream()
        else:
            answer(call)

    upstream.answer = first_broken
    got = ask(gate, dialect, "any", stream=True)
    if dialect == "gemini":
        return  # its own dialect passes as it is; an error in it is the client's to read
    assert got.status == 200 and got.header("x-sluice-target") == "any-up", got
    assert streamed(dialect, got.body)[1]


def test_a_client_that_leaves_stops_the_target(gate, upstream):
    def endless(call):
        call.begin_stream()
        call.chunk(events(ANTHROPIC_START, *ANTHROPIC_TEXT[:3]))
        call.wait_gone(10)

    upstream.answer = endless
    client, response = gate.open_stream("anthropic", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert b"Hel" in next(piece for piece in client.pieces(response) if b"Hel" in piece)
    client.reset()
    eventually(lambda: any(line.get("status") == 499 for line in gate.access_lines()), within=10)


def test_headers_of_one_dialect_do_not_go_to_another(gate, upstream):
    headers = [("anthropic-beta", "x-1"), ("openai-beta", "y=1"), ("x-stainless-lang", "py"), ("user-agent", "me/1"),
               ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    assert ask(gate, "anthropic", "fast", headers=headers).status == 200
    sent = upstream.last()
    assert not sent.header("anthropic-beta") and not sent.header("openai-beta") and not sent.header("x-stainless-lang")
    assert sent.header("user-agent") == "me/1" and sent.header("traceparent")
    assert ask(gate, "anthropic", "anthropic", headers=headers).status == 200
    assert upstream.last().header("anthropic-beta") == "x-1"


def test_the_same_dialect_passes_byte_for_byte(gate, upstream):
    body = b'{ "model" : "anthropic" , "max_tokens":5,"x_unknown":[1.50e3],"messages":[{"role":"user","content":"\\u00fc"}]}'
    raw = json.dumps({**ANTHROPIC, "unknown_member": 1.50}).encode() + b"\n "
    upstream.answer = lambda call: call.respond(200, raw)
    got = gate.post("/v1/messages", body)
    assert got.body == raw and upstream.last().body == body.replace(b'"anthropic"', b'"anthropic-x"')
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"]) == (28, 30, 5) and row["finish"] == "tool_use", row
    stream = events(ANTHROPIC_START, *ANTHROPIC_TEXT, *ANTHROPIC_END)

    def in_pieces(call):
        call.begin_stream()
        for at in range(0, len(stream), 37):
            call.chunk(stream[at:at + 37])
        call.end_stream()

    upstream.answer = in_pieces
    got = ask(gate, "anthropic", "anthropic", stream=True)
    assert got.body == stream
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["input_tokens"], row["output_tokens"], row["counted"]) == (28, 30, "provider"), row


def test_geminis_stream_passes_byte_for_byte(gate, upstream):
    rows = [b"data: %s\r\n\r\n" % json.dumps({**GEMINI, "x": place}).encode() for place in range(3)]
    rows[:2] = [row.replace(b'"finishReason": "STOP", ', b"") for row in rows[:2]]

    def in_pieces(call):
        call.begin_stream()
        for row in rows:
            call.chunk(row[:20])
            call.chunk(row[20:])
        call.end_stream()

    upstream.answer = in_pieces
    got = ask(gate, "gemini", "gemini", stream=True)
    assert got.body == b"".join(rows)
    assert upstream.last().target.endswith("/v1beta/models/gemini-x:streamGenerateContent?alt=sse")
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["input_tokens"], row["output_tokens"], row["counted"], row["outcome"]) == (28, 30, "provider", "complete"), row


@pytest.mark.parametrize("model", TARGETS)
def test_a_gemini_stream_without_sse_is_one_array(gate, upstream, model):
    path, body = ASK["gemini"]
    path = path.replace("{m}", model).replace("generateContent", "streamGenerateContent")
    got = gate.post(path, body)
    assert got.status == 200 and got.header("content-type").startswith("application/json"), got
    parts = [part for row in got.json for part in row["candidates"][0].get("content", {}).get("parts", [])]
    assert "".join(part.get("text", "") for part in parts).startswith("Hel"), got.body
    assert got.json[-1]["usageMetadata"]["candidatesTokenCount"] > 0


def test_a_name_with_a_slash_is_one_segment(gate, upstream):
    got = gate.post("/v1beta/models/nobody%2Fx:generateContent", ASK["gemini"][1])
    assert got.status == 404 and "nobody/x" in got.error["message"], got


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_a_budget_lowers_the_answer_in_the_dialects_own_words(upstream, dialect):
    limits = {"budget": {"amount": "0.01 USD", "period": "month"}}
    whole = configure(upstream)
    whole["tenants"] = [{**tenant, **limits} for tenant in whole["tenants"]]
    with Sluice(whole) as gate:
        path, body = ASK[dialect]
        body = json.loads(json.dumps(body).replace("{m}", dialect))
        (body["generationConfig"] if dialect == "gemini" else body).update(
            {"maxOutputTokens" if dialect == "gemini" else "max_tokens": 5000})
        got = gate.post(path.replace("{m}", dialect), body)
        lowered = int(got.header("x-sluice-max-tokens"))
        assert 0 < lowered <= 1000, got
        sent = upstream.last().json
        assert lowered == (sent["generationConfig"]["maxOutputTokens"] if dialect == "gemini" else sent["max_tokens"])
        if dialect == "gemini":  # and where the client says nothing
            del body["generationConfig"]
            got = gate.post(path.replace("{m}", dialect), body)
            if got.status == 200:
                assert upstream.last().json["generationConfig"]["maxOutputTokens"] == int(got.header("x-sluice-max-tokens"))
            else:
                assert got.status == 429 and got.error["status"] == "RESOURCE_EXHAUSTED", got


def test_limits_speak_the_clients_dialect(upstream):
    whole = configure(upstream)
    whole["tenants"] = [{**tenant, "limits": {"requests_per_minute": 1}} for tenant in whole["tenants"]]
    with Sluice(whole) as gate:
        assert ask(gate, "anthropic", "fast").status == 200
        got = ask(gate, "anthropic", "fast")
        assert got.status == 429 and got.error["type"] == "rate_limit_error" and got.header("anthropic-ratelimit-requests-limit") == "1", got
        got = ask(gate, "gemini", "fast")
        assert got.status == 429 and got.error["status"] == "RESOURCE_EXHAUSTED" and got.header("retry-after"), got


COUNTS = {"anthropic": ("/v1/messages/count_tokens", {"model": "{m}", "messages": [{"role": "user", "content": "Hello world, hello!"}]},
                        lambda body: body["input_tokens"]),
          "gemini": ("/v1beta/models/{m}:countTokens", {"contents": [{"role": "user", "parts": [{"text": "Hello world, hello!"}]}]},
                     lambda body: body["totalTokens"])}


def count(gate, dialect, model, text="Hello world, hello!"):
    path, body, tokens = COUNTS[dialect]
    said = json.dumps(body).replace("{m}", model).replace("Hello world, hello!", text)
    got = gate.post(path.replace("{m}", model), json.loads(said))
    assert got.status == 200, got
    return tokens(got.json), got


@pytest.mark.parametrize("dialect", COUNTS)
def test_tokens_are_counted_here_where_the_target_cannot(upstream, dialect):
    whole = configure(upstream)
    whole["models"].append(model_for("exact", model="gpt-4o-mini"))
    with Sluice(whole) as gate:
        tokens, got = count(gate, dialect, "exact")
        around = tokens - 5  # "Hello"," world",","," hello","!"
        assert 1 <= around <= 8 and got.header("x-sluice-estimated") == "true", got
        longer, got = count(gate, dialect, "exact", "Hello world, hello!" + " hello" * 100)
        assert longer == tokens + 100, got
        tokens, got = count(gate, dialect, "fast")
        assert 1 <= tokens <= 40 and got.header("x-sluice-estimated") == "true", got
        assert not upstream.calls
        assert gate.ledger_row(got.header("x-request-id"))["cost_nanos"] == 0


@pytest.mark.parametrize("dialect", COUNTS)
def test_a_call_that_cannot_be_read_is_not_counted(upstream, dialect):
    path, body, _ = COUNTS[dialect]
    body = {**json.loads(json.dumps(body).replace("{m}", "fast")), **({"messages": 7} if "messages" in body else {"contents": 7})}
    with Sluice(configure(upstream)) as gate:
        got = gate.post(path.replace("{m}", "fast"), body)
        assert got.status == 400 and not upstream.calls, got


@pytest.mark.parametrize("dialect", COUNTS)
@pytest.mark.parametrize("model", ["anthropic", "gemini"])
def test_the_target_counts_where_it_can(gate, upstream, dialect, model):
    upstream.answer = lambda call: call.respond(200, b'{"input_tokens":77}' if "messages" in call.path else b'{"totalTokens":77}')
    tokens, got = count(gate, dialect, model)
    assert tokens == 77 and not got.header("x-sluice-estimated"), got
    assert upstream.last().path in ("/v1/messages/count_tokens", "/v1beta/models/gemini-x:countTokens")
    assert "Hello world" in upstream.last().body.decode() and "max_tokens" not in upstream.last().body.decode()
    assert gate.ledger_row(got.header("x-request-id"))["cost_nanos"] == 0


@pytest.mark.parametrize("sse", [True, False])
def test_a_gemini_stream_that_breaks_off_says_so(gate, upstream, sse):
    def broken(call):
        first = json.loads(json.dumps(GEMINI))
        del first["candidates"][0]["finishReason"]
        call.begin_stream()
        call.chunk(b"data: %s\r\n\r\n" % json.dumps(first).encode())
        time.sleep(0.2)
        call.end_stream()  # without a reason why: it was cut

    upstream.answer = broken
    path = ASK["gemini"][0].replace("{m}", "gemini").replace("generateContent", "streamGenerateContent")
    got = gate.post(path + ("?alt=sse" if sse else ""), ASK["gemini"][1])
    last = json.loads(got.text.strip().split("data: ")[-1]) if sse else got.json[-1]
    assert last["error"]["status"] and "Hello" in got.text, got
    assert gate.ledger_row(got.header("x-request-id"))["outcome"] == "partial"


def test_a_responses_body_on_chat_completions_is_understood(gate, upstream):
    """Cursor sends such."""
    got = gate.post("/v1/chat/completions", {"model": "fast", "input": [{"role": "user", "content": "hi"}], "stream": True,
                                             "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]})
    assert got.status == 200 and streamed("openai", got.body)[1], got
    sent = upstream.last()
    assert sent.path.endswith("/chat/completions") and sent.json["messages"][-1]["content"] and "input" not in sent.json
    assert sent.json["tools"][0]["function"]["name"] == "f"


def test_mistrals_thoughts_are_not_in_the_text(upstream):
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hello"}]
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4,
            "total_tokens": 7}, "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}]}
    whole = configure(upstream)
    whole["providers"][0]["type"] = "mistral"
    upstream.answer = lambda call: call.respond(200, body)
    with Sluice(whole) as gate:
        got = gate.chat(max_tokens=9, seed=3)
        assert got.json["choices"][0]["message"]["content"] == "Hello" and got.json["choices"][0]["message"]["reasoning_content"] == "hm", got
        assert upstream.last().json["random_seed"] == 3 and upstream.last().json["max_tokens"] == 9


@pytest.mark.parametrize("dialect", ["openai", "gemini"])
def test_the_wait_that_an_error_names_in_its_body_is_told(gate, upstream, dialect):
    body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota.", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33.2s"}]}}
    upstream.answer = lambda call: call.respond(429, json.dumps(body).encode())
    got = ask(gate, dialect, "gemini")
    assert got.status == 429 and got.header("retry-after") == "34", got
