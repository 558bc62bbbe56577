# SPDX-License-Identifier: Apache-2.0
"""Nodes that do nothing but reserve and settle, each a process (driver.c), spoken with from Python.

    with Redis() as redis, Node(redis, "a") as node:
        node.limit("k/one", REQUESTS, ROLLING, 10, 60 * SECOND)
        node.wait_up()
        call = node.call("acme", ("k/one", 1))
        call.result                     # "G": granted, "R": refused, "A": away
        call.settle()
"""

import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import ALIVE, BINARY, CRASH, clean_environment, eventually  # noqa: E402
from redis_servers import Redis, Sentinels  # noqa: E402,F401

DRIVER = Path(BINARY).parent / "tests" / "store" / "driver"
SECOND = 1_000_000
REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS, TOKENS, CONCURRENT, MONEY = range(6)
NONE, ROLLING, HOUR, DAY, WEEK, MONTH, TOTAL = range(7)
LOCAL, OPEN, CLOSED = range(3)
REJECT, DEGRADE, WARN = range(3)


class Call:
    def __init__(self, node, name):
        self.node, self.name = node, name
        self.result = self.refused = self.retry_us = self.local = self.warned = None
        self.held = []

    def settle(self, sent=True, input_tokens=0, output_tokens=0, cost=0):
        self.node.ask(f"settle {self.name} {int(sent)} {input_tokens} {output_tokens} {cost}", "settled")

    def extend(self, kind, more):
        return self.try_to_extend(kind, more)[0]

    def try_to_extend(self, kind, more):
        """Is it held, and is it to come?"""
        words = self.node.ask(f"extend {self.name} {kind} {more}", "extended").split()
        return words[1] == "1", words[2] == "1"

    def abandon(self):
        self.node.write(f"abandon {self.name}")

    def wait(self, within=10):
        eventually(lambda: self.result != "W", within, every=0.002, what="the call is decided")
        return self


class Load:
    """What came of one."""

    def __init__(self, rest):
        words = rest.split()
        self.granted, self.refused, self.away, self.local, self.spent, self.late_us = map(int, words[:6])
        path = Path(words[6])
        self.calls = [tuple(map(int, line.split())) for line in path.read_text().splitlines()]
        path.unlink()


class Node:
    def __init__(self, redis, name, start=True, **options):
        self.words = [redis if isinstance(redis, str) else redis.url(), f"node={name}"]
        self.words += [f"{key}={value}" for key, value in options.items()]
        self.limits = []
        self.process = None
        if start:
            self.start()

    def start(self):
        self.process = subprocess.Popen(
            [str(DRIVER), *self.words], env=clean_environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self not in ALIVE:
            ALIVE.append(self)
        self.calls, self.ids = {}, itertools.count()
        self.answers = {kind: queue.Queue() for kind in ("settled", "extended", "load", "view", "figures", "rebuilt")}
        self.log_lines, self.fault = [], None
        self.threads = [threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True),
                        threading.Thread(target=self._read_log, args=(self.process.stderr,), daemon=True)]
        for thread in self.threads:
            thread.start()
        for line in self.limits:
            self.write(line)
        return self

    def _read(self, stream):
        for line in stream:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "call":
                words = rest.split()
                call = self.calls[words[0]]
                call.refused, call.retry_us = int(words[2]), int(words[3])
                call.local, call.warned = words[4] == "1", words[5] == "1"
                call.held = [int(word) for word in words[6:]]
                call.result = words[1]
            elif kind == "fault":
                self.fault = rest
            elif kind in self.answers:
                self.answers[kind].put(rest)

    def _read_log(self, stream):
        for line in stream:
            self.log_lines.append(line)

    def log(self):
        return "".join(self.log_lines)

    def write(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line, kind, within=30):
        self.write(line)
        return self.answers[kind].get(timeout=within)

    # ------------------------------------------------------------------ what it does

    def limit(self, counter, kind, period, amount, window_us=0, away=CLOSED, exceeded=REJECT):
        line = f"limit {counter} {kind} {period} {amount} {window_us} {away} {exceeded}"
        self.limits.append(line)
        if self.process:
            self.write(line)

    def begin(self, root, *uses):
        """Uses are (counter, want) or (counter, want, least)."""
        name = f"c{next(self.ids)}"
        call = self.calls[name] = Call(self, name)
        self.write(f"call {name} {root} {self.words_of(uses)}")
        return call

    def call(self, root, *uses, within=10):
        call = self.begin(root, *uses)
        eventually(lambda: call.result not in (None, "W"), within, every=0.001, what="the call is decided")
        return call

    @staticmethod
    def words_of(uses):
        return " ".join(f"{use[0]} {use[1]} {use[2] if len(use) > 2 else use[1]}" for use in uses)

    def rebuild(self, root, *uses):
        self.ask(f"rebuild {root} {' '.join(f'{counter} {used}' for counter, used in uses)}", "rebuilt")

    def crowd(self, root, counter, count, used):
        """As if from the ledger, of <counter>/0, <counter>/1 …"""
        self.ask(f"crowd {root} {counter} {count} {used}", "rebuilt")

    def load(self, callers, root, hold_us, pause_us, duration_us, *uses):
        """Begin one; take it with loaded()."""
        self.write(f"load {callers} {root} {hold_us} {pause_us} {duration_us} {self.words_of(uses)}")

    def loaded(self, within=60):
        return Load(self.answers["load"].get(timeout=within))

    def view(self, root, counter):
        return int(self.ask(f"view {root} {counter}", "view"))

    def figures(self):
        names = ("up", "nodes", "asked", "counters", "live", "latency_us", "granted")
        return dict(zip(names, map(int, self.ask("figures", "figures").split())))

    # ------------------------------------------------------------------ its life

    def wait_up(self, within=15):
        try:
            eventually(lambda: self.figures()["up"], within)
        except AssertionError:
            raise AssertionError(f"not up in {within} s:\n{self.log()}") from None
        return self

    def wait_down(self, within=10):
        eventually(lambda: not self.figures()["up"], within, what="the store is away")
        return self

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        if self in ALIVE:
            ALIVE.remove(self)

    def end(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            try:
                self.write("quit")
                status = self.process.wait(20)
            finally:
                self.kill()
            for thread in self.threads:
                thread.join(5)
            assert status == 0, f"the node ended with {status}:\n{self.log()[-6000:]}"
        assert not CRASH.search(self.log()), self.log()[-6000:]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.kill()
        else:
            self.end()


def most_in_any_window(calls, window_us):
    """The most that was held, by its first use, in any stretch as long as the window."""
    calls = sorted(calls)
    most = held = begin = 0
    for at, _, amount, *_ in calls:
        held += amount
        while calls[begin][0] <= at - window_us:
            held -= calls[begin][2]
            begin += 1
        most = max(most, held)
    return most


def most_in_65_slots(calls):
    """The same by the slots that they were counted in: exact, however late who asked was told."""
    by_slot = {}
    for _, _, amount, _, slot in calls:
        by_slot[slot] = by_slot.get(slot, 0) + amount
    return max(sum(by_slot.get(at, 0) for at in range(slot, slot + 65)) for slot in by_slot)


def steady_share(calls, amount, window_us):
    """How much of what may be used was, after the first window and before the last."""
    begin = min(calls)[0] + window_us
    windows = (max(calls)[0] - begin) // window_us
    assert windows >= 1
    used = sum(held for at, _, held, *_ in calls if begin <= at < begin + windows * window_us)
    return used / (amount * windows)


def wait_sum(redis, counter, wanted, root="acme", within=20):
    """Until the sum in Redis is that, and that of its parts too: what was held ahead has come back."""
    def read():
        flat = redis.command("HGETALL", f"s:{{{root}}}:c:{counter}")
        fields = {flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2) if flat[i][:1].isdigit()}
        return [sum(value for field, value in fields.items() if ("/" in field) is part) for part in (False, True)]

    until = time.monotonic() + within
    while (last := read()) != [wanted, wanted]:
        assert time.monotonic() < until, f"{counter} is {last[0]}, its parts {last[1]}, not {wanted}"
        time.sleep(0.05)


def most_at_once(calls):
    """The most calls that ran at any moment; one that ends makes room before another begins."""
    moments = sorted([(at, 1) for at, *_ in calls] + [(until, -1) for _, until, *_ in calls])
    most = running = 0
    for _, step in moments:
        running += step
        most = max(most, running)
    return most
