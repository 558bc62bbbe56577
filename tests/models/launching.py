# SPDX-License-Identifier: Apache-2.0
"""One launcher in a program of its own (driver.c), and what it says."""

import json
import subprocess
import threading
import time
from pathlib import Path

from harness import BINARY

BUILD = Path(BINARY).resolve().parent
DRIVER = BUILD / "tests" / "models" / "driver"
FAKELLM = BUILD / "tests" / "fakellm"


class Launcher:
    def __init__(self, kind, state, owner="one", **site):
        leave = ["leave"] if site.pop("leave", False) else []
        words = [f"{name}={value}" for name, value in site.items()]
        self.process = subprocess.Popen([DRIVER, kind, owner, state, *words, *leave], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.said, self.news = [], threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.news:
                self.said.append(json.loads(line))
                self.news.notify_all()

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def start(self, replica, image, *arguments, deployment="qwen", revision=1, grace_ms=2000):
        self.tell("start", deployment, replica, revision, image, grace_ms, *arguments)

    def wait(self, what, within=20, after=0, **wanted):
        """The first thing said (after number <after>) that is as wanted."""
        until = time.monotonic() + within
        with self.news:
            while True:
                for each in self.said[after:]:
                    if each["said"] == what and all(each.get(name) == value for name, value in wanted.items()):
                        return each
                left = until - time.monotonic()
                assert left > 0, f"no {what} {wanted} in {self.said[-8:]}"
                self.news.wait(left)

    def count(self, what, **wanted):
        with self.news:
            return sum(each["said"] == what and all(each.get(name) == value for name, value in wanted.items())
                       for each in self.said)

    def mark(self):
        with self.news:
            return len(self.said)

    def end(self):
        if self.process.poll() is None:
            self.tell("quit")
        assert self.process.wait(20) == 0
        self.close()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self):
        self.reader.join(5)
        self.process.stdin.close()
        self.process.stdout.close()
