# SPDX-License-Identifier: Apache-2.0
"""Gateways that share a Redis, and what they say together.

    with Fleet(3) as fleet:
        made = fleet.load(20)        # by each of them
        fleet.wait_total(made)       # each of them answers for all
        fleet.redis.flushall()
"""

import json
import threading

from harness import Sluice, Upstream, config_for, eventually
from redis_servers import Redis

COST = 11 * 1000 + 7 * 4000  # nano-dollars of the usual answer
NODES = 3


def shared(redis, upstream, timeout=None, **changes):
    """<redis> is a server, a Cluster, or Sentinels; how long is waited for it."""
    if hasattr(redis, "addresses"):
        where = {"url": "redis://127.0.0.1", "sentinel": {"master": redis.name, "addresses": redis.addresses()}}
    else:
        where = {"url": redis.url()}
    if timeout:
        where["timeout"] = timeout
    return config_for(upstream, store={"type": "redis", "redis": where}, **changes)


class Fleet:
    """Gateways that share a Redis, each with a state directory of its own."""

    def __init__(self, count=NODES, redis=None, **changes):
        self.redis, self.upstream = redis or Redis(), Upstream().__enter__()
        self.gates = [Sluice(shared(self.redis, self.upstream, **changes)) for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *what):
        try:
            for gate in self.gates:
                gate.__exit__(*what)
        finally:
            self.upstream.__exit__(None, None, None)
            self.redis.end()

    def load(self, calls):
        """Every gate serves so many calls, at once; gives how many were answered."""
        good = []

        def run(gate):
            for i in range(calls):
                if gate.chat(["fast", "slow"][i % 2]).status == 200:
                    good.append(1)

        threads = [threading.Thread(target=run, args=[gate]) for gate in self.gates]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(good)

    def wait_total(self, calls, gates=None, within=60):
        """All gates say that so many calls were made, and what they cost. Booking has the lowest priority: on a
        machine that is busy it takes a while."""
        for gate in gates or self.gates:
            said = []

            def total(gate=gate, said=said):
                done = gate.cli("usage", "--by", "tenant", "--since", "1d", "--format", "json")
                said[:] = [done.stdout, done.stderr]
                rows = json.loads(done.stdout or "[]")
                return [(row["requests"], row["cost_nanos"]) for row in rows] == [(calls, calls * COST)]

            try:
                eventually(total, within, every=0.1, what=f"{calls} calls")
            except AssertionError as problem:
                raise AssertionError(f"{problem}; says {said}; its own: {own(gate)}") from None


def own(gate, by="tenant"):
    done = gate.cli("usage", "--by", by, "--since", "1d", "--format", "json", "--nodes", "this")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
