# SPDX-License-Identifier: Apache-2.0
"""However the upstream frames its answer and wherever the network cuts it."""

import time

import pytest
from harness import framed, raw_answer

JSON = b'{ "id":"x" , "choices":[{"message":{"content":"\\u00e9 \xc3\xa9 \\n"}}],\n"usage":{"prompt_tokens":3,"completion_tokens":2}}\n'
SSE = (
    b": comment\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n"
    b"event: x\nid: 7\nretry: 10\ndata: {\"choices\":[{\"delta\":\ndata: {\"content\":\"b\"}}]}\n\n"
    b"data:{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\n\ndata: [DONE]\n\n"
)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("content_type, body, stream", [
    ("application/json", JSON, False), ("text/event-stream; charset=utf-8", SSE, True),
    ("audio/mpeg", bytes(range(256)) * 3000, None)],
    ids=["json", "sse", "binary"])
def test_all_framings(gate, upstream, framing, content_type, body, stream):
    data = framed("HTTP/1.1 200 OK", [("Content-Type", content_type)], body, framing, sizes=[1, 2, 7, 100])
    upstream.answer = raw_answer(data, then_close=framing == "close")
    if stream is None:
        answer = gate.post("/v1/audio/speech", {"model": "fast", "input": "x", "voice": "y"})
    else:
        answer = gate.chat(stream=stream)
    assert answer.status == 200 and answer.body == body
    assert answer.header("content-type") == content_type


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 17])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_all_cuts_of_the_network(gate, upstream, cut, framing):
    data = framed("HTTP/1.1 200 OK", [("Content-Type", "text/event-stream")], SSE, framing, sizes=[5, 1, 31])

    def answer(call):
        for at in range(0, len(data), cut):
            call.send(data[at : at + cut])
            if at % 16 == 0:
                time.sleep(0.0005)  # so that pieces do not always melt together

    upstream.answer = answer
    assert gate.chat(stream=True).body == SSE


def test_events_are_not_held_back(gate, upstream):
    """Each event reaches the client before the next is sent."""
    import threading

    seen = threading.Event()

    def answer(call):
        call.begin_stream()
        for i in range(5):
            seen.clear()
            call.event({"choices": [{"delta": {"content": str(i)}}]})
            assert seen.wait(10), f"event {i} was held back"
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    client, response = gate.open_stream()
    with client:
        for _, piece in zip(range(5), client.pieces(response)):
            assert b"data:" in piece
            seen.set()
        rest = b"".join(client.pieces(response))
    assert rest.endswith(b"data: [DONE]\n\n")


def test_status_and_headers_pass(gate, upstream):
    upstream.answer = lambda call: call.respond(200, JSON, headers={
        "x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-tokens": "5", "openai-processing-ms": "12",
        "openai-version": "2020-10-01", "set-cookie": "a=b", "server": "evil", "x-powered-by": "y",
        "anthropic-ratelimit-unified-status": "allowed"})
    answer = gate.chat()
    assert answer.header("x-ratelimit-limit-requests") == "100"
    assert answer.header("x-ratelimit-remaining-tokens") == "5"
    assert answer.header("anthropic-ratelimit-unified-status") == "allowed"
    for name in ("set-cookie", "x-powered-by"):
        assert name not in answer.fields, name
    assert answer.header("server") != "evil"


def test_a_head_request_has_no_body(gate):
    with gate.connect() as client:
        answer = client.request("HEAD", "/readyz")
        assert answer.status in (200, 405) and answer.body == b""
        if not answer.closes:
            assert client.request("GET", "/livez").status == 200
