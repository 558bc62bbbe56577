# SPDX-License-Identifier: Apache-2.0
"""A client that says exactly the bytes it is told to, and reads answers more strictly than any SDK.

What a lenient client would mend is a ProtocolError here: the gateway's own framing is under test.
"""

import json
import re
import select
import socket
import ssl
import struct
import time

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")
FIELD_LINE = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z")
CHUNK_LINE = re.compile(rb"[0-9a-fA-F]{1,16}\Z")


class ProtocolError(Exception):
    """The peer broke HTTP."""


class Closed(ProtocolError):
    """The peer closed (or reset) before the message was whole."""


class Fields(list):
    """Header fields as [(name, value)], bytes decoded as latin-1; looked up in any case."""

    def all(self, name):
        return [value for key, value in self if key.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    def __contains__(self, name):
        return bool(self.all(name))


def parse_fields(block):
    """Read the field lines of a head (without its closing empty line)."""
    fields = Fields()
    for line in block.split(b"\r\n") if block else []:
        match = FIELD_LINE.match(line)
        if not match:
            raise ProtocolError(f"bad field line {line!r}")
        fields.append((match[1].decode("latin-1"), match[2].decode("latin-1")))
    return fields


def body_framing(fields, no_body=False):
    """('none'|'length'|'chunked'|'close', length) by RFC 9112 6.3; anything odd is an error."""
    lengths, codings = fields.all("content-length"), fields.all("transfer-encoding")
    if lengths and codings:
        raise ProtocolError("Content-Length together with Transfer-Encoding")
    if len(lengths) > 1 or len(codings) > 1:
        raise ProtocolError("repeated framing field")
    if codings and codings[0] != "chunked":
        raise ProtocolError(f"transfer coding {codings[0]!r}")
    if lengths and not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise ProtocolError(f"Content-Length {lengths[0]!r}")
    if no_body:
        return "none", 0
    if codings:
        return "chunked", 0
    if lengths:
        return "length", int(lengths[0])
    return "close", 0


class Response:
    def __init__(self, status, minor, reason, fields):
        self.status, self.minor, self.reason, self.fields = status, minor, reason, fields
        self.body = b""
        self.chunks = []  # of a chunked body, as the peer cut it
        self.framing = "none"
        self.interim = []  # the 1xx answers before it

    def header(self, name, default=None):
        return self.fields.get(name, default)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()

    @property
    def closes(self):
        return "close" in (self.header("connection") or "").lower()

    @property
    def error(self):
        """The "error" object of an OpenAI error body."""
        return self.json["error"]

    def __repr__(self):
        return f"<{self.status} {list(self.fields)} {self.body[:400]!r}>"


class Client:
    """One connection. `address` is (host, port) or the path of a unix socket."""

    def __init__(self, address, tls=None, server_name=None, timeout=20, rcvbuf=None, preface=b""):
        self.timeout = timeout
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        if not isinstance(address, str):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if preface:
            self.sock.sendall(preface)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
        self.buffer = bytearray()
        self.ended = False  # the peer has closed its side
        self.was_reset = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass

    def reset(self):
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    # ------------------------------------------------------------------ sending

    def send(self, data):
        self.sock.sendall(data)
        return self

    def send_cut(self, data, size=1, pause=0.0):
        """Send in pieces of `size` bytes, each a segment of its own."""
        for at in range(0, len(data), size):
            self.sock.sendall(data[at : at + size])
            if pause:
                time.sleep(pause)
        return self

    def half_close(self):
        try:
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
            else:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    # ------------------------------------------------------------------ reading

    def _fill(self, deadline=None):
        """Read some more; False when the peer has closed."""
        if self.ended:
            return False
        wait = self.timeout if deadline is None else deadline - time.monotonic()
        if wait <= 0:
            raise TimeoutError("no bytes in time")
        self.sock.settimeout(wait)
        try:
            piece = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            self.was_reset = True
            piece = b""
        except ssl.SSLEOFError:
            piece = b""
        if not piece:
            self.ended = True
            return False
        self.buffer += piece
        return True

    def _line(self, limit=65536):
        while True:
            at = self.buffer.find(b"\r\n")
            if at >= 0:
                line = bytes(self.buffer[:at])
                del self.buffer[: at + 2]
                if b"\n" in line or b"\r" in line:
                    raise ProtocolError(f"bare CR or LF in {line!r}")
                return line
            if len(self.buffer) > limit:
                raise ProtocolError("line too long")
            if not self._fill():
                raise Closed(f"closed inside a line; got {bytes(self.buffer)!r}")

    def _take(self, length):
        while len(self.buffer) < length:
            if not self._fill():
                raise Closed(f"closed {length - len(self.buffer)} bytes early")
        data = bytes(self.buffer[:length])
        del self.buffer[:length]
        return data

    def read_head(self):
        """Read one head (1xx too)."""
        line = self._line()
        match = STATUS_LINE.match(line)
        if not match:
            raise ProtocolError(f"bad status line {line!r}")
        lines = []
        while True:
            field = self._line()
            if not field:
                break
            lines.append(field)
        fields = parse_fields(b"\r\n".join(lines))
        return Response(int(match[2]), int(match[1]), match[3].decode("latin-1"), fields)

    def begin_response(self, method="GET"):
        """Read heads up to the first that is not 1xx (but 101); fixes the framing."""
        interim = []
        while True:
            response = self.read_head()
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response)
        response.interim = interim
        no_body = method == "HEAD" or response.status in (101, 204, 304)
        response.framing, response.length = body_framing(response.fields, no_body)
        return response

    def pieces(self, response):
        """Yield the body of `response` as it comes."""
        if response.framing == "chunked":
            while True:
                line = self._line(limit=256)
                if not CHUNK_LINE.match(line):
                    raise ProtocolError(f"bad chunk line {line!r}")
                size = int(line, 16)
                if size == 0:
                    break
                data = self._take(size)
                if self._take(2) != b"\r\n":
                    raise ProtocolError("no CRLF behind a chunk")
                response.chunks.append(len(data))
                yield data
            if self._line() != b"":
                raise ProtocolError("trailers, which the gateway never sends")
        elif response.framing == "length":
            left = response.length
            while left:
                if not self.buffer and not self._fill():
                    raise Closed(f"closed {left} bytes early")
                data = bytes(self.buffer[:left])
                del self.buffer[: len(data)]
                left -= len(data)
                yield data
        elif response.framing == "close":
            while self.buffer or self._fill():
                data = bytes(self.buffer)
                self.buffer.clear()
                yield data

    def read_response(self, method="GET"):
        """Read one whole answer."""
        response = self.begin_response(method)
        response.body = b"".join(self.pieces(response))
        return response

    def read_to_close(self, within=None):
        """All bytes until the peer closes; TimeoutError when it does not."""
        deadline = time.monotonic() + (within or self.timeout)
        while self._fill(deadline):
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def is_quiet(self, for_s):
        """True when the peer neither sends nor closes for that long."""
        if self.buffer or self.ended:
            return False
        readable, _, _ = select.select([self.sock], [], [], for_s)
        return not readable

    # ------------------------------------------------------------------ requests

    def request(self, method, path, headers=(), body=None):
        """Send one request and read its answer."""
        self.send(request_bytes(method, path, headers, body))
        return self.read_response(method)


def request_bytes(method, path, headers=(), body=None, host="sluice.test", version="HTTP/1.1"):
    """A well-formed request. `headers` is a dict or [(name, value)]; a dict body becomes JSON."""
    fields = list(headers.items()) if isinstance(headers, dict) else list(headers)
    names = {name.lower() for name, _ in fields}
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
        if "content-type" not in names:
            fields.append(("Content-Type", "application/json"))
    if isinstance(body, str):
        body = body.encode()
    if host is not None and "host" not in names:
        fields.insert(0, ("Host", host))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    head = f"{method} {path} {version}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + "\r\n"
    return head.encode("latin-1") + (body or b"")


def chunked(body, size=None, sizes=None):
    """`body` in the chunked coding, cut every `size` bytes or at the given sizes in turn."""
    if not body:
        return b"0\r\n\r\n"
    out, at, turn = [], 0, 0
    while at < len(body):
        step = sizes[turn % len(sizes)] if sizes else size or len(body)
        piece = body[at : at + step]
        out.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        at, turn = at + step, turn + 1
    return b"".join(out) + b"0\r\n\r\n"


def sse_events(body):
    """The data of each event of an SSE body, in order; comments are left out."""
    text = body.decode() if isinstance(body, bytes) else body
    events = []
    for block in re.split(r"\r\n\r\n|\n\n|\r\r", text):
        lines = [line for line in re.split(r"\r\n|\n|\r", block) if line.startswith("data:")]
        if lines:
            events.append("\n".join(line[5:].removeprefix(" ") for line in lines))
    return events


class WebSocket:
    """A client of RFC 6455 that masks what it sends and insists that the server does not."""

    def __init__(self, client):
        self.client = client

    def send(self, opcode, payload, final=True):
        mask = b"\x12\x34\x56\x78"
        length = len(payload)
        head = bytes([(0x80 if final else 0) | opcode])
        if length < 126:
            head += bytes([0x80 | length])
        elif length < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", length)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", length)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.client.send(head + mask + masked)

    def send_text(self, text):
        self.send(1, text.encode())

    def read(self):
        """(opcode, payload) of the next frame."""
        first, second = self.client._take(2)
        if second & 0x80:
            raise ProtocolError("a server must not mask")
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", self.client._take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.client._take(8))[0]
        return first & 0x0F, self.client._take(length)
