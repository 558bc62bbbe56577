# SPDX-License-Identifier: Apache-2.0
"""What one replica has learnt of a target the others know by way of Redis, and nobody waits for it."""

import json
import threading
import time
from collections import Counter

import pytest
from harness import Background, Upstream, chat_body, eventually, provider_for
from replicas import Fleet, key_of, shared, tenant
from redis_servers import Redis

pytestmark = pytest.mark.threads
KEY = key_of("acme")
POLICIES = [{"name": "in-order", "strategy": "priority"}, {"name": "idlest", "strategy": "least_busy"}]
PRICE = {"input": 1, "output": 1}
LIMITED = {"error": {"message": "slow down", "type": "rate_limit_error"}}


@pytest.fixture
def redis():
    with Redis() as server:
        yield server


@pytest.fixture
def upstreams():
    with Upstream() as first, Upstream() as second:
        yield first, second


def model(name, policy, priorities=(1, 2)):
    return {"name": name, "policy": policy, "targets": [
        {"id": f"{name}-{place}", "provider": place, "model": place, "priority": priority, "price": PRICE}
        for place, priority in zip(("first", "second"), priorities)]}


def fleet_of(redis, upstreams, count=2):
    retry = {"attempts": 1, "backoff": "10ms"}
    providers = [provider_for(upstream, name, retry=retry) for upstream, name in zip(upstreams, ("first", "second"))]
    models = [model("ordered", "in-order"), model("idle", "idlest", (1, 1))]
    return Fleet(count, [tenant("acme")], models, shared(redis), upstreams[0], routing={"policies": POLICIES},
                 providers=providers)


def ask(gate, name="ordered"):
    answer = gate.chat(name, key=KEY)
    assert answer.status == 200, answer.body
    return answer


def target(gate, name):
    done = gate.cli("status", "--format", "json")
    assert done.returncode == 0, done.stderr
    return next(one for one in json.loads(done.stdout)["targets"] if one["id"] == name)


def others(gate, name):
    return target(gate, name).get("others", {})


def limited(call):
    call.respond(429, LIMITED, headers=[("Retry-After", "30")])


def broken(call):
    call.respond(503, {"error": {"message": "away"}})


class Holding:
    """An upstream's answer that waits until it is let go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, call):
        self.go.wait(30)
        call.respond(200, chat_body())


def test_a_retry_after_that_one_replica_was_told_is_heeded_by_the_others_within_a_second(redis, upstreams):
    first, second = upstreams
    first.answer = limited
    with fleet_of(redis, upstreams, 3) as fleet:
        fleet.wait_together()
        ask(fleet.gates[0])
        assert len(first.calls) == 1
        for gate in fleet.gates[1:]:
            eventually(lambda gate=gate: others(gate, "ordered-first").get("again_in_us", 0) > 20_000_000, 1)
            ask(gate)
        assert (len(first.calls), len(second.calls)) == (1, 3)


def test_a_circuit_that_opened_at_one_replica_costs_the_others_a_call_at_most(redis, upstreams):
    first, second = upstreams
    first.answer = broken
    with fleet_of(redis, upstreams) as fleet:
        fleet.wait_together()
        for _ in range(6):
            ask(fleet.gates[0])
        wasted = len(first.calls)
        assert wasted <= 3
        eventually(lambda: others(fleet.gates[1], "ordered-first").get("circuits_open") == 1, 1)
        for _ in range(6):
            ask(fleet.gates[1])
        assert len(first.calls) == wasted + 1
        assert len(second.calls) == 12
        assert fleet.gates[1].metric("sluice_shared_figures_nodes") == 1


def test_what_is_in_flight_elsewhere_spreads_the_load(redis, upstreams):
    first, second = upstreams
    holding = Holding()
    first.answer = second.answer = holding
    with fleet_of(redis, upstreams) as fleet:
        fleet.wait_together()
        calls = []
        for round_ in range(3):
            for gate, other in ((fleet.gates[0], fleet.gates[1]), (fleet.gates[1], fleet.gates[0])):
                calls.append(Background(ask, gate, "idle"))
                count = len(calls)
                eventually(lambda: len(first.calls) + len(second.calls) == count)
                eventually(lambda gate=gate, other=other: sum(
                    others(other, f"idle-{place}").get("in_flight", 0) for place in ("first", "second")) == round_ + 1, 2)
            assert len(first.calls) == len(second.calls) == round_ + 1
        holding.go.set()
        for call in calls:
            call.result()


def test_what_a_dead_replica_had_in_flight_is_forgotten(redis, upstreams):
    holding = Holding()
    upstreams[0].answer = holding
    with fleet_of(redis, upstreams) as fleet:
        fleet.wait_together()
        doomed, gate = fleet.gates
        call = threading.Thread(target=lambda: pytest.raises(Exception, doomed.chat, "ordered", key=KEY), daemon=True)
        call.start()
        eventually(lambda: others(gate, "ordered-first").get("in_flight") == 1, 2)
        doomed.may_crash = True
        doomed.kill()
        eventually(lambda: others(gate, "ordered-first").get("in_flight", 0) == 0, 5)
        holding.go.set()
        ask(gate)


def test_without_redis_each_goes_on_by_its_own_figures(redis, upstreams):
    first, second = upstreams
    with fleet_of(redis, upstreams) as fleet:
        fleet.wait_together()
        for gate in fleet.gates:
            ask(gate)
        redis.kill()
        begun = time.monotonic()
        answered = Counter(ask(gate).status for gate in fleet.gates for _ in range(5))
        assert answered == {200: 10}
        assert time.monotonic() - begun < 5
        first.answer = broken
        for gate in fleet.gates:
            ask(gate)
        eventually(lambda: fleet.gates[0].metric("sluice_shared_figures_nodes") == 0, 6)
        assert not others(fleet.gates[0], "ordered-first")
        redis.restart()
        first.answer = limited
        fleet.wait_together()
        for _ in range(3):
            ask(fleet.gates[0])
        eventually(lambda: others(fleet.gates[1], "ordered-first").get("replicas") == 1, 5)
