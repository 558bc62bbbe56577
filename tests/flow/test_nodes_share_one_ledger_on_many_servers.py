# SPDX-License-Identifier: Apache-2.0
"""The shared ledger on a Cluster and behind Sentinels: masters change, slots move, nothing is lost or double."""

import time

import pytest
from fleet import Fleet
from redis_servers import Cluster, Sentinels

pytestmark = pytest.mark.threads


def calls_in_stream(server):
    entries = server.command("XRANGE", "sluice:{ledger}:calls", "-", "+")
    lines = [dict(zip(fields[::2], fields[1::2]))[b"line"] for _, fields in entries]
    assert len(lines) == len(set(lines)), "a call stands twice"
    return len(lines)


def test_on_a_cluster():
    with Fleet(2, redis=Cluster(replicas=1)) as fleet:
        cluster = fleet.redis
        slot = cluster.slot("{ledger}")
        made = fleet.load(10)
        fleet.wait_total(made)
        cluster.failover(cluster.owner(slot))
        made += fleet.load(10)
        fleet.wait_total(made, within=30)
        to = next(server for server in cluster.masters() if server is not cluster.owner(slot))
        with cluster.moving(slot, to):
            made += fleet.load(10)
        fleet.wait_total(made, within=30)
        assert calls_in_stream(cluster.owner(slot)) == made


@pytest.mark.parametrize("sync", ["os", "store"])
def test_behind_sentinels(sync):
    with Fleet(2, redis=Sentinels(), ledger={"sync": sync}) as fleet:
        made = fleet.load(10)
        fleet.wait_total(made)
        old = fleet.redis.master()
        old.kill()  # with what its replicas have not got yet
        made += fleet.load(10)
        fleet.redis.wait_another(old)
        made += fleet.load(10)
        fleet.wait_total(made, within=40)
        time.sleep(1.5)
        fleet.wait_total(made)
        assert calls_in_stream(fleet.redis.master()) == made
