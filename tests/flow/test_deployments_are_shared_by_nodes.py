# SPDX-License-Identifier: Apache-2.0
"""Gateways that share a Redis share their deployments: what is made through one is there on all, one of them starts and
stops servers, and all send calls to them."""

import contextlib
import os
import signal
import time
from collections import Counter

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import Background, Sluice, eventually, is_alive
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



def role(desk):
    return desk.ask("GET", "/deployments").json["cluster"]["role"]


class Cluster(Nodes):
    """The same, with its leader known."""

    def leader(self, within=20):
        def find():
            leading = [i for i, gate in enumerate(self.gates) if is_alive(gate.process.pid) and role(self.desks[i]) == "leads"]
            return leading if len(leading) == 1 else None
        number = eventually(find, within, every=0.05, what="one leads")[0]
        return self.gates[number], self.desks[number]

    def followers(self):
        leader, _ = self.leader()
        return [(gate, desk) for gate, desk in zip(self.gates, self.desks) if gate is not leader and is_alive(gate.process.pid)]

    def crash(self, gate):
        """All of it, at once; its model servers live on."""
        gate.may_crash = True
        gate.kill()


def launches(nodes, name="qwen"):
    return sum(desk.launches(name) for gate, desk in zip(nodes.gates, nodes.desks) if is_alive(gate.process.pid))


def many(gates, count, model="qwen", **fields):
    return [Background(lambda gate=gates[i % len(gates)]: gate.chat(model, options={"timeout": 60}, **fields)) for i in range(count)]


def statuses(calls):
    answers = [call.result() for call in calls]
    return Counter(200 if answer.status == 200 else str(answer) for answer in answers)


def test_fifty_first_calls_on_three_nodes_start_one_server():
    with Cluster(3, server_for("qwen", "--load-ms", 700, scaling={"parallel": 8})) as nodes:
        nodes.leader()
        calls = many(nodes.gates, 50)
        eventually(lambda: sum(desk.show()["queue"]["held"] for desk in nodes.desks) == 50, what="all wait")
        assert {desk.show()["state"] for desk in nodes.desks} <= {"idle", "queued", "starting"}
        assert statuses(calls) == {200: 50}
        assert launches(nodes) == 1 and len(pids()) == 1
        for desk in nodes.desks:
            eventually(lambda desk=desk: desk.show()["state"] == "ready", what="all say so")
            [replica] = desk.show()["replicas"]
            assert replica["state"] == "ready", replica
        for _, desk in nodes.followers():
            assert desk.show()["replicas"][0]["elsewhere"], desk.show()


def test_calls_elsewhere_keep_it_up_and_grow_it_and_it_ends_when_nobody_calls():
    server = server_for("qwen", "--first-ms", 1500, scaling={"parallel": 1, "max": 2, "up_window": "200ms", "down_delay": "500ms", "idle_stop": "1s"})
    with Cluster(2, server) as nodes:
        [(gate, desk)] = nodes.followers()
        calls = many([gate], 6)
        eventually(lambda: len(pids()) == 2, what="a second one is started for calls that wait at the other node")
        assert statuses(calls) == {200: 6}
        eventually(lambda: not pids(), what="they end when nobody calls")
        eventually(lambda: desk.show()["state"] == "idle", what="the other says so too")
        assert gate.chat("qwen", options={"timeout": 30}).status == 200


def test_a_replica_that_is_to_end_waits_for_calls_of_other_nodes():
    with Cluster(2, server_for("qwen", "--first-ms", 2000)) as nodes:
        _, leads = nodes.leader()
        [(gate, _)] = nodes.followers()
        assert gate.chat("qwen", options={"timeout": 30}).status == 200
        running = many([gate], 4)
        eventually(lambda: gate.metric("sluice_deployment_in_flight", deployment="qwen") == 4, what="they run")
        assert leads.order("stop").status == 200
        assert statuses(running) == {200: 4}
        eventually(lambda: not pids(), what="it ends behind them")
        refused = gate.chat("qwen", options={"timeout": 30})
        assert refused.status == 503, refused


def test_orders_are_carried_out_by_whoever_leads_and_hold_for_the_next():
    with Cluster(2, server_for("qwen")) as nodes:
        leader, leads = nodes.leader()
        [(gate, desk)] = nodes.followers()
        assert desk.order("start").status == 200
        leads.until("ready")
        scaled = desk.order("scale", body={"min": 1, "max": 3})
        assert scaled.status == 200, scaled
        assert (leads.show()["min"], leads.show()["max"]) == (1, 3)
        nonsense = desk.order("rollout", body={"action": "promote"})
        assert nonsense.status == 409 and "no rollout" in nonsense.json["detail"], nonsense
        assert desk.order("stop").status == 200
        eventually(lambda: not pids(), what="it is stopped")
        leader.stop()
        eventually(lambda: role(desk) == "leads", SOON, what="the other leads, without waiting for the lease to run out")
        assert desk.show()["state"] == "stopped" and (desk.show()["min"], desk.show()["max"]) == (1, 3)
        assert gate.chat("qwen", options={"timeout": 10}).status == 503 and not pids()


def test_a_call_that_is_turned_away_wakes_it_through_the_leader():
    with Cluster(2, server_for("qwen", hold={"policy": "reject"})) as nodes:
        [(gate, desk)] = nodes.followers()
        assert gate.chat("qwen").status == 503
        desk.until("ready")
        eventually(lambda: gate.chat("qwen").status == 200, SOON, what="it can be called")


def test_what_cannot_start_is_told_to_who_waits_elsewhere():
    broken = server_for("broken", "--exit-at-once", 1, "--exit-code", 3, restart={"max_restarts": 1, "backoff": "50ms"})
    with Cluster(2, broken) as nodes:
        [(gate, _)] = nodes.followers()
        answer = gate.chat("broken", options={"timeout": 30})
        assert answer.status == 503 and answer.json["loading"]["state"] == "failed", answer


def test_a_leader_that_dies_is_followed_and_its_server_is_used_on():
    with Cluster(3, server_for("qwen", "--first-ms", 50, scaling={"min": 1})) as nodes:
        leader, _ = nodes.leader()
        left = nodes.followers()
        eventually(lambda: all(gate.chat("qwen", options={"timeout": 30}).status == 200 for gate in nodes.gates), what="all use it")
        [server] = pids()
        nodes.crash(leader)
        began, failed = time.monotonic(), []
        while time.monotonic() < began + 6:
            failed += [answer for answer in (gate.chat("qwen", options={"timeout": 30}) for gate, _ in left) if answer.status != 200]
        assert not failed, failed[0]
        _, leads = nodes.leader(within=1)
        assert pids() == [server], "it is used on, and there is no second one"
        assert leads.show()["state"] == "ready", leads.show()
        os.kill(server, signal.SIGKILL)
        assert statuses(many([gate for gate, _ in left], 6)) == {200: 6}, "who finds nobody there waits for the next one"
        assert len(pids()) == 1 and pids() != [server], "the new leader replaces it when it dies"
        back = Desk(nodes.add(directory=leader.directory))
        eventually(lambda: role(back) == "follows", SOON, what="the one that died follows")
        assert len(pids()) == 1


def said(gate):
    answer = gate.chat("qwen", options={"timeout": 60})
    assert answer.status == 200, answer
    return answer.json["choices"][0]["message"]["content"].split("word")[0].strip()


@pytest.mark.parametrize("server_lives", [True, False])
def test_what_was_rolled_back_stays_so_under_the_next_leader(server_lives):
    one = {"scaling": {"min": 1, "max": 1}, "restart": {"max_restarts": 1, "backoff": "20ms"}}
    with Cluster(2, server_for("other")) as nodes:
        leader, leads = nodes.leader()
        make(leads, "qwen", "--say", "old", **one)
        leads.until("ready")
        bad = server_for("qwen", "--say", "new", "--exit-at-once", 1)["command"]
        assert leads.ask("PATCH", "/deployments/qwen", {"command": bad}).status == 200
        eventually(lambda: leads.show().get("rolled_back"), 30, what="it is rolled back")
        eventually(lambda: '"rejected":true' in str(nodes.redis.command("HGET", "sluice:{deployments}:verdicts", "qwen")), what="it is kept")
        [server] = pids("old")
        nodes.crash(leader)
        if not server_lives:
            os.kill(server, signal.SIGKILL)
        gate, next_leads = nodes.leader()
        eventually(lambda: next_leads.show().get("rolled_back") and next_leads.show()["ready"], 30, what="it serves")
        assert said(gate) == "old" and (pids("old") == [server] or not server_lives)
        tried = [reason for reason in next_leads.reasons() if "launch_failed" in reason]
        assert not tried, next_leads.events()
        back = nodes.add(directory=leader.directory)
        assert said(back) == "old"
        nodes.crash(gate)
        _, leads = nodes.leader()
        eventually(lambda: leads.show().get("rolled_back"), what="it knows, too")
        assert said(back) == "old" and not [reason for reason in leads.reasons() if "launch_failed" in reason]
        assert said(nodes.add(directory=gate.directory)) == "old"


def spent(desk, name="qwen"):
    return desk.show(name)["cost"]["spent_nanos"]


def test_what_was_spent_goes_along_when_the_leader_changes():
    """A dollar a second, of which it has eight: not eight under each leader."""
    nodes_of = [{"name": "local", "launcher": "process", "memory": "8GiB", "price_per_hour": "3600 USD"}]
    dear = server_for("qwen", resources={"memory": "8GiB"}, scaling={"min": 1}, limits={"max_spend": "8 USD"})
    with Cluster(2, dear, nodes=nodes_of) as nodes:
        leader, leads = nodes.leader()
        eventually(lambda: spent(leads) > 2 * 10**9, what="it costs something")
        eventually(lambda: nodes.redis.command("GET", "sluice:{fleet}:spent").strip(), SOON, what="Redis knows")
        time.sleep(1.2)
        before = spent(leads)
        nodes.crash(leader)
        _, next_leads = nodes.leader()
        assert spent(next_leads) > before - 1.5 * 10**9
        eventually(lambda: next_leads.show()["state"] == "stopped", 30, what="it is stopped when all is spent")
        assert next_leads.show()["reason"] == "max_spend", next_leads.show()
        assert 8 * 10**9 <= spent(next_leads) < 11 * 10**9
        assert next_leads.order("start").status == 409
        [(other, _)] = [(gate, desk) for gate, desk in zip(nodes.gates, nodes.desks) if is_alive(gate.process.pid)]
        late = Desk(nodes.add())
        nodes.crash(other)
        eventually(lambda: role(late) == "leads", 20, what="one that has only Redis to know it from leads")
        eventually(lambda: late.show()["state"] == "stopped", SOON, what="there too it is over")
        assert late.show()["reason"] == "max_spend" and spent(late) >= 8 * 10**9, late.show()
        nodes.add(directory=leader.directory)
        eventually(lambda: not pids(), 30, what="what the first one has left running ends when it is back")


def test_without_redis_all_serve_on_and_nobody_starts_or_ends_anything():
    server = server_for("qwen", "--first-ms", 100, scaling={"parallel": 4, "max": 4, "up_window": "200ms", "down_delay": "500ms", "idle_stop": "1s"})
    with Cluster(2, server, server_for("other")) as nodes:
        nodes.leader()
        assert statuses(many(nodes.gates, 2)) == {200: 2}
        [pid] = pids()
        running = many(nodes.gates, 2, stream=True)
        nodes.redis.kill()
        for desk in nodes.desks:
            eventually(lambda desk=desk: desk.ask("GET", "/deployments").json["cluster"] | {"other_nodes": 0} ==
                       {"role": "paused", "reason": "redis_away", "other_nodes": 0}, 10, what="nobody leads")
        assert all(gate.metric("sluice_deployment_paused", reason="redis_away") == 1 for gate in nodes.gates)
        assert statuses(running) == {200: 2}
        crowd = many(nodes.gates, 40)
        assert statuses(crowd) == {200: 40}
        time.sleep(2)
        assert pids() == [pid], "neither more of it, nor none since nobody calls"
        assert nodes.desks[0].order("stop").status == 503
        waits = many(nodes.gates, 2, model="other")
        nodes.redis.start()
        nodes.leader()
        assert statuses(waits) == {200: 2}, "what waited meanwhile is started"
        assert launches(nodes, "other") == 1
        eventually(lambda: not pids("qwen-model"), 30, what="it ends when nobody calls")
