# SPDX-License-Identifier: Apache-2.0
"""What stands within a part, a call of a tool, its result or a tool, and only the client's dialect knows, is named."""

import json

import pytest
from translators import Driver

TARGETS = {
    "openai-chat": ("openai", "gpt-5"),
    "openai-responses": ("openai", "gpt-5"),
    "anthropic": ("anthropic", "claude-opus-4-8"),
    "gemini": ("gemini", "gemini-3-pro-preview"),
    "ollama-chat": ("ollama", "llama3.2"),
    "cohere-chat": ("cohere", "command-a-03-2025"),
    "bedrock-converse": ("bedrock", "amazon.nova-pro-v1:0"),
    "mistral-chat": ("mistral", "mistral-large-latest"),
}
SCHEMA = {"type": "object", "properties": {}}
PNG = "iVBORw0KGgo="
CALLS = {
    "openai-chat": {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]},
                     {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                     {"role": "tool", "tool_call_id": "c1", "content": "r"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    },
    "openai-responses": {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
    },
    "anthropic": {
        "model": "m", "max_tokens": 4000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"},
                                                  {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}]},
                     {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
                     {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "r"}]}]}],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
    },
    "gemini": {
        "contents": [{"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]},
                     {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
                     {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "r"}}}]}],
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
    },
    "bedrock-converse": {
        "messages": [{"role": "user", "content": [{"text": "hi"}, {"document": {"name": "d", "format": "txt", "source": {"text": "d"}}}]}],
    },
}
DOCUMENT = ("messages", 0, "content", 1)
# Whose call, where, with what: how it is named, and whether the call is refused for it.
MEMBERS = [
    ("openai-chat", ("messages", 0, "content", 0, "new"), 1, "messages[0].content[0].new", False),
    ("openai-chat", ("messages", 1, "tool_calls", 0, "new"), 1, "messages[1].content[0].new", False),
    ("openai-chat", ("messages", 1, "tool_calls", 0, "function", "new"), 1, "messages[1].content[0].function.new", False),
    ("openai-chat", ("tools", 0, "new"), 1, "tools[0].new", False),
    ("openai-chat", ("tools", 0, "function", "new"), {"a": 1}, "tools[0].function.new", False),
    ("openai-responses", ("input", 0, "content", 0, "new"), 1, "messages[0].content[0].new", False),
    ("openai-responses", ("tools", 0, "output_schema"), SCHEMA, "tools[0].output_schema", False),
    ("openai-responses", ("text", ), {"new": 1}, "text", False),
    ("anthropic", ("messages", 0, "content", 0, "new"), "x", "messages[0].content[0].new", False),
    ("anthropic", (*DOCUMENT, "context"), "It is old.", "messages[0].content[1].context", True),
    ("anthropic", (*DOCUMENT, "citations"), {"enabled": True}, "messages[0].content[1].citations", False),
    ("anthropic", ("messages", 1, "content", 0, "caller"), {"type": "code_execution_20250825", "tool_id": "t"}, "messages[1].content[0].caller", False),
    ("anthropic", ("messages", 2, "content", 0, "content", 0, "new"), 1, "messages[2].content[0].content[0].new", False),
    ("anthropic", ("tools", 0, "input_examples"), [{"a": 1}], "tools[0].input_examples", False),
    ("anthropic", ("tools", 0, "allowed_callers"), ["code_execution_20250825"], "tools[0].allowed_callers", False),
    ("anthropic", ("tools", 0, "a,b"), 1, "tools[0].a?b", False),
    ("gemini", ("contents", 0, "parts", 1, "videoMetadata"), {"startOffset": "3s"}, "messages[0].content[1].videoMetadata", True),
    ("gemini", ("contents", 0, "parts", 1, "media_resolution"), {"level": "x"}, "messages[0].content[1].media_resolution", False),
    ("gemini", ("contents", 1, "parts", 0, "functionCall", "new"), 1, "messages[1].content[0].functionCall.new", False),
    ("gemini", ("contents", 2, "parts", 0, "functionResponse", "scheduling"), "SILENT", "messages[2].content[0].functionResponse.scheduling", False),
    ("gemini", ("tools", 0, "functionDeclarations", 0, "behavior"), "NON_BLOCKING", "tools[0].behavior", False),
    ("gemini", ("tools", 0, "functionDeclarations", 0, "response"), {"type": "OBJECT"}, "tools[0].response", False),
    ("bedrock-converse", (*DOCUMENT, "document", "context"), "It is old.", "messages[0].content[1].context", True),
    ("bedrock-converse", (*DOCUMENT, "document", "citations"), {"enabled": True}, "messages[0].content[1].citations", False),
]
# What is so anyway.
NOTHING = [
    ("openai-chat", ("tools", 0, "new"), None),
    ("openai-chat", ("messages", 0, "content", 0, "new"), False),
    ("openai-responses", ("tools", 0, "output_schema"), None),
    ("openai-responses", ("input", 0, "content", 0, "logprobs"), [{"token": "a"}]),
    ("anthropic", (*DOCUMENT, "citations"), {"enabled": False}),
    ("anthropic", ("messages", 1, "content", 0, "caller"), {"type": "direct"}),
    ("anthropic", ("tools", 0, "defer_loading"), False),
    ("anthropic", ("tools", 0, "type"), "custom"),
    ("gemini", ("contents", 0, "parts", 1, "videoMetadata"), {}),
    ("gemini", ("tools", 0, "functionDeclarations", 0, "behavior"), "BLOCKING"),
    ("bedrock-converse", (*DOCUMENT, "document", "citations"), {"enabled": False}),
]


@pytest.fixture(scope="module")
def driver():
    with Driver() as one:
        yield one


def losses(driver, origin, call, to):
    kind, model = TARGETS[to]
    made = driver.ask(op="call", **{"from": origin, "to": to}, body=json.dumps(call).encode().hex(), model=model, target={"type": kind, "model": model})
    assert made["ok"], made
    return set(filter(None, made["demands"].split(","))), set(filter(None, made["hints"].split(",")))


def with_member(origin, path, value):
    call = json.loads(json.dumps(CALLS[origin]))
    at = call
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return call


@pytest.mark.parametrize("origin, path, value, name, refused", MEMBERS)
def test_a_member_is_named(driver, origin, path, value, name, refused):
    for to in TARGETS:
        if to == origin:
            continue
        before = losses(driver, origin, CALLS[origin], to)
        demands, hints = losses(driver, origin, with_member(origin, path, value), to)
        fresh = (demands - before[0], hints - before[1])
        assert fresh == (({name}, set()) if refused else (set(), {name})), (to, fresh)


@pytest.mark.parametrize("origin, path, value", NOTHING)
def test_what_says_nothing_is_not_named(driver, origin, path, value):
    for to in TARGETS:
        if to != origin:
            assert losses(driver, origin, with_member(origin, path, value), to) == losses(driver, origin, CALLS[origin], to), to


@pytest.mark.parametrize("origin, path, value, name, refused", MEMBERS)
def test_nothing_is_lost_where_it_is_known(driver, origin, path, value, name, refused):
    assert name in {"text"} or losses(driver, origin, with_member(origin, path, value), origin) == (set(), set())


@pytest.mark.parametrize("to, named", [("cohere-chat", {"messages[2].content[0].is_error", "messages[2].content[0].cache_control"}),
                                       ("ollama-chat", {"messages[2].content[0].is_error", "messages[2].content[0].cache_control"}),
                                       ("openai-responses", {"is_error", "cache_control"})])
def test_marks_of_a_result_are_named(driver, to, named):
    call = with_member("anthropic", ("messages", 2, "content", 0, "is_error"), True)
    call["messages"][2]["content"][0]["cache_control"] = {"type": "ephemeral"}
    assert losses(driver, "anthropic", call, to)[1] >= named


def test_a_list_of_many_names_stays_short(driver):
    call = json.loads(json.dumps(CALLS["anthropic"]))
    call["messages"][0]["content"] = [{"type": "text", "text": "x", **{f"new_{i}": 1 for i in range(200)}} for _ in range(300)]
    hints = losses(driver, "anthropic", call, "gemini")[1]
    assert len(",".join(hints)) <= 1024 and "messages[0].content[0].new_0" in hints


@pytest.mark.parametrize("tools", [{}, {"tools": []}])
@pytest.mark.parametrize("choice", ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}])
def test_no_tool_is_chosen_where_none_is_offered(driver, choice, tools):
    call = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tool_choice": choice, **tools}
    for to, (kind, model) in TARGETS.items():
        if to == "openai-chat":
            continue
        made = driver.ask(op="call", **{"from": "openai-chat", "to": to}, body=json.dumps(call).encode().hex(), model=model,
                          target={"type": kind, "model": model})
        assert made["ok"] and made["demands"] == ("" if choice in ("auto", "none") else "tool_choice"), (to, made)
        assert to != "gemini" or b"toolConfig" not in bytes.fromhex(made["body"]), "Gemini refuses it"


@pytest.mark.parametrize("to", ["openai-chat", "openai-responses"])
def test_openai_is_asked_for_efforts_that_it_has(driver, to):
    """It refuses a word that it does not know."""
    def body_of(origin, call):
        made = driver.ask(op="call", **{"from": origin, "to": to}, body=json.dumps(call).encode().hex(), model="m", target={"type": "openai", "model": "gpt-5"})
        return json.loads(bytes.fromhex(made["body"])), made["hints"]

    for said, heard in (("low", "low"), ("xhigh", "xhigh"), ("max", "high")):
        body, hints = body_of("anthropic", {**CALLS["anthropic"], "thinking": {"type": "adaptive"}, "output_config": {"effort": said}})
        assert (body.get("reasoning_effort") or body["reasoning"]["effort"]) == heard and ("reasoning_effort" in hints) == (said != heard), (body, hints)


def test_the_title_of_a_document_with_an_address_is_named(driver):
    call = with_member("anthropic", (*DOCUMENT, "source"), {"type": "url", "url": "https://example.com/a.pdf"})
    call["messages"][0]["content"][1]["title"] = "Report"
    assert "messages[0].filename" in losses(driver, "anthropic", call, "openai-responses")[1]
