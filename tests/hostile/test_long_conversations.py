# SPDX-License-Identifier: Apache-2.0
"""A conversation of some ten megabytes that is nothing but calls of tools and their results crosses into every other
dialect; whoever shares its worker is answered meanwhile, and nobody's process ends."""

import json

import pytest
from harness import PRICE, Background, Sluice, config_for, model_for, provider_for
from raw_upstream import chat_body

LENGTH = 10_000_000
PER_TURN = 4000  # of 4096 parts that a message may have
MESSAGES = 16000  # of 16384 that a call may have
TARGETS = {"openai": "upstream-model", "mistral": "mistral-x", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro",
           "ollama": "llama", "cohere": "command-x", "bedrock": "amazon.nova-pro-v1:0"}
OTHER = {"anthropic": {"content": [{"type": "text", "text": "ok"}], "id": "msg_1", "model": "m", "role": "assistant", "type": "message",
                       "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}},
         "gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP", "index": 0}],
                    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}},
         "ollama": {"model": "m", "message": {"role": "assistant", "content": "ok"}, "done": True, "done_reason": "stop",
                    "prompt_eval_count": 1, "eval_count": 1},
         "cohere": {"id": "1", "message": {"role": "assistant", "content": [{"type": "text", "text": "ok"}]}, "finish_reason": "COMPLETE",
                    "usage": {"tokens": {"input_tokens": 1, "output_tokens": 1}}},
         "bedrock": {"output": {"message": {"role": "assistant", "content": [{"text": "ok"}]}}, "stopReason": "end_turn",
                     "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}}


def turns(count):
    return [range(first, min(count, first + PER_TURN)) for first in range(0, count, PER_TURN)]


def openai_call(i):
    return {"id": f"c{i}", "type": "function", "function": {"name": f"f{i}", "arguments": "{}"}}


def openai(count):
    calls = [{"role": "assistant", "content": None, "tool_calls": [openai_call(i) for i in turn]} for turn in turns(count)]
    return calls + [{"role": "tool", "tool_call_id": f"c{count - 1 - i}", "content": "r"} for i in range(MESSAGES - len(calls))]


def anthropic(count):
    calls = [{"role": "assistant", "content": [{"type": "tool_use", "id": f"c{i}", "name": "f", "input": {}} for i in turn]}
             for turn in turns(count)]
    return calls + [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"c{i}", "content": "r"} for i in turn]}
                    for turn in turns(count)]


def gemini(count):
    calls = [{"role": "model", "parts": [{"functionCall": {"name": f"f{i}", "args": {}}} for i in turn]} for turn in turns(count)]
    back = [[{"functionResponse": {"name": f"f{count - 1 - i}", "response": {}}} for i in turn] for turn in turns(count)]
    return calls + [{"role": "user", "parts": parts} for parts in back]


def responses(count):
    return [item for turn in turns(count) for item in (
        {"role": "user", "content": "x"},
        *({"type": "function_call", "call_id": f"c{i}", "name": f"f{i}", "arguments": "{}"} for i in turn),
        *({"type": "function_call_output", "call_id": f"c{i}", "output": "r"} for i in reversed(turn)))]


def row(count):
    """One turn after the other in which the model calls: they are one message, for those who want that."""
    return [{"role": "assistant", "content": None, "tool_calls": [openai_call(i)] * 6} for i in range(MESSAGES)]


ASKED = {
    "openai": ("/v1/chat/completions", lambda count: {"model": "{m}", "messages": openai(count)}, 110_000),
    "row": ("/v1/chat/completions", lambda count: {"model": "{m}", "messages": row(count)}, 0),
    "anthropic": ("/v1/messages", lambda count: {"model": "{m}", "max_tokens": 9, "messages": anthropic(count)}, 80_000),
    "gemini": ("/v1beta/models/{m}:generateContent", lambda count: {"contents": gemini(count)}, 80_000),
    "responses": ("/v1/responses", lambda count: {"model": "{m}", "store": False, "input": responses(count)}, 70_000),
}


def answer(call):
    """Of the dialect that the path is of; the body is looked at as bytes only, it is long."""
    kind = ("anthropic" if call.path.endswith("/messages") else "gemini" if ":generateContent" in call.path
            else "ollama" if call.path.endswith("/api/chat") else "cohere" if call.path.endswith("/v2/chat")
            else "bedrock" if call.path.endswith("/converse") else None)
    call.respond(200, json.dumps(OTHER[kind]).encode() if kind else chat_body("ok"))


@pytest.fixture(scope="module")
def shared(upstream):
    """One worker, which everybody shares; as patient as in use."""
    config = config_for(upstream, server={"workers": 1})
    config["providers"] = [provider_for(upstream, kind, type=kind, lenient=True) for kind in TARGETS]
    config["models"] = [model_for(kind, kind, model) for kind, model in TARGETS.items()]
    config["models"].append(model_for("fast", "openai"))
    upstream.answer = answer
    with Sluice(config) as sluice:
        yield sluice
        assert not sluice.crash_trace()


@pytest.fixture(autouse=True)
def answering(upstream, watched):
    upstream.answer = answer


def ask(gate, path, body):
    return gate.post(path, body, timeout=50)


@pytest.mark.parametrize("dialect", ASKED)
def test_they_cross_into_every_dialect_and_nobody_is_kept_waiting(shared, upstream, dialect):
    path, make, count = ASKED[dialect]
    body = json.dumps(make(count), separators=(",", ":"))
    assert LENGTH * 0.5 < len(body) < LENGTH * 1.5
    pid = shared.worker_pid
    for target in TARGETS:
        task = Background(ask, shared, path.replace("{m}", target), body.replace("{m}", target).encode())
        while task.thread.is_alive():
            assert shared.chat().status == 200
        got = task.result()
        assert got.status == 200, (target, got)
    assert shared.worker_pid == pid, "the process ended and was replaced"


def test_who_cannot_say_it_is_not_asked_endlessly(upstream):
    """Of 64 targets that cannot do what is asked the first is named; none of them gets the call."""
    config = config_for(upstream)
    config["providers"] = [provider_for(upstream, f"p{i}", type="anthropic") for i in range(8)]
    config["models"] = [model_for("many", targets=[
        {"id": f"t{i}", "provider": f"p{i % 8}", "model": f"claude-{i}", "priority": i + 1, "price": PRICE} for i in range(64)])]
    with Sluice(config) as gate:
        before = len(upstream.calls)
        got = gate.chat("many", n=2, messages=[{"role": "user", "content": "x"}])
        assert got.status == 400 and "The target t0 cannot do what is asked with: n" in got.text, got
        got = gate.chat("many", messages=[{"role": "user", "content": 7}])
        assert got.status == 400 and got.error["param"].startswith("messages"), got
        assert len(upstream.calls) == before
