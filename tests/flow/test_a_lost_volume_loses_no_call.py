# SPDX-License-Identifier: Apache-2.0
"""`ledger.sync: store`: what a client knows the end of is in Redis, whatever becomes of the node and its disk."""

import shutil
import threading
import time

import pytest
from fleet import COST, Fleet, own
from harness import SANITIZED, eventually

pytestmark = pytest.mark.threads


@pytest.fixture()
def fleet():
    with Fleet(2, ledger={"sync": "store"}) as fleet:
        yield fleet


@pytest.fixture()
def patient():
    """An answer waits for Redis longer than other work on the machine can hold Redis up."""
    with Fleet(2, timeout="10s", ledger={"sync": "store"}) as fleet:
        yield fleet


class Load:
    """Calls to one gateway by several clients, until it is stopped; what was answered, and what was begun."""

    def __init__(self, gate, clients=4):
        self.gate, self.begun, self.answered, self.over = gate, 0, 0, False
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.over:
            with self.lock:
                self.begun += 1
            try:
                good = self.gate.chat("fast").status == 200
            except Exception:
                return
            with self.lock:
                self.answered += good

    def stop(self):
        self.over = True
        for thread in self.threads:
            thread.join()


def requests(gate):
    rows = gate.usage(by="tenant")
    assert sum(row["cost_nanos"] for row in rows) == sum(row["requests"] for row in rows) * COST
    return sum(row["requests"] for row in rows)


def waiting(redis):
    return sum(redis.command("ZCARD", b"sluice:{ledger}:waiting:" + name)
               for name in redis.command("SMEMBERS", "sluice:{ledger}:waiting"))


@pytest.mark.parametrize("seconds", [0.05, 0.4, 1.3, 2.2])
def test_a_node_that_burns_down_is_counted_to_the_last_answer(patient, seconds):
    survivor, victim = patient.gates
    load = Load(victim)
    time.sleep(seconds)
    victim.kill()
    answered = load.answered  # the last bytes of these have left
    shutil.rmtree(victim.state)
    load.stop()
    for _ in range(3):
        assert answered <= requests(survivor) <= load.begun
        time.sleep(0.7)
    victim.state.mkdir()
    victim.start()  # another ledger: nothing of the old one is lost or double
    before = requests(survivor)
    assert victim.chat("fast").status == 200
    eventually(lambda: requests(survivor) == before + 1 and requests(victim) == before + 1, within=60, what="both count on")


def test_lines_wait_no_longer_than_they_have_to(fleet):
    one, other = fleet.gates
    load = Load(one)
    for _ in range(20 if SANITIZED else 40):
        least = load.answered
        seen = requests(other)
        # All that was answered before is seen, but for what goes over to the sums while we look.
        assert seen <= load.begun
        assert seen >= least - 2000
        time.sleep(0.02)
    load.stop()
    eventually(lambda: requests(other) == load.answered, within=60, what="the other node sees all")
    eventually(lambda: waiting(fleet.redis) == 0, within=60, what="nothing waits")
    assert requests(other) == load.answered == own(one)[0]["requests"]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_node_that_ended_is_counted_once(fleet, how):
    one, other = fleet.gates
    for _ in range(20):
        assert one.chat("fast").status == 200
    one.kill() if how == "kill" else one.stop()
    assert requests(other) == 20
    if how == "stop":
        assert waiting(fleet.redis) == 0
    one.start()
    eventually(lambda: waiting(fleet.redis) == 0, within=60, what="nothing waits")
    assert requests(other) == requests(one) == 20


def test_a_redis_that_hangs_holds_no_answer(fleet):
    one, other = fleet.gates
    assert one.chat("fast").status == 200
    fleet.redis.stop()
    begun = time.monotonic()
    for _ in range(10):
        assert one.chat("fast").status == 200
    assert time.monotonic() - begun < 5, "each waits 50 ms at most, and those after the first not at all"
    assert one.metric("sluice_ledger_unstored_lines_total") >= 1
    fleet.redis.cont()
    eventually(lambda: one.metric("sluice_ledger_shared_up") == 1, what="Redis is back")
    eventually(lambda: requests(other) == 11, within=60, what="told later")
    unstored = one.metric("sluice_ledger_unstored_lines_total")
    eventually(lambda: one.chat("fast").status == 200 and one.metric("sluice_ledger_unstored_lines_total") == unstored,
               what="lines reach it again")
