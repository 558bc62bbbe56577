# SPDX-License-Identifier: Apache-2.0
"""An upgrade in place, with HTTP/2 on either side, TLS, WebSockets, and who is signed in to the dashboard."""

import json
import ssl
import threading
import time

import pytest
from h2_client import NO_ERROR, H2Client
from h2_upstream import EVENTS, H2Upstream
from harness import (
    SANITIZED,
    Authority,
    Sluice,
    WebSocket,
    chat_body,
    chat_chunk,
    chat_request,
    config_for,
    eventually,
    free_port,
    merged,
    provider_for,
    sse_events,
    stream_chat,
    temporary_folder,
)
from raw_client import request_bytes
from test_a_token_is_a_key import Signer
from test_an_upgrade_in_place_loses_nothing import (
    GRACE,
    Ticker,
    booked,
    gate_for,
    read_ticks,
    serving,
    tenant,
    until_alone,
    upgrade,
)
from test_openid_providers_are_not_believed_blindly import OURS as DASHBOARD
from test_openid_providers_are_not_believed_blindly import Provider, begin, come_back, session_of
from test_openid_providers_are_not_believed_blindly import configure as configure_sign_in
from test_openid_providers_are_not_believed_blindly import get as get_page
from test_openid_providers_are_not_believed_blindly import sign_in as sign_in_by_provider
from test_realtime_is_a_tunnel import DONE, Server, open_socket
from test_the_dashboard_is_served_carefully import ADMIN, get, sign_in
from test_the_dashboard_is_served_carefully import configure as configure_dashboard

pytestmark = pytest.mark.threads
FOLDER = temporary_folder("sluice-upgrade-")
OURS = Authority(f"{FOLDER}/ours")
SERVER = OURS.issue("server")
CALLERS = 2 if SANITIZED else 4


def trusting():
    return ssl.create_default_context(cafile=OURS.file)


def with_tls(upstream):
    listener = {"name": "tls", "address": f"127.0.0.1:{free_port()}", "serve": ["api"],
                "tls": {"cert_file": SERVER[0], "key_file": SERVER[1]}}
    config = config_for(upstream, **GRACE)
    config["server"]["listeners"].append(listener)
    return Sluice(config)


def ticks(body):
    events = sse_events(body)
    assert events[-1] == "[DONE]"
    return [json.loads(e)["choices"][0]["delta"]["content"] for e in events[:-1] if json.loads(e)["choices"][0]["delta"].get("content")]


# ------------------------------------------------------------------------------------ clients


@pytest.mark.parametrize("how", ["clear", "tls"])
def test_streams_of_clients_in_http2(upstream, how):
    upstream.answer = ticker = Ticker()
    with with_tls(upstream) as gate:
        def connect():
            if how == "tls":
                return H2Client(gate.address("tls"), tls=trusting(), server_name="localhost")
            return H2Client(gate.address("api"))

        with connect() as busy, connect() as idle:
            streams = [busy.chat(stream=True) for _ in range(5)]
            upstream.wait(lambda: len(ticker.calls) == 5)
            ticker.tick()
            upgrade(gate)
            ticker.tick()
            assert busy.until(lambda: busy.goaway is not None) and busy.goaway == NO_ERROR
            ticker.tick(last=True)
            for number in streams:
                assert ticks(busy.answer(number).body) == ["#begin#", "#0#", "#1#", "#2#"]
            assert not idle.until(lambda: False) and idle.closed and idle.goaway == NO_ERROR
        until_alone(gate)
        rows = booked(gate, 5)
        assert {row["outcome"] for row in rows} == {"complete"}


class Caller(threading.Thread):
    """Asks without a pause in HTTP/2. What was on its way when the connection ended is asked again, where the other side
    has said that it has not dealt with it."""

    def __init__(self, gate, stream):
        super().__init__()
        self.gate, self.stream = gate, stream
        self.answers, self.ended, self.problem = 0, threading.Event(), None
        self.start()

    def run(self):
        client = None
        try:
            while not self.ended.is_set():
                client = client or H2Client(self.gate.address(), timeout=60)
                number = self.ask(client)
                if number is None or client.closed or client.goaway is not None:
                    client.close()
                    client = None
        except Exception as problem:  # pylint: disable=broad-except
            self.problem = problem
        finally:
            if client:
                client.close()

    def ask(self, client):
        try:
            number = client.chat(stream=self.stream)
        except OSError:  # it was closed before anything of it was sent
            assert client.closed or not client.read_some() or client.goaway is not None
            return None
        answer = client.answers[number]
        client.until(lambda: answer.over)
        if answer.ended:
            assert answer.status == 200, (answer.status, answer.body)
            assert not self.stream or sse_events(answer.body)[-1] == "[DONE]"
            self.answers += 1
        else:
            assert client.last_stream is not None and number > client.last_stream, "nobody knows whether it was made"
        return number


def test_callers_in_http2_that_never_pause(upstream):
    upstream.answer = lambda call: stream_chat(call) if call.json.get("stream") else call.respond(200, chat_body())
    with gate_for(upstream) as gate:
        callers = [Caller(gate, i % 2 == 0) for i in range(CALLERS)]
        for _ in range(2):
            time.sleep(0.3)
            upgrade(gate)
            until_alone(gate)
        time.sleep(0.3)
        for caller in callers:
            caller.ended.set()
        for caller in callers:
            caller.join(60)
            assert caller.problem is None and caller.answers > 0, repr(caller.problem)
        total = sum(caller.answers for caller in callers)
        assert len(upstream.calls) == total
        booked(gate, total)


def test_streams_through_tls(upstream):
    upstream.answer = ticker = Ticker()
    with with_tls(upstream) as gate:
        clients = [gate.connect("tls", tls=trusting(), server_name="localhost") for _ in range(5)]
        streams = []
        for client in clients:
            client.send(chat_request({"model": "fast", "messages": [], "stream": True}))
            streams.append((client, client.begin_response("POST")))
        upstream.wait(lambda: len(ticker.calls) == 5)
        ticker.tick()
        upgrade(gate)
        ticker.tick()
        ticker.tick(last=True)
        for client, response in streams:
            assert read_ticks(client, response) == ["#begin#", "#0#", "#1#", "#2#"]
        until_alone(gate)
        upstream.answer = lambda call: call.respond(200, chat_body())
        body = {"model": "fast", "messages": []}
        assert gate.post("/v1/chat/completions", body, listener="tls", tls=trusting(), server_name="localhost").status == 200
        booked(gate, 6)


# ------------------------------------------------------------------------------------ providers


def test_streams_of_a_provider_in_http2():
    calls, lock, go = [], threading.Lock(), threading.Event()

    def do(call):
        if not call.json().get("stream"):
            call.answer()
            return
        call.head(EVENTS)
        call.event(chat_chunk({"content": "begin"}))
        with lock:
            calls.append(call)
        go.wait(120)
        call.event(chat_chunk({"content": "end"}))
        call.data(b"data: [DONE]\n\n", end=True)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*SERVER)
    server = H2Upstream(context, do)
    url = f"https://localhost:{server.port}/v1"
    config = config_for(url, providers=[provider_for(url, tls={"ca_file": str(OURS.file)})], **GRACE)
    try:
        with Sluice(config) as gate:
            streams = [gate.open_stream() for _ in range(5)]
            eventually(lambda: len(calls) == 5)
            before = len(server.connections)
            upgrade(gate)
            assert gate.chat().status == 200
            assert len(server.connections) > before and server.http1 == 0, "the new one has connections of its own"
            go.set()
            for client, response in streams:
                with client:
                    assert ticks(b"".join(client.pieces(response))) == ["begin", "end"]
            until_alone(gate)
            assert {row["outcome"] for row in booked(gate, 6)} == {"complete"}
    finally:
        go.set()
        server.close()


# ------------------------------------------------------------------------------------ WebSockets


def test_realtime_sessions(upstream):
    """They go on, what they use is asked of the budget that both have, and is booked when they end."""
    upstream.answer = Server()
    with gate_for(upstream, tenants=[tenant(budget={"amount": "5 USD", "period": "month"})]) as gate:
        client, answer = open_socket(gate)
        with client:
            assert answer.status == 101
            socket = WebSocket(client)
            assert socket.read() == (1, b'{"type":"session.created"}')
            old = serving(gate)
            upgrade(gate)
            for payload in (b"hello", b"x" * 70_000):
                socket.send(1, payload)
                assert socket.read() == (1, payload)
            for _ in range(3):
                socket.send(1, b"usage")
                assert json.loads(socket.read()[1]) == DONE
            other, answer = open_socket(gate)
            with other:
                assert answer.status == 101
                second = WebSocket(other)
                assert second.read()[0] == 1
                assert serving(gate) != old
                socket.send(8, b"\x03\xe8")
                assert socket.read()[0] == 8
                until_alone(gate)
                second.send(1, b"still there")
                assert second.read() == (1, b"still there")
                second.send(8, b"\x03\xe8")
                assert second.read()[0] == 8
        rows = booked(gate, 4)
        assert sorted(row["input_tokens"] for row in rows) == [0, 100, 100, 100], "each answer, and one session without"


# ------------------------------------------------------------------------------------ who is signed in


def test_a_session_of_the_dashboard(upstream):
    upstream.answer = ticker = Ticker()
    long = {"server": {"timeouts": {"client_header": "120s"}}}
    with Sluice(merged(configure_dashboard(upstream), merged(GRACE, long))) as gate:
        def who(cookie):
            return get(gate, "/admin/v1/session", cookie, DASHBOARD).status

        stays, leaves, leaves_late = (sign_in(gate, ADMIN) for _ in range(3))
        assert get(gate, "/admin/v1/session", leaves, DASHBOARD, method="DELETE").status == 204
        assert [who(stays), who(leaves)] == [200, 401]
        # On a connection that the old one still has: a request has begun there, and the old one has a call to go on with.
        stream = gate.open_stream()
        upstream.wait(lambda: len(ticker.calls) == 1)
        leave = request_bytes("DELETE", "/admin/v1/session", [leaves_late, DASHBOARD])
        with gate.connect("ops", timeout=60) as client:
            assert client.request("GET", "/admin/v1/session", [leaves_late, DASHBOARD]).status == 200
            client.send(leave[:10])
            upgrade(gate)
            assert [who(stays), who(leaves), who(leaves_late)] == [200, 401, 200], "who has left does not come back"
            client.send(leave[10:])
            assert client.read_response("DELETE").status == 204
        ticker.tick(last=True)
        with stream[0]:
            assert read_ticks(*stream)[-1] == "#0#"
        assert [who(stays), who(leaves), who(leaves_late)] == [200, 401, 401]
        until_alone(gate)
        gate.stop()
        gate.start()
        assert [who(stays), who(leaves), who(leaves_late)] == [200, 401, 401]


def test_signing_in_by_a_provider(upstream):
    provider = Provider(Signer("first"))
    try:
        with Sluice(merged(configure_sign_in(upstream, provider), GRACE)) as gate:
            provider.nonce = ""
            before = session_of(sign_in_by_provider(gate, provider))[0]
            cookie, sent = begin(gate)
            upgrade(gate)
            provider.nonce = sent["nonce"]
            after = come_back(gate, cookie, code="c0de", state=sent["state"])
            assert after.status == 303, after
            for session in (before, session_of(after)[0]):
                who = get_page(gate, "/admin/v1/session", ("Cookie", session), DASHBOARD)
                assert who.status == 200 and who.json["name"] == "oidc:ada", who
            until_alone(gate)
            assert come_back(gate, cookie, code="c0de", state=sent["state"]).status == 400, "each is good once"
    finally:
        provider.close()
