# SPDX-License-Identifier: Apache-2.0
"""A deployment of containers on a real engine, made and called through the whole gateway; the engine dies and comes back."""

import os
import signal

import pytest
from deployed import Desk, deployed
from engine import Engine
from harness import Sluice, eventually

SERVER = ["/fakellm", "--host", "0.0.0.0", "--port", "{port}", "--say", "boxed", "--log-every-ms", "200"]


def wanted(name, **changes):
    """What is sent to the admin API."""
    return {"name": name, "launcher": "docker", "image": "localhost/fake", "command": [*SERVER, "--model", f"{name}-model"],
            "engine": "openai", "probe": {"interval": "50ms", "liveness": "200ms"}, "stop": {"drain": "1s", "grace": "1s"},
            "restart": {"backoff": "100ms", "max_backoff": "500ms"}, **changes}


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request):
    with Engine(request.param) as running:
        yield running


@pytest.fixture
def gate(engine):
    """With the machine's network, a port that is published needs no proxy of the engine's: those end with it."""
    node = {"name": "dock", "launcher": "docker", "endpoint": f"unix:{engine.socket}?network=host"}
    with Sluice(deployed(nodes=[node])) as sluice:
        yield sluice
    if not engine.is_up():
        engine.start()
    eventually(lambda: not engine.containers(), what="on_exit: stop")


def make(desk, name, **changes):
    answer = desk.ask("POST", "/deployments", wanted(name, **changes))
    assert answer.status == 201, answer


def is_boxed(answer):
    return answer.status == 200 and "boxed" in answer.json["choices"][0]["message"]["content"]


def test_it_is_made_woken_called_and_sleeps_again(gate, engine):
    desk = Desk(gate)
    make(desk, "boxed", scaling={"idle_stop": "1s"})
    assert desk.show("boxed")["state"] == "idle" and not engine.containers(), "nobody has asked yet"
    first = gate.chat("boxed", options={"timeout": 40})
    assert is_boxed(first), first
    [container] = engine.containers()
    assert container["Labels"]["sluice.deployment"] == "boxed" and container["State"] == "running", container
    eventually(lambda: any(": line " in line for line in desk.ask("GET", "/deployments/boxed/logs").json["logs"]), what="its lines")
    assert gate.ledger_row(first.header("x-request-id"))["outcome"] == "complete"
    desk.until("idle", "boxed")
    eventually(lambda: not engine.containers(), what="it is removed")
    assert is_boxed(gate.chat("boxed", options={"timeout": 40})), "and woken again"
    assert desk.launches("boxed") == 2


def test_adapters_come_with_its_start(gate, tmp_path):
    """Their files are in it at the same path, and they are called by their names."""
    poet = tmp_path / "poet.gguf"
    poet.write_bytes(b"GGUF")
    make(Desk(gate), "based", engine="llama-cpp", adapters=[{"name": "poet", "source": str(poet)}])
    answer = gate.chat("based:poet", options={"timeout": 40})
    assert is_boxed(answer), answer
    [shown] = Desk(gate).ask("GET", "/deployments/based/adapters").json["data"]
    assert (shown["name"], shown["ready"]) == ("poet", 1), shown


def test_traffic_goes_on_without_its_engine(gate, engine):
    desk = Desk(gate)
    make(desk, "steady", scaling={"min": 1, "max": 2})
    eventually(lambda: is_boxed(gate.chat("steady", options={"timeout": 40})), what="it answers")
    [before] = engine.containers()
    engine.kill()
    eventually(lambda: [one["state"] for one in desk.show("steady")["replicas"]][:1] == ["lost"], what="nobody can say")
    for _ in range(20):
        assert is_boxed(gate.chat("steady")), "it is used as long as it answers"
    assert desk.order("scale", "steady", {"min": 2, "max": 2}).status == 200  # waits for the engine
    engine.start()
    eventually(lambda: desk.show("steady")["ready"] == 2, within=30, what="what was wanted meanwhile is done")
    ids = [each["Id"] for each in engine.containers()]
    assert len(ids) == 2 and before["Id"] in ids, "the first one is the same"
    assert is_boxed(gate.chat("steady"))


def test_what_has_died_without_its_engine_comes_back(gate, engine):
    desk = Desk(gate)
    make(desk, "frail", scaling={"min": 1, "max": 1})
    eventually(lambda: is_boxed(gate.chat("frail", options={"timeout": 40})), what="it answers")
    [before] = engine.containers()
    pid = engine.inspect(before["Id"])["State"]["Pid"]
    child = int(open(f"/proc/{pid}/task/{pid}/children").read().split()[0])  # below the container's init
    engine.kill()
    os.kill(child, signal.SIGKILL)
    eventually(lambda: desk.show("frail")["ready"] == 0, what="it does not answer")
    engine.start()
    eventually(lambda: is_boxed(gate.chat("frail", options={"timeout": 40})), within=30, what="another one answers")
    eventually(lambda: len(engine.containers()) == 1, what="the dead one is removed")
    assert engine.containers()[0]["Id"] != before["Id"]
