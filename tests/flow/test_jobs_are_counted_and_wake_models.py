# SPDX-License-Identifier: Apache-2.0
"""Jobs have metrics; a job wakes the deployment that it waits for, and jobs that wait make it as large as calls would."""

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import Sluice, Upstream, chat_body, config_for, eventually, free_port
from redis_servers import Redis
from replicas import shared

CALL = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
HOOK = {"secret": "hook-5ecre7-0123456789", "allow_private": True, "attempts": 2, "backoff": "50ms"}


def submit(gate, **fields):
    got = gate.post("/v1/jobs", {**CALL, **fields})
    assert got.status == 202, got
    return got.json["id"]


def ended(gate, name):
    got = gate.get(f"/v1/jobs/{name}?wait=30", timeout=40)
    assert got.status == 200, got
    return got.json


def test_all_that_happens_to_jobs_is_counted(upstream):
    fails = [True]

    def answer(call):
        call.respond(500 if fails.pop() else 200, chat_body("Hello")) if fails else call.respond(200, chat_body("Hello"))

    upstream.answer = answer
    with Upstream() as hook, Sluice(config_for(upstream, jobs={"webhook": HOOK})) as gate:
        hook.answer = lambda call: call.respond(204, b"")
        assert gate.metric("sluice_jobs", state="waiting") == 0 and gate.metric("sluice_job_eldest_waiting_seconds") == 0
        name = submit(gate, webhook_url=hook.url)
        assert ended(gate, name)["status"] == "COMPLETED"
        ended(gate, submit(gate, webhook_url=f"http://127.0.0.1:{free_port()}/"))
        eventually(lambda: gate.metric("sluice_job_webhooks_total", result="failed") == 1, what="nobody listens there")
        assert gate.metric("sluice_job_webhooks_total", result="told") == 1 and gate.metric("sluice_job_webhooks_pending") == 0
        assert gate.metric("sluice_jobs_submitted_total") == 2 and gate.metric("sluice_jobs_ended_total", state="completed") == 2
        assert gate.metric("sluice_job_retries_total") == 1 and gate.metric("sluice_job_attempts_total") == 3, "one was made again"
        assert gate.metric("sluice_job_store_up") == 1 and gate.metric("sluice_job_bytes") > 0


def waiting_is_told(gate, upstream):
    upstream.answer = lambda call: call.wait_gone(30) is None and call.respond(200, chat_body("Hello"))
    names = [submit(gate) for _ in range(3)]
    eventually(lambda: gate.metric("sluice_jobs", state="waiting") == 2 and gate.metric("sluice_jobs", state="running") == 1, what="two wait")
    eventually(lambda: gate.metric("sluice_job_eldest_waiting_seconds") >= 1, what="the eldest gets older")
    for name in names:
        assert gate.request("DELETE", f"/v1/jobs/{name}").status == 200
    eventually(lambda: gate.metric("sluice_jobs_ended_total", state="cancelled") == 3, what="all are cancelled")
    eventually(lambda: gate.metric("sluice_job_eldest_waiting_seconds") == 0 and gate.metric("sluice_jobs", state="waiting") == 0, what="nobody waits")


def test_how_long_the_eldest_waits(upstream):
    with Sluice(config_for(upstream, jobs={"concurrency": 1})) as gate:
        waiting_is_told(gate, upstream)


def test_how_long_the_eldest_waits_in_redis(upstream):
    with Redis() as redis, Sluice(config_for(upstream, store=shared(redis), jobs={"concurrency": 1})) as gate:
        waiting_is_told(gate, upstream)


@pytest.mark.parametrize("policy", ["hold", "reject"])
def test_a_job_wakes_a_model_that_sleeps(policy):
    with Sluice(deployed(server_for("qwen", "--load-ms", 300, hold={"policy": policy}))) as gate:
        assert Desk(gate).show()["state"] == "idle" and not pids()
        found = ended(gate, submit(gate, model="qwen"))
        assert found["status"] == "COMPLETED" and found["result"]["choices"][0]["message"]["content"].startswith("word0"), found
        assert Desk(gate).launches() == 1
        row = gate.ledger_row(found["request_id"])
        assert (row["target"], row["outcome"]) == ("qwen", "complete"), row


def test_jobs_that_wait_make_a_model_larger():
    """One job runs, as many as may; those behind it ask for two more servers than it needs."""
    server = server_for("qwen", "--first-ms", 1500, scaling={"max": 3, "parallel": 1, "up_window": "100ms", "target": 1.0})
    with Sluice(deployed(server, jobs={"concurrency": 1, "per_tenant": 1})) as gate:
        desk = Desk(gate)
        names = [submit(gate, model="qwen") for _ in range(4)]
        eventually(lambda: desk.show()["wanted"] == 3, 15, what="three are wanted")
        assert desk.show()["queue"]["in_flight"] <= 1 and desk.show()["queue"]["held"] == 0, "calls alone would want one"
        for name in names:
            assert ended(gate, name)["status"] == "COMPLETED"
