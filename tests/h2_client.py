# SPDX-License-Identifier: Apache-2.0
"""A client in HTTP/2 that shows what it gets, and sends whatever it is told, also what no client should."""

import json
import socket
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from harness import KEY_ACME

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 2, 7, 8, 11


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Answer:
    """What has come of one stream."""

    def __init__(self):
        self.informational, self.status, self.headers, self.body = [], None, {}, b""
        self.names, self.ended, self.reset = [], False, None

    def json(self):
        return json.loads(self.body)

    def header(self, name):
        return self.headers.get(name)

    @property
    def over(self):
        return self.ended or self.reset is not None


class H2Client:
    def __init__(self, address, tls=None, server_name=None, preface=b"", timeout=30, window=None, rcvbuf=None):
        """<window>: of each stream, and nothing is given back but by open_window()."""
        self.sock = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        if preface:
            self.sock.sendall(preface)
        if tls:
            tls.set_alpn_protocols(["h2", "http/1.1"])
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
            assert self.sock.selected_alpn_protocol() == "h2"
        # What this library would not send is sent all the same.
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False))
        self.answers, self.goaway, self.closed, self.timeout = {}, None, False, timeout
        self.last_stream = None  # that the other side has dealt with, or will
        self.acknowledges, self.unread = window is None, b""
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    close = __exit__

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def raw(self, data):
        self.sock.sendall(data)

    def fields(self, method, path, headers=(), key=KEY_ACME, authority="sluice.test"):
        out = [(":method", method), (":path", path), (":scheme", "http"), (":authority", authority)]
        if key:
            out.append(("authorization", f"Bearer {key}"))
        return out + list(headers)

    def begin(self, fields, end=False):
        """Send a head as it is; returns the stream's number."""
        number = self.h2.get_next_available_stream_id()
        self.answers[number] = Answer()
        self.h2.send_headers(number, fields, end_stream=end)
        self.flush()
        return number

    def ask(self, method, path, body=None, headers=(), key=KEY_ACME, length=True):
        """Send a request; returns the stream's number."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        more = list(headers)
        if body is not None and not any(name == "content-type" for name, _ in more):
            more.append(("content-type", "application/json"))
        if body is not None and length:
            more.append(("content-length", str(len(body))))
        number = self.begin(self.fields(method, path, more, key), end=body is None)
        if body is not None:
            self.send_body(number, body)
        return number

    def send_body(self, number, body, end=True):
        at = 0
        while True:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.read_some()
                if self.answers[number].over:
                    return
                continue
            piece = body[at:at + room]
            at += len(piece)
            done = at >= len(body)
            self.h2.send_data(number, piece, end_stream=end and done)
            self.flush()
            if done:
                return

    def chat(self, stream=False, model="fast", **fields):
        return self.ask("POST", "/v1/chat/completions", {"model": model, "messages": [], "stream": stream, **fields})

    def reset(self, number, code=CANCEL):
        self.h2.reset_stream(number, code)
        self.flush()

    def open_window(self, bytes_, number=None):
        self.h2.increment_flow_control_window(bytes_, number)
        self.flush()

    def read_some(self):
        """Take what comes next; False at the end of the connection."""
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, OSError) as e:
            if isinstance(e, TimeoutError):
                raise
            data = b""
        if not data:
            self.closed = True
            return False
        self.unread += data
        while len(self.unread) >= 9 and len(self.unread) >= 9 + int.from_bytes(self.unread[:3], "big"):
            length = 9 + int.from_bytes(self.unread[:3], "big")
            one, self.unread = self.unread[:length], self.unread[length:]
            if one[3] == GOAWAY:  # the library would take no more, but what is open goes on
                self.goaway = int.from_bytes(one[13:17], "big")
                self.last_stream = int.from_bytes(one[9:13], "big") & 0x7FFFFFFF
                continue
            for event in self.h2.receive_data(one):
                self.note(event)
        self.flush()
        return True

    def note(self, event):
        answer = self.answers.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.InformationalResponseReceived):
            answer.informational.append(int(dict(event.headers)[":status"]))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.names = [name for name, _ in event.headers]
            answer.headers = dict(event.headers)
            answer.status = int(answer.headers.pop(":status"))
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self.acknowledges and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)

    def until(self, condition, within=60):
        """Read until condition() is true or the connection has ended; returns its value."""
        deadline = time.monotonic() + within
        while not condition() and not self.closed:
            assert time.monotonic() < deadline, "it does not come"
            self.read_some()
        return condition()

    def answer(self, number):
        assert self.until(lambda: self.answers[number].over), "the connection has ended"
        return self.answers[number]

    def get(self, path, **options):
        return self.answer(self.ask("GET", path, **options))
