# SPDX-License-Identifier: Apache-2.0
"""What is redacted or blocked does not pass in any dialect, also when it is cut across events."""

import json
import time

import pytest
from harness import Sluice
from test_calls_cross_into_the_targets_dialect import (
    ANTHROPIC_END, ANTHROPIC_START, ASK, GEMINI, ask, configure, events, streamed, text_of)

WORD = "sesame"


def rule(action, stage="response"):
    return [{"name": "word", "stage": stage, "type": "contains", "terms": [WORD], "action": action}]


def pieces(text):
    return [text[:8], text[8:11], text[11:]]


TEXT = f"Open, {WORD}, please."


def answer(call):
    if "/messages" in call.path:
        blocks = [{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                  *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces(TEXT)),
                  {"type": "content_block_stop", "index": 0}]
        if not call.json.get("stream"):
            call.respond(200, json.dumps({**ANTHROPIC_START["message"], "stop_reason": "end_turn", "stop_sequence": None,
                                          "content": [{"type": "text", "text": TEXT}]}).encode())
            return
        call.begin_stream()
        for block in (ANTHROPIC_START, *blocks, *ANTHROPIC_END):
            call.chunk(events(block))
            time.sleep(0.02)  # one at a time: what has left cannot be taken back
        call.end_stream()
    else:
        rows = [json.loads(json.dumps(GEMINI)) for _ in range(3)]
        for row, piece in zip(rows, pieces(TEXT)):
            row["candidates"][0]["content"]["parts"] = [{"text": piece}]
        for row in rows[:2]:
            del row["candidates"][0]["finishReason"]
        if "stream" not in call.path:
            rows[2]["candidates"][0]["content"]["parts"] = [{"text": TEXT}]
            call.respond(200, json.dumps(rows[2]).encode())
            return
        call.begin_stream()
        for row in rows:
            call.chunk(b"data: %s\n\n" % json.dumps(row).encode())
            time.sleep(0.02)
        call.end_stream()


@pytest.fixture(autouse=True)
def scripted(watched, upstream):
    upstream.answer = answer


@pytest.fixture(scope="module", params=["redact", "block"])
def guarded(request, upstream):
    with Sluice({**configure(upstream), "guardrails": rule(request.param)}) as gate:
        yield request.param, gate


@pytest.mark.parametrize("model", ["anthropic", "gemini"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", ASK)
def test_an_answer(guarded, dialect, model, stream):
    action, gate = guarded
    got = ask(gate, dialect, model, stream=stream)
    assert WORD not in got.text, got
    if action == "redact":
        assert got.status == 200, got
        text = streamed(dialect, got.body)[0] if stream else text_of(dialect, got.json)
        assert text.startswith("Open, ") and text.endswith(", please."), got
        assert not stream or streamed(dialect, got.body)[1], got
    elif stream and got.status == 200:
        assert "error" in got.text, got
    else:
        assert got.status == 400, got


@pytest.mark.parametrize("dialect", ASK)
def test_a_request(upstream, dialect):
    with Sluice({**configure(upstream), "guardrails": rule("block", "request")}) as gate:
        path, body = ASK[dialect]
        body = json.loads(json.dumps(body).replace("{m}", "anthropic").replace('"hi"', json.dumps(TEXT)))
        got = gate.post(path.replace("{m}", "anthropic"), body)
        assert got.status == 400 and not upstream.calls, got
