# SPDX-License-Identifier: Apache-2.0
"""A Deployment of Kubernetes that somebody else made: sluice scales it and uses its pods, and deletes none of them."""

import subprocess
import time

import pytest
from deployed import Desk, deployed
from driver import FAKE
from harness import Sluice, eventually
from kube_api import COST, KubeApi

IMAGE = "example.test/fakellm:1"
SERVER = {"name": "vllm", "image": IMAGE, "args": ["--port", "8000", "--load-ms", "100", "--say", "theirs", "--log-every-ms", "100"]}


@pytest.fixture
def api():
    api = KubeApi({IMAGE: [str(FAKE)]})
    yield api
    assert not api.deleted, "their controller does that"
    api.close()


def configured(api, **changes):
    """A short life between calls: the scale follows soon."""
    qwen = {"name": "qwen", "launcher": "kubernetes", "engine": "openai", "container_port": 8000,
            "kubernetes": {"workload": "theirs"}, "restart": {"backoff": "100ms"},
            "probe": {"interval": "50ms", "liveness": "200ms"}, "stop": {"drain": "1s", "grace": "2s"}, **changes}
    node = {"name": "k8s", "launcher": "kubernetes", "endpoint": api.url, "namespace": "models"}
    return deployed(qwen, nodes=[node])


def kubectl(api, *words):
    done = subprocess.run(["kubectl", "--server", api.url, "--namespace", "models", *words], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def says_theirs(gate):
    answer = gate.chat("qwen", options={"timeout": 20})
    return answer.status == 200 and "theirs" in answer.json["choices"][0]["message"]["content"]


def test_it_is_scaled_from_none_to_two_and_back(api):
    theirs = api.workload("theirs", 0, SERVER)
    with Sluice(configured(api, scaling={"max": 2, "idle_stop": "1s"})) as gate:
        desk = Desk(gate)
        assert says_theirs(gate)
        assert kubectl(api, "get", "deployment", "theirs", "-o", "jsonpath={.spec.replicas}") == "1"
        assert desk.order("scale", body={"min": 2, "max": 2}).status == 200
        eventually(lambda: desk.show()["ready"] == 2, what="two of theirs")
        labels = [pod.document["metadata"]["labels"] for pod in theirs.pods()]
        assert {each["sluice.deployment"] for each in labels} == {"qwen"} and len({each["sluice.replica"] for each in labels}) == 2
        eventually(lambda: any(": line " in line for line in desk.ask("GET", "/deployments/qwen/logs").json["logs"]), what="their log")
        assert desk.order("scale", body={"min": 1, "max": 1}).status == 200
        eventually(lambda: desk.show()["ready"] == 1 and len(theirs.pods()) == 1, what="one is left")
        assert says_theirs(gate)
        [left] = theirs.pods()
        assert left.document["metadata"]["annotations"][COST] == "100", "who was drained has gone, and no other"
        assert desk.order("scale", body={"min": 0, "max": 1}).status == 200
        desk.until("idle")
        eventually(lambda: not theirs.pods() and theirs.document["spec"]["replicas"] == 0, what="none")
        assert says_theirs(gate), "and the next call scales it up"
    eventually(lambda: not theirs.pods() and theirs.document["spec"]["replicas"] == 0, what="on_exit: stop")


def test_one_that_runs_already_is_used_and_one_that_dies_comes_back(api):
    theirs = api.workload("theirs", 1, SERVER)
    eventually(lambda: theirs.pods() and theirs.pods()[0].process, what="theirs runs")
    [before] = theirs.pods()
    with Sluice(configured(api)) as gate:
        assert says_theirs(gate) and theirs.pods() == [before] and api.created == 1
        api.kill_pod(before.name)
        eventually(lambda: theirs.pods() and theirs.pods() != [before], what="another one")
        eventually(lambda: says_theirs(gate), what="it is used")
        gate.kill()
        gate.start()
        assert says_theirs(gate) and api.created == 2, "found again, and no second one"


def test_a_dead_one_is_replaced_by_one(api):
    """What stands for it starts again before anything of the dead pod is written down."""
    api.patch_seconds = 1.0
    theirs = api.workload("theirs", 1, SERVER)
    eventually(lambda: theirs.pods() and theirs.pods()[0].process, what="theirs runs")
    with Sluice(configured(api, restart={"backoff": "20ms"}, scaling={"min": 1, "max": 3})) as gate:
        for dead in range(3):
            assert says_theirs(gate)
            [before] = theirs.pods()
            api.kill_pod(before.name)
            eventually(lambda: theirs.pods() and theirs.pods() != [before], what="another one")
            eventually(lambda: says_theirs(gate), what="it is used")
            assert len(theirs.pods()) == 1 and api.created == dead + 2


def test_somebody_else_scales_it(api):
    theirs = api.workload("theirs", 0, SERVER)
    with Sluice(configured(api, scaling={"min": 1, "max": 1})) as gate:
        eventually(lambda: says_theirs(gate), what="it answers")
        kubectl(api, "scale", "deployment", "theirs", "--replicas=0")
        eventually(lambda: theirs.document["spec"]["replicas"] == 1, what="it is wanted, and scaled up again")
        eventually(lambda: says_theirs(gate), what="it answers again")


def test_what_is_not_there_or_forbidden_is_said(api):
    with Sluice(configured(api)) as gate:
        answer = gate.chat("qwen", options={"timeout": 20})
        assert answer.status == 503 and "workload_missing" in answer.error["message"], answer
        theirs = api.workload("theirs", 0, SERVER)
        api.forbidden = True
        assert Desk(gate).order("start").status == 200
        eventually(lambda: "forbidden" in Desk(gate).show()["reason"], what=lambda: str(Desk(gate).show()))
        api.forbidden = False
        time.sleep(0.2)
        assert theirs.document["spec"]["replicas"] == 0
