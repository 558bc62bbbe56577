# SPDX-License-Identifier: Apache-2.0
"""Gateways that share a Redis share their deployments: what is made through one is there on all, one of them starts and
stops servers, and all send calls to them."""

import contextlib

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import Sluice, eventually
from redis_servers import Redis
from replicas import shared

pytestmark = pytest.mark.threads
SOON = 5  # seconds; it takes a few milliseconds, but other things may run on the machine


class Nodes:
    """Some gateways and a Redis; each has a state directory of its own."""

    def __init__(self, count, *models, **changes):
        self.stack = contextlib.ExitStack()
        self.redis = Redis()
        self.stack.callback(self.redis.end)
        self.models, self.changes = models, changes
        self.gates, self.desks = [], []
        try:
            for _ in range(count):
                self.add()
        except BaseException:
            self.stack.close()
            raise

    def add(self, directory=None):
        gate = Sluice(deployed(*self.models, store=shared(self.redis), **self.changes), directory=directory)
        self.stack.push(gate)
        self.gates.append(gate)
        self.desks.append(Desk(gate))
        return gate

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.stack.__exit__(*what)
        eventually(lambda: not pids(), what="no server is left")


def is_there(desk, name):
    return desk.ask("GET", f"/deployments/{name}").status == 200


def version(desk, name="qwen"):
    return desk.show(name)["version"]


def make(desk, name="qwen", *options, **changes):
    answer = desk.ask("POST", "/deployments", server_for(name, *options, **changes))
    assert answer.status == 201, answer
    return answer.json


def test_what_is_made_changed_and_removed_on_one_is_so_on_all():
    with Nodes(2) as nodes:
        one, two = nodes.desks
        made = make(one, env={"SECRET": "5ecre7-value"})
        assert made["version"] == 1, made
        eventually(lambda: is_there(two, "qwen"), SOON, what="the other has it")
        assert two.show()["changed_by"] == made["changed_by"]
        changed = two.ask("PATCH", "/deployments/qwen", {"scaling": {"max": 3}}, [("If-Match", '"1"')])
        assert changed.status == 200 and changed.json["version"] == 2, changed
        late = one.ask("PATCH", "/deployments/qwen", {"scaling": {"max": 2}}, [("If-Match", '"1"')])
        assert late.status == 412, late
        assert one.show()["spec"]["scaling"]["max"] == 3
        again = one.ask("POST", "/deployments", server_for("qwen"))
        assert again.status == 409, again
        assert one.ask("DELETE", "/deployments/qwen").status == 204
        eventually(lambda: not is_there(two, "qwen"), SOON, what="the other has it no more")
        assert all("5ecre7-value" not in gate.log() for gate in nodes.gates)


def test_a_node_that_comes_later_has_what_was_made_and_what_was_removed_while_it_was_away():
    with Nodes(2) as nodes:
        make(nodes.desks[0], "kept")
        make(nodes.desks[0], "removed")
        eventually(lambda: is_there(nodes.desks[1], "removed"), SOON, what="the other has both")
        nodes.gates[1].stop()
        assert nodes.desks[0].ask("DELETE", "/deployments/removed").status == 204
        make(nodes.desks[0], "late")
        back = Desk(nodes.add(directory=nodes.gates[1].directory))
        assert is_there(back, "kept") and is_there(back, "late") and not is_there(back, "removed")


def test_without_redis_nothing_is_changed_and_a_redis_that_forgot_gets_it_back():
    with Nodes(2) as nodes:
        make(nodes.desks[0], "qwen")
        eventually(lambda: is_there(nodes.desks[1], "qwen"), SOON, what="the other has it")
        nodes.redis.kill()
        refused = nodes.desks[1].ask("PATCH", "/deployments/qwen", {"scaling": {"max": 3}})
        assert refused.status == 503 and "Redis" in refused.json["detail"], refused
        assert nodes.desks[1].show()["spec"]["scaling"]["max"] == 1
        nodes.redis.start()

        def is_changed():
            return nodes.desks[1].ask("PATCH", "/deployments/qwen", {"scaling": {"max": 4}}).status == 200
        eventually(is_changed, 20, every=0.2, what="it can be changed again")
        eventually(lambda: nodes.desks[0].show()["spec"]["scaling"]["max"] == 4, SOON, what="the other has it again")


def office(gate):
    return int(gate.metric("sluice_deployment_leader"))


def test_what_one_starts_all_use():
    with Nodes(3, server_for("qwen", "--say", "hello")) as nodes:
        answers = [gate.chat("qwen", timeout=30) for gate in nodes.gates]
        assert [answer.status for answer in answers] == [200, 200, 200], answers
        assert len(pids()) == 1
