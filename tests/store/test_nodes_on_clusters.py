# SPDX-License-Identifier: Apache-2.0
"""The shared counters in a Cluster whose masters change and whose slots move, and behind Sentinels."""

import contextlib
import time

from nodes import CONCURRENT, MONEY, NONE, REQUESTS, ROLLING, SECOND, TOTAL, Node, most_at_once, most_in_65_slots
from redis_servers import Cluster, Sentinels

ROOTS = ("acme", "globex", "initech")


@contextlib.contextmanager
def running(url, count, **options):
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Node(url, name, workers=2, replicas_max=count, timeout_us=300_000, **options))
                 for name in "abcd"[:count]]
        for node in nodes:
            node.limit("k/r", REQUESTS, ROLLING, 300, 2 * SECOND)
            node.limit("k/p", CONCURRENT, NONE, 10)
            node.limit("k/m", MONEY, TOTAL, 10**9)
            node.wait_up(30)
        yield nodes


def begin(nodes, root, seconds):
    for node in nodes:
        node.load(5, root, 5000, 5000, seconds * SECOND, ("k/r", 1), ("k/p", 1), ("k/m", 100_000, 1))


def check(nodes, root):
    loads = [node.loaded() for node in nodes]
    calls = [call for load in loads for call in load.calls]
    assert most_in_65_slots(calls) <= 300
    assert most_at_once(calls) <= 10
    assert sum(load.granted for load in loads) > 300
    assert max(at for at, *_ in calls) - min(at for at, *_ in calls) > 4 * SECOND
    spent = sum(load.spent for load in loads)
    # Afterwards the counter has what was spent.
    until = time.monotonic() + 30
    while True:
        results = [node.call(root, ("k/m", 10**9 - spent + 1)).result for node in nodes]
        fits = nodes[0].call(root, ("k/m", 10**9 - spent))
        if set(results) == {"R"} and fits.result == "G":
            return
        assert time.monotonic() < until, (results, fits.result)
        fits.settle(cost=0)
        time.sleep(0.3)


def test_masters_that_change_and_slots_that_move():
    with Cluster() as cluster, running(cluster.url(), 3) as nodes:
        slots = {root: cluster.slot(f"s:{{{root}}}:l") for root in ROOTS}
        for root in ROOTS:
            call = nodes[0].call(root, ("k/r", 1), ("k/p", 1), ("k/m", 5))
            assert call.result == "G"
            call.settle(cost=0)
        root = ROOTS[1]
        begin(nodes, root, 10)
        time.sleep(1.5)
        owner = cluster.owner(slots[root])
        cluster.move(slots[root], next(master for master in cluster.masters() if master is not owner))
        time.sleep(1.5)
        cluster.failover(cluster.owner(slots[root]))
        time.sleep(1.5)
        cluster.owner(slots[root]).drop_clients()
        check(nodes, root)


def test_a_master_that_sentinels_replace():
    with Sentinels() as sentinels:
        options = {"master": sentinels.name, "sentinel": f"127.0.0.1:{sentinels.sentinels[0].port}"}
        with running("redis://unused", 2, **options) as nodes:
            begin(nodes, "acme", 8)
            time.sleep(2)
            sentinels.failover()
            check(nodes, "acme")
