# SPDX-License-Identifier: Apache-2.0
"""A model server that speaks HTTP/2 over TLS, and does with a call whatever it is told."""

import json
import socket
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2_client import GOAWAY, INTERNAL_ERROR, NO_ERROR, frame
from harness import USAGE, chat_body, chat_chunk

JSON = [(":status", "200"), ("content-type", "application/json")]
EVENTS = [(":status", "200"), ("content-type", "text/event-stream")]


class Call:
    """One request, and what is done about it."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.headers, self.body, self.reset = {}, b"", threading.Event()
        self.room = threading.Condition(connection.lock)

    def json(self):
        return json.loads(self.body)

    def head(self, fields, end=False):
        with self.connection.lock:
            self.connection.h2.send_headers(self.number, fields, end_stream=end)
            self.connection.flush()

    def data(self, data, end=False):
        """As fast as it is taken; False when the call was given up."""
        while True:
            with self.connection.lock:
                if self.reset.is_set() or self.connection.over:
                    return False
                room = min(self.connection.h2.local_flow_control_window(self.number), 16384)
                part, data = data[:room], data[room:]
                if part or (end and not data):
                    self.connection.h2.send_data(self.number, part, end_stream=end and not data)
                    self.connection.flush()
                if not data:
                    return True
                if room == 0:
                    self.room.wait(0.2)

    def answer(self, body=None):
        body = json.dumps(body or chat_body()).encode()
        self.head([*JSON, ("content-length", str(len(body)))])
        self.data(body, end=True)

    def event(self, value):
        return self.data(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")

    def stream(self, words=("Hel", "lo", " there")):
        self.head(EVENTS)
        for word in words:
            self.event(chat_chunk({"content": word}))
        self.event(chat_chunk({}, finish="stop"))
        self.event(chat_chunk(None, choices=[], usage=USAGE))
        self.data(b"data: [DONE]\n\n", end=True)

    def break_off(self, why=INTERNAL_ERROR):
        with self.connection.lock:
            self.connection.h2.reset_stream(self.number, why)
            self.connection.flush()


class Connection:
    def __init__(self, server, sock):
        self.server, self.sock, self.lock, self.calls = server, sock, threading.RLock(), {}
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.over, self.mute, self.unheard = False, False, b""

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            try:
                self.sock.sendall(data)
            except OSError:
                self.over = True

    def goaway(self, last):
        """It will end, but goes on with what has begun: the library cannot say that and go on."""
        with self.lock:
            self.sock.sendall(frame(GOAWAY, payload=last.to_bytes(4, "big") + NO_ERROR.to_bytes(4, "big")))

    def run(self):
        with self.lock:
            self.h2.initiate_connection()
            if self.server.max_streams is not None:
                self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.server.max_streams})
            self.flush()
        try:
            while not self.over:
                data = self.sock.recv(65536)
                if not data:
                    break
                if self.mute:
                    self.unheard += data
                    continue
                with self.lock:
                    for event in self.h2.receive_data(data):
                        self.on_event(event)
                    self.flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        with self.lock:
            self.over = True
            for call in self.calls.values():
                call.reset.set()
        self.sock.close()

    def on_event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            call = self.calls[event.stream_id] = Call(self, event.stream_id)
            call.headers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.calls[event.stream_id].body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            call = self.calls[event.stream_id]
            self.server.calls.append(call)
            threading.Thread(target=self.server.on_call, args=(call,), daemon=True).start()
        elif isinstance(event, h2.events.StreamReset):
            self.calls[event.stream_id].reset.set()
        elif isinstance(event, h2.events.WindowUpdated):
            for call in self.calls.values():
                call.room.notify_all()


class H2Upstream:
    """<do>: what is done with each call, in a thread of its own; by default it is answered."""

    def __init__(self, context, do=None, max_streams=None):
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.context, self.do, self.max_streams = context, do, max_streams
        self.calls, self.connections, self.http1, self.came = [], [], 0, 0
        self.lets_in, self.keeps_http1 = threading.Event(), False
        self.lets_in.set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        self.came += 1
        self.lets_in.wait(20)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = self.context.wrap_socket(sock, server_side=True)
        except OSError:
            return
        if sock.selected_alpn_protocol() != "h2":
            self.http1 += 1
            if self.keeps_http1:
                sock.recv(65536)
                time.sleep(20)
            sock.close()
            return
        connection = Connection(self, sock)
        self.connections.append(connection)
        connection.run()

    def on_call(self, call):
        if self.do:
            self.do(call)
        elif call.json().get("stream"):
            call.stream()
        else:
            call.answer()

    def open_connections(self):
        return [one for one in self.connections if not one.over]

    def close(self):
        self.listener.close()
        for one in self.connections:
            one.over = True
            try:
                one.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
