# SPDX-License-Identifier: Apache-2.0
"""Pods of gateways that share a Redis belong to all of them: whoever leads looks after them, and no other one touches them."""

import contextlib
import signal
import time

import pytest
from deployed import Desk
from driver import FAKE
from harness import KEY_ACME, Sluice, config_for, eventually, is_alive
from kube_api import KubeApi
from redis_servers import Redis
from replicas import shared

IMAGE = "example.test/fakellm:1"
NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture
def api():
    api = KubeApi({IMAGE: [str(FAKE)]})
    yield api
    api.close()


class Cluster:
    """Gateways, one of which leads."""

    def __init__(self, api, count=2):
        self.stack = contextlib.ExitStack()
        self.redis = self.stack.enter_context(Redis())
        node = {"name": "k8s", "launcher": "kubernetes", "endpoint": api.url, "namespace": "models"}
        qwen = {"name": "qwen", "launcher": "kubernetes", "image": IMAGE, "engine": "openai",
                "command": ["--port", "{port}", "--load-ms", "100", "--say", "pod"], "restart": {"backoff": "100ms"},
                "probe": {"interval": "50ms", "liveness": "200ms"}, "stop": {"drain": "1s", "grace": "1s"}}
        config = config_for(NOBODY, store=shared(self.redis), deployments={"nodes": [node], "models": [qwen]})
        for tenant in config["tenants"]:
            tenant["models"] = ["*"]
        self.gates = []
        for _ in range(count):
            config["server"]["listeners"] = config_for(NOBODY)["server"]["listeners"]
            self.gates.append(self.stack.enter_context(Sluice(config)))

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.stack.__exit__(*what)

    def by_role(self, wanted):
        def find():
            for gate in self.gates:
                if is_alive(gate.process.pid) and Desk(gate).ask("GET", "/deployments").json["cluster"]["role"] == wanted:
                    return gate
            return None
        return eventually(find, 20, what=f"one {wanted}")


def says(gate):
    answer = gate.chat("qwen", key=KEY_ACME)
    assert answer.status == 200 and "pod" in answer.json["choices"][0]["message"]["content"], answer


def ends(gate):
    """Of one that was told to; once."""
    gate.process.wait(30)
    return gate.stop()


def test_a_leader_that_is_killed_is_followed_by_one_that_finds_its_pod(api):
    with Cluster(api) as cluster:
        leader, other = cluster.by_role("leads"), cluster.by_role("follows")
        says(other)
        [name] = api.pods
        leader.may_crash = True
        leader.kill()
        for _ in range(20):
            says(other)
        assert cluster.by_role("leads") is other
        eventually(lambda: "adopted" in Desk(other).reasons(), 20, what="it is found")
        says(other)
        assert list(api.pods) == [name] and api.created == 1
        leader.start()
        says(leader)
        assert list(api.pods) == [name] and api.created == 1, "who comes back leaves it alone"
        api.kill_pod(name)
        eventually(lambda: name not in api.pods, within=20, what="the one that leads now removes it")
        says(leader)
        assert api.created == 2


def test_a_leader_that_ends_hands_its_pod_over_and_the_last_one_ends_it(api):
    with Cluster(api) as cluster:
        leader, other = cluster.by_role("leads"), cluster.by_role("follows")
        says(leader)
        says(other)
        [name] = api.pods
        assert leader.stop() == 0
        says(other)
        assert cluster.by_role("leads") is other
        eventually(lambda: "adopted" in Desk(other).reasons(), 20, what="it is found")
        says(other)
        assert list(api.pods) == [name] and api.created == 1
    eventually(lambda: not api.pods, within=20, what="on_exit: stop")


@pytest.mark.parametrize("count", [2, 3])
def test_all_that_end_at_the_same_moment_leave_no_pod(api, count):
    """Each sees another that could take over; none does."""
    with Cluster(api, count) as cluster:
        says(cluster.by_role("leads"))
        assert api.created == 1
        for gate in cluster.gates:
            gate.process.send_signal(signal.SIGTERM)
        assert [ends(gate) for gate in cluster.gates] == [0] * count
        assert not api.pods, "it was ended before the last of them had"


def test_who_could_take_over_may_have_been_killed_just_before(api):
    """The others are missed after four seconds only; who ends does not have so many."""
    with Cluster(api) as cluster:
        leader, other = cluster.by_role("leads"), cluster.by_role("follows")
        says(leader)
        says(other)
        other.may_crash = True
        other.kill()
        assert leader.stop() == 0
        assert not api.pods


def test_who_takes_over_may_be_ending_itself_a_moment_later(api):
    """However far the other has come with taking over: in the end one of them ends the pod."""
    for delay in (0.002, 0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.4):
        with Cluster(api) as cluster:
            leader, other = cluster.by_role("leads"), cluster.by_role("follows")
            says(leader)
            leader.process.send_signal(signal.SIGTERM)
            time.sleep(delay)
            other.process.send_signal(signal.SIGTERM)
            assert ends(leader) == 0 and ends(other) == 0
            assert not api.pods, f"{delay} s later"
