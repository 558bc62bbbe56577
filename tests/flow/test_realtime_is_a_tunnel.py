# SPDX-License-Identifier: Apache-2.0
"""/v1/realtime: a WebSocket (RFC 6455) whose frames pass as they are and whose usage is booked."""

import base64
import hashlib
import json
import struct
import threading

import pytest
from harness import KEY_ACME, KEY_ACME_FAST, KEY_PROVIDER, KEY_WRONG, WebSocket, eventually, request_bytes

pytestmark = pytest.mark.threads
WS_KEY = base64.b64encode(b"0123456789abcdef").decode()
ACCEPT = base64.b64encode(hashlib.sha1((WS_KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
DONE = {"type": "response.done", "response": {"usage": {
    "input_tokens": 100, "output_tokens": 40, "total_tokens": 140,
    "input_token_details": {"cached_tokens": 10, "text_tokens": 100}, "output_token_details": {"text_tokens": 40}}}}


def accept_of(call):
    key = call.header("sec-websocket-key")
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


class Server:
    """Accepts, then reads frames; a text "usage" is answered by response.done, others by an echo."""

    def __init__(self, refuse=None):
        self.frames, self.refuse, self.gone = [], refuse, threading.Event()

    def __call__(self, call):
        if self.refuse:
            call.respond(self.refuse, {"error": {"message": "no", "type": "x", "param": None, "code": None}})
            return
        call.send(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_of(call)}\r\n\r\n".encode())
        self.say(call, 1, b'{"type":"session.created"}')
        wire = call.connection
        try:
            while (frame := self.read(wire)) is not None:
                self.frames.append(frame)
                opcode, payload = frame
                if opcode == 8:
                    self.say(call, 8, payload)
                    return
                if payload == b"usage":
                    self.say(call, 1, json.dumps(DONE).encode())
                elif payload == b"drop":
                    call.close()
                    return
                else:
                    self.say(call, opcode, payload)
        finally:
            self.gone.set()

    @staticmethod
    def say(call, opcode, payload):
        length = len(payload)
        head = bytes([0x80 | opcode]) + (bytes([length]) if length < 126 else b"\x7e" + struct.pack(">H", length)
                                         if length < 65536 else b"\x7f" + struct.pack(">Q", length))
        call.send(head + payload)

    @staticmethod
    def read(wire):
        def take(n):
            while len(wire.buffer) < n:
                if not wire.fill():
                    return None
            out = bytes(wire.buffer[:n])
            del wire.buffer[:n]
            return out

        head = take(2)
        if head is None:
            return None
        assert head[1] & 0x80, "a client's frame is masked"
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack(">H", take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", take(8))[0]
        mask = take(4)
        data = take(length)
        return None if data is None else (head[0] & 0x0F, bytes(b ^ mask[i & 3] for i, b in enumerate(data)))


def upgrade(path="/v1/realtime?model=fast", key=KEY_ACME, **changes):
    fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": WS_KEY,
              "OpenAI-Beta": "realtime=v1"}
    if key:
        fields["Authorization"] = f"Bearer {key}"
    for name, value in changes.items():
        name = name.replace("_", "-")
        fields.pop(name, None)
        if value is not None:
            fields[name] = value
    return request_bytes("GET", path, fields)


def open_socket(gate, **options):
    client = gate.connect()
    client.send(upgrade(**options))
    answer = client.begin_response()
    return client, answer


def test_frames_pass_both_ways(gate, upstream):
    upstream.answer = server = Server()
    client, answer = open_socket(gate)
    with client:
        assert answer.status == 101 and answer.header("sec-websocket-accept") == ACCEPT, answer
        assert answer.header("upgrade").lower() == "websocket" and answer.header("x-request-id")
        socket = WebSocket(client)
        assert socket.read() == (1, b'{"type":"session.created"}')
        for opcode, payload in ((1, b"hello"), (2, bytes(range(256)) * 10), (1, b"x" * 100_000), (9, b"ping"), (1, b"")):
            socket.send(opcode, payload)
            assert socket.read() == (opcode, payload)
        socket.send(8, struct.pack(">H", 1000))
        assert socket.read()[0] == 8
    call = upstream.last()
    assert call.target == "/v1/realtime?model=upstream-model"
    assert call.header("authorization") == f"Bearer {KEY_PROVIDER}" and call.header("openai-beta") == "realtime=v1"
    assert [opcode for opcode, _ in server.frames] == [1, 2, 1, 9, 1, 8]


def test_usage_is_booked(gate, upstream):
    upstream.answer = Server()
    client, answer = open_socket(gate)
    with client:
        socket = WebSocket(client)
        socket.read()
        for _ in range(3):
            socket.send_text("usage")
            assert json.loads(socket.read()[1]) == DONE
        socket.send(8, struct.pack(">H", 1000))
        socket.read()

    def booked():
        rows = gate.usage(by="operation")
        return [row for row in rows if row["operation"] == "realtime" and row["output_tokens"] >= 120]

    rows = eventually(booked, what="three times 40 tokens")
    assert rows[0]["input_tokens"] >= 300


def test_a_client_that_leaves_ends_the_upstream(gate, upstream):
    upstream.answer = server = Server()
    client, _ = open_socket(gate)
    WebSocket(client).read()
    client.close()
    assert server.gone.wait(5)


def test_an_upstream_that_leaves_ends_the_client(gate, upstream):
    upstream.answer = Server()
    client, _ = open_socket(gate)
    with client:
        socket = WebSocket(client)
        socket.read()
        socket.send_text("drop")
        client.read_to_close(within=10)


def test_an_upstream_that_refuses(gate, upstream):
    upstream.answer = Server(refuse=403)
    client, answer = open_socket(gate)
    with client:
        assert answer.status in (403, 502, 503), answer


@pytest.mark.parametrize("key, path, status", [
    (None, "/v1/realtime?model=fast", 401), (KEY_WRONG, "/v1/realtime?model=fast", 401),
    (KEY_ACME_FAST, "/v1/realtime?model=slow", 403), (KEY_ACME, "/v1/realtime?model=nobody", 404),
    (KEY_ACME, "/v1/realtime", 400), (KEY_ACME, "/v1/realtime?model=fast&model=slow", 400)])
def test_who_may(gate, upstream, key, path, status):
    client, answer = open_socket(gate, key=key, path=path)
    with client:
        assert answer.status == status, answer
    assert not upstream.calls


@pytest.mark.parametrize("changes", [
    {"Upgrade": None}, {"Upgrade": "h2c"}, {"Connection": "close"}, {"Connection": None}, {"Sec_WebSocket_Key": None},
    {"Sec_WebSocket_Key": "short"}, {"Sec_WebSocket_Version": "8"}, {"Sec_WebSocket_Version": None}])
def test_what_is_no_upgrade(gate, upstream, changes):
    client, answer = open_socket(gate, **changes)
    with client:
        assert answer.status in (400, 404, 405, 426), answer
    assert not upstream.calls


def test_an_upgrade_elsewhere_is_ignored_or_refused(gate, upstream):
    body = b'{"model":"fast","messages":[]}'
    fields = {"Authorization": f"Bearer {KEY_ACME}", "Connection": "Upgrade", "Upgrade": "websocket",
              "Content-Type": "application/json"}
    with gate.connect() as client:
        answer = client.request("POST", "/v1/chat/completions", fields, body)
        assert answer.status in (200, 400), answer
    for call in upstream.calls:
        assert "upgrade" not in call.fields


def test_a_false_accept_of_the_upstream_is_not_believed(gate, upstream):
    upstream.answer = lambda call: call.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n")
    client, answer = open_socket(gate)
    with client:
        assert answer.status == 502, answer
    upstream.forget()
    assert gate.chat().status == 200


def test_a_200_of_the_upstream_is_no_tunnel(gate, upstream):
    upstream.answer = lambda call: call.respond(200, {"a": 1})
    client, answer = open_socket(gate)
    with client:
        assert answer.status in (200, 502), answer
