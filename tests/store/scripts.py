# SPDX-License-Identifier: Apache-2.0
"""The scripts of policy/scripts, run by hand: nodes that ask, report and assert, in a few words."""

import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from redis_servers import Redis  # noqa: E402,F401

SCRIPTS = ROOT / "policy" / "scripts"
PRELUDE = (SCRIPTS / "store.lua").read_text()
SOURCES = {name: PRELUDE + (SCRIPTS / f"{name}.lua").read_text() for name in ("admit", "report", "assert")}
SOURCES["beat"] = PRELUDE + (SCRIPTS / "beat.lua").read_text()

SECOND = 1_000_000
YOUNG_US = 300_000
DEAD_US = 30 * SECOND
GRANTED, FULL, STALE, YOUNG, CLOCK, UNKNOWN = 1, 0, 2, 3, 4, 5


class Counter:
    """One counter of a root: its mode and span."""

    def __init__(self, name, mode, amount, a=0, z=0):
        self.name, self.mode, self.amount, self.a, self.z = name, mode, amount, a, z

    def slot(self, now):
        return now // self.a if self.mode == "r" else self.a


def rolling(amount, window_us=60 * SECOND, name="r"):
    return Counter(name, "r", amount, -(-window_us // 64))


def calendar(amount, begin, end, name="c"):
    return Counter(name, "c", amount, begin, end)


def total(amount, name="t"):
    return Counter(name, "t", amount)


def parallel(amount, name="p"):
    return Counter(name, "p", amount)


class Want:
    """What is asked of one counter."""

    def __init__(self, counter, lack=1, least=None, more=0, flags="", want=None, slot=None):
        self.counter, self.lack, self.more, self.flags, self.slot = counter, lack, more, flags, slot
        self.spare = 0 if least is None else lack - least
        self.want = lack if want is None else want

    def words(self, now):
        c = self.counter
        slot = c.slot(now) if self.slot is None else self.slot
        return [c.mode + self.flags, c.a, c.z, c.amount, slot, self.lack, self.spare, self.want, self.more]


class Node:
    """A gateway's process, as the store sees it."""

    def __init__(self, redis, name, generation="aaaa", root="acme", prefix="s:", nodes=4, dead_us=DEAD_US):
        self.redis, self.name, self.generation = redis, name, generation
        self.connection = redis.connect()
        self.base = f"{prefix}{{{root}}}:"
        self.prefix, self.nodes, self.dead_us = prefix, nodes, dead_us
        self.incarnation = 1
        self.clock = 0  # of the nodes, at least

    @property
    def me(self):
        return f"{self.name}.{self.generation}"

    def key(self, counter):
        return f"{self.base}c:{counter.name}"

    @property
    def life(self):
        return self.base + "l"

    def run(self, script, keys, *arguments):
        return self.connection.command("EVAL", SOURCES[script], len(keys), *keys, *arguments)

    def now(self):
        seconds, rest = self.connection.command("TIME")
        return int(seconds) * SECOND + int(rest)

    def admit(self, *wants, nodes=None):
        now = self.now()
        words = [word for want in wants for word in want.words(now)]
        return self.run("admit", [self.life, *(self.key(want.counter) for want in wants)], self.name,
                        self.generation, self.incarnation, self.clock, nodes or self.nodes, self.dead_us, *words)

    def granted(self, *wants, **options):
        """What was granted of each; None when refused."""
        answer = self.admit(*wants, **options)
        assert answer[0] in (GRANTED, FULL), answer
        return answer[3::3] if answer[0] == GRANTED else None

    def report(self, *changes):
        """(counter, slot, difference) each."""
        words = [w for c, slot, delta in changes for w in (c.mode, c.a, c.z, slot, delta)]
        return self.run("report", [self.life, *(self.key(c) for c, _, _ in changes)], self.name,
                        self.generation, self.incarnation, self.clock, *words)

    def claim(self, claims=(), first=True, last=True, lost=False, create=True, young=YOUNG_US):
        """Assert {counter: {slot: claimed}}."""
        claims = dict(claims)
        words = []
        for c, slots in claims.items():
            words += [c.mode, c.a, c.z, len(slots), *(word for pair in slots.items() for word in pair)]
        return self.run("assert", [self.life, *map(self.key, claims)], self.name, self.generation,
                        self.incarnation, self.clock, int(first), int(last), int(lost), int(create), young, *words)

    def beat(self, check=False, swept=0, leapt=0, forgot=0):
        """Now, since, heard of, swept, double."""
        return self.run("beat", [self.prefix + "nodes"], self.name, int(check), swept, self.generation, leapt, forgot)[:5]

    def fields(self, counter):
        """The counter's HASH."""
        flat = self.connection.command("HGETALL", self.key(counter))
        return {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}

    def parts(self, counter):
        """{(slot, me): part}"""
        found = {}
        for field, value in self.fields(counter).items():
            if match := re.fullmatch(r"(\d+)/(.+)", field):
                found[int(match[1]), match[2]] = int(value)
        return found


def sums(node, counter):
    """The sums by slot, after checking them: each is the sum of its parts, and all of them what the
    counter says they are."""
    fields, parts = node.fields(counter), node.parts(counter)
    by_slot = {int(field): int(value) for field, value in fields.items() if field.isdigit()}
    for slot in set(by_slot) | {slot for slot, _ in parts}:
        assert by_slot.get(slot, 0) == sum(part for (at, _), part in parts.items() if at == slot), (slot, fields)
    assert all(part >= 0 for part in parts.values()), fields
    if counter.mode == "r" and fields:
        oldest = int(fields["o"])
        assert int(fields["b"]) == sum(value for slot, value in by_slot.items() if slot >= oldest), fields
        assert all(slot >= oldest for slot in by_slot), fields
    names = set(fields.get("n", "").split())
    assert {name for (_, name), part in parts.items() if part} <= names, fields
    return by_slot


def pause(us):
    time.sleep(us / SECOND)
