# SPDX-License-Identifier: Apache-2.0
"""Reused, bounded, and waited for in turn."""

import os
import signal
import threading
import time

import pytest
from harness import (
    Background,
    Sluice,
    Upstream,
    chat_request,
    config_for,
    eventually,
    merged,
    model_for,
    provider_for,
    temporary_folder,
)

pytestmark = pytest.mark.threads
SOCKET = temporary_folder("sluice-up-") + "/server.sock"


def configure(upstream):
    config = config_for(upstream)
    config["server"]["workers"] = 1
    config["providers"] = [merged(provider_for(upstream), {
        "pool": {"max_connections": 2, "max_idle": 1, "idle_timeout": "1s"}, "timeouts": {"first_byte": "5s"}})]
    config["models"] = [model_for()]
    return config


def slowly(call):
    time.sleep(0.1)
    call.respond(200, {"a": 1})


def test_never_more_than_allowed(gate, upstream):
    now, most, lock = [0], [0], threading.Lock()

    def answer(call):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        call.respond(200, {"a": 1})

    upstream.answer = answer
    calls = [Background(gate.chat) for _ in range(12)]
    assert all(call.result().status == 200 for call in calls)
    assert most[0] <= 2, most


def test_who_leaves_the_queue_is_forgotten(gate, upstream):
    release = threading.Event()

    def hold(call):
        release.wait(10)
        call.respond(200, {"a": 1})

    upstream.answer = hold
    busy = [Background(gate.chat) for _ in range(2)]
    upstream.wait_calls(2)
    waiting = [gate.connect() for _ in range(5)]
    for client in waiting:
        client.send(chat_request())
    eventually(lambda: gate.metric("sluice_inflight_requests") == 7)
    for client in waiting:
        client.close()
    eventually(lambda: gate.metric("sluice_inflight_requests") == 2, what="those that left are gone")
    release.set()
    assert all(call.result().status == 200 for call in busy)
    assert len(upstream.calls) == 2, "nobody asked for those that left"
    assert gate.chat().status == 200


def test_waiting_has_an_end(gate, upstream):
    """A call that never gets a connection is refused, not held for ever."""
    release = threading.Event()

    def hold(call):
        call.begin_stream()
        call.event({"choices": [{"delta": {"content": "x"}}]})
        release.wait(40)
        call.end_stream()

    upstream.answer = hold
    streams = [gate.open_stream() for _ in range(2)]
    begin = time.monotonic()
    answer = gate.chat(options={"timeout": 40})
    took = time.monotonic() - begin
    release.set()
    for client, _ in streams:
        client.close()
    assert answer.status in (503, 504) and answer.error["type"] == "server_error", answer
    assert took < 30


def test_idle_ones_are_closed(gate, upstream):
    upstream.answer = slowly
    calls = [Background(gate.chat) for _ in range(2)]
    assert all(call.result().status == 200 for call in calls)
    eventually(lambda: gate.metric("sluice_upstream_connections") <= 1, what="more than max_idle is closed")
    eventually(lambda: gate.metric("sluice_upstream_connections") == 0, within=15, what="idle_timeout")


def test_a_call_that_was_read_is_not_sent_again(gate, upstream):
    """Who reads it from a connection that was kept, and hangs up, may have worked on it."""
    for count in range(1, 11):
        upstream.answer = lambda call: call.respond(200, {"a": 1})
        assert gate.chat().status == 200
        upstream.answer = lambda call: call.close()
        assert gate.chat().status == 503
        assert len(upstream.calls) == 2 * count


def test_a_call_that_was_not_read_is_sent_on_another_connection(gate, upstream):
    """The target closes a kept connection at the moment at which it is used."""
    upstream.answer = lambda call: call.respond(200, {"a": 1})
    assert gate.chat().status == 200
    eventually(lambda: gate.metric("sluice_upstream_idle_connections") == 1)
    with gate.connect() as client:
        os.kill(gate.worker_pid, signal.SIGSTOP)
        try:
            client.send(chat_request())
            time.sleep(0.05)
            for connection in upstream.connections:
                connection.close()
        finally:
            os.kill(gate.worker_pid, signal.SIGCONT)
        assert client.read_response().status == 200
    assert len(upstream.calls) == 2


def test_a_unix_socket(upstream):
    with Upstream(path=SOCKET) as server, Sluice(config_for(server)) as gate:
        assert gate.chat().status == 200
        assert gate.chat(stream=True).body.endswith(b"[DONE]\n\n")
        assert len(server.calls) == 2
