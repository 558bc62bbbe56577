# SPDX-License-Identifier: Apache-2.0
"""A client and a provider in one thread: each step of a call waits for the one before.

Nothing is ever in flight that somebody could find half arrived, so the gateway does the same work for
the same call each time: one wake-up for a question, one for an answer, one for each chunk.
"""

import json
import select
import socket

SECONDS = 60  # for any one step: far more than it takes on a machine that is busy
PIECE = 1 << 16


class Broken(Exception):
    """The gateway did not do what a row counts on."""


def head_of(received):
    """(first line, {name: value}, rest), or None while the head is not whole."""
    head, found, rest = received.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.split(b"\r\n")
    fields = (line.split(b":", 1) for line in lines)
    return first, {name.lower(): value.strip() for name, value in fields}, rest


def body_is_whole(fields, body):
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(fields.get(b"content-length", b"0"))


def whole_message(received):
    parts = head_of(received)
    return parts is not None and body_is_whole(parts[1], parts[2])


class Provider:
    """What the gateway calls. It says nothing by itself: a row tells it what to answer, and when."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.connections = []
        self.asking = None  # the connection whose question has not been answered

    def wait_for_question(self, client):
        received = {}
        while True:
            ready, _, _ = select.select([self.listener, client.socket, *self.connections], [], [], SECONDS)
            if not ready:
                raise Broken("the provider was not asked")
            for each in ready:
                if each is self.listener:
                    self.take()
                elif each is client.socket:
                    raise Broken(f"the gateway answered by itself: {client.read().decode(errors='replace')}")
                elif self.read(each, received):
                    return

    def take(self):
        connection, _ = self.listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(SECONDS)
        self.connections.append(connection)

    def read(self, connection, received):
        """True once the question on this connection is whole."""
        piece = connection.recv(PIECE)
        if not piece:
            self.connections.remove(connection)
            connection.close()
            return False
        received[connection] = received.get(connection, b"") + piece
        self.asking = connection
        return whole_message(received[connection])

    def send(self, data):
        self.asking.sendall(data)

    def answer(self, body, kind="application/json"):
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
                  % (kind.encode(), len(body), body))

    def begin_stream(self):
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    def send_chunk(self, data):
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self):
        self.send(b"0\r\n\r\n")

    def close(self):
        for each in (self.listener, *self.connections):
            each.close()


class Client:
    """One connection that is kept."""

    def __init__(self, port, key):
        self.port, self.key = port, key
        self.socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path, body, key=None):
        data = json.dumps(body).encode()
        # The port is left out: it has not the same number of digits each time.
        self.socket.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: "
                            b"application/json\r\nContent-Length: %d\r\n\r\n%s"
                            % (path.encode(), (key or self.key).encode(), len(data), data))

    def read(self):
        try:
            piece = self.socket.recv(PIECE)
        except TimeoutError:
            raise Broken("no answer came") from None
        if not piece:
            raise Broken("the gateway closed the connection")
        return piece

    def read_answer(self):
        """The head's fields and the body of a whole answer."""
        received = b""
        while not whole_message(received):
            received += self.read()
        first, fields, body = head_of(received)
        if b" 200 " not in first:
            raise Broken(f"{first.decode()}: {body[:500].decode(errors='replace')}")
        return fields, body

    def read_until(self, mark):
        received = b""
        while mark not in received:
            received += self.read()
        return received

    def close(self):
        self.socket.close()
