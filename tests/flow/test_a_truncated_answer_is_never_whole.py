# SPDX-License-Identifier: Apache-2.0
"""What the upstream cut, the client can see to be cut."""

import json
import time

import pytest
from harness import chat_body, chat_chunk, chat_request, framed, sse_events
from raw_client import Closed

BODY = json.dumps(chat_body("x" * 5000)).encode()
HEADERS = [("content-type", "application/json")]
CUTS = [0.1, 0.5, 0.9, 0.999]


def cut(data, at, how):
    head = data.index(b"\r\n\r\n") + 4

    def answer(call):
        call.send(data[: head + int((len(data) - head) * at)])
        getattr(call, how)()

    return answer


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("at", CUTS)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_unstreamed_answer(gate, upstream, framing, at, how):
    data = framed("HTTP/1.1 200 OK", HEADERS, BODY, framing, sizes=[100, 7])
    upstream.answer = cut(data, at, how)
    request_id = None
    with gate.connect() as client:
        client.send(chat_request())
        try:
            answer = client.begin_response("POST")
            request_id = answer.header("x-request-id")
            answer.body = b"".join(client.pieces(answer))
            assert answer.status == 502 or answer.framing == "close", f"passed off as whole: {answer}"
        except Closed:
            pass
    if request_id:
        row = gate.ledger_row(request_id)
        assert row["outcome"] in ("partial", "refused"), row
    assert gate.chat(key=None).status == 401


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_stream(gate, upstream, framing, how):
    events = b"".join(f"data: {json.dumps(chat_chunk({'content': f'w{i}'}))}\n\n".encode() for i in range(20))
    data = framed("HTTP/1.1 200 OK", [("content-type", "text/event-stream")], events + b"data: [DONE]\n\n", framing,
                  sizes=[200])
    upstream.answer = cut(data, 0.6, how)
    client, response = gate.open_stream()
    with client:
        try:
            body = b"".join(client.pieces(response))
        except Closed:
            body = bytes(client.buffer)
            client.ended = True
    assert b"[DONE]" not in body
    row = gate.ledger_row(response.header("x-request-id"))
    assert row["outcome"] == "partial" and row["output_tokens"] > 0, row


def test_the_client_of_a_cut_stream_is_told(gate, upstream):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "half"}))
        call.close()

    upstream.answer = answer
    client, response = gate.open_stream()
    with client:
        pieces = []
        try:
            for piece in client.pieces(response):
                pieces.append(piece)
        except Closed:
            pass
    events = sse_events(b"".join(pieces))
    error = json.loads(events[-1])["error"]
    assert error["type"] == "server_error" and error["code"] == "upstream_invalid", events
    assert "[DONE]" not in events


def test_half_an_event_is_not_an_event(gate, upstream):
    """The cut goes through an event: our error must not melt into it."""

    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "whole"}))
        call.chunk(b'data: {"choices":[{"delta":{"cont')
        call.close()

    upstream.answer = answer
    client, response = gate.open_stream()
    with client:
        pieces = []
        try:
            for piece in client.pieces(response):
                pieces.append(piece)
        except Closed:
            pass
    good = []
    for event in sse_events(b"".join(pieces)):
        try:
            good.append(json.loads(event))
        except ValueError:
            pass
    assert "error" in good[-1], pieces


NO_STREAM = b"<html>\x01\x02 {\"not\": json,\n\xff\xfe data\n\n"


@pytest.mark.parametrize("pieces", [[NO_STREAM + b"\n"], [NO_STREAM[:9], NO_STREAM[9:]], [NO_STREAM, b"\n"], [NO_STREAM] * 40,
                                    [NO_STREAM[:-2]], [b"x" * 300_000] * 4],
                         ids=["one", "in two", "a line behind", "many", "no end", "too long to be an event"])
def test_what_is_no_stream_is_an_error_with_its_status(gate, upstream, pieces):
    """A page, say, that a proxy sends under the type of a stream. There is no other target: the client is told all the same."""

    def answer(call):
        call.begin_stream()
        for piece in pieces:
            call.chunk(piece)
            time.sleep(0.02)  # a read of its own
        call.end_stream()

    upstream.answer = answer
    answer = gate.chat(stream=True)
    assert answer.status == 502 and answer.json["error"]["code"] == "upstream_invalid", answer
