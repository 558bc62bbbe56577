# SPDX-License-Identifier: Apache-2.0
"""The upstream is closed at once, and what was produced is booked."""

import threading

import pytest
from harness import KEY_ACME, SANITIZED, chat_chunk, chat_request, eventually, request_bytes

pytestmark = pytest.mark.threads
SOON = 3.0 if SANITIZED else 1.0


class Watch:
    """Streams some words, then waits for the gateway to leave."""

    def __init__(self, words=3, head=True):
        self.words, self.head = words, head
        self.gone_after, self.done, self.reached = None, threading.Event(), threading.Event()

    def __call__(self, call):
        try:
            if self.head:
                call.begin_stream()
                for i in range(self.words):
                    call.event(chat_chunk({"content": f"word {i} "}))
            self.reached.set()
            self.gone_after = call.wait_gone(10)
        finally:
            self.done.set()


def leave(gate, upstream, watch, how):
    upstream.answer = watch
    client = gate.connect()
    client.send(chat_request({"model": "fast", "messages": [], "stream": True}))
    assert watch.reached.wait(10)
    request_id = None
    if watch.head:
        response = client.begin_response("POST")
        request_id = response.header("x-request-id")
        got = b""
        for piece in client.pieces(response):
            got += piece
            if got.count(b"\n\n") >= watch.words:
                break
    getattr(client, how)()
    assert watch.done.wait(10) and watch.gone_after is not None, "the upstream was not closed"
    assert watch.gone_after < SOON
    return request_id


@pytest.mark.parametrize("how", ["close", "reset"])
def test_in_the_middle_of_a_stream(gate, upstream, how):
    request_id = leave(gate, upstream, Watch(), how)
    row = gate.ledger_row(request_id)
    assert row["outcome"] == "partial" and row["counted"] == "estimate", row
    assert row["status"] == 499
    assert row["output_tokens"] >= 3 and row["input_tokens"] > 0, row
    assert row["cost_nanos"] > 0


@pytest.mark.parametrize("how", ["close", "reset"])
def test_before_the_first_byte(gate, upstream, how):
    before = gate.usage_total("requests")
    leave(gate, upstream, Watch(head=False), how)
    eventually(lambda: gate.usage_total("requests") == before + 1, what="one row more")


def test_during_an_unstreamed_answer(gate, upstream):
    half, done, gone = threading.Event(), threading.Event(), []

    def answer(call):
        call.head(200, {"content-type": "application/json", "content-length": "1000"})
        call.send(b'{"x":"')
        half.set()
        gone.append(call.wait_gone(10))
        done.set()

    upstream.answer = answer
    with gate.connect() as client:
        client.send(chat_request())
        assert half.wait(10)
    assert done.wait(10) and gone[0] is not None and gone[0] < SOON


def test_in_the_middle_of_its_own_request(gate, upstream):
    """Nothing goes upstream for a body that never came whole."""
    head = request_bytes("POST", "/v1/chat/completions", {
        "Authorization": f"Bearer {KEY_ACME}", "Content-Type": "application/json", "Content-Length": "1000"})
    with gate.connect() as client:
        client.send(head + b'{"model":"fast"')
    assert gate.chat().status == 200
    assert len(upstream.calls) == 1 and not upstream.cut_bodies


def test_others_are_not_disturbed(gate, upstream):
    """Many clients leave, one stays."""
    stay = threading.Event()

    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "a"}))
        if call.json["messages"] == ["stay"]:
            stay.wait(20)
            call.event("[DONE]")
            call.end_stream()
        else:
            call.wait_gone(60)

    upstream.answer = answer
    client, response = gate.open_stream(messages=["stay"])
    for _ in range(20):
        other, _ = gate.open_stream(messages=["leave"])
        other.close()
    stay.set()
    with client:
        assert b"".join(client.pieces(response)).endswith(b"[DONE]\n\n")
    eventually(lambda: gate.metric("sluice_inflight_requests") == 0, what="no request in flight")
