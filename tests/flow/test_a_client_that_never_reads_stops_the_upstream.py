# SPDX-License-Identifier: Apache-2.0
"""Back-pressure: what the client does not take stays in the upstream, not in our memory."""

import hashlib
import threading
import time

from harness import SANITIZED, chat_request, eventually

PIECE = bytes(range(256)) * 256
GROWTH = (16 if SANITIZED else 1) << 20
CONFIG = {"server": {"workers": 1, "timeouts": {"client_idle": "60s"}}}


class Flood:
    """Answers with `total` bytes and counts what could be sent."""

    def __init__(self, total, stream=False):
        self.total, self.sent, self.done, self.stream = total, 0, threading.Event(), stream

    def __call__(self, call):
        try:
            kind = "text/event-stream" if self.stream else "application/octet-stream"
            call.head(200, {"content-type": kind, "content-length": str(self.total)})
            while self.sent < self.total:
                call.send(PIECE)
                self.sent += len(PIECE)
        finally:
            self.done.set()

    def wait_stuck(self):
        """Wait until nothing more could be sent for half a second."""
        last, since = -1, time.monotonic()
        deadline = since + 30
        while time.monotonic() < deadline:
            if self.sent != last:
                last, since = self.sent, time.monotonic()
            elif time.monotonic() - since > 0.5:
                return last
            time.sleep(0.02)
        raise AssertionError("the upstream was never stopped")


def warm_up(gate, upstream):
    """Allocate what one big answer needs, so that the growth measured is that of holding back."""
    upstream.answer = Flood(8 << 20)
    assert len(gate.chat().body) == 8 << 20
    upstream.answer = Flood(8 << 20, stream=True)
    gate.chat(stream=True)


def never_reads(gate, upstream, stream):
    warm_up(gate, upstream)
    before = gate.rss()
    upstream.answer = flood = Flood(256 << 20, stream)
    with gate.connect(rcvbuf=8192) as client:
        client.send(chat_request({"model": "fast", "messages": [], "stream": stream}))
        sent = flood.wait_stuck()
        held = gate.rss() - before
        assert sent < 64 << 20, f"{sent >> 20} MiB were taken from the upstream"
        assert held < GROWTH, f"{held >> 10} KiB are held for a client that does not read"
    assert flood.done.wait(10), "the upstream was not cancelled when the client left"
    eventually(lambda: gate.rss() - before < GROWTH, what="memory given back")


def test_an_answer_of_256_mib(gate, upstream):
    never_reads(gate, upstream, stream=False)


def test_a_stream_of_256_mib_in_one_event(gate, upstream):
    never_reads(gate, upstream, stream=True)


def test_a_slow_reader_gets_everything(gate, upstream):
    total = 24 << 20
    upstream.answer = Flood(total)
    digest, length = hashlib.sha256(), 0
    with gate.connect(rcvbuf=16384) as client:
        client.send(chat_request())
        response = client.begin_response("POST")
        for piece in client.pieces(response):
            digest.update(piece)
            length += len(piece)
            if length % (1 << 20) < len(piece):
                time.sleep(0.01)
    assert length == total
    assert digest.hexdigest() == hashlib.sha256(PIECE * (total // len(PIECE))).hexdigest()


def test_an_upstream_that_does_not_read_stops_the_client(gate, upstream):
    """The other way: an upload that the upstream does not take."""
    warm_up(gate, upstream)
    before = gate.rss()
    stuck, release = threading.Event(), threading.Event()

    def on_head(call):
        stuck.set()
        release.wait(30)
        return False

    upstream.on_head = on_head
    total = 200 << 20
    head = (b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n")
    from harness import KEY_ACME

    start = (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nfast\r\n'
             b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
    sent = 0
    try:
        with gate.connect() as client:
            client.send(head % (KEY_ACME.encode(), total) + start)
            client.sock.settimeout(1.5)
            try:
                while sent < 100 << 20:
                    sent += client.sock.send(PIECE)
            except TimeoutError:
                pass
            assert stuck.is_set() and sent < 64 << 20, f"{sent >> 20} MiB were taken from the client"
            assert gate.rss() - before < GROWTH
    finally:
        release.set()
