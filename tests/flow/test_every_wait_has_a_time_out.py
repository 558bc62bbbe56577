# SPDX-License-Identifier: Apache-2.0
"""Deadlines are totals, not per read: who trickles is as late as who is silent."""

import contextlib
import json
import socket
import time

import pytest
from harness import (
    KEY_ACME,
    PRICE,
    Sluice,
    Upstream,
    chat_chunk,
    chat_request,
    config_for,
    eventually,
    merged,
    model_for,
    provider_for,
    request_bytes,
    sse_events,
)

SLOW = 15  # a wait that should take one second has gone wrong beyond this


def configure(upstream):
    config = config_for(upstream)
    blackhole = "http://127.0.0.1:%d/v1" % full_backlog()
    config["server"]["timeouts"] = {
        "client_header": "1s", "client_body": {"total": "1s", "min_rate": "64KiB"}, "client_idle": "1s",
        "stream_idle": "3s"}
    quick = {"connect": "1s", "first_byte": "1s", "total": "2s"}
    config["providers"] = [
        merged(provider_for(upstream), {"timeouts": quick}),
        provider_for(blackhole, "hole", timeouts=quick),
    ]
    config["models"].append(model_for("hole", "hole"))
    return config


FULL = []


def full_backlog():
    """A port whose queue is full: the kernel drops what would connect to it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    FULL.append(listener)
    for _ in range(4):
        waiting = socket.socket()
        waiting.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            waiting.connect(listener.getsockname())
        FULL.append(waiting)
    return listener.getsockname()[1]


def trickle(client, data, every=0.1):
    """Send a byte at a time until the peer answers or closes; the seconds that took."""
    begin = time.monotonic()
    for byte in data:
        try:
            client.sock.send(bytes([byte]))
        except OSError:
            break
        if not client.is_quiet(every):
            break
    return time.monotonic() - begin


def test_a_head_that_never_comes(gate):
    with gate.connect() as client:
        begin = time.monotonic()
        rest = client.read_to_close(within=SLOW)
        assert rest == b"" or rest.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begin > 0.8


def test_a_head_that_trickles(gate):
    request = request_bytes("GET", "/v1/models", {"Authorization": f"Bearer {KEY_ACME}", "X": "y" * 1000})
    with gate.connect() as client:
        took = trickle(client, request)
        assert 0.8 < took < SLOW
        answer = client.read_to_close(within=SLOW)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408"), answer


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_trickles(gate, upstream, chunked):
    head = [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", "application/json")]
    if chunked:
        head.append(("Transfer-Encoding", "chunked"))
        data = b"1\r\n{\r\n" + b"1\r\n \r\n" * 500
    else:
        head.append(("Content-Length", "5000"))
        data = b'{"model":"fast",' + b" " * 2000
    with gate.connect() as client:
        client.send(request_bytes("POST", "/v1/chat/completions", head, b""))
        took = trickle(client, data)
        assert 0.8 < took < SLOW
        answer = client.read_response()
        assert answer.status == 408 and answer.closes, answer
    assert not upstream.calls


def test_a_connection_that_idles(gate):
    with gate.connect() as client:
        assert client.send(chat_request()).read_response().status == 200
        begin = time.monotonic()
        assert client.read_to_close(within=SLOW) == b""
        assert time.monotonic() - begin > 0.8


def test_an_upstream_that_cannot_be_reached(gate):
    begin = time.monotonic()
    answer = gate.chat("hole")
    assert answer.status in (503, 504) and answer.error["type"] == "server_error", answer
    assert time.monotonic() - begin < SLOW


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_says_nothing(gate, upstream, stream):
    upstream.answer = lambda call: call.wait_gone(SLOW)
    answer = gate.chat(stream=stream)
    assert answer.status == 504 and answer.error["code"] == "upstream_timeout", answer


def test_an_upstream_that_trickles_its_head(gate, upstream):
    def answer(call):
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200:
            call.send(bytes([byte]))
            time.sleep(0.1)

    upstream.answer = answer
    begin = time.monotonic()
    got = gate.chat()
    assert got.status == 504 and time.monotonic() - begin < SLOW, got


def test_a_stream_that_stalls(gate, upstream):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "half"}))
        call.wait_gone(SLOW)

    upstream.answer = answer
    client, response = gate.open_stream()
    with client:
        body = client.read_to_close(within=SLOW)
    assert b"[DONE]" not in body
    payload = b"\n\n".join(piece for piece in body.split(b"\r\n") if piece.startswith(b"data:"))
    errors = [json.loads(e) for e in sse_events(payload) if '"error"' in e]
    assert errors and errors[0]["error"]["code"] == "upstream_timeout", body
    row = gate.ledger_row(response.header("x-request-id"))
    assert row["outcome"] == "partial" and row["output_tokens"] >= 1, row


def test_a_stream_that_goes_on_is_not_late(gate, upstream):
    """Neither the total of 2 s nor stream_idle ends a stream that moves."""

    def answer(call):
        call.begin_stream()
        for i in range(9):
            call.event(chat_chunk({"content": str(i)}))
            time.sleep(0.4)
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    got = gate.chat(stream=True)
    assert len(sse_events(got.body)) == 10


def test_an_unstreamed_answer_that_trickles(gate, upstream):
    def answer(call):
        call.head(200, {"content-type": "application/json", "content-length": "10000"})
        for _ in range(100):
            call.send(b" ")
            time.sleep(0.2)

    upstream.answer = answer
    begin = time.monotonic()
    with gate.connect() as client:
        client.send(chat_request())
        body = client.read_to_close(within=SLOW + 5)
    assert time.monotonic() - begin < SLOW + 5
    assert body.count(b" ") < 1000


def test_a_target_that_rests_is_not_waited_for_longer_than_the_client_waits(upstream):
    """Nor longer than `max_backoff`, all waits of the call together."""
    upstream.answer = lambda call: call.respond(429, b"{}", headers=[("retry-after", "20")])
    config = config_for(upstream)
    config["providers"] = [provider_for(upstream, retry={"attempts": 2, "max_backoff": "25s"})]
    with Sluice(config) as gate:
        for _ in range(3):  # so often in a row: it is believed
            assert gate.chat(headers=[("x-litellm-timeout", "2")]).status == 429
        assert len(upstream.calls) == 3
        for stream in (False, True):
            begin = time.monotonic()
            answer = gate.chat(stream=stream, headers=[("x-litellm-timeout", "2")])
            assert answer.status == 429 and 0 < int(answer.header("retry-after")) <= 20, answer
            assert time.monotonic() - begin < SLOW and len(upstream.calls) == 3


def test_a_second_target_has_no_more_time_than_its_provider_gives():
    with Upstream(lambda call: call.respond(500, b"{}")) as fails, Upstream(lambda call: call.wait_gone(30)) as hangs:
        config = config_for(fails)
        config["providers"] = [
            provider_for(fails, "fails", retry={"attempts": 2}, timeouts={"total": "10m", "first_byte": "30s"}),
            provider_for(hangs, "hangs", timeouts={"total": "2s", "first_byte": "30s"})]
        config["models"] = [{"name": "fast", "targets": [
            {"id": provider, "provider": provider, "model": "m", "price": PRICE, "priority": i}
            for i, provider in enumerate(("fails", "hangs"), 1)]}]
        with Sluice(config) as gate:
            answer = gate.chat(options={"timeout": SLOW + 10})
            assert answer.status == 504 and answer.header("x-sluice-target") == "hangs", answer


def test_a_stream_that_says_nothing_has_not_begun():
    """While another target could be asked its beginning is kept, and the client still waits."""
    def say_nothing(call):
        call.begin_stream()
        call.event(chat_chunk({"role": "assistant", "content": ""}))
        call.wait_gone(60)

    with Upstream(say_nothing) as upstream:
        config = config_for(upstream)
        config["providers"] = [provider_for(upstream, retry={"attempts": 2}, timeouts={"first_byte": "30s"})]
        config["models"][0]["targets"].append({**config["models"][0]["targets"][0], "id": "another"})
        with Sluice(config) as gate:
            answer = gate.chat(stream=True, headers=[("x-litellm-stream-timeout", "1")], options={"timeout": SLOW + 10})
            assert answer.status == 504 and len(upstream.calls) == 1, answer


def test_the_gateway_serves_on(gate):
    assert gate.chat().status == 200
    eventually(lambda: gate.metric("sluice_inflight_requests") == 0)
