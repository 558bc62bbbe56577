# SPDX-License-Identifier: Apache-2.0
"""Load from one thread, and what became of every single call.

A few dozen clients on one epoll loop; each asks, waits for the answer, thinks, and asks again. What
they are answered is read strictly, but judged only afterwards: the service may die at any moment.
"""

import errno
import heapq
import json
import random
import re
import select
import socket
import threading
import time
from collections import Counter

from harness import KEY_ACME, chat_request

STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ")
REQUEST_ID = re.compile(rb"\r\nx-request-id: ([^\r]+)\r\n", re.I)
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.I)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: chunked\r\n", re.I)
CLOSE = re.compile(rb"\r\nconnection: close\r\n", re.I)
RECONNECT = 0.02  # seconds to wait when nobody listens
TICK = 0.2  # seconds between two looks for calls that hang
IMPATIENCE = 0.3  # after at most so many seconds an impatient client leaves


def ask(model, stream=False, key=KEY_ACME, label=None, **fields):
    """What a client may send: (label, streamed, bytes); the label is the model's name where none is given."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
    if stream:
        body["stream"] = True
    return label or model, stream, chat_request(body, key)


def dechunk(raw):
    """(body, whole?) of a chunked body, as far as it came; ValueError when it is malformed."""
    body, at = bytearray(), 0
    while True:
        end = raw.find(b"\r\n", at)
        if end < 0:
            return bytes(body), False
        line = bytes(raw[at:end])
        if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", line):
            raise ValueError(f"chunk line {line!r}")
        size, at = int(line, 16), end + 2
        if size == 0:
            if raw[at : at + 2] == b"\r\n" and len(raw) > at + 2:
                raise ValueError("bytes behind the last chunk")
            return bytes(body), raw[at : at + 2] == b"\r\n"
        body += raw[at : at + size]
        if len(raw) < at + size + 2:
            return bytes(body), False
        if raw[at + size : at + size + 2] != b"\r\n":
            raise ValueError("no CRLF behind a chunk")
        at += size + 2


class Answer:
    """What one call got."""

    __slots__ = ("model", "stream", "id", "status", "body", "whole", "how", "began", "took", "reused", "closes")

    def __init__(self, model, stream):
        self.model, self.stream = model, stream
        self.id = self.status = None
        self.body, self.whole = b"", False
        self.how = ""  # why it is not whole: "refused", "cut", "reset", "left", "hung", or what was malformed
        self.began, self.took = time.monotonic(), 0.0
        self.reused = self.closes = False

    @property
    def done(self):
        """Has the client all that it asked for?"""
        if self.status != 200 or not self.body:
            return False
        return b"data: [DONE]" in self.body[-200:] if self.stream else self.whole

    @property
    def error(self):
        """The error that it was told, in either form, or None."""
        data = self.body
        if self.stream and self.status == 200:
            events = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: {\"error\"")]
            data = events[-1] if events else b""
        try:
            value = json.loads(data)
        except ValueError:
            return None
        return value.get("error") if isinstance(value, dict) else None

    def __repr__(self):
        return (f"<{self.model}{' stream' if self.stream else ''} {self.id} {self.status} whole={self.whole} {self.how} "
                f"{self.took:.3f} s {self.body[:150]!r}..{self.body[-250:]!r}>")


class Caller:
    """One client: a connection that is made again whenever it ends."""

    def __init__(self, load, number):
        self.load, self.number = load, number
        self.sock = None
        self.reset()

    def reset(self):
        self.answer, self.raw, self.out = None, bytearray(), b""
        self.head_end, self.length = 0, None

    # ------------------------------------------------------------------ one call

    def begin(self):
        load = self.load
        if load.stopping:
            self.close()
            return
        model, stream, data = load.choose(self.number)
        self.reset()
        self.answer, self.out = Answer(model, stream), data
        self.answer.reused = self.sock is not None
        if not self.sock and not self.connect():
            return
        if load.random.random() < load.impatient:
            load.later(self, load.random.uniform(0, IMPATIENCE), Caller.leave, self.answer)
        self.write()

    def leave(self, answer):
        if self.answer is answer:
            self.finish("left")

    def connect(self):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        addresses = self.load.addresses
        code = sock.connect_ex(addresses[self.number % len(addresses)])
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self.finish("refused")
            return False
        self.sock = sock
        self.load.watch(self)
        return True

    def write(self):
        try:
            while self.out:
                self.out = self.out[self.sock.send(self.out) :]
        except BlockingIOError:
            pass
        except ConnectionRefusedError:
            self.finish("refused")
            return
        except OSError:
            self.out = b""  # the reader finds out what happened
        self.load.watch(self)

    def on_event(self, events):
        if self.out and events & select.EPOLLOUT:
            self.write()
        if self.sock and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self.read()

    def read(self):
        try:
            piece = self.sock.recv(262144)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            self.finish("refused")
            return
        except OSError:
            self.finish("reset")
            return
        if not piece:
            self.finish("cut")
        elif not self.answer:
            self.load.noise.append(bytes(piece))
            self.close()
        else:
            self.raw += piece
            self.take()

    def take(self):
        answer, raw = self.answer, self.raw
        if not self.head_end:
            end = raw.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head_end = end + 4
            head = bytes(raw[:self.head_end])
            status, request_id, length = STATUS_LINE.match(head), REQUEST_ID.search(head), LENGTH.search(head)
            if not status or bool(length) == bool(CHUNKED.search(head)):
                self.finish(f"bad head {head!r}")
                return
            answer.status = int(status[1])
            answer.id = request_id[1].decode() if request_id else None
            answer.closes = bool(CLOSE.search(head))
            self.length = int(length[1]) if length else None
        if self.length is not None:
            if len(raw) - self.head_end >= self.length:
                self.finish("" if len(raw) - self.head_end == self.length else "bytes behind the answer")
        elif raw.endswith(b"0\r\n\r\n"):
            self.finish("", needs_whole=True)

    def finish(self, how, needs_whole=False):
        """Note what became of the call, or go on reading when it is not over."""
        answer, load = self.answer, self.load
        if not answer:  # an idle connection; the next call makes another
            self.close()
            return
        body = bytes(self.raw[self.head_end :]) if self.head_end else b""
        whole = self.length is not None and len(body) == self.length
        if self.head_end and self.length is None:
            try:
                body, whole = dechunk(body)
            except ValueError as error:
                how = f"malformed: {error}"
        if needs_whole and not whole and not how:
            return
        answer.whole, answer.body, answer.how = whole, body, how
        answer.took = time.monotonic() - answer.began
        load.note(answer)
        if how or answer.closes:
            self.close()
        self.reset()
        load.later(self, RECONNECT if how else load.pause(self.number))

    def close(self):
        if self.sock:
            self.load.forget(self)
            self.sock.close()
            self.sock = None


class Load:
    """Asks from `callers` clients until stop(); `answers` has what each call got.

    <address> may be a list: the clients go to them in turn. <think> is the mean pause of a client, or a
    function that gives the next one's seconds for random.Random and the client's number. With <own>
    the client of number N always asks asks[N % len(asks)], else any of them.
    """

    def __init__(self, address, asks, callers=24, think=0.03, limit=30, impatient=0.0, seed=None, own=False):
        self.addresses = address if isinstance(address, list) else [address]
        self.asks, self.think, self.limit, self.own = asks, think, limit, own
        self.impatient = impatient  # the share of calls whose client leaves early
        self.random = random.Random(seed)
        self.answers, self.noise = [], []
        self.counts = Counter()
        self.epoll, self.by_fd, self.due, self.order = select.epoll(), {}, [], 0
        self.stopping = self.is_over = False
        self.error, self.began = None, time.monotonic()
        self.callers = [Caller(self, i) for i in range(callers)]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # ------------------------------------------------------------------ for the callers

    def choose(self, number):
        return self.asks[number % len(self.asks)] if self.own else self.random.choice(self.asks)

    def pause(self, number):
        if callable(self.think):
            return self.think(self.random, number)
        return self.think * self.random.uniform(0.5, 1.5)

    def watch(self, caller):
        events = select.EPOLLIN | (select.EPOLLOUT if caller.out else 0)
        if caller.sock.fileno() in self.by_fd:
            self.epoll.modify(caller.sock.fileno(), events)
        else:
            self.by_fd[caller.sock.fileno()] = caller
            self.epoll.register(caller.sock.fileno(), events)

    def forget(self, caller):
        fd = caller.sock.fileno()
        if self.by_fd.pop(fd, None):
            self.epoll.unregister(fd)

    def later(self, caller, seconds, what=Caller.begin, *args):
        self.order += 1
        heapq.heappush(self.due, (time.monotonic() + seconds, self.order, what, caller, args))

    def note(self, answer):
        self.counts[answer.status if answer.whole else answer.how.partition(":")[0]] += 1
        # A connection that was given up before anything was answered: nobody ever saw that call.
        if answer.how != "refused":
            self.answers.append(answer)

    # ------------------------------------------------------------------ the loop

    def _run(self):
        try:
            for caller in self.callers:
                self.later(caller, self.random.uniform(0, 1) * self.pause(caller.number))
            self._loop()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.is_over = True

    def _loop(self):
        look = 0.0
        while not (self.stopping and all(caller.answer is None for caller in self.callers)):
            now = time.monotonic()
            while self.due and self.due[0][0] <= now:
                _, _, what, caller, args = heapq.heappop(self.due)
                what(caller, *args)
            if now >= look:
                look = now + TICK
                self._end_hung(now)
            wait = min(TICK, max(0.0, self.due[0][0] - time.monotonic())) if self.due else TICK
            for fd, events in self.epoll.poll(wait):
                if fd in self.by_fd:
                    self.by_fd[fd].on_event(events)
        for caller in self.callers:
            caller.close()

    def _end_hung(self, now):
        for caller in self.callers:
            if caller.answer and now - caller.answer.began > self.limit:
                caller.finish("hung")

    # ------------------------------------------------------------------ for the test

    def seconds(self):
        """Since it began."""
        return time.monotonic() - self.began

    def stop(self, within=60):
        """No new calls; wait until those that are open have ended. Returns the answers."""
        self.stopping = True
        self.thread.join(within)
        if self.error:
            raise self.error
        assert not self.thread.is_alive(), f"calls still open after {within} s"
        assert not self.noise, f"bytes that nobody asked for: {self.noise[:3]}"
        return self.answers

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(60)


def assert_no_nonsense(answers):
    """Whatever happened, nobody hung, and what came was HTTP."""
    odd = [a for a in answers if a.how not in ("", "cut", "reset", "left")]
    assert not odd, f"{len(odd)} calls: {odd[:3]}"
