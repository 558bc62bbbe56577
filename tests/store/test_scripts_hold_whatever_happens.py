# SPDX-License-Identifier: Apache-2.0
"""Nodes ask, report, assert, die and come back, answers get lost, the store forgets: whatever the
order, sums are the sums of their parts, no counter goes above its amount, and no node has fewer
claims in the store than it believes it has."""

import random

import pytest

from scripts import (
    FULL, GRANTED, SECOND, STALE, YOUNG, Node, Redis, Want, calendar, parallel, pause, rolling, sums, total,
)

NODES, STEPS = 4, 900
YOUNG_US = 40_000


@pytest.fixture(scope="module")
def redis():
    with Redis() as server:
        yield server


class Actor:
    """A node that keeps its books as a gateway does: what the store has of it, by counter and slot."""

    def __init__(self, redis, name, dice):
        self.dice, self.name, self.redis = dice, name, redis
        self.born = 0
        self.claims = {}
        self.start()

    def start(self):
        """A new process. Its ledger gives back what it had used, but not what it held ahead."""
        self.born += 1
        self.node = Node(self.redis, self.name, f"g{self.born}", nodes=NODES)
        self.asserted = False
        for counter, slots in self.claims.items():
            for slot in slots:
                slots[slot] = 0 if counter.mode == "p" else self.dice.randint(0, slots[slot])

    def lose_track(self):
        """Nobody knows whether the last call was done."""
        self.node.incarnation += 1
        self.asserted = False

    def live(self, counter, slots):
        oldest = (self.node.now() - min(counter.a // 2, 20_000)) // counter.a - 64 if counter.mode == "r" else 0
        return {slot: claimed for slot, claimed in slots.items() if slot >= oldest}

    def claim(self):
        self.claims = {c: self.live(c, slots) for c, slots in self.claims.items()}
        known = any(any(slots.values()) for slots in self.claims.values())
        items = list(self.claims.items())
        cut = self.dice.randint(0, len(items))
        if cut and self.node.claim(dict(items[:cut]), last=False, lost=known, young=YOUNG_US)[0] != GRANTED:
            self.lose_track()
            return
        answer = self.node.claim(dict(items[cut:]), first=not cut, lost=known, young=YOUNG_US)
        if answer[0] != GRANTED:
            self.lose_track()
            return
        self.asserted = True

    def ask(self, counters):
        if not self.asserted:
            self.claim()
        chosen = self.dice.sample(counters, self.dice.randint(1, len(counters)))
        wants = [Want(counter, lack=self.dice.randint(0, 6), more=self.dice.choice([0, 0, 10])) for counter in chosen]
        for counter in chosen:
            self.claims.setdefault(counter, {})  # asserted, as nothing, should the answer be lost
        answer = self.node.admit(*wants)
        if self.dice.random() < 0.05:
            return self.lose_track()
        if answer[0] == STALE:
            return self.lose_track()
        assert answer[0] in (GRANTED, FULL, YOUNG)
        if answer[0] == GRANTED:
            for i, counter in enumerate(chosen):
                slot, granted = answer[2 + 3 * i], answer[3 + 3 * i]
                slots = self.claims[counter]
                slots[slot] = slots.get(slot, 0) + granted
        return None

    def report(self):
        if not self.asserted:
            return
        changes = []
        for counter, slots in self.claims.items():
            for slot, claimed in slots.items():
                back = self.dice.randint(0, claimed)
                if back and self.dice.random() < 0.4:
                    changes.append((counter, slot, -back))
                    slots[slot] -= back
        if not changes:
            return
        if self.dice.random() < 0.05:
            self.lose_track()  # it was never sent
        elif self.node.report(*changes)[0] != GRANTED or self.dice.random() < 0.05:
            self.lose_track()


def check(actors, counters):
    for counter in counters:
        by_slot = sums(actors[0].node, counter)
        assert sum(by_slot.values()) <= counter.amount, (counter.name, by_slot)
        parts = actors[0].node.parts(counter)
        for actor in actors:
            if not actor.asserted:
                continue
            for slot, claimed in actor.live(counter, actor.claims.get(counter, {})).items():
                assert parts.get((slot, actor.node.me), 0) == claimed, (counter.name, actor.name, slot)


@pytest.mark.parametrize("seed", range(6))
def test_claims_never_go_above_the_amount_and_never_get_lost(redis, seed):
    redis.flushall()
    dice = random.Random(seed)
    actors = [Actor(redis, f"n{i}", dice) for i in range(NODES)]
    now = actors[0].node.now()
    counters = [rolling(60, 6_400_000, "minute"), rolling(25, 640_000, "short"),
                calendar(900, now - 60 * SECOND, now + 3600 * SECOND), total(400), parallel(40)]
    for _ in range(STEPS):
        actor = dice.choice(actors)
        move = dice.random()
        if move < 0.70:
            actor.ask(counters)
        elif move < 0.95:
            actor.report()
        elif move < 0.98:
            actor.start()
        elif move < 0.99:
            pause(dice.randint(0, 30_000))
        else:
            forget(redis, actors, dice)
        check(actors, counters)


def forget(redis, actors, dice):
    """The store is emptied; all notice and assert while it is young, in any order."""
    redis.flushall()
    for actor in dice.sample(actors, len(actors)):
        if dice.random() < 0.5:
            assert actor.node.report()[0] == STALE
        actor.lose_track()
        actor.claim()
