# SPDX-License-Identifier: Apache-2.0
"""What coding agents and chat pages ask of a gateway, line by line: Claude Code, Codex, Gemini CLI, Cursor, Open WebUI."""

import json

import pytest
from harness import KEY_ACME, config_for, model_for, provider_for
from raw_upstream import chat_body, chat_chunk, stream_chat

BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14,a-beta-nobody-has-heard-of-2031-01-01"
SESSION = "8f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
CLAUDE_CODE = {"Authorization": f"Bearer {KEY_ACME}", "anthropic-version": "2023-06-01", "anthropic-beta": BETAS, "x-app": "cli",
               "user-agent": "claude-cli/2.1.197 (external, cli)", "X-Claude-Code-Session-Id": SESSION, "x-stainless-lang": "js",
               "anthropic-dangerous-direct-browser-access": "true", "Content-Type": "application/json"}
ATTRIBUTION = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cc_entrypoint=cli;"}
BODY = {
    "model": "claude-x", "max_tokens": 32000, "system": [ATTRIBUTION, {"type": "text", "text": "You are Claude Code \u2603.",
                                                                      "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}],
    "tools": [{"name": "Read", "description": "x" * 250000, "input_schema": {"type": "object", "properties": {}}, "eager_input_streaming": True}],
    "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "user_1_account__session_2"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, "output_config": {"effort": "high"},
    "a_field_of_next_year": {"a": [1.50, None]},
}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "x", "content": [{"type": "text", "text": "Hello"}],
           "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2}}


def configure(upstream):
    bare = upstream.url.removesuffix("/v1")
    providers = [provider_for(upstream), provider_for(upstream, "claude", type="anthropic", base_url=bare),
                 provider_for(upstream, "google", type="gemini", base_url=bare)]
    return config_for(upstream, providers=providers, models=[model_for(), model_for("claude-x", "claude", "claude-x-1"),
                                                             model_for("gemini-x", "google", "gemini-x-1")],
                      server={"cors": {"allow_origins": ["https://chat.example"]}})


def claude_code(gate, body=None, path="/v1/messages?beta=true", **headers):
    return gate.post(path, json.dumps(body or BODY), key=None, headers={**CLAUDE_CODE, **headers})


# ------------------------------------------------------------------------------------ Claude Code


def test_claude_codes_headers_and_body_go_up_as_they_are(gate, upstream):
    upstream.answer = lambda call: call.respond(200, json.dumps(MESSAGE).encode(), [("request-id", "req_anthropic")])
    got = claude_code(gate)
    assert got.status == 200 and got.json == MESSAGE, got
    sent = upstream.last()
    assert sent.path == "/v1/messages"
    for name in ("anthropic-version", "anthropic-beta", "x-app", "user-agent", "X-Claude-Code-Session-Id", "x-stainless-lang"):
        assert sent.header(name.lower()) == CLAUDE_CODE[name], name
    assert KEY_ACME not in str(sent.fields)
    assert sent.body == json.dumps(BODY).replace('"claude-x"', '"claude-x-1"', 1).encode(), "nothing but the model's name"


def test_a_key_may_come_in_either_header(gate, upstream):
    upstream.answer = lambda call: call.respond(200, json.dumps(MESSAGE).encode())
    headers = {name: value for name, value in CLAUDE_CODE.items() if name != "Authorization"}
    assert gate.post("/v1/messages", json.dumps(BODY), key=None, headers={**headers, "x-api-key": KEY_ACME}).status == 200


def test_count_tokens_goes_the_same_way(gate, upstream):
    upstream.answer = lambda call: call.respond(200, b'{"input_tokens": 17}')
    body = {name: BODY[name] for name in ("model", "system", "messages", "tools", "thinking", "context_management")}
    got = claude_code(gate, body, "/v1/messages/count_tokens?beta=true")
    assert got.status == 200 and got.json == {"input_tokens": 17}
    assert upstream.last().header("anthropic-beta") == BETAS and upstream.last().json == {**body, "model": "claude-x-1"}


@pytest.mark.parametrize("status", [400, 413, 429, 529])
def test_errors_and_what_is_left_of_the_plan_come_back_as_they_are(gate, upstream, status):
    """Its retries go by the words of the error, its status line by the headers."""
    body = b'{"type":"error","error":{"type":"x_error","message":"prompt is too long: 3 > 2", "details": {"a":1.0}},"request_id":"req_up"}'
    fields = [("retry-after", "31"), ("anthropic-ratelimit-unified-status", "rejected"), ("anthropic-ratelimit-unified-reset", "1764000000"),
              ("anthropic-ratelimit-tokens-remaining", "0"), ("x-should-retry", "true")]
    upstream.answer = lambda call: call.respond(status, body, fields)
    got = claude_code(gate)
    assert got.status == status and got.body == body, got
    for name, value in fields[:4]:
        assert got.header(name) == value, name
    assert got.header("request-id")


def test_a_stream_that_fails_has_no_message_stop(gate, upstream):
    start = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    def answer(call):
        call.begin_stream()
        for row in (start, error):
            call.chunk(b"event: %s\ndata: %s\n\n" % (row["type"].encode(), json.dumps(row).encode()))
        call.end_stream()

    upstream.answer = answer
    got = claude_code(gate, {**BODY, "stream": True})
    assert b"event: error" in got.body and b"Overloaded" in got.body and b"message_stop" not in got.body


def test_in_front_of_another_dialect_betas_stay_here_and_what_goes_with_them_is_named(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    got = claude_code(gate, {**BODY, "model": "fast"})
    assert got.status == 200 and got.json["content"][-1]["text"] == "Hello", got
    sent = upstream.last()
    assert not sent.header("anthropic-beta") and not sent.header("anthropic-version") and not sent.header("x-app")
    dropped = got.header("x-sluice-dropped").split(",")
    assert {"context_management", "a_field_of_next_year"} <= set(dropped), dropped
    assert sent.json["messages"][0]["role"] in ("system", "developer")
    assert json.dumps(sent.json["messages"][0]["content"]).find("x-anthropic-billing-header") < 40, "it is still the first"


# ------------------------------------------------------------------------------------------ Codex

CODEX = {"model": "fast", "instructions": "You are Codex.", "store": False, "stream": True, "include": ["reasoning.encrypted_content"],
         "prompt_cache_key": SESSION, "parallel_tool_calls": False, "tool_choice": "auto", "reasoning": {"effort": "medium", "summary": "auto"},
         "tools": [{"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object", "properties": {}}},
                   {"type": "a_tool_of_next_year", "x": 1.0}],
         "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                   {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "Z0FBQUFBQg=="},
                   {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell", "arguments": "{\"a\": 1.0}"},
                   {"type": "function_call_output", "call_id": "call_1", "output": "ok"}]}
HEADERS = {"Content-Type": "application/json", "session_id": SESSION, "originator": "codex_cli_rs", "openai-beta": "responses=experimental"}


def test_codexs_body_goes_up_as_it_is_with_its_reasoning(gate, upstream):
    events = b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_1","object":"response","status":"completed"' \
             b',"output":[{"type":"reasoning","id":"rs_2","encrypted_content":"Zm9v","summary":[]}],"usage":{"input_tokens":3,' \
             b'"input_tokens_details":{"cached_tokens":1},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":5}}}\n\n'

    def answer(call):
        call.begin_stream()
        call.chunk(events)
        call.end_stream()

    upstream.answer = answer
    got = gate.post("/v1/responses", json.dumps(CODEX), headers=HEADERS)
    assert got.status == 200 and got.body == events, got
    sent = upstream.last()
    assert sent.body == json.dumps(CODEX).replace('"fast"', '"upstream-model"', 1).encode()
    assert sent.header("openai-beta") == "responses=experimental"


def crossed(upstream, gate, usage=True):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"role": "assistant", "content": None, "reasoning_content": "Let me see."}))
        call.event(chat_chunk({"content": "I look."}))
        call.event(chat_chunk({"tool_calls": [{"index": 0, "id": "call_2", "type": "function", "function": {"name": "shell", "arguments": ""}}]}))
        call.event(chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{\"cmd\":\"ls\"}"}}]}))
        call.event(chat_chunk({}, finish="tool_calls"))
        if usage:
            call.event(chat_chunk(None, choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}))
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    body = {**CODEX, "tools": CODEX["tools"][:1], "model": "deep"}
    got = gate.post("/v1/responses", json.dumps(body), headers=HEADERS)
    assert got.status == 200, got
    return [json.loads(line[6:]) for line in got.body.decode().splitlines() if line.startswith("data: ")]


def test_codex_gets_the_whole_life_of_a_response_from_a_chat(upstream):
    from harness import Sluice

    config = configure(upstream)
    config["providers"].append(provider_for(upstream, "deep", type="deepseek"))
    config["models"].append(model_for("deep", "deep"))
    with Sluice(config) as gate:
        for usage in (True, False):
            rows = crossed(upstream, gate, usage)
            kinds = [row["type"] for row in rows]
            assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed", kinds
            assert [row["sequence_number"] for row in rows] == list(range(len(rows)))
            for kind in ("response.output_item.added", "response.content_part.added", "response.output_text.delta", "response.output_text.done",
                         "response.content_part.done", "response.function_call_arguments.delta", "response.function_call_arguments.done",
                         "response.output_item.done"):
                assert kind in kinds, kind
            assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 3
            told = rows[-1]["response"]["usage"]
            assert isinstance(told["input_tokens_details"]["cached_tokens"], int)
            assert isinstance(told["output_tokens_details"]["reasoning_tokens"], int)
            assert isinstance(told["total_tokens"], int) and (not usage or told["total_tokens"] == 13)
            [call] = [item for item in rows[-1]["response"]["output"] if item["type"] == "function_call"]
            assert (call["call_id"], call["arguments"]) == ("call_2", "{\"cmd\":\"ls\"}")


# ------------------------------------------------------------------------------------- Gemini CLI

GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}],
          "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}, "modelVersion": "gemini-x-1"}
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


@pytest.mark.parametrize("how", ["header", "query"])
def test_gemini_cli_streams(gate, upstream, how):
    def answer(call):
        call.begin_stream()
        call.chunk(b"data: %s\r\n\r\n" % json.dumps(GEMINI).encode())
        call.end_stream()

    upstream.answer = answer
    path = "/v1beta/models/gemini-x:streamGenerateContent?alt=sse" + (f"&key={KEY_ACME}" if how == "query" else "")
    got = gate.post(path, {"contents": CONTENTS}, key=None, headers={"x-goog-api-key": KEY_ACME} if how == "header" else {})
    assert got.status == 200 and got.body == b"data: %s\r\n\r\n" % json.dumps(GEMINI).encode(), got
    sent = upstream.last()
    assert sent.target == "/v1beta/models/gemini-x-1:streamGenerateContent?alt=sse" and KEY_ACME not in str(sent.fields) + sent.target


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
def test_the_model_is_renamed_also_in_a_request_that_is_counted(gate, upstream, name):
    upstream.answer = lambda call: call.respond(200, b'{"totalTokens": 4}')
    body = '{ "%s":{"model":"models/gemini-x","contents":%s,"x":1.50}, "y" : [ 1.0 ]}' % (name, json.dumps(CONTENTS))
    got = gate.post("/v1beta/models/gemini-x:countTokens", body, headers={"Content-Type": "application/json"})
    assert got.status == 200 and got.json == {"totalTokens": 4}, got
    sent = upstream.last()
    assert sent.target == "/v1beta/models/gemini-x-1:countTokens"
    assert sent.json == {name: {"model": "models/gemini-x-1", "contents": CONTENTS, "x": 1.5}, "y": [1.0]}
    assert b'"x":1.50' in sent.body and b"[ 1.0 ]" in sent.body
    plain = '{ "contents": %s }' % json.dumps(CONTENTS)
    assert gate.post("/v1beta/models/gemini-x:countTokens", plain, headers={"Content-Type": "application/json"}).status == 200
    assert upstream.last().body == plain.encode()


# ------------------------------------------------------------------------------ Cursor, Open WebUI


@pytest.mark.parametrize("stream", [False, True])
def test_cursor_sends_a_responses_body_to_chat_completions(gate, upstream, stream):
    upstream.answer = lambda call: stream_chat(call) if call.json.get("stream") else call.respond(200, chat_body("Hello"))
    body = {"model": "fast", "stream": stream, "instructions": "Be brief.", "input": CODEX["input"][:1] + CODEX["input"][2:],
            "tools": CODEX["tools"][:1], "tool_choice": "auto", "max_output_tokens": 99}
    got = gate.post("/v1/chat/completions", body)
    assert got.status == 200, got
    sent = upstream.last().json
    assert upstream.last().path == "/v1/chat/completions" and "input" not in sent
    assert [message["role"] for message in sent["messages"]][1:] == ["user", "assistant", "tool"]
    assert sent["tools"][0]["function"]["name"] == "shell" and sent["max_completion_tokens"] == 99
    if stream:
        assert b'"chat.completion.chunk"' in got.body.replace(b" ", b"") and got.body.rstrip().endswith(b"data: [DONE]")
    else:
        assert got.json["object"] == "chat.completion" and got.json["choices"][0]["message"]["content"] == "Hello"


def test_a_page_finds_the_models(gate):
    """Open WebUI with direct connections: a preflight, then the list, from a browser."""
    origin = {"Origin": "https://chat.example"}
    asked = "authorization,content-type,anthropic-version,anthropic-dangerous-direct-browser-access,x-goog-api-key"
    got = gate.request("OPTIONS", "/v1/models", key=None, headers={
        **origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": asked})
    assert got.status == 204 and got.header("access-control-allow-headers") == asked, got
    got = gate.get("/v1/models", headers=origin)
    assert got.header("access-control-allow-origin") == "https://chat.example" and {m["id"] for m in got.json["data"]} >= {"fast"}
    got = gate.get("/v1/models", headers={"Origin": "https://other.example"})
    assert got.status == 200 and not got.header("access-control-allow-origin")


@pytest.mark.parametrize("asked", ["a\tb", "x" * 3000, "a;b", "\"q\""])
def test_a_preflight_repeats_names_only(gate, asked):
    got = gate.request("OPTIONS", "/v1/models", key=None, headers={
        "Origin": "https://chat.example", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": asked})
    assert got.status == 204 and got.header("access-control-allow-headers") == "authorization, content-type, x-api-key", got
