# SPDX-License-Identifier: Apache-2.0
"""What a row of providers.json says of a provider is what a call to it looks like, and what its answers are read by."""

import json
from pathlib import Path

import pytest
from harness import ROOT, config_for, model_for, provider_for
from raw_upstream import chat_body, chat_chunk

ROWS = {row["name"]: row for row in json.loads((Path(ROOT) / "providers" / "providers.json").read_text())}
KINDS = [name for name, row in ROWS.items() if row["dialect"] == "openai" and not row.get("is_azure") and not row.get("is_vertex")
         and not row.get("second_dialect") and name not in ("mock", "voyage", "jina")]
TOOLS = [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]
FUNCTIONS = [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": {"type": "object", "properties": {}}}]}]


def configure(upstream):
    return config_for(upstream, providers=[provider_for(upstream, kind, type=kind) for kind in KINDS],
                      models=[model_for(kind, kind) for kind in KINDS])


def whole(call):
    call.respond(200, chat_body("Hello"))


def claude(gate, kind, **more):
    """As a client of another dialect asks: what is sent is written for this provider."""
    return gate.post("/v1/messages", {"model": kind, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **more})


def gemini(gate, kind, config=(), **more):
    return gate.post(f"/v1beta/models/{kind}:generateContent", {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": dict(config), **more})


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_answer_and_usage_are_asked_for_in_its_words(gate, upstream, kind):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"role": "assistant", "content": "Hello"}))
        call.event(chat_chunk({}, finish="stop", usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}))
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    got = claude(gate, kind, stream=True)
    assert got.status == 200, got
    sent, row = upstream.last(), ROWS[kind]
    name = "max_completion_tokens" if row.get("max_completion_tokens") else "max_tokens"
    assert sent.json[name] == 50 and len({"max_tokens", "max_completion_tokens"} & set(sent.json)) == 1
    if row["name"] != "mistral":
        assert ("stream_options" in sent.json) == row["stream_options"]
    assert sent.header("authorization").startswith("Bearer ")
    booked = gate.ledger_row(got.header("x-request-id"))
    assert (booked["input_tokens"], booked["output_tokens"], booked["counted"]) == (7, 3, "provider")


REFUSED = {  # how a client asks for it, and how it is named when the provider does not take it
    "n": (dict(candidateCount=2), "n"),
    "logprobs": (dict(responseLogprobs=True), "logprobs"),
    "stops": (dict(stopSequences=["a", "b"]), "stop[1]"),
}


@pytest.mark.parametrize("kind", [name for name in KINDS if "refuses" in ROWS[name]])
@pytest.mark.parametrize("what", REFUSED)
def test_what_it_does_not_take_and_changes_the_answer_is_refused_by_name(gate, upstream, kind, what):
    upstream.answer = whole
    config, name = REFUSED[what]
    got = gemini(gate, kind, config)
    if what in ROWS[kind]["refuses"].split():
        assert got.status == 400 and name in got.error["message"] and not upstream.calls, got
    else:
        assert got.status == 200, got
        assert len(upstream.calls) == 1


@pytest.mark.parametrize("kind", ["openai", "groq", "zhipu", "dashscope"])
@pytest.mark.parametrize("mode", ["any", "tool", "auto", "none"])
def test_a_tool_is_chosen_as_far_as_it_can_be(gate, upstream, kind, mode):
    upstream.answer = whole
    choice = {"type": mode, **({"name": "weather"} if mode == "tool" else {})}
    got = claude(gate, kind, tools=TOOLS, tool_choice=choice)
    cannot = (kind == "zhipu" and mode in ("any", "tool")) or (kind == "dashscope" and mode == "any")
    if cannot:
        assert got.status == 400 and "tool_choice" in got.error["message"] and not upstream.calls, got
        return
    assert got.status == 200, got
    sent = upstream.last().json
    if kind == "zhipu" and mode == "none":
        assert "tools" not in sent and "tool_choice" not in sent
    else:
        wanted = {"any": "required", "tool": {"type": "function", "function": {"name": "weather"}}}.get(mode, mode)
        assert sent["tool_choice"] == wanted and sent["tools"]


@pytest.mark.parametrize("kind", ["openai", "cerebras", "zhipu"])
def test_what_it_does_not_take_and_does_not_matter_is_left_out_and_named(gate, upstream, kind):
    upstream.answer = whole
    got = gemini(gate, kind, dict(frequencyPenalty=0.5, presencePenalty=0.25))
    assert got.status == 200, got
    sent = upstream.last().json
    if kind == "cerebras":
        assert not {"frequency_penalty", "presence_penalty"} & set(sent)
        assert got.header("x-sluice-dropped") == "frequency_penalty,presence_penalty"
    else:
        assert (sent["frequency_penalty"], sent["presence_penalty"]) == (0.5, 0.25)


def test_a_client_of_its_own_dialect_is_not_corrected(gate, upstream):
    """The bytes pass; what the provider thinks of them is its answer."""
    upstream.answer = whole
    got = gate.chat("groq", n=2, logit_bias={"1": 1}, messages=[{"role": "user", "content": "hi", "name": "ann"}])
    assert got.status == 200 and upstream.last().json["n"] == 2 and "x-sluice-dropped" not in got.fields


@pytest.mark.parametrize("kind, wanted", [
    ("openai", {"reasoning_effort": "low"}), ("openrouter", {"reasoning": {"max_tokens": 1024, "exclude": False}}),
    ("deepseek", {"thinking": {"type": "enabled"}}), ("dashscope", {"enable_thinking": True, "thinking_budget": 1024}),
    ("vllm", {"chat_template_kwargs": {"enable_thinking": True}}), ("tgi", {}),
])
def test_reasoning_is_asked_for_in_its_words(gate, upstream, kind, wanted):
    upstream.answer = whole
    got = claude(gate, kind, max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024})
    assert got.status == 200, got
    sent = upstream.last().json
    names = ("reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget", "chat_template_kwargs")
    assert {name: sent[name] for name in names if name in sent} == wanted


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_read_from_wherever_it_stands(gate, upstream, field):
    body = chat_body("Hello")
    body["choices"][0]["message"][field] = "Let me see."
    upstream.answer = lambda call: call.respond(200, body)
    got = claude(gate, "groq")
    assert [part["type"] for part in got.json["content"]] == ["thinking", "text"], got
    assert got.json["content"][0]["thinking"] == "Let me see."


USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
PLACES = {
    "a chunk without choices": [chat_chunk({}, finish="stop"), chat_chunk(None, choices=[], usage=USAGE)],
    "the last chunk": [chat_chunk({}, finish="stop", usage=USAGE)],
    "x_groq": [{**chat_chunk({}, finish="stop"), "x_groq": {"id": "req_1", "usage": USAGE}}],
    "the choice": [chat_chunk(None, choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}])],
    "every chunk": [chat_chunk({}, usage={**USAGE, "completion_tokens": 4}), chat_chunk({}, finish="stop", usage=USAGE)],
}


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("crossing", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_usage_is_found_wherever_it_stands_with_and_without_done(gate, upstream, place, crossing, done):
    def answer(call):
        call.begin_stream()
        call.chunk(b": OPENROUTER PROCESSING\n\n")
        call.event(chat_chunk({"role": "assistant", "content": "Hello"}))
        for chunk in PLACES[place]:
            call.event(chunk)
        if done:
            call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    got = claude(gate, "groq", stream=True) if crossing else gate.chat("groq", stream=True)
    assert got.status == 200 and (b"message_stop" if crossing else b'"finish_reason": "stop"') in got.body.replace(b'":"', b'": "'), got
    booked = gate.ledger_row(got.header("x-request-id"))
    assert (booked["input_tokens"], booked["output_tokens"], booked["counted"], booked["outcome"]) == (11, 5, "provider", "complete")
