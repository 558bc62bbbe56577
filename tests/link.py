# SPDX-License-Identifier: Apache-2.0
"""A wire between a gateway and a server, which a test can hang, cut and mend.

    with Link(("127.0.0.1", redis.port)) as link:
        link.url                # redis://127.0.0.1:12345/0
        link.hang()             # connections stay, nothing passes any more
        link.mend()             # what was held passes now
        link.cut()              # connections are reset, new ones too, until mend()
"""

import contextlib
import socket
import struct
import threading
import time


class Link:
    def __init__(self, to, delay=0):
        self.to, self.delay = to, delay  # seconds, each way
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.port = self.listener.getsockname()[1]
        self.passes = threading.Event()
        self.passes.set()
        self.is_cut = self.closed = False
        self.sockets = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def hang(self):
        self.passes.clear()

    def cut(self):
        self.is_cut = True
        self._reset_all()

    def mend(self):
        self.is_cut = False
        self.passes.set()

    def _reset_all(self):
        for sock in list(self.sockets):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self.sockets.clear()

    def _accept(self):
        while not self.closed:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.is_cut:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                near.close()
                continue
            try:
                far = socket.create_connection(self.to, 5)
            except OSError:
                near.close()
                continue
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sockets.add(sock)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source, sink):
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(65536):
                self.passes.wait()
                time.sleep(self.delay)
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            self.sockets.discard(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True
        self.passes.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._reset_all()
