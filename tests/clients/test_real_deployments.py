# SPDX-License-Identifier: Apache-2.0
"""Real llama.cpp servers with a real model as deployments: the cold start, the swap, the kill, the adoption.

The model has to be there (`deploy/quickstart/model install`): without it these fail.
"""

import os
import signal
import sys
import time

import openai
import pytest
from harness import KEY_ACME, ROOT, Background, Sluice, config_for, eventually, is_alive

sys.path.insert(0, str(ROOT / "tests"))
from deployed import Desk, deployed  # noqa: E402

QUESTION = [{"role": "user", "content": "What does a lock keeper do?"}]


def real(name, **changes):
    return {"name": name, "command": [str(ROOT / ".venv/model/bin/python"), "-I", str(ROOT / "tests/models/llama.py"), "{port}"], "engine": "llama-cpp",
            "probe": {"interval": "100ms"}, "scaling": {"parallel": 2}, "hold": {"timeout": "3m"},
            "resources": {"memory": "1GiB"}, **changes}


def servers(desk, *names):
    """(name, address) of those that are ready."""
    return sorted((name, one["address"]) for name in names for one in desk.show(name)["replicas"] if one["state"] == "ready")


def pids_of(gate):
    """Model servers that this gateway has started."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{entry}/cmdline", "rb").read()
            folder = os.readlink(f"/proc/{entry}/fd/1")
        except OSError:
            continue
        if b"tests/models/llama.py" in line and folder.startswith(str(gate.state)) and is_alive(int(entry)):
            found.append(int(entry))
    return sorted(found)


def client_of(gate):
    return openai.OpenAI(base_url="http://{}:{}/v1".format(*gate.address()), api_key=KEY_ACME, max_retries=0, timeout=170)


def ask(client, model, **fields):
    return client.chat.completions.create(model=model, messages=QUESTION, **{"max_tokens": 4, "temperature": 0, "seed": 1, **fields})


@pytest.mark.timeout(240)
def test_fifty_first_calls_start_one_server():
    with Sluice(deployed(real("qwen"))) as gate, client_of(gate) as client:
        desk = Desk(gate)
        calls = [Background(ask, client, "qwen") for _ in range(50)]
        eventually(lambda: desk.show("qwen")["queue"]["held"] >= 40, 20, what="they wait")
        answers = [call.result(200) for call in calls]
        assert all(answer.choices[0].message.content is not None and answer.usage.completion_tokens > 0 for answer in answers)
        assert desk.launches("qwen") == 1 and len(pids_of(gate)) == 1
        [model] = [one for one in client.models.list() if one.id == "qwen"]
        assert model.model_extra["meta"]["state"] == "ready"
        text = "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, "qwen", stream=True) if chunk.choices)
        assert text == ask(client, "qwen").choices[0].message.content
        killed = pids_of(gate)
        os.kill(killed[0], signal.SIGKILL)
        assert ask(client, "qwen").usage.completion_tokens > 0, "it is started again"
        assert pids_of(gate) != killed and len(pids_of(gate)) == 1
        service, before = gate.worker_pid, pids_of(gate)
        os.kill(service, signal.SIGKILL)
        eventually(lambda: gate.worker_pid != service, what="another service")
        gate.wait_ready()
        desk.until("ready", "qwen")
        assert pids_of(gate) == before and ask(client, "qwen").usage.completion_tokens > 0
        gate.may_crash = True
        state = gate.state
    assert not [entry for entry in filter(str.isdigit, os.listdir("/proc")) if _writes_to(entry, state)]


def _writes_to(entry, state):
    try:
        return os.readlink(f"/proc/{entry}/fd/1").startswith(str(state)) and is_alive(int(entry))
    except OSError:
        return False


@pytest.mark.timeout(280)
def test_two_models_with_room_for_one():
    nodes = [{"name": "small", "launcher": "process", "memory": "1500MiB"}]
    config = deployed(*(real(name, eviction={"min_residency": "2s"}) for name in ("one", "two")), nodes=nodes)
    with Sluice(config) as gate, client_of(gate) as client:
        desk, begun = Desk(gate), time.monotonic()

        def work(offset):
            for i in range(20):
                assert ask(client, ("one", "two")[(i + offset) % 2], max_tokens=1).usage is not None

        workers = [Background(work, i) for i in range(10)]
        while any(worker.thread.is_alive() for worker in workers):
            assert len(servers(desk, "one", "two")) <= 1
            time.sleep(0.2)
        for worker in workers:
            worker.result(1)
        assert desk.launches("one") + desk.launches("two") <= (time.monotonic() - begun) / 2 + 3
