# SPDX-License-Identifier: Apache-2.0
"""Very many open streams, from a process of their own: descriptors are counted per process.

    python streams.py HOST PORT COUNT MODEL      (a child; use the class Streams)

Speaks lines: "open" when all have their head, then answers each line of stdin with one of stdout:
"look" -> JSON {open, ended, least, most}: how many are open, how many have ended, and the fewest and
the most events that one has got; "leave" -> closes all of them.
"""

import json
import re
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

CONNECTING_MAX = 200  # at once, so that no queue of listeners overflows
OPEN_WITHIN = 60
EVENT = re.compile(rb"^data: ", re.M)


class Many:
    def __init__(self, address, count, request):
        self.address, self.count, self.request = address, count, request
        self.epoll, self.socks = select.epoll(), {}
        self.heads, self.events, self.ended, self.waiting = {}, {}, {}, set()

    def open_one(self):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.connect(self.address)
        sock.sendall(self.request)
        sock.setblocking(False)
        fd = sock.fileno()
        self.socks[fd], self.events[fd] = sock, 0
        self.waiting.add(fd)
        self.epoll.register(fd, select.EPOLLIN)

    def read(self, wait):
        for fd, _ in self.epoll.poll(wait):
            if fd == 0:
                return True
            try:
                data = self.socks[fd].recv(65536)
            except BlockingIOError:
                continue
            except OSError as error:
                data = b""
                self.ended[fd] = f"{error}"
            if not data:
                self.ended.setdefault(fd, "closed")
                self.epoll.unregister(fd)
                self.waiting.discard(fd)
                continue
            if fd in self.waiting:
                self.waiting.discard(fd)
                if not data.startswith(b"HTTP/1.1 200 "):
                    self.ended[fd] = data[:300].decode("latin-1")
            if b"data: [DONE]" in data:
                self.ended[fd] = "whole"
            self.events[fd] += len(EVENT.findall(data))
        return False

    def open_all(self):
        deadline = time.monotonic() + OPEN_WITHIN
        while (len(self.socks) < self.count or self.waiting) and time.monotonic() < deadline:
            while len(self.socks) < self.count and len(self.waiting) < CONNECTING_MAX:
                self.open_one()
            self.read(0.05)

    def look(self):
        how = {}
        for why in self.ended.values():
            how[why] = how.get(why, 0) + 1
        events = self.events.values()
        return {"open": len(self.socks) - len(self.ended) - len(self.waiting), "ended": how,
                "least": min(events), "most": max(events)}

    def leave(self):
        for sock in self.socks.values():
            sock.close()
        return {"left": len(self.socks)}


def main(host, port, count, request):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = Many((host, int(port)), int(count), bytes.fromhex(request))
    many.open_all()
    many.epoll.register(0, select.EPOLLIN)
    print(json.dumps(many.look()), flush=True)
    while True:
        if many.read(1):
            word = sys.stdin.readline().strip()
            if not word:
                return
            print(json.dumps(many.look() if word == "look" else many.leave()), flush=True)
            if word == "leave":
                return


class Streams:
    """The parent's side: COUNT streams of one request, held until leave()."""

    def __init__(self, address, count, request):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), address[0], str(address[1]), str(count), request.hex()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self):
        line = self.process.stdout.readline()
        assert line, "the clients' process has ended"
        return json.loads(line)

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.hear()

    def look(self):
        return self.ask("look")

    def leave(self):
        return self.ask("leave")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
