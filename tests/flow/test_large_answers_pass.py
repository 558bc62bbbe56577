# SPDX-License-Identifier: Apache-2.0
"""JSON of many megabytes, events of many megabytes, compressed answers: byte for byte, in bounded
memory, and with their usage where it can be read."""

import gzip
import json

import pytest
from harness import SANITIZED, USAGE, chat_body, framed, raw_answer, sse_events

GROWTH = (200 if SANITIZED else 24) << 20
CONFIG = {"server": {"workers": 1}}


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("first", [False, True], ids=["usage last", "usage first"])
def test_json_of_20_mib(gate, upstream, framing, first):
    text = "x" * (20 << 20)
    body = {"usage": USAGE, **chat_body(text, usage=None)} if first else chat_body(text)
    data = json.dumps(body).encode()
    upstream.answer = raw_answer(framed("HTTP/1.1 200 OK", [("content-type", "application/json")], data, framing,
                                        sizes=[65536]), then_close=framing == "close")
    before = gate.rss()
    answer = gate.chat()
    assert answer.status == 200 and answer.body == data
    row = gate.ledger_row(answer.header("x-request-id"))
    assert (row["input_tokens"], row["output_tokens"], row["outcome"]) == (11, 7, "complete"), row
    assert gate.rss() - before < GROWTH


def test_an_embedding_of_many_numbers(gate, upstream):
    data = {"object": "list", "data": [{"index": i, "embedding": [0.123456789] * 3072} for i in range(100)],
            "usage": {"prompt_tokens": 500, "total_tokens": 500}}
    upstream.answer = lambda call: call.respond(200, data)
    answer = gate.post("/v1/embeddings", {"model": "fast", "input": ["x"] * 100})
    assert answer.json == data
    assert gate.ledger_row(answer.header("x-request-id"))["input_tokens"] == 500


def test_an_event_of_8_mib(gate, upstream):
    big = b'data: {"choices":[{"delta":{"content":"' + b"y" * (8 << 20) + b'"}}]}\n\n'
    rest = (b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
            b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}\n\ndata: [DONE]\n\n')
    upstream.answer = raw_answer(framed("HTTP/1.1 200 OK", [("content-type", "text/event-stream")], big + rest, "chunked",
                                        sizes=[30000]))
    answer = gate.chat(stream=True, stream_options={"include_usage": True})
    assert answer.body == big + rest
    row = gate.ledger_row(answer.header("x-request-id"))
    assert row["outcome"] == "complete" and row["output_tokens"] > 0, row


def test_a_hundred_thousand_events(gate, upstream):
    event = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
    body = event * 100_000 + b"data: [DONE]\n\n"
    upstream.answer = raw_answer(framed("HTTP/1.1 200 OK", [("content-type", "text/event-stream")], body, "length"))
    answer = gate.chat(stream=True)
    assert answer.body == body
    assert gate.ledger_row(answer.header("x-request-id"))["output_tokens"] >= 100_000


@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_answer_that_nobody_asked_for(gate, upstream, stream):
    plain = b'data: {"choices":[]}\n\ndata: [DONE]\n\n' if stream else json.dumps(chat_body("x" * 5000)).encode()
    data = gzip.compress(plain)
    kind = "text/event-stream" if stream else "application/json"
    upstream.answer = lambda call: call.respond(200, data, headers={"content-encoding": "gzip"}, content_type=kind)
    answer = gate.chat(stream=stream)
    if answer.status == 200:
        assert answer.header("content-encoding") == "gzip" and answer.body == data
        row = gate.ledger_row(answer.header("x-request-id"))
        assert row["counted"] == "estimate" and row["cost_nanos"] > 0, row
    else:
        assert answer.status == 502 and answer.error["code"] == "upstream_invalid", answer


def test_a_request_of_16_mib(gate, upstream):
    body = b'{"model":"fast","messages":[{"role":"user","content":"' + b"z" * (16 << 20) + b'"}]}'
    answer = gate.post("/v1/chat/completions", body, headers={"Content-Type": "application/json"})
    assert answer.status == 200
    assert upstream.last().body == body.replace(b'"fast"', b'"upstream-model"')


def test_events_keep_their_order_and_number(gate, upstream):
    body = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % i for i in range(5000)) + b"data: [DONE]\n\n"
    upstream.answer = raw_answer(framed("HTTP/1.1 200 OK", [("content-type", "text/event-stream")], body, "chunked",
                                        sizes=[1, 100, 13, 4096, 7]))
    events = sse_events(gate.chat(stream=True).body)
    assert [json.loads(e)["choices"][0]["delta"]["content"] for e in events[:-1]] == [str(i) for i in range(5000)]
