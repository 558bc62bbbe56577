# SPDX-License-Identifier: Apache-2.0
"""An upgrade in place: model servers, jobs, batches and sessions of the old service."""

import json
import signal
import threading
import time

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import KEY_ACME, Sluice, chat_body, config_for, eventually
from redis_servers import Redis
from replicas import shared
from test_an_upgrade_in_place_loses_nothing import gate_for, serving, until_alone, upgrade

pytestmark = pytest.mark.threads


@pytest.fixture
def redis():
    with Redis() as server:
        yield server


def test_model_servers_live_on():
    """As processes of ours: with on_exit: stop, as it is by default, too. Those of a service that has ended are the
    supervisor's children."""
    with Sluice(deployed(server_for("qwen", "--tps", 20, "--tokens", 40))) as gate:
        desk = Desk(gate)
        assert gate.chat("qwen").status == 200
        before = pids()
        client, response = gate.open_stream("qwen")
        for _ in range(2):
            upgrade(gate)
            eventually(lambda: desk.show()["ready"] == 1, within=30, what="it is used again")
            assert gate.chat("qwen").status == 200
            if client:
                events = b"".join(client.pieces(response))
                assert b"[DONE]" in events and b'"error"' not in events
                client.close()
                client = None
            until_alone(gate)
            assert pids() == before, "no other one was started, and this one not ended"
        time.sleep(0.5)
        assert pids() == before and "adopted" in desk.reasons(), desk.reasons()
    assert not pids(), "it ends with the last"


def test_what_comes_to_nothing_leaves_them_with_the_old_one():
    with Sluice(deployed(server_for("qwen"))) as gate:
        desk = Desk(gate)
        assert gate.chat("qwen").status == 200
        before, good = pids(), gate.config
        gate.write("server: [")
        gate.config = good
        assert gate.cli("upgrade").returncode == 1
        gate.write(good)
        assert gate.chat("qwen").status == 200 and pids() == before and desk.show()["ready"] == 1
    assert not pids()


CALL = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


def submit(gate):
    answer = gate.post("/v1/jobs", CALL)
    assert answer.status in (200, 202), answer
    return answer.json["id"]


def job(gate, name):
    answer = gate.get(f"/v1/jobs/{name}")
    assert answer.status == 200, answer
    return answer.json


def test_jobs_are_made_once(upstream):
    """Those that run are waited for before anything is handed over; those that wait are the new one's."""
    go = threading.Event()

    def answer(call):
        assert go.wait(60)
        call.respond(200, chat_body())

    upstream.answer = answer
    with gate_for(upstream, jobs={"concurrency": 2}) as gate:
        names = [submit(gate) for _ in range(6)]
        upstream.wait(lambda: len(upstream.calls) == 2)
        old = serving(gate)
        gate.signal(signal.SIGUSR2)
        time.sleep(1)
        assert gate.children() == [old], "two jobs run"
        go.set()
        eventually(lambda: "upgraded from" in gate.log(), within=60)
        for name in names:
            eventually(lambda name=name: job(gate, name)["status"] == "COMPLETED", within=30)
        until_alone(gate)
        assert len(upstream.calls) == 6, "each was asked for once"
        assert job(gate, submit(gate))["status"] in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")


def test_who_asks_the_old_one_about_jobs_is_to_ask_again(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with gate_for(upstream) as gate, gate.connect() as client:
        auth = [("Authorization", f"Bearer {KEY_ACME}")]
        name = submit(gate)
        assert client.request("GET", f"/v1/jobs/{name}", auth).status == 200
        upgrade(gate)
        answer = client.request("GET", f"/v1/jobs/{name}", auth)
        assert answer.status == 503 and answer.closes
        assert job(gate, name)["id"] == name


ADMIN = "admin-5ecre7-0123456789abcdef"


def test_changes_by_the_api_go_over(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    config = config_for(upstream)
    config["server"]["listeners"][0]["serve"] += ["admin"]
    with Sluice(config, env={"SLUICE_ADMIN_KEY": ADMIN}) as gate:
        made = gate.post("/admin/v1/keys", {"tenant": "acme", "name": "made"}, key=ADMIN)
        assert made.status == 201, made
        with gate.connect() as client:
            auth = [("Authorization", f"Bearer {ADMIN}")]
            assert client.request("GET", "/admin/v1/keys", auth).status == 200
            upgrade(gate)
            assert gate.chat(key=made.json["secret"]).status == 200
            body = json.dumps({"tenant": "acme", "name": "late"}).encode()
            late = client.request("POST", "/admin/v1/keys", [*auth, ("Content-Type", "application/json")], body)
            assert late.status == 503, "the old one changes nothing any more"
        again = gate.post("/admin/v1/keys", {"tenant": "acme", "name": "late"}, key=ADMIN)
        assert again.status == 201, again


def test_what_cannot_be_handed_over_is_refused(upstream, redis):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with Sluice(config_for(upstream, store=shared(redis))) as gate:
        old = serving(gate)
        done = gate.cli("upgrade")
        assert done.returncode == 1 and "Redis" in done.stderr, done.stderr
        assert gate.children() == [old] and gate.chat().status == 200
