# SPDX-License-Identifier: Apache-2.0
"""A model server that does exactly what a test tells it, and keeps every byte it was sent.

Each connection has a thread of its own, so that a script reads like prose: send, wait, cut.
Requests are parsed strictly; one that is ambiguous is noted in `violations`, which tests check.
"""

import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import time

from raw_client import TOKEN, ProtocolError, body_framing, chunked, parse_fields

REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") (/[\x21-\x7e]*) HTTP/1\.1\Z")
KEEP_BODY = 64 << 20
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class Gone(Exception):
    """The gateway has closed the connection."""


class Call:
    """One request that arrived, and the means to answer it."""

    def __init__(self, connection, method, target, fields):
        self.connection, self.method, self.target, self.fields = connection, method, target, fields
        self.body = b""
        self.length = 0
        self.sha256 = None
        self.at = time.monotonic()
        self.answered = threading.Event()

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def json(self):
        return json.loads(self.body)

    def header(self, name, default=None):
        return self.fields.get(name, default)

    def __repr__(self):
        return f"<{self.method} {self.target} {list(self.fields)} {self.body[:300]!r}>"

    # ------------------------------------------------------------------ answering

    def send(self, data):
        """Raw bytes; Gone when the gateway has left."""
        try:
            self.connection.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def head(self, status=200, headers=(), reason="OK"):
        fields = list(headers.items()) if isinstance(headers, dict) else list(headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self.send(f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1"))

    def respond(self, status=200, body=b"", headers=(), content_type="application/json"):
        """A whole answer with Content-Length, in one write."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        fields = list(headers.items()) if isinstance(headers, dict) else list(headers)
        names = {name.lower() for name, _ in fields}
        if "content-type" not in names and content_type:
            fields.append(("content-type", content_type))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = f"HTTP/1.1 {status} OK\r\n{lines}content-length: {len(body)}\r\n\r\n"
        self.send(head.encode("latin-1") + body)

    def begin_stream(self, headers=()):
        fields = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
        self.head(200, fields + list(headers))

    def chunk(self, data):
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, data):
        """One SSE event in one chunk."""
        if isinstance(data, dict):
            data = json.dumps(data)
        self.chunk(f"data: {data}\n\n".encode())

    def end_stream(self):
        self.send(b"0\r\n\r\n")

    def close(self):
        self.connection.close()

    def reset(self):
        self.connection.reset()

    def wait_gone(self, within):
        """Wait until the gateway has closed this connection; the seconds it took, or None."""
        begin = time.monotonic()
        sock = self.connection.sock
        while (left := within - (time.monotonic() - begin)) > 0:
            try:
                sock.settimeout(left)
                if not sock.recv(4096):
                    return time.monotonic() - begin
            except TimeoutError:
                return None
            except OSError:
                return time.monotonic() - begin
        return None


class Connection:
    def __init__(self, upstream, sock, peer):
        self.upstream, self.sock, self.peer = upstream, sock, peer
        self.received = bytearray()  # every byte, bodies beyond KEEP_BODY cut
        self.buffer = bytearray()
        self.calls = 0
        self.closed = threading.Event()
        self.tls_resumed = None

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.closed.set()

    def reset(self):
        raw = self.sock
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
        self.closed.set()

    def fill(self):
        try:
            self.sock.settimeout(None)
            piece = self.sock.recv(262144)
        except (OSError, ValueError):
            piece = b""
        if not piece:
            return False
        if len(self.received) < KEEP_BODY:
            self.received += piece
        self.buffer += piece
        return True

    def line(self):
        while (at := self.buffer.find(b"\r\n")) < 0:
            if len(self.buffer) > 1 << 20:
                raise ProtocolError("line too long")
            if not self.fill():
                if self.buffer:
                    raise ProtocolError(f"closed inside a line: {bytes(self.buffer[:200])!r}")
                return None
        line = bytes(self.buffer[:at])
        del self.buffer[: at + 2]
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise ProtocolError(f"control byte in {line!r}")
        return line

    def read_call(self):
        """The next request, head only; None when the gateway has closed between requests."""
        line = self.line()
        if line is None:
            return None
        match = REQUEST_LINE.match(line)
        if not match:
            raise ProtocolError(f"bad request line {line!r}")
        lines = []
        while (field := self.line()) != b"":
            if field is None:
                raise ProtocolError("closed inside a head")
            lines.append(field)
        fields = parse_fields(b"\r\n".join(lines))
        if len(fields.all("host")) != 1:
            raise ProtocolError(f"Host fields: {fields.all('host')}")
        return Call(self, match[1].decode(), match[2].decode(), fields)

    def take(self, call, digest, length):
        """Move `length` body bytes from the wire into the call."""
        while length:
            if not self.buffer and not self.fill():
                return False
            piece = bytes(self.buffer[:length])
            del self.buffer[: len(piece)]
            length -= len(piece)
            digest.update(piece)
            call.length += len(piece)
            if call.length <= KEEP_BODY:
                call.parts.append(piece)
        return True

    def read_body(self, call):
        """False when the gateway left inside the body."""
        kind, length = body_framing(call.fields)
        digest = hashlib.sha256()
        call.parts = []
        whole = True
        if kind == "length":
            whole = self.take(call, digest, length)
        elif kind == "chunked":
            while True:
                line = self.line()
                if line is None:
                    whole = False
                    break
                if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", line):
                    raise ProtocolError(f"bad chunk line {line!r}")
                size = int(line, 16)
                if not self.take(call, digest, size):
                    whole = False
                    break
                end = self.line()
                if end is None:
                    whole = False
                    break
                if end != b"":
                    raise ProtocolError(f"no CRLF behind a chunk: {end!r}")
                if size == 0:
                    break
        call.body = b"".join(call.parts)
        call.sha256 = digest.hexdigest()
        return whole


class Upstream:
    """Listens at once. `answer(call)` runs for every request whose body is whole."""

    def __init__(self, answer=None, tls=None, host="127.0.0.1", path=None, rcvbuf=None, on_head=None):
        self.answer = answer or openai_answer
        self.on_head = on_head
        self.on_connect = None  # on_connect(connection) instead of reading requests
        self.calls, self.connections, self.violations, self.cut_bodies = [], [], [], []
        self.failures = []  # exceptions of scripts
        self.change = threading.Condition()
        self.tls = tls
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.address = path
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.listener = socket.socket(family)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if rcvbuf:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            self.listener.bind((host, 0))
            self.address = self.listener.getsockname()[:2]
        self.listener.listen(1024)
        self.stopping = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def port(self):
        return self.address[1]

    @property
    def url(self):
        """Base URL with /v1."""
        if isinstance(self.address, str):
            return f"http+unix://{self.address}:/v1"
        host = f"[{self.address[0]}]" if ":" in self.address[0] else self.address[0]
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/v1"

    def stop(self):
        self.stopping = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in list(self.connections):
            connection.close()

    def forget(self):
        """Begin a new test: drop what was recorded and answer normally again."""
        with self.change:
            self.calls, self.violations, self.failures, self.cut_bodies = [], [], [], []
            self.answer, self.on_head, self.on_connect = openai_answer, None, None

    def wait(self, condition, within=30):
        """Wait until condition() is true; returns its value, or fails the test."""
        with self.change:
            value = self.change.wait_for(condition, within)
        assert value, f"not in {within} s; calls: {self.calls}"
        return value

    def wait_calls(self, count, within=30):
        """The calls, as soon as there are `count` of them."""
        self.wait(lambda: len(self.calls) >= count, within)
        return self.calls

    def last(self, within=30):
        return self.wait_calls(1, within)[-1]

    def _note(self, where, what):
        with self.change:
            where.append(what)
            self.change.notify_all()

    def _accept(self):
        while not self.stopping:
            try:
                sock, peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, peer), daemon=True).start()

    def _serve(self, sock, peer):
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, sock, peer)
        try:
            if self.tls:
                connection.sock = sock = self.tls.wrap_socket(sock, server_side=True)
                connection.tls_resumed = sock.session_reused
            self._note(self.connections, connection)
            if self.on_connect:
                self.on_connect(connection)
                return
            while self._exchange(connection):
                pass
        except ssl.SSLError as error:
            self._note(self.failures, error)
        except Gone:
            pass
        except ProtocolError as error:
            self._note(self.violations, f"{error}; all: {bytes(connection.received[:2000])!r}")
        except OSError:
            pass
        except Exception as error:  # a script's own mistake must fail its test
            self._note(self.failures, error)
        finally:
            connection.close()
            with self.change:
                self.change.notify_all()

    def _exchange(self, connection):
        call = connection.read_call()
        if call is None:
            return False
        if self.on_head and self.on_head(call) is False:
            self._note(self.calls, call)
            return False
        if not connection.read_body(call):
            self._note(self.cut_bodies, call)
            return False
        connection.calls += 1
        self._note(self.calls, call)
        self.answer(call)
        call.answered.set()
        return not connection.closed.is_set() and connection.sock.fileno() >= 0


# ---------------------------------------------------------------------- usual answers


def chat_body(text="Hello from upstream.", model="upstream-model", usage=USAGE):
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        ],
    }
    if usage is not None:
        body["usage"] = usage
    return body


def chat_chunk(delta, finish=None, choices=None, usage=None, model="upstream-model"):
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]
        if choices is None
        else choices,
    }
    if usage is not None:
        chunk["usage"] = usage
    return chunk


def stream_chat(call, words=("Hel", "lo", " there"), usage=USAGE, done=True, pause=0.0):
    """A streamed chat answer; the usage chunk only where the request asked for it."""
    call.begin_stream()
    call.event(chat_chunk({"role": "assistant", "content": ""}))
    for word in words:
        if pause:
            time.sleep(pause)
        call.event(chat_chunk({"content": word}))
    call.event(chat_chunk({}, finish="stop"))
    asked = (call.json.get("stream_options") or {}).get("include_usage")
    if asked and usage is not None:
        call.event(chat_chunk(None, choices=[], usage=usage))
    if done:
        call.event("[DONE]")
    call.end_stream()


def read_object(call):
    """The JSON object of a call, or an empty one (Python reads no number beyond 4300 digits)."""
    try:
        value = call.json
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def openai_answer(call):
    """What an OpenAI-compatible server would say to the usual paths."""
    path = call.path.removeprefix("/v1")
    body = read_object(call)
    if path == "/chat/completions":
        if body.get("stream"):
            stream_chat(call)
        else:
            call.respond(200, chat_body())
    elif path == "/completions":
        call.respond(200, {"id": "cmpl-1", "object": "text_completion", "model": "upstream-model",
                           "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}], "usage": USAGE})
    elif path == "/embeddings":
        call.respond(200, {"object": "list", "model": "upstream-model", "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
            "usage": {"prompt_tokens": 5, "total_tokens": 5}})
    elif path == "/responses" and call.method == "POST":
        call.respond(200, {"id": "resp_1", "object": "response", "status": "completed", "model": "upstream-model",
                           "output": [], "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}})
    else:
        call.respond(200, {"object": "thing", "path": call.target})


def raw_answer(data, then_close=False):
    """A script that sends exactly `data`, in one write."""

    def answer(call):
        call.send(data)
        if then_close:
            call.close()

    return answer


def framed(status_line, headers, body, framing, sizes=None):
    """A whole answer as bytes in one of the framings length, chunked, close."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = status_line.encode("latin-1") + b"\r\n" + fields.encode("latin-1")
    if framing == "length":
        return head + b"content-length: %d\r\n\r\n" % len(body) + body
    if framing == "chunked":
        return head + b"transfer-encoding: chunked\r\n\r\n" + chunked(body, sizes=sizes)
    return head + b"connection: close\r\n\r\n" + body
