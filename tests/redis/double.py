# SPDX-License-Identifier: Apache-2.0
"""A server that answers what a test tells it to: what a real one never says, or not when asked.

    with Double() as double:
        double.answers["GET"] = Raw(b"%1\\r\\n")         # or bytes, str, int, None, a list, an Error
        double.answers["GET"] = lambda words: ...       # or what a function makes of the words
"""

import contextlib
import socket
import threading


class Raw(bytes):
    """Sent as it is."""


class Error(str):
    """Sent as an error."""


def encode(value):
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Error):
        return b"-%s\r\n" % value.encode()
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, str):
        return b"+%s\r\n" % value.encode()
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode, value))
    return b"$%d\r\n%s\r\n" % (len(value), value)


class Double:
    def __init__(self):
        self.facts = b"redis_version:6.2.0\r\nredis_mode:standalone\r\nrun_id:%s\r\n" % (b"ab" * 20)
        self.answers = {"CLIENT": "OK", "PING": "PONG", "ASKING": "OK", "ROLE": [b"master", 0, []],
                        "INFO": lambda words: self.facts}
        self.seen = []  # all commands, as lists of bytes
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"redis://{self.address}"

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        file = connection.makefile("rb")
        with contextlib.suppress(OSError, ValueError):
            while line := file.readline():
                words = []
                for _ in range(int(line[1:])):
                    length = int(file.readline()[1:])
                    words.append(file.read(length + 2)[:-2])
                self.seen.append(words)
                answer = self.answers.get(words[0].decode().upper(), Error("ERR unknown command"))
                if callable(answer):
                    answer = answer(words)
                connection.sendall(encode(answer))
        connection.close()

    def count(self, command):
        return sum(words[0].decode().upper() == command for words in list(self.seen))

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
