# SPDX-License-Identifier: Apache-2.0
"""Where all of an answer has come but the end of its stream, it ends well for the client soon after, and is booked as whole."""

import json
import time

import pytest
from harness import config_for, model_for, provider_for
from raw_upstream import chat_chunk
from test_calls_cross_into_the_targets_dialect import ANTHROPIC_END, ANTHROPIC_START, ANTHROPIC_TEXT, ASK, GEMINI, PRICE, events, streamed

USAGE = {"prompt_tokens": 28, "completion_tokens": 30, "total_tokens": 58}


def data_of(row):
    return b"data: %s\n\n" % json.dumps(row).encode()


def openai_without_done(usage=True):
    rows = [chat_chunk({"role": "assistant", "content": "Hel"}), chat_chunk({"content": "lo"}), chat_chunk({}, "stop")]
    return [data_of(row) for row in rows + ([chat_chunk({}, choices=[], usage=USAGE)] if usage else [])]


PIECES = {
    "fast": openai_without_done(),
    "anthropic": [events(ANTHROPIC_START, *ANTHROPIC_TEXT), events(ANTHROPIC_END[0])],
    "gemini": [data_of(GEMINI)],
}


def silent_after(pieces):
    def answer(call):
        call.begin_stream()
        for piece in pieces:
            call.chunk(piece)
        call.wait_gone(20)
    return answer


def configure(upstream):
    providers = [provider_for(upstream)] + [
        provider_for(upstream, name, type=name, base_url=upstream.url.removesuffix("/v1")) for name in ("anthropic", "gemini")]
    models = [model_for(targets=[{"id": "fast", "provider": "up", "model": "x", "price": PRICE}])] + [
        model_for(name, targets=[{"id": name, "provider": name, "model": f"{name}-x", "price": PRICE}]) for name in ("anthropic", "gemini")]
    return config_for(upstream, providers=providers, models=models, server={"timeouts": {"stream_idle": "6s"}})


def ask(gate, dialect, model, **more):
    path, body = ASK[dialect]
    body = {**json.loads(json.dumps(body).replace("{m}", model)), **more}
    path = path.replace("{m}", model)
    if dialect == "gemini":
        path = path.replace("generateContent", "streamGenerateContent") + "?alt=sse"
    else:
        body["stream"] = True
    begun = time.monotonic()
    got = gate.post(path, body)
    return got, time.monotonic() - begun


@pytest.mark.parametrize("dialect, model", [("openai", "fast"), ("anthropic", "anthropic"), ("gemini", "gemini"), ("openai", "gemini"),
                                            ("anthropic", "gemini"), ("responses", "anthropic"), ("gemini", "fast")])
def test_a_stream_that_is_never_closed_is_whole_by_what_came(gate, upstream, dialect, model):
    upstream.answer = silent_after(PIECES[model])
    got, took = ask(gate, dialect, model)
    assert got.status == 200, got
    if model != "gemini" or dialect != "gemini":
        assert streamed(dialect, got.body) == ("Hello", True), got.body
    assert took < 5.5, took
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["outcome"], row["counted"], row["output_tokens"]) == ("complete", "provider", 30), row
    assert gate.access_line(got.header("x-request-id"))["overhead_ms"] < 1000


def test_one_without_usage_is_waited_for_as_long_as_a_stream_may_be_silent(gate, upstream):
    upstream.answer = silent_after(openai_without_done(usage=False))
    got, took = ask(gate, "openai", "fast")
    assert got.status == 200 and b"error" not in got.body and took > 5.5, (got.body, took)
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["outcome"], row["counted"]) == ("complete", "estimate"), row


def test_one_of_several_choices_is_not_all(gate, upstream):
    upstream.answer = silent_after(PIECES["fast"])
    got, _ = ask(gate, "openai", "fast", n=2)
    assert b"error" in got.body, got.body
    assert gate.ledger_row(got.header("x-request-id"))["outcome"] == "partial"


def test_nothing_overtakes_the_held_end_of_an_answer(gate, upstream):
    """Behind the finish reason of a Gemini stream the rest is kept, in order; too much of it is a fault."""
    more = {"usageMetadata": GEMINI["usageMetadata"], "modelVersion": "x" * 200_000}

    def rows(count):
        def answer(call):
            call.begin_stream()
            call.chunk(data_of(GEMINI))
            for number in range(count):
                call.chunk(data_of({**more, "responseId": f"r{number}"}))
            call.end_stream()
        return answer

    upstream.answer = rows(4)
    got, _ = ask(gate, "gemini", "gemini")
    parsed = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: ")]
    assert [row["responseId"] for row in parsed] == ["r1", "r0", "r1", "r2", "r3"], [row["responseId"] for row in parsed]
    upstream.answer = rows(9)
    got, _ = ask(gate, "gemini", "gemini")
    parsed = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: ")]
    names = [row.get("responseId") for row in parsed[:-1]]
    assert "error" in parsed[-1] and names == ["r1", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"][:len(names)], names
    assert len(names) < 10 and gate.ledger_row(got.header("x-request-id"))["outcome"] == "partial"


def test_a_translated_stream_that_fails_in_its_first_piece_was_none(gate, upstream):
    """What was made in front of the failure is not sent: the client gets an error's status, or another target's answer."""
    upstream.answer = lambda call: call.respond(200, events(ANTHROPIC_START, *ANTHROPIC_TEXT[:3], {
        "type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), content_type="text/event-stream")
    got, _ = ask(gate, "openai", "anthropic")
    assert got.status == 429 and b"Hel" not in got.body and "Overloaded" in got.error["message"], got
