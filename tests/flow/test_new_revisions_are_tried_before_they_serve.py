# SPDX-License-Identifier: Apache-2.0
"""A new revision gets a share of the calls first and is taken back when it is worse; one that never gets ready gets none."""

import time

import pytest
from deployed import Desk, deployed, server_for
from harness import Sluice, eventually

CANARY = {"strategy": "canary", "steps": ["0.5"], "min_requests": 20, "step": "500ms"}


@pytest.fixture(scope="module")
def gate():
    with Sluice(deployed(server_for("unused"))) as sluice:
        yield sluice


class Tried:
    """A deployment whose revision 1 says "old" and answers; what it is changed to says "new"."""

    def __init__(self, gate, name, *options, **rollout):
        self.gate, self.desk, self.name = gate, Desk(gate), name
        made = self.desk.ask("POST", "/deployments", server_for(name, "--say", "old", *options, rollout={**CANARY, **rollout}))
        assert made.status == 201, made
        assert self.call() == "old"

    def change(self, *options):
        command = server_for(self.name, "--say", "new", *options)["command"]
        assert self.desk.ask("PATCH", f"/deployments/{self.name}", {"command": command}).status == 200

    def call(self):
        """Which revision has answered."""
        answer = self.gate.chat(self.name, options={"timeout": 30})
        assert answer.status == 200, answer
        return answer.json["choices"][0]["message"]["content"].split("word")[0].strip()

    def call_until(self, reason, within=60):
        """Which ones have answered, until this has happened."""
        said, deadline = [], time.monotonic() + within
        while reason not in self.desk.reasons(self.name):
            said += [self.call() for _ in range(5)]
            assert time.monotonic() < deadline, (len(said), said.count("new"), self.desk.events(self.name))
        return said

    def why(self):
        return [event["message"] for event in self.desk.events(self.name) if event["reason"] == "rolled_back"][-1]

    def end(self):
        assert self.desk.ask("DELETE", f"/deployments/{self.name}").status == 204


def test_one_that_is_well_takes_over(gate):
    tried = Tried(gate, "well")
    tried.change()
    said = tried.call_until("rolled_out")
    assert 0.2 < said.count("new") / len(said) < 0.9, "it had a share of the calls first"
    eventually(lambda: {tried.call() for _ in range(5)} == {"new"}, what="it alone answers")
    tried.end()


@pytest.mark.parametrize("says", [True, False])
def test_each_revision_is_asked_for_what_it_calls_its_model(gate, says):
    """Whether it is known from served_name, or from what it lists: a server answers 404 to another name."""
    name = f"renamed-{says}".lower()
    tried = Tried(gate, name, step="30s", steps=["0.5"])
    change = {"command": server_for(name, "--say", "new", "--model", "another")["command"]}
    assert tried.desk.ask("PATCH", f"/deployments/{name}", {**change, **({"served_name": "another"} if says else {})}).status == 200
    eventually(lambda: tried.call() == "new", what="the new one has calls")
    said = [tried.call() for _ in range(40)]
    assert {"old", "new"} == set(said), said
    tried.desk.order("rollout", name, {"action": "promote"})
    eventually(lambda: {tried.call() for _ in range(5)} == {"new"}, what="it alone answers")
    tried.end()


def test_one_that_fails_one_call_in_five_is_taken_back(gate):
    """And no client sees that: who it has failed is asked for again at the old one."""
    tried = Tried(gate, "failing", "--first-ms", 5, step="30s")
    tried.change("--first-ms", 5, "--fail-permille", 200)
    said = tried.call_until("rolled_back")
    assert "canary_errors" in tried.why(), tried.why()
    assert 0 < said.count("new") <= said.count("old") + 20, said
    assert [tried.call() for _ in range(10)] == ["old"] * 10
    eventually(lambda: [one["revision"] for one in tried.desk.show("failing")["replicas"] if one["state"] == "ready"] == [1],
               what="only the old one is left")
    assert tried.desk.show("failing")["state"] == "ready"
    tried.end()


def test_one_that_answers_late_is_taken_back(gate):
    tried = Tried(gate, "late", "--first-ms", 5, step="400ms")
    tried.change("--first-ms", 60)
    tried.call_until("rolled_back")
    assert "canary_slow" in tried.why(), tried.why()
    assert [tried.call() for _ in range(5)] == ["old"] * 5
    tried.end()


@pytest.mark.parametrize("strategy, options, reason", [
    ("canary", ["--exit-at-once", 1], "launch_failed"),
    ("rolling", ["--load-ms", 60000], "progress_deadline"),
])
def test_one_that_never_gets_ready_never_has_a_call(gate, strategy, options, reason):
    name = f"never-{strategy}"
    tried = Tried(gate, name, strategy=strategy, deadline="1s")
    tried.desk.ask("PATCH", f"/deployments/{name}", {"restart": {"max_restarts": 1, "backoff": "20ms"}})
    tried.change(*options)
    said = tried.call_until("rolled_back")
    assert set(said) == {"old"}, said
    assert reason in tried.why(), tried.why()
    assert [tried.call() for _ in range(5)] == ["old"] * 5
    tried.end()
