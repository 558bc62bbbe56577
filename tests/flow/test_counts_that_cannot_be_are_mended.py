# SPDX-License-Identifier: Apache-2.0
"""What a provider's count cannot be right in is estimated, and media that a stream has shown are paid for though its
client leaves before anybody has counted."""

import json

import pytest
from harness import (
    KEY_ACME,
    Sluice,
    chat_body,
    chat_chunk,
    config_for,
    eventually,
    provider_for,
    request_bytes,
    sha256_hash,
    stream_chat,
)

NANOS = 1000  # of a dollar per token, of a price of one dollar per million


def gate_for(upstream, kind="openai", **price):
    tenant = {"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}
    target = {"id": "one", "provider": "up", "model": "m", "price": {"input": 0, "output": 1, **price}}
    url = upstream.url if kind == "gemini" else upstream
    return Sluice(config_for(upstream, tenants=[tenant], models=[{"name": "fast", "targets": [target]}],
                             providers=[provider_for(url, type=kind)]))


def left_early(gate, path, body, after):
    """The row of a call whose client leaves when it has seen <after>."""
    client = gate.connect()
    client.send(request_bytes("POST", path, [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", "application/json")], body))
    seen = b""
    client.sock.settimeout(30)
    while after not in seen:
        piece = client.sock.recv(1 << 20)
        assert piece, seen[-300:]
        seen = seen[-100:] + piece
    client.close()
    row, = eventually(gate.ledger_rows, 20, what="it is booked")
    return row


def events(call, *all_of):
    call.begin_stream()
    for event in all_of:
        call.event(event)


def typed(call, kind, **members):
    call.chunk(f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode())


def test_sound_of_a_chat(upstream):
    """16 bits at 24 kHz; a token is 50 ms."""
    def answer(call):
        events(call, *[chat_chunk({"audio": {"id": "a", "data": "A" * 32_000}}) for _ in range(20)],
               chat_chunk({"content": "the mark"}))
        call.wait_gone(20)

    upstream.answer = answer
    with gate_for(upstream, audio_output=80) as gate:
        row = left_early(gate, "/v1/chat/completions", {"model": "fast", "stream": True, "modalities": ["text", "audio"],
                                                        "max_tokens": 4000, "messages": []}, b"the mark")
        assert row["counted"] == "estimate" and row["audio_output_tokens"] == 200, row
        assert row["cost_nanos"] >= 200 * 80 * NANOS


def test_what_is_not_sound_is_not_taken_for_it(upstream):
    """OpenRouter's encrypted reasoning stands in a "data", too."""
    def answer(call):
        events(call, chat_chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "A" * 64_000}]}),
               chat_chunk({"content": "the mark"}))
        call.wait_gone(20)

    upstream.answer = answer
    with gate_for(upstream) as gate:
        row = left_early(gate, "/v1/chat/completions", {"model": "fast", "stream": True, "messages": []}, b"the mark")
        assert row["audio_output_tokens"] == 0 and row["output_tokens"] < 100, row


def test_speech(upstream):
    def answer(call):
        call.begin_stream()
        for i in range(50):
            typed(call, "speech.audio.delta", audio="A" * 13_330, number=i)
        call.wait_gone(20)

    upstream.answer = answer
    with gate_for(upstream) as gate:
        row = left_early(gate, "/v1/audio/speech", {"model": "fast", "input": "hello " * 100, "voice": "alloy",
                                                    "stream_format": "sse"}, b'"number": 49')
        assert row["audio_output_tokens"] >= 500 and row["cost_nanos"] >= 500 * NANOS, row


@pytest.mark.parametrize("path, kind, body", [
    ("/v1/images/generations", "image_generation.partial_image", {"prompt": "x", "partial_images": 3}),
    ("/v1/responses", "response.image_generation_call.partial_image",
     {"input": "x", "max_output_tokens": 100, "tools": [{"type": "image_generation", "partial_images": 3}]})])
def test_a_picture_of_which_a_part_has_come(upstream, path, kind, body):
    def answer(call):
        call.begin_stream()
        for i in range(3):
            typed(call, kind, partial_image_index=i, **{"b64_json": "A" * 30_000})
        call.wait_gone(20)

    upstream.answer = answer
    with gate_for(upstream) as gate:
        row = left_early(gate, path, {"model": "fast", "stream": True, **body}, b'"partial_image_index": 2')
        assert 8192 <= row["output_tokens"] < 9000, row


def test_what_gemini_has_said_so_far(upstream):
    def answer(call):
        events(call, {"candidates": [{"content": {"role": "model", "parts": [{"text": "the mark"}]}}],
                      "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1290, "totalTokenCount": 1300}})
        call.wait_gone(20)

    upstream.answer = answer
    with gate_for(upstream, "gemini") as gate:
        row = left_early(gate, "/v1beta/models/fast:streamGenerateContent?alt=sse",
                         {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}, b"the mark")
        assert row["output_tokens"] == 1290, row


# ----------------------------------------------------------------------------- counts that cannot be


ASKED = {"messages": [{"role": "user", "content": "hello " * 700}], "max_tokens": 1000}


@pytest.mark.parametrize("usage, is_said", [
    ({"prompt_tokens": 0, "completion_tokens": 40}, True),
    ({"completion_tokens": 40}, False), ({"prompt_tokens": None, "completion_tokens": 40}, False),
    ({"prompt_tokens": "1000", "completion_tokens": 40}, False), ({"prompt_tokens": -5, "completion_tokens": 40}, False),
    ({"prompt_tokens": 10**14, "completion_tokens": 40}, False)])
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_nobody_counted_is_estimated(upstream, usage, is_said, stream):
    """Zero is a count: who bills says so."""
    def answer(call):
        if stream:
            stream_chat(call, words=["word "] * 40, usage=usage)
        else:
            call.respond(200, chat_body(text="word " * 40, usage=usage))

    upstream.answer = answer
    with gate_for(upstream, input=1) as gate:
        row = gate.ledger_row(gate.chat(stream=stream, **ASKED).header("x-request-id"))
        assert row["output_tokens"] == 40, row
        assert (row["counted"], row["input_tokens"] > 500) == (("provider", False) if is_said else ("estimate", True)), row


def test_a_side_that_is_no_count_is_what_the_total_leaves(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body(
        usage={"prompt_tokens": "1000", "completion_tokens": 500.0, "total_tokens": 1500}))
    with gate_for(upstream) as gate:
        row = gate.ledger_row(gate.chat(**ASKED).header("x-request-id"))
        assert (row["input_tokens"], row["output_tokens"], row["reasoning_tokens"]) == (1000, 500, 0), row


@pytest.mark.parametrize("told, late, booked", [(1, 300, range(1000, 1500)), (1, 2, range(1, 2)), (900, 300, range(900, 901))])
def test_what_is_written_behind_the_count_is_added(upstream, told, late, booked):
    """But for a few words; and not where it is in the count, which some make before they send anything."""
    def answer(call):
        first = chat_chunk({"role": "assistant", "content": "a"}, usage={"prompt_tokens": 50, "completion_tokens": told})
        events(call, first, *[chat_chunk({"content": "word word word "}) for _ in range(late)], chat_chunk({}, finish="stop"), "[DONE]")
        call.end_stream()

    upstream.answer = answer
    with gate_for(upstream) as gate:
        row = gate.ledger_row(gate.chat(stream=True, **ASKED).header("x-request-id"))
        assert row["output_tokens"] in booked, row


def test_an_answer_that_is_not_counted_is_what_the_total_leaves(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body(usage={"prompt_tokens": 10, "total_tokens": 50}))
    with gate_for(upstream) as gate:
        row = gate.ledger_row(gate.chat(**ASKED).header("x-request-id"))
        assert (row["counted"], row["input_tokens"], row["output_tokens"]) == ("provider", 10, 40), row


def test_a_total_without_bound_is_not_believed(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body(
        usage={"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 10**11}))
    with gate_for(upstream) as gate:
        row = gate.ledger_row(gate.chat(**ASKED).header("x-request-id"))
        assert row["counted"] == "estimate" and row["output_tokens"] <= 1_000_000, row


@pytest.mark.parametrize("stream", [False, True])
def test_pictures_that_a_model_had_made_are_in_its_response(upstream, stream):
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": [],
                "tool_usage": {"image_gen": {"input_tokens": 30, "output_tokens": 4000}},
                "usage": {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}}

    def answer(call):
        if not stream:
            call.respond(200, response)
            return
        call.begin_stream()
        typed(call, "response.completed", response=response)
        call.end_stream()

    upstream.answer = answer
    with gate_for(upstream) as gate:
        answer = gate.post("/v1/responses", {"model": "fast", "input": "x", "stream": stream})
        row = gate.ledger_row(answer.header("x-request-id"))
        assert (row["input_tokens"], row["output_tokens"]) == (130, 4050), row
