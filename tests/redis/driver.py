# SPDX-License-Identifier: Apache-2.0
"""The C client in a process of its own, spoken with from Python.

    with Driver(redis.url()) as client:
        client.wait_up()
        client.ask("SET", "a", "b")           # "OK"

An answer is bytes, a str (a status), int, None, a list or an Error; an answer that did not come is
Fault.AWAY or Fault.UNKNOWN, a command that was not taken Fault.REFUSED.
"""

import enum
import itertools
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import ALIVE, BINARY, clean_environment, eventually  # noqa: E402

DRIVER = Path(BINARY).parent / "tests" / "redis" / "driver"


class Fault(enum.Enum):
    REFUSED = -1
    AWAY = 1
    UNKNOWN = 2


class Error(str):
    """An error that the server answered."""


def hexed(word):
    word = word if isinstance(word, bytes) else str(word).encode()
    return word.hex() or "-"


def read_reply(words):
    word = next(words)
    kind, rest = word[0], word[1:]
    if kind == "n":
        return None
    if kind == "i":
        return int(rest)
    if kind == "l":
        return [read_reply(words) for _ in range(int(rest))]
    text = bytes.fromhex(rest)
    return {"t": lambda: text, "s": text.decode, "e": lambda: Error(text.decode("utf-8", "replace"))}[kind]()


class Driver:
    def __init__(self, url, timeout_us=1000000, sentinels=(), **options):
        words = [f"{name}={value}" for name, value in options.items() if value is not None]
        words += [f"sentinel={address}" for address in sentinels]
        self.process = subprocess.Popen(
            [str(DRIVER), url, f"timeout_us={timeout_us}", *words], env=clean_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ALIVE.append(self)
        self.ids = itertools.count()
        self.answers = {}  # id: queue
        self.changes, self.messages, self.log_lines = [], [], []
        self.other = queue.Queue()
        self.up, self.life, self.freed, self.fault = False, 0, False, None
        self.threads = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=self._read_log, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.process.stdout:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind in ("answer", "refused"):
                words = iter(rest.split(" "))
                answers = self.answers[next(words)]
                fault = -1 if kind == "refused" else int(next(words))
                answers.put(read_reply(words) if fault == 0 else Fault(fault))
            elif kind == "change":
                up, life = rest.split()
                self.up, self.life = up == "1", int(life)
                self.changes.append((self.up, self.life))
            elif kind == "message":
                self.messages.append(bytes.fromhex(rest))
            elif kind == "freed":
                self.freed = True
            elif kind == "fault":
                self.fault = rest
            else:
                self.other.put((kind, rest))

    def _read_log(self):
        for line in self.process.stderr:
            self.log_lines.append(line)

    def log(self):
        return "".join(self.log_lines)

    def write(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _begin(self):
        name = str(next(self.ids))
        self.answers[name] = queue.Queue()
        return name

    # ---------------------------------------------------------------- commands

    def send(self, *words, key=None, timeout_us=0):
        """Begin; the answer is read by take()."""
        name = self._begin()
        key = key if key is not None else words[1] if len(words) > 1 else ""
        self.write(f"send {name} {hexed(key)} {timeout_us} {' '.join(map(hexed, words))}")
        return name

    def many(self, count, *words, timeout_us=0):
        name = self._begin()
        self.write(f"many {name} {count} {timeout_us} {' '.join(map(hexed, words))}")
        return name

    def send_eval(self, source, keys, *words, timeout_us=0):
        name = self._begin()
        words = [*keys, *words]
        self.write(f"eval {name} {hexed(source)} {len(keys)} {timeout_us} {' '.join(map(hexed, words))}".rstrip())
        return name

    def take(self, name, within=30):
        return self.answers[name].get(timeout=within)

    def take_all(self, name, count, within=60):
        deadline = time.monotonic() + within
        return [self.answers[name].get(timeout=max(0.01, deadline - time.monotonic())) for _ in range(count)]

    def ask(self, *words, **options):
        return self.take(self.send(*words, **options))

    def eval(self, source, keys, *words, **options):
        return self.take(self.send_eval(source, keys, *words, **options))

    def forget(self, name):
        self.write(f"forget {name}")

    def listen(self, channel):
        self.write(f"listen {hexed(channel)}")

    def life_of(self, key):
        self.write(f"life {hexed(key)}")
        return int(self.other.get(timeout=30)[1])

    def figures(self):
        self.write("figures")
        names = ("up", "commands", "connects", "faults", "latency_us")
        words = self.other.get(timeout=30)[1].split(" ", 5)
        return {**{name: int(word) for name, word in zip(names, words)}, "server": words[5]}

    # ---------------------------------------------------------------- its life

    def wait_up(self, within=10):
        try:
            eventually(lambda: self.up, within)
        except AssertionError:
            raise AssertionError(f"not up in {within} s:\n{self.log()}") from None
        return self

    def wait_down(self, within=10):
        eventually(lambda: not self.up, within, what="the client is down")
        return self

    def wait_log(self, words, within=10):
        try:
            eventually(lambda: words in self.log(), within)
        except AssertionError:
            raise AssertionError(f"not in {within} s: {words!r} in\n{self.log()}") from None
        return self

    def free_at(self, event):
        """redis_free() from within the next answer, change or message."""
        self.write(f"free_at {event}")
        return self

    def wait_freed(self):
        eventually(lambda: self.freed, what="redis_free() from within a callback")
        return self.end()

    def free(self):
        """redis_free(): whatever is under way ends. The driver must end well."""
        self.write("free")
        return self.end()

    def end(self):
        if not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            status = self.process.wait(20)
        finally:
            self.kill()
        for thread in self.threads:
            thread.join(5)
        assert status == (1 if self.fault else 0), f"the driver ended with {status}:\n{self.log()[-4000:]}"
        assert self.freed or self.fault, "redis_free() did not return"
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        if self in ALIVE:
            ALIVE.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind or self.process.poll() is not None and self.freed:
            self.kill()
        else:
            self.end()
