# SPDX-License-Identifier: Apache-2.0
"""redis_free() from within each callback, at each moment; run with sanitizers, this finds what is
used after it."""

import pytest
from driver import Driver, Fault
from harness import eventually
from redis_servers import Cluster, Redis, Sentinels


@pytest.fixture(scope="module")
def cluster():
    with Cluster(replicas=0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sentinels():
    with Sentinels(replicas=1, sentinels=1) as sentinels:
        yield sentinels


@pytest.fixture(params=["single", "cluster", "sentinel"])
def options(request, redis, cluster, sentinels):
    return {"single": {"url": redis.url()}, "cluster": {"url": cluster.url()},
            "sentinel": {"url": "redis://unused", "sentinels": sentinels.addresses(),
                         "master": sentinels.name}}[request.param]


def test_in_an_answer_with_more_behind_it(options):
    with Driver(**options) as client:
        client.wait_up().free_at("answer")
        name = client.many(100, "PING")
        answers = client.take_all(name, 100)
        client.wait_freed()
        assert answers[0] == "PONG" and answers[1:] == [Fault.UNKNOWN] * 99


def test_when_it_comes_up(options):
    with Driver(**options, free_at="change") as client:
        client.wait_freed()


def test_in_a_message(options):
    with Driver(**options) as client:
        client.free_at("message").listen("news")
        client.wait_freed()


@pytest.mark.parametrize("event", ["answer", "change"])
def test_when_the_server_goes(event):
    with Redis() as redis, Driver(redis.url()) as client:
        client.wait_up()
        redis.stop()
        client.free_at(event)
        name = client.many(100, "PING", timeout_us=10000000)
        eventually(lambda: client.figures()["commands"] == 100)
        redis.kill()
        assert set(client.take_all(name, 100)) <= {Fault.UNKNOWN, Fault.AWAY}
        client.wait_freed()


def test_while_it_connects():
    with Redis() as redis:
        redis.stop()
        Driver(redis.url()).free()
    Driver("redis://no-such-host.invalid").free()
    Driver("redis://127.0.0.1:1").free()


@pytest.mark.parametrize("event", ["answer", "change"])
def test_when_a_node_of_a_cluster_goes(event):
    with Cluster(replicas=0) as cluster, Driver(cluster.url()) as client:
        client.wait_up()
        eventually(lambda: client.life_of("a"))
        owner = cluster.owner(cluster.slot("a"))
        owner.stop()
        client.free_at(event)
        name = client.many(100, "INCR", "a", timeout_us=10000000)
        owner.kill()
        for server in cluster.servers if event == "change" else []:
            server.kill()
        client.take_all(name, 100)
        client.wait_freed()
