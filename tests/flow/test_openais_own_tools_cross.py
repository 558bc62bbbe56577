# SPDX-License-Identifier: Apache-2.0
"""What only OpenAI's chats have - tools of free text, allowed tools, functions of old, JSON of any shape - at other targets."""

import json

import pytest
from test_calls_cross_into_the_targets_dialect import ANTHROPIC, ANTHROPIC_END, ANTHROPIC_START, GEMINI, answer, ask, configure, events  # noqa: F401

SQL = "SELECT \"a\"\nFROM b; -- \u00fc\u2603 \\"
FORMAT = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: \"SELECT\" /.+/"}}
CUSTOM = {"type": "custom", "custom": {"name": "sql", "description": "Runs SQL.", "format": FORMAT}}
FUNCTIONS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}} for name in ("now", "later")]


@pytest.fixture(autouse=True)
def fresh(watched, upstream):
    upstream.answer = answer


def anthropic_calls(name, arguments):
    """A handler that calls one tool, whole and in pieces that cut its arguments anywhere."""
    def handler(call):
        use = {"type": "tool_use", "id": "toolu_1", "name": name}
        if not call.json.get("stream"):
            return call.respond(200, json.dumps({**ANTHROPIC, "content": [{**use, "input": arguments}]}).encode())
        text = json.dumps(arguments)
        call.begin_stream()
        call.chunk(events(ANTHROPIC_START, {"type": "content_block_start", "index": 0, "content_block": {**use, "input": {}}}))
        for at in range(0, len(text), 3):
            call.chunk(events({"type": "content_block_delta", "index": 0,
                               "delta": {"type": "input_json_delta", "partial_json": text[at:at + 3]}}))
        end = json.loads(json.dumps(ANTHROPIC_END).replace("end_turn", "tool_use"))
        call.chunk(events({"type": "content_block_stop", "index": 0}, *end))
        return call.end_stream()
    return handler


def gemini_calls(name, arguments):
    def handler(call):
        body = json.loads(json.dumps(GEMINI))
        body["candidates"][0]["content"]["parts"] = [{"functionCall": {"name": name, "args": arguments}}]
        if "streamGenerateContent" not in call.path:
            return call.respond(200, json.dumps(body).encode())
        call.begin_stream()
        call.chunk(b"data: %s\r\n\r\n" % json.dumps(body).encode())
        return call.end_stream()
    return handler


def message_of(got, stream):
    """The message of an answer, put together as OpenAI's own SDKs do it."""
    if not stream:
        return got.json["choices"][0]["message"], got.json["choices"][0]["finish_reason"]
    message, finish = {}, None
    for line in got.body.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[6:])["choices"]:
            finish = choice["finish_reason"] or finish
            add(message, choice["delta"])
    return message, finish


def add(to, delta):
    for name, value in delta.items():
        if isinstance(value, dict):
            add(to.setdefault(name, {}), value)
        elif isinstance(value, list):
            for item in value:
                add(to.setdefault(name, {}).setdefault(item["index"], {}), {k: v for k, v in item.items() if k != "index"})
        elif name in ("arguments", "input", "content") and value is not None:
            to[name] = (to.get(name) or "") + value
        else:
            to[name] = value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("target, calls", [("anthropic", anthropic_calls), ("gemini", gemini_calls)])
def test_a_tool_of_free_text_is_called_by_a_model_that_has_functions_only(gate, upstream, target, calls, stream):
    upstream.answer = calls("sql", {"input": SQL})
    got = ask(gate, "openai", target, stream=stream, tools=[*FUNCTIONS, CUSTOM], tool_choice={"type": "custom", "custom": {"name": "sql"}})
    assert got.status == 200, got
    message, finish = message_of(got, stream)
    [call] = message["tool_calls"].values() if stream else message["tool_calls"]
    assert (call["type"], call["custom"], finish) == ("custom", {"name": "sql", "input": SQL}, "tool_calls"), call
    assert call["id"] and "function" not in call
    sent = json.dumps(upstream.last().json)
    assert "Runs SQL." in sent and "lark" in sent and "start: " in sent and '"input"' in sent
    assert '"sql"' in json.dumps(upstream.last().json.get("tool_choice") or upstream.last().json.get("toolConfig"))


@pytest.mark.parametrize("stream", [False, True])
def test_what_has_not_the_one_argument_is_given_as_it_is(gate, upstream, stream):
    upstream.answer = anthropic_calls("sql", {"query": "x\"y"})
    message, _ = message_of(ask(gate, "openai", "anthropic", stream=stream, tools=[CUSTOM]), stream)
    [call] = message["tool_calls"].values() if stream else message["tool_calls"]
    assert json.loads(call["custom"]["input"]) == {"query": "x\"y"}, call


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_beside_a_tool_of_free_text_is_called_as_ever(gate, upstream, stream):
    upstream.answer = anthropic_calls("now", {"input": "z"})
    message, _ = message_of(ask(gate, "openai", "anthropic", stream=stream, tools=[*FUNCTIONS, CUSTOM]), stream)
    [call] = message["tool_calls"].values() if stream else message["tool_calls"]
    assert (call["type"], json.loads(call["function"]["arguments"])) == ("function", {"input": "z"}), call


def test_what_was_called_with_free_text_goes_back_to_the_model(gate, upstream):
    called = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "sql", "input": SQL}}]}
    got = ask(gate, "openai", "anthropic", tools=[CUSTOM], messages=[
        {"role": "user", "content": "go"}, called, {"role": "tool", "tool_call_id": "c1", "content": "3 rows"}])
    assert got.status == 200, got
    [use] = upstream.last().json["messages"][1]["content"]
    assert (use["type"], use["name"], use["input"]) == ("tool_use", "sql", {"input": SQL}), use


@pytest.mark.parametrize("target", ["anthropic", "gemini"])
@pytest.mark.parametrize("mode, forced", [("auto", False), ("required", True)])
def test_only_the_allowed_tools_are_offered(gate, upstream, target, mode, forced):
    got = ask(gate, "openai", target, tools=[*FUNCTIONS, CUSTOM], tool_choice={"type": "allowed_tools", "allowed_tools": {
        "mode": mode, "tools": [{"type": "function", "function": {"name": "later"}}, {"type": "custom", "custom": {"name": "sql"}}]}})
    assert got.status == 200, got
    sent = upstream.last().json
    tools = sent["tools"] if target == "anthropic" else sent["tools"][0]["functionDeclarations"]
    assert [tool["name"] for tool in tools] == ["later", "sql"]
    said = json.dumps(sent.get("tool_choice") or sent.get("toolConfig"))
    assert ("any" in said.lower()) == forced, said


@pytest.mark.parametrize("allowed, param", [
    ({"mode": "auto"}, "tools"), ({"mode": "perhaps", "tools": []}, "mode"), ({"tools": [FUNCTIONS[0]]}, "mode")])
def test_allowed_tools_that_make_no_sense_are_refused(gate, upstream, allowed, param):
    got = ask(gate, "openai", "anthropic", tools=FUNCTIONS, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert got.status == 400 and got.error["param"].endswith(param), got
    assert not upstream.calls


@pytest.mark.parametrize("more", [{}, {"tools": None}])
@pytest.mark.parametrize("stream", [False, True])
def test_functions_of_old_are_answered_as_such(gate, upstream, stream, more):
    upstream.answer = anthropic_calls("now", {"zone": "UTC"})
    got = ask(gate, "openai", "anthropic", stream=stream, functions=[FUNCTIONS[0]["function"]], function_call="auto", **more)
    message, finish = message_of(got, stream)
    assert (message["function_call"]["name"], json.loads(message["function_call"]["arguments"])) == ("now", {"zone": "UTC"}), message
    assert finish == "function_call" and "tool_calls" not in message


@pytest.mark.parametrize("dialect, more, name", [
    ("openai", {"response_format": {"type": "json_object"}}, "response_format"),
    ("responses", {"text": {"format": {"type": "json_object"}}}, "text.format"),
    ("gemini", {"generationConfig": {"responseMimeType": "application/json"}}, "generationConfig")])
def test_json_of_any_shape_is_asked_for_in_words_where_only_a_schema_can_be(gate, upstream, dialect, more, name):
    got = ask(gate, dialect, "anthropic", **more)
    assert got.status == 200 and name in got.header("x-sluice-dropped"), got
    sent = upstream.last().json
    assert "one valid JSON object" in json.dumps(sent["system"]) and "output_config" not in sent
