# SPDX-License-Identifier: Apache-2.0
"""Three gateways under load, killed again and again; a Redis that is killed, stopped and flushed meanwhile."""

import random
import threading
import time

import pytest
from fleet import COST, Fleet
from harness import SANITIZED, eventually

pytestmark = pytest.mark.threads
SECONDS = 6 if SANITIZED else 10


class Clients:
    """They call until they are told to stop; a gateway that is away is waited for."""

    def __init__(self, fleet, count=2):
        self.over, self.lock = False, threading.Lock()
        self.begun = self.answered = 0
        self.threads = [threading.Thread(target=self._run, args=[gate]) for gate in fleet.gates for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, gate):
        while not self.over:
            with self.lock:
                self.begun += 1
            good = False
            try:
                good = gate.chat("fast", options={"timeout": 10}).status == 200
            except Exception:
                time.sleep(0.05)
            with self.lock:
                self.answered += good

    def stop(self):
        self.over = True
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("sync", ["os", "store"])
def test_each_call_once(sync):
    chance = random.Random(7)
    with Fleet(3, ledger={"sync": sync}) as fleet:
        for gate in fleet.gates:
            gate.may_crash = True
        clients = Clients(fleet)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            what = chance.choice(["gate", "gate", "gate", "flush", "kill", "stop", "drop"])
            if what == "gate":
                gate = chance.choice(fleet.gates)
                gate.kill()
                gate.start()
            elif what == "flush":
                fleet.redis.flushall()
            elif what == "kill":
                fleet.redis.kill()
                time.sleep(chance.random() / 2)
                fleet.redis.start()
            elif what == "stop":
                fleet.redis.stop()
                time.sleep(chance.random())
                fleet.redis.cont()
            else:
                fleet.redis.drop_clients()
            time.sleep(chance.random() / 3)
        clients.stop()

        def say():
            said = []
            for gate in fleet.gates:
                done = gate.cli("usage", "--by", "outcome", "--since", "1d", "--format", "json")
                said.append(done.stdout)
            return said[0] if done.returncode == 0 and said[0] and len(set(said)) == 1 else None

        eventually(say, 60, every=0.3, what="all nodes say the same")
        time.sleep(2)
        eventually(say, 60, every=0.3, what="and go on to")
        rows = {row["outcome"]: row for row in fleet.gates[0].usage(by="outcome")}
        requests = sum(row["requests"] for row in rows.values())
        calls = len(fleet.upstream.calls)
        assert clients.answered <= rows["complete"]["requests"] <= calls <= requests <= clients.begun
        assert rows["complete"]["cost_nanos"] == rows["complete"]["requests"] * COST
        ids = set()
        for gate in fleet.gates:
            own = [row["id"] for row in gate.ledger_rows()]
            assert len(own) == len(set(own)) and not ids & set(own), "a call stands twice"
            ids |= set(own)
        assert len(ids) == requests
