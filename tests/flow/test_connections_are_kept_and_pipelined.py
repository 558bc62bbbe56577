# SPDX-License-Identifier: Apache-2.0
"""Keep-alive, pipelining and HTTP/1.0, towards clients and towards upstreams."""

import threading
import time

import pytest
from harness import KEY_ACME, chat_chunk, chat_request, eventually, request_bytes, sse_events

pytestmark = pytest.mark.threads
CONFIG = {"server": {"workers": 1}}


def named(text, **fields):
    return chat_request({"model": "fast", "messages": [text], **fields})


def echo(call):
    """Answers with the request's own messages."""
    call.respond(200, {"echo": call.json["messages"]})


def test_many_requests_on_one_connection(gate, upstream):
    upstream.answer = echo
    with gate.connect() as client:
        for i in range(50):
            answer = client.send(named(f"n{i}")).read_response()
            assert answer.json == {"echo": [f"n{i}"]} and not answer.closes
    assert len({id(call.connection) for call in upstream.calls}) == 1, "the upstream connection is kept"


def test_pipelined_requests_are_answered_in_order(gate, upstream):
    def answer(call):
        time.sleep(0.1 if call.json["messages"] == ["n0"] else 0)
        echo(call)

    upstream.answer = answer
    with gate.connect() as client:
        client.send(b"".join(named(f"n{i}") for i in range(20)))
        for i in range(20):
            assert client.read_response().json == {"echo": [f"n{i}"]}


def test_pipelined_in_one_byte_pieces(gate, upstream):
    upstream.answer = echo
    with gate.connect() as client:
        client.send_cut(named("a") + named("b"), 1)
        assert [client.read_response().json["echo"] for _ in range(2)] == [["a"], ["b"]]


def test_pipelined_behind_a_stream(gate, upstream):
    with gate.connect() as client:
        client.send(named("s", stream=True) + request_bytes("GET", "/livez") + named("b"))
        first = client.read_response()
        assert sse_events(first.body)[-1] == "[DONE]"
        assert client.read_response().status == 200
        assert client.read_response().status == 200


def test_pipelined_behind_a_refusal_that_closes(gate, upstream):
    bad = request_bytes("POST", "/v1/chat/completions", [("Content-Length", "1"), ("Content-Length", "1")], b"x")
    with gate.connect() as client:
        client.send(bad + named("must not run"))
        assert client.read_response().status == 400
        assert client.read_to_close(within=10) == b""
    assert not upstream.calls


def test_close_is_obeyed(gate, upstream):
    with gate.connect() as client:
        client.send(chat_request(headers={"Connection": "close"}) + named("must not run"))
        answer = client.read_response()
        assert answer.status == 200 and answer.closes
        assert client.read_to_close(within=10) == b""
    assert len(upstream.calls) == 1


def test_http_1_0(gate, upstream):
    request = request_bytes("POST", "/v1/chat/completions", {"Authorization": f"Bearer {KEY_ACME}"},
                            {"model": "fast", "messages": []}, version="HTTP/1.0")
    with gate.connect() as client:
        answer = client.send(request).read_response()
        assert answer.status == 200 and answer.json["choices"]
        assert client.read_to_close(within=10) == b""


def test_http_1_0_gets_no_chunks(gate, upstream):
    request = request_bytes("POST", "/v1/chat/completions", {"Authorization": f"Bearer {KEY_ACME}"},
                            {"model": "fast", "messages": [], "stream": True}, version="HTTP/1.0")
    with gate.connect() as client:
        client.send(request)
        answer = client.begin_response("POST")
        assert answer.framing == "close"
        assert sse_events(b"".join(client.pieces(answer)))[-1] == "[DONE]"


def test_http_1_0_may_ask_to_keep(gate):
    request = request_bytes("GET", "/livez", {"Connection": "keep-alive"}, version="HTTP/1.0")
    with gate.connect() as client:
        answer = client.send(request).read_response()
        assert answer.status == 200
        if "keep-alive" in (answer.header("connection") or "").lower():
            assert client.send(request).read_response().status == 200
        else:
            assert client.read_to_close(within=10) == b""


def test_empty_lines_before_a_request_are_skipped(gate):
    with gate.connect() as client:
        assert client.send(b"\r\n" + chat_request()).read_response().status == 200
        assert client.send(b"\r\n\r\n" + chat_request()).read_response().status == 200


def test_an_upstream_connection_that_was_closed_while_idle_is_replaced(gate, upstream):
    """The request is sent again on a new one: nothing of it was answered."""
    for _ in range(5):
        assert gate.chat().status == 200
        for connection in upstream.connections:
            connection.close()
        assert gate.chat().status == 200


def test_an_upstream_that_closes_after_each_answer(gate, upstream):
    def answer(call):
        call.respond(200, {"a": 1}, headers={"Connection": "close"})
        call.close()

    upstream.answer = answer
    with gate.connect() as client:
        for _ in range(10):
            assert client.send(chat_request()).read_response().status == 200


def test_an_answer_that_ends_with_its_connection_is_not_kept(gate, upstream):
    def answer(call):
        call.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}")
        call.close()

    upstream.answer = answer
    for _ in range(3):
        assert gate.chat().body == b"{}"


def test_bytes_behind_an_answer_poison_the_connection(gate, upstream):
    """An upstream that says more than it was asked is not believed a second time."""
    first = threading.Event()

    def answer(call):
        if not first.is_set():
            first.set()
            call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"x\":1}")
        else:
            call.respond(200, {"right": True})

    upstream.answer = answer
    assert gate.chat().status in (200, 502)
    for _ in range(5):
        assert gate.chat().json == {"right": True}


def test_parallel_clients_get_their_own_answers(gate, upstream):
    upstream.answer = echo
    clients = [gate.connect() for _ in range(64)]
    for round_ in range(5):
        for i, client in enumerate(clients):
            client.send(named(f"{round_}-{i}"))
        for i, client in enumerate(clients):
            assert client.read_response().json == {"echo": [f"{round_}-{i}"]}
    for client in clients:
        client.close()


def test_streams_side_by_side(gate, upstream):
    def answer(call):
        call.begin_stream()
        for i in range(5):
            call.event(chat_chunk({"content": call.json["messages"][0]}))
            time.sleep(0.01)
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    clients = [gate.connect() for _ in range(32)]
    for i, client in enumerate(clients):
        client.send(named(f"s{i}", stream=True))
    for i, client in enumerate(clients):
        events = sse_events(client.read_response().body)
        assert len(events) == 6 and all(f'"s{i}"' in e for e in events[:5])
        client.close()
    eventually(lambda: gate.metric("sluice_inflight_requests") == 0)
