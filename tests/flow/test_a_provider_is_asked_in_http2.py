# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 to a provider that offers it: the same calls, on few connections, and each with an end of its own."""

import json
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from h2_client import END_HEADERS, HEADERS, REFUSED_STREAM, frame
from h2_upstream import EVENTS, JSON, H2Upstream
from harness import (
    KEY_ACME,
    KEY_PROVIDER,
    USAGE,
    Authority,
    Background,
    Sluice,
    chat_body,
    chat_chunk,
    config_for,
    eventually,
    free_port,
    merged,
    model_for,
    provider_for,
    request_bytes,
    sse_events,
    temporary_folder,
)

pytestmark = pytest.mark.threads
FOLDER = temporary_folder("sluice-h2up-")
OURS = Authority(f"{FOLDER}/ours")
SERVER = OURS.issue("server")


def tls_server():
    out = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    out.load_cert_chain(*SERVER)
    return out


def behind(port, **changes):
    return config_for(f"https://localhost:{port}/v1", providers=[provider_for(
        f"https://localhost:{port}/v1", **merged({"tls": {"ca_file": str(OURS.file)}}, changes))])


CHAT = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}


class Pair:
    """A server in HTTP/2, and a gateway in front of it with one worker."""

    def __init__(self, do=None, max_streams=None, **provider):
        self.server = H2Upstream(tls_server(), do, max_streams)
        config = behind(self.server.port, **provider)
        config["server"]["workers"] = 1
        self.gate = Sluice(config)

    def __enter__(self):
        self.gate.__enter__()
        return self

    def __exit__(self, *what):
        self.gate.__exit__(*what)
        self.server.close()


def in_parallel(count, function):
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))


def test_many_calls_share_a_connection():
    with Pair() as pair:
        gate, server = pair.gate, pair.server
        assert gate.chat().json == chat_body()
        call = server.calls[0]
        assert call.headers[":path"] == "/v1/chat/completions" and call.headers[":method"] == "POST"
        assert call.headers[":authority"] == f"localhost:{server.port}" and call.headers[":scheme"] == "https"
        assert call.headers["authorization"] == f"Bearer {KEY_PROVIDER}"
        assert call.headers["content-length"] == str(len(call.body)) and call.json()["model"] == "upstream-model"
        assert not {"host", "connection", "transfer-encoding"} & set(call.headers)
        answers = in_parallel(60, lambda i: gate.chat(stream=i % 2 == 0, user=f"u{i}"))
        assert all(answer.status == 200 for answer in answers)
        assert all(sse_events(answer.body)[-1] == "[DONE]" for answer in answers[::2])
        assert {call.json()["user"] for call in server.calls[1:]} == {f"u{i}" for i in range(60)}
        assert len(server.connections) == 1 and server.http1 == 0
        assert gate.usage_total("requests") == 61
        assert gate.usage_total("output_tokens") == 61 * USAGE["completion_tokens"]
        assert gate.metric("sluice_upstream_connections") in (None, 1)


def test_the_first_crowd_finds_its_way():
    """Before anything is known of the place, each call makes a connection; afterwards they share."""
    with Pair() as pair:
        assert all(answer.status == 200 for answer in in_parallel(40, lambda i: pair.gate.chat()))
        before = len(pair.server.connections)
        assert all(answer.status == 200 for answer in in_parallel(40, lambda i: pair.gate.chat()))
        assert len(pair.server.connections) == before


def test_what_is_large_goes_through_in_both_directions():
    words = "x" * 3_000_000

    def echo(call):
        call.answer(chat_body(text=call.json()["messages"][0]["content"]))

    with Pair(echo) as pair:
        answer = pair.gate.chat(messages=[{"role": "user", "content": words}])
        assert answer.status == 200 and answer.json["choices"][0]["message"]["content"] == words


def test_one_who_does_not_read_holds_up_nobody_else():
    sent = {}

    def do(call):
        if call.json().get("user") != "slow":
            call.answer()
            return
        call.head(EVENTS)
        piece = json.dumps(chat_chunk({"content": "y" * 8000})).encode()
        sent["bytes"] = 0
        while sent["bytes"] < 30_000_000 and call.data(b"data: " + piece + b"\n\n"):
            sent["bytes"] += len(piece)

    with Pair(do) as pair:
        client, response = pair.gate.open_stream(user="slow")
        eventually(lambda: sent.get("bytes", 0) > 100_000)
        before = None
        while before != sent["bytes"]:  # until its windows are full
            before = sent["bytes"]
            time.sleep(0.3)
        assert sent["bytes"] < 30_000_000 and response.status == 200
        assert all(answer.status == 200 for answer in in_parallel(20, lambda i: pair.gate.chat()))
        assert len(pair.server.connections) == 1
        client.close()
        eventually(lambda: pair.server.calls[0].reset.is_set(), what="the call is cancelled")
        assert pair.gate.chat().status == 200 and len(pair.server.connections) == 1


def test_a_stream_that_is_cut_is_no_whole_answer():
    def do(call):
        call.head(EVENTS)
        call.event(chat_chunk({"content": "Hel"}))
        call.break_off()

    with Pair(do) as pair:
        events = sse_events(pair.gate.chat(stream=True).body)
        assert json.loads(events[0])["choices"][0]["delta"]["content"] == "Hel"
        assert "error" in json.loads(events[-1])
        assert pair.gate.usage_total("requests") == 1


def test_a_short_answer_is_no_whole_one():
    def do(call):
        call.head([*JSON, ("content-length", "1000")])
        call.data(b"{}", end=True)

    with Pair(do) as pair:
        assert pair.gate.chat().status in (502, 503)


def test_what_was_refused_unread_is_sent_again_and_answered():
    refused = []

    def do(call):
        if len(refused) < 3:
            refused.append(call)
            call.break_off(REFUSED_STREAM)
        else:
            call.answer()

    with Pair(do, retry={"attempts": 5, "backoff": "10ms"}) as pair:
        answer = pair.gate.chat()
        assert answer.status == 200 and len(pair.server.calls) == 4
        assert pair.gate.usage_total("requests") == 1


def test_a_server_that_leaves_ends_what_it_has_and_gets_no_more():
    going, may_end = threading.Event(), threading.Event()

    def do(call):
        if not call.json().get("stream"):
            call.answer()
            return
        call.head(EVENTS)
        call.event(chat_chunk({"content": "Hel"}))
        call.connection.goaway(last=call.number)
        going.set()
        may_end.wait(20)
        call.event(chat_chunk({"content": "lo"}, finish="stop"))
        call.event(chat_chunk(None, choices=[], usage=USAGE))
        call.data(b"data: [DONE]\n\n", end=True)

    with Pair(do) as pair:
        client, response = pair.gate.open_stream()
        assert going.wait(20)
        eventually(lambda: pair.gate.chat().status == 200 and len(pair.server.connections) == 2)
        may_end.set()
        body = b"".join(client.pieces(response))
        assert sse_events(body)[-1] == "[DONE]"
        client.close()
        eventually(lambda: len(pair.server.open_connections()) == 1, what="the one that has left is closed")


def test_a_connection_that_is_lost_costs_its_calls_and_no_others():
    begun = threading.Semaphore(0)

    def do(call):
        if call.json().get("stream"):
            call.head(EVENTS)
            call.event(chat_chunk({"content": "Hel"}))
            begun.release()
        else:
            call.answer()

    with Pair(do) as pair:
        streams = [pair.gate.open_stream() for _ in range(5)]
        assert all(begun.acquire(timeout=20) for _ in streams)
        assert len(pair.server.connections) == 1
        pair.server.connections[0].sock.shutdown(2)
        for client, response in streams:
            events = sse_events(b"".join(client.pieces(response)))
            assert "error" in json.loads(events[-1])
            client.close()
        assert pair.gate.chat().status == 200
        assert len(pair.server.connections) == 2
        assert pair.gate.usage_total("requests") == 6


def test_an_idle_connection_that_died_is_not_noticed_by_the_client():
    with Pair() as pair:
        for _ in range(3):
            assert pair.gate.chat().status == 200
            pair.server.open_connections()[0].sock.shutdown(2)
        assert len(pair.server.connections) == 3


def test_no_more_streams_than_the_server_allows():
    running, most, lock = {}, [], threading.Lock()

    def do(call):
        with lock:
            running[call.connection] = running.get(call.connection, 0) + 1
            most.append(running[call.connection])
        time.sleep(0.2)
        with lock:
            running[call.connection] -= 1
        call.answer()

    with Pair(do, max_streams=3, pool={"max_connections": 12}) as pair:
        assert pair.gate.chat().status == 200
        answers = in_parallel(30, lambda i: pair.gate.chat())
        assert [answer.status for answer in answers] == [200] * 30
        assert max(most) <= 3 and len(pair.server.calls) == 31


def test_interim_answers_and_trailers_are_passed_over():
    def do(call):
        call.head([(":status", "103"), ("link", "</style.css>")])
        body = json.dumps(chat_body()).encode()
        call.head([*JSON, ("x-request-id", "up-1")])
        call.data(body)
        with call.connection.lock:
            call.connection.h2.send_headers(call.number, [("x-checksum", "1")], end_stream=True)
            call.connection.flush()

    with Pair(do) as pair:
        answer = pair.gate.chat()
        assert answer.status == 200 and answer.json == chat_body() and answer.header("x-checksum") is None


def test_a_websocket_is_asked_for_in_http1():
    with Pair() as pair:
        assert pair.gate.chat().status == 200
        fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
                  ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
        assert pair.gate.request("GET", "/v1/realtime?model=fast", headers=fields).status >= 500
        assert pair.server.http1 >= 1  # it speaks none, but was asked


def test_it_can_be_switched_off():
    with Pair(pool={"http2": False}) as pair:
        assert pair.gate.chat().status == 503
        assert pair.server.http1 >= 1 and not pair.server.connections


def test_idle_connections_are_closed_with_a_word():
    with Pair(pool={"idle_timeout": "300ms"}) as pair:
        assert pair.gate.chat().status == 200
        eventually(lambda: not pair.server.open_connections())
        assert pair.gate.chat().status == 200


def test_a_reload_leaves_running_calls_and_closes_the_rest():
    may_end = threading.Event()

    def do(call):
        if call.json().get("stream"):
            call.head(EVENTS)
            call.event(chat_chunk({"content": "Hel"}))
            may_end.wait(20)
            call.event(chat_chunk({"content": "lo"}, finish="stop"))
            call.event(chat_chunk(None, choices=[], usage=USAGE))
            call.data(b"data: [DONE]\n\n", end=True)
        else:
            call.answer()

    with Pair(do) as pair:
        client, response = pair.gate.open_stream()
        assert pair.gate.cli("reload").returncode == 0
        assert pair.gate.chat().status == 200 and len(pair.server.connections) == 2
        may_end.set()
        assert sse_events(b"".join(client.pieces(response)))[-1] == "[DONE]"
        client.close()
        eventually(lambda: len(pair.server.open_connections()) == 1)


def test_clients_that_leave_at_any_moment_leave_nothing_behind():
    """What a call has left to be done in the next round must not be done on its memory."""
    def do(call):
        call.head(EVENTS)
        while call.event(chat_chunk({"content": "y" * 2000})):
            pass

    with Pair(do) as pair:
        def come_and_go(i):
            for k in range(25):
                client, _ = pair.gate.open_stream()
                time.sleep((i * 7 + k) % 20 / 1000)
                client.close()

        in_parallel(6, come_and_go)
        assert pair.gate.crash_trace() is None
        eventually(lambda: pair.gate.usage_total("requests") == 150)


def test_a_websocket_on_its_way_holds_up_no_call():
    with Pair(pool={"idle_timeout": "200ms"}) as pair:
        assert pair.gate.chat().status == 200
        eventually(lambda: not pair.server.open_connections())
        pair.server.lets_in.clear()
        fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
                  ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
        pair.server.keeps_http1 = True
        websocket = pair.gate.connect()
        websocket.send(request_bytes("GET", "/v1/realtime?model=fast", [*fields, ("Authorization", f"Bearer {KEY_ACME}")]))
        eventually(lambda: pair.server.came == 2)
        chat = Background(pair.gate.chat)
        time.sleep(0.3)  # it waits for the one that is on its way
        pair.server.lets_in.set()
        assert chat.result().status == 200
        websocket.close()


def test_an_answer_that_is_none_is_not_asked_for_again():
    def do(call):
        with call.connection.lock:  # 200, transfer-encoding: chunked
            call.connection.sock.sendall(
                frame(HEADERS, END_HEADERS, call.number, b"\x88\x00\x11transfer-encoding\x07chunked"))

    with Pair(do, retry={"attempts": 2, "backoff": "10ms"}) as pair:
        answer = pair.gate.chat()
        assert (answer.status, answer.error["code"]) == (502, "upstream_invalid") and len(pair.server.calls) == 1


def test_many_that_were_refused_unread_share_a_new_connection():
    held, gone = [], threading.Event()

    def do(call):
        if gone.is_set() or call.json().get("user") != "held":
            call.answer()
            return
        held.append(call)
        if len(held) == 30:
            gone.set()
            call.connection.goaway(last=0)

    with Pair(do, pool={"max_idle": 2}) as pair:
        assert pair.gate.chat().status == 200
        answers = in_parallel(30, lambda i: pair.gate.chat(user="held"))
        assert [answer.status for answer in answers] == [200] * 30
        assert len(pair.server.connections) <= 4


def test_a_connection_that_died_without_a_word_is_found_out():
    """Silent with a call open, it is asked (PING); without an answer others go elsewhere."""
    with Pair(timeouts={"first_byte": "40s"}) as pair:
        assert pair.gate.chat().status == 200
        dead = pair.server.connections[0]
        dead.mute = True
        waiting = Background(lambda: pair.gate.post("/v1/chat/completions", CHAT, timeout=60))
        eventually(lambda: b"\0\0\x08\x06\0\0\0\0\0" in dead.unheard, within=30, what="a PING")

        def is_served():
            try:
                return pair.gate.post("/v1/chat/completions", CHAT, timeout=1).status == 200
            except TimeoutError:
                return False

        eventually(is_served, within=20, what="a new connection for new calls")
        assert len(pair.server.connections) == 2
        assert waiting.result().status == 503  # given up with its connection


def test_what_can_carry_nothing_is_not_kept():
    with Pair(max_streams=0, pool={"max_connections": 4, "max_idle": 2}) as pair:
        for _ in range(10):
            pair.gate.chat()
        eventually(lambda: len(pair.server.open_connections()) <= 2)


def test_two_gateways_speak_it_with_each_other():
    config = config_for("http://127.0.0.1:9", providers=[{"name": "up", "type": "mock"}])
    port = free_port()
    config["server"]["listeners"].append({"name": "tls", "address": f"127.0.0.1:{port}", "serve": ["api"],
                                          "tls": {"cert_file": SERVER[0], "key_file": SERVER[1]}})
    near_config = behind(port, api_key=KEY_ACME)
    near_config["models"] = [model_for("fast", model="fast")]
    with Sluice(config) as far, Sluice(near_config) as near:
        answers = in_parallel(50, lambda i: near.chat(stream=i % 2 == 0))
        assert [answer.status for answer in answers] == [200] * 50
        assert all(sse_events(answer.body)[-1] == "[DONE]" for answer in answers[::2])
        for field in ("requests", "input_tokens", "output_tokens", "cost_nanos"):
            assert near.usage_total(field) == far.usage_total(field) > 0
