# SPDX-License-Identifier: Apache-2.0
"""After keepalive_ping without a byte a stream gets a comment, never inside an event."""

import re
import threading

from harness import chat_chunk, sse_events

CONFIG = {"server": {"timeouts": {"keepalive_ping": "300ms"}}}
PING = re.compile(rb"^:[^\n]*\n\n", re.M)


def silent(call, halves):
    call.begin_stream()
    call.event(chat_chunk({"content": "a"}))
    threading.Event().wait(1.2)
    if halves:
        data = b'data: {"choices":[{"delta":{"content":"half"}}]}\n\n'
        call.chunk(data[:20])
        threading.Event().wait(1.2)
        call.chunk(data[20:])
    call.event("[DONE]")
    call.end_stream()


def test_a_comment_comes(gate, upstream):
    upstream.answer = lambda call: silent(call, halves=False)
    body = gate.chat(stream=True).body
    assert len(PING.findall(body)) >= 2, body
    assert len(sse_events(PING.sub(b"", body))) == 2


def test_never_inside_an_event(gate, upstream):
    upstream.answer = lambda call: silent(call, halves=True)
    body = gate.chat(stream=True).body
    without = PING.sub(b"", body)
    assert without != body
    assert b'data: {"choices":[{"delta":{"content":"half"}}]}\n\n' in without
    assert len(sse_events(without)) == 3


def test_a_stream_that_moves_gets_none(gate, upstream):
    def answer(call):
        call.begin_stream()
        for _ in range(8):
            call.event(chat_chunk({"content": "x"}))
            threading.Event().wait(0.1)
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    assert not PING.findall(gate.chat(stream=True).body)


def test_an_unstreamed_answer_gets_none(gate, upstream):
    def answer(call):
        threading.Event().wait(1)
        call.respond(200, {"a": 1})

    upstream.answer = answer
    assert gate.chat().body == b'{"a": 1}'
