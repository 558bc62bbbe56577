# SPDX-License-Identifier: Apache-2.0
"""TERM: not ready any more, open streams finish, then exit 0. A second TERM: at once."""

import signal
import threading

import pytest
from harness import (
    ProtocolError,
    Sluice,
    chat_chunk,
    chat_request,
    config_for,
    eventually,
    is_alive,
    request_bytes,
    sse_events,
)

pytestmark = pytest.mark.threads


class Held:
    """Streams one event, then waits to be let go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, call):
        call.begin_stream()
        call.event(chat_chunk({"content": "first"}))
        self.go.wait(120)
        call.event(chat_chunk({"content": "last"}))
        call.event("[DONE]")
        call.end_stream()


def start(upstream, drain_delay="0s", grace="20s", **more):
    return Sluice(config_for(upstream, server={"shutdown": {"drain_delay": drain_delay, "grace": grace}}, **more))


def refused(gate):
    try:
        return gate.get("/livez", key=None, timeout=10).status == 503
    except (OSError, ProtocolError):
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_an_open_stream_finishes(upstream, number):
    upstream.answer = held = Held()
    with start(upstream) as gate:
        client, response = gate.open_stream()
        gate.signal(number)
        eventually(lambda: refused(gate), what="no new connection is taken")
        held.go.set()
        with client:
            events = sse_events(b"".join(client.pieces(response)))
        assert len(events) == 3 and events[-1] == "[DONE]"
        assert gate.process.wait(30) == 0


def test_the_probe_says_so_first(upstream):
    with start(upstream, drain_delay="5s") as gate:
        kept = gate.connect()
        assert kept.request("GET", "/readyz").status == 200
        gate.signal(signal.SIGTERM)
        eventually(lambda: gate.get("/readyz", key=None).status == 503, within=1.5, what="/readyz says 503")
        assert gate.get("/livez", key=None).status == 200
        assert gate.chat().status in (200, 503), "listeners are open for drain_delay"
        assert gate.process.wait(20) == 0
        kept.close()


def test_idle_connections_are_closed(upstream):
    with start(upstream) as gate:
        idle = [gate.connect() for _ in range(10)]
        for client in idle[:5]:
            assert client.request("GET", "/livez").status == 200
        gate.signal(signal.SIGTERM)
        for client in idle:
            assert client.read_to_close(within=10) == b""
            client.close()
        assert gate.process.wait(30) == 0


def test_a_request_being_answered_is_the_last_on_its_connection(upstream):
    go = threading.Event()

    def answer(call):
        go.wait(20)
        call.respond(200, {"a": 1})

    upstream.answer = answer
    with start(upstream) as gate:
        with gate.connect() as client:
            client.send(chat_request() + request_bytes("GET", "/livez"))
            upstream.wait_calls(1)
            gate.signal(signal.SIGTERM)
            eventually(lambda: refused(gate))
            go.set()
            assert client.read_response().status == 200
            client.read_to_close(within=10)
        assert gate.process.wait(30) == 0


def test_grace_ends(upstream):
    """A stream that never ends is cut after `grace`, and booked."""
    upstream.answer = held = Held()
    with start(upstream, grace="1s") as gate:
        client, response = gate.open_stream()
        request_id = response.header("x-request-id")
        gate.signal(signal.SIGTERM)
        assert gate.process.wait(30) == 0
        with client:
            assert b"[DONE]" not in client.read_to_close(within=5)
        held.go.set()
        row = gate.ledger_row(request_id)
        assert row["outcome"] == "partial" and row["output_tokens"] > 0, row


def test_a_second_signal_ends_it_at_once(upstream):
    upstream.answer = held = Held()
    with start(upstream, grace="300s") as gate:
        client, _ = gate.open_stream()
        gate.signal(signal.SIGTERM)
        eventually(lambda: refused(gate))
        gate.signal(signal.SIGTERM)
        gate.process.wait(60)
        gate.may_crash = True  # its exit code is not 0, rightly or not
        client.close()
        held.go.set()


def test_the_command_drains_too(upstream):
    with start(upstream) as gate:
        assert gate.chat().status == 200
        assert gate.cli("drain").returncode == 0
        assert gate.process.wait(30) == 0


def test_nothing_is_left_running(upstream):
    with start(upstream) as gate:
        children = gate.children()
        gate.stop()
        for pid in children:
            eventually(lambda pid=pid: not is_alive(pid))


def test_the_child_does_not_outlive_its_supervisor(upstream):
    gate = start(upstream)
    try:
        children = gate.children()
        gate.process.kill()
        for pid in children:
            eventually(lambda pid=pid: not is_alive(pid), within=5)
    finally:
        gate.kill()
