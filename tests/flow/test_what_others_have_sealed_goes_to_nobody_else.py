# SPDX-License-Identifier: Apache-2.0
"""A conversation may change its target between turns: what one provider has sealed comes back to that one, and to no other."""

import json

import pytest
from harness import Sluice, config_for, model_for, provider_for
from test_calls_cross_into_the_targets_dialect import ANTHROPIC, JSON, answer, ask, configure  # noqa: F401 (configure: see conftest)

SEAL = "Z2VtaW5pLXNlYWw="
PARTS = [{"text": "Let me see.", "thought": True}, {"functionCall": {"name": "weather", "args": {"city": "K\u00f6ln"}}, "thoughtSignature": SEAL}]
TOOL = {"name": "weather", "description": "w", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def sealed(call):
    if "v1beta" not in call.path:
        return answer(call)
    return call.respond(200, json.dumps({"candidates": [{"content": {"role": "model", "parts": PARTS}, "finishReason": "STOP", "index": 0}],
                                         "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 11}}).encode())


@pytest.fixture(autouse=True)
def fresh(watched, upstream):
    upstream.answer = sealed


def sent(upstream):
    return json.dumps(upstream.last().json)


def test_a_conversation_of_responses_goes_round(gate, upstream):
    tools = [{"type": "function", **TOOL}]
    turn = [{"role": "user", "content": "weather?"}]
    got = ask(gate, "responses", "gemini", input=turn, tools=tools, include=["reasoning.encrypted_content"])
    assert got.status == 200 and "sluice:1:gemini:" in got.text, got
    calls = [item for item in got.json["output"] if item["type"] == "function_call"]
    turn = turn + got.json["output"] + [{"type": "function_call_output", "call_id": calls[0]["call_id"], "output": "rain"}]
    for places in (turn, [item for item in turn if item["type" if "type" in item else "role"] == "reasoning"] + turn):
        got = ask(gate, "responses", "fast", input=places, tools=tools)
        assert got.status == 200 and "sluice:" not in sent(upstream) and SEAL not in sent(upstream), sent(upstream)
        kept = upstream.last().json["input"]
        assert [item.get("type") for item in kept] == [None, "function_call", "function_call_output"], kept
        assert upstream.last().json["model"] == "upstream-model"
    got = ask(gate, "responses", "anthropic", input=turn, tools=tools)
    assert got.status == 200 and "sluice:" not in sent(upstream) and SEAL not in sent(upstream), sent(upstream)
    got = ask(gate, "responses", "gemini", input=turn, tools=tools)
    assert got.status == 200 and "sluice:" not in sent(upstream) and SEAL in sent(upstream), sent(upstream)


def test_a_conversation_of_anthropics_goes_round(gate, upstream):
    tools = [{"name": TOOL["name"], "description": "w", "input_schema": TOOL["parameters"]}]
    turn = [{"role": "user", "content": "weather?"}]
    got = ask(gate, "anthropic", "gemini", messages=turn, tools=tools)
    assert got.status == 200 and "sluice:1:gemini:" in got.text, got
    uses = [block for block in got.json["content"] if block["type"] == "tool_use"]
    results = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": uses[0]["id"], "content": "rain"}]}
    only = [{"role": "assistant", "content": [block for block in got.json["content"] if "sluice:" in json.dumps(block)]}]
    turn = turn + [{"role": "assistant", "content": got.json["content"]}, results]
    for places in (turn, only + turn, turn + only):
        got = ask(gate, "anthropic", "anthropic", messages=places, tools=tools)
        assert got.status == 200 and "sluice:" not in sent(upstream) and SEAL not in sent(upstream), sent(upstream)
        kept = upstream.last().json["messages"]
        assert [message["role"] for message in kept] == ["user", "assistant", "user"], kept
        assert uses[0] in kept[1]["content"] and upstream.last().json["model"] == "anthropic-x"
    got = ask(gate, "anthropic", "gemini", messages=turn, tools=tools)
    assert got.status == 200 and SEAL in sent(upstream) and "sluice:" not in sent(upstream), sent(upstream)


def test_words_that_only_look_like_it_pass_as_they_are(gate, upstream):
    text = "sluice:1:gemini:item:x:y"
    body = json.dumps({"model": "fast", "store": False, "input": [{"role": "user", "content": text},
                                                                  {"type": "reasoning", "summary": [], "encrypted_content": "own"}]})
    got = gate.request("POST", "/v1/responses", body.encode(), headers=JSON)
    assert got.status == 200, got
    assert upstream.last().json["input"] == json.loads(body)["input"]


@pytest.mark.parametrize("door", ["/v1/messages", "/model/{m}/invoke"])
@pytest.mark.parametrize("target", ["anthropic", "bedrock"])
def test_claudes_words_carry_no_seal_through_any_door(upstream, door, target):
    """Bedrock has Anthropic's own words behind another door: their messages go there as they are."""
    upstream.answer = lambda call: call.respond(200, json.dumps(ANTHROPIC).encode())
    mark = {"type": "redacted_thinking", "data": f"sluice:1:gemini:call:{SEAL}::c1"}
    said = {"type": "text", "text": "Let me see."}
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [mark, said, mark]},
                                          {"role": "assistant", "content": [mark]}, {"role": "user", "content": "and?"}]}
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    body |= {"model": "fast"} if "messages" in door else {"anthropic_version": "bedrock-2023-05-31"}
    provider = provider_for(upstream, type=target, base_url=upstream.url.removesuffix("/v1"), **({"region": "eu-west-1"} if target == "bedrock" else {}))
    models = [model_for(targets=[{"id": "t", "provider": "up", "model": model, "price": {"input": 1, "output": 1}}])]
    with Sluice(config_for(upstream, providers=[provider], models=models)) as gate:
        got = gate.post(door.replace("{m}", "fast"), body)
        assert got.status == 200, got
        assert "sluice:" not in sent(upstream) and SEAL not in sent(upstream), sent(upstream)
        assert [message["content"] for message in upstream.last().json["messages"]][1] == [said], sent(upstream)
        assert len(upstream.last().json["messages"]) == 3
