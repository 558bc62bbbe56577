# SPDX-License-Identifier: Apache-2.0
"""kill -9: what was complete stays so, what was open is `lost` at its reservation, nothing twice."""

import fcntl
import os
import signal
import threading
import time

import pytest
from harness import KEY_ACME, Client, Sluice, chat_chunk, config_for, eventually, sha256_hash, stream_chat

pytestmark = pytest.mark.threads


def hold(call):
    call.begin_stream()
    call.event(chat_chunk({"content": "x"}))
    call.wait_gone(30)


def nobody_writes(gate):
    """The locks are free: until then a process is not dead, and what is open in its journals runs. With little
    to do it on, the last of its threads (the drain, at the lowest priority) may take seconds to die."""
    for path in (gate.state / "ledger").glob("*-*/"):
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(directory)
    return True


@pytest.mark.parametrize("who", ["service", "supervisor"])
def test_open_calls_are_lost_not_dropped(upstream, who):
    with Sluice(config_for(upstream)) as gate:
        gate.may_crash = True
        done = [gate.chat().header("x-request-id") for _ in range(5)]
        upstream.answer = hold
        streams = [gate.open_stream(max_tokens=100) for _ in range(3)]
        lost = [response.header("x-request-id") for _, response in streams]
        if who == "service":
            os.kill(gate.worker_pid, signal.SIGKILL)
            eventually(lambda: gate.get("/readyz", key=None).status == 200, within=30)
        else:
            gate.kill()
            gate.start()
        for client, _ in streams:
            client.close()
        for request_id in done:
            assert gate.ledger_row(request_id)["outcome"] == "complete"
        for request_id in lost:
            row = gate.ledger_row(request_id, within=30)
            assert row["tenant"] == "acme" and row["target"] == "fast-1" and row["cost_nanos"] > 0, row
            if who == "supervisor" and row["outcome"] == "partial":
                continue  # the service saw its supervisor die, and had the time to settle
            assert row["outcome"] == "lost", row
            assert row["output_tokens"] >= 100 and row["input_tokens"] > 0, "booked at the reservation"
            assert row["cost_nanos"] >= 100 * 4000
        assert gate.usage_total("requests") == 8
        assert gate.usage_total("requests", outcome="lost") + gate.usage_total("requests", outcome="partial") == 3
        ids = [row["id"] for row in gate.ledger_rows()]
        assert len(ids) == len(set(ids)), "booked twice"


def test_what_was_lost_is_in_every_answer(upstream):
    """Also while the ledger takes over what the dead process left: no moment at which nobody counts it."""
    with Sluice(config_for(upstream)) as gate:
        gate.may_crash = True
        made = 0
        for _ in range(3):
            upstream.answer = hold
            streams = [gate.open_stream(max_tokens=100) for _ in range(40)]
            made += len(streams)
            gate.kill()
            eventually(lambda: nobody_writes(gate), within=30, what="the service has died with its supervisor")
            gate.start(wait=False)
            until, seen = time.monotonic() + 3, set()
            while time.monotonic() < until:
                seen.add(gate.usage_total("requests"))
            assert seen == {made}, seen
            gate.wait_ready()
            for client, _ in streams:
                client.close()


def test_the_budget_has_what_was_lost(upstream):
    """The counters are made again while the ledger takes over what the dead process left."""
    tenants = [{"name": "acme", "models": ["*"], "budget": {"amount": "1000 USD", "period": "month"},
                "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}]
    upstream.answer = hold
    with Sluice(config_for(upstream, tenants=tenants)) as gate:
        gate.may_crash = True
        for _ in range(5):
            streams = [gate.open_stream(max_tokens=100) for _ in range(4)]
            os.kill(gate.worker_pid, signal.SIGKILL)
            eventually(lambda: gate.worker_pid != gate.process.pid, within=30)
            gate.wait_ready()
            for client, _ in streams:
                client.close()

        def agree():
            with Client(str(gate.state / "admin.sock")) as client:
                counters = client.request("GET", "/admin/v1/limits?tenant=acme").json["data"]
            used = sum(counter["used"] for counter in counters if counter["limit"] == "budget_per_month")
            said[:] = [used, gate.usage_total("cost_nanos", tenant="acme")]
            return gate.usage_total("requests", outcome="lost") == 20 and used == said[1]

        said = []
        eventually(agree, 15, every=0.1, what="budget and ledger agree")
        assert said[0] >= 20 * 100 * 4000, said


def test_under_load_every_answered_call_is_there_once(upstream):
    """The short form of the chaos suite's fifty kills."""
    stop, whole, lock = threading.Event(), [], threading.Lock()
    upstream.answer = lambda call: stream_chat(call) if call.json.get("stream") else call.respond(
        200, {"id": "x", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}})

    def load(number):
        while not stop.is_set():
            try:
                answer = gate.chat(stream=number % 2 == 0, options={"timeout": 10})
                if answer.status == 200 and (number % 2 or answer.body.endswith(b"[DONE]\n\n")):
                    with lock:
                        whole.append(answer.header("x-request-id"))
            except Exception:  # cut by the kill
                pass

    with Sluice(config_for(upstream)) as gate:
        gate.may_crash = True
        threads = [threading.Thread(target=load, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                so_far = len(whole)
                eventually(lambda so_far=so_far: len(whole) > so_far + 25, within=60)
                os.kill(gate.worker_pid, signal.SIGKILL)
        finally:
            eventually(lambda: gate.worker_pid != gate.process.pid, within=30)
            stop.set()
            for thread in threads:
                thread.join()
        gate.stop()
        asked = len(upstream.calls)
        assert gate.usage_total("requests") >= asked, "every call the upstream saw is there"
        gate.start()  # drains what the dead have left
        eventually(lambda: len(gate.ledger_rows()) >= asked and gate.metric("sluice_ledger_undrained_lines") == 0, within=30)
        rows = {}
        for row in gate.ledger_rows():
            assert row["id"] not in rows, "booked twice"
            rows[row["id"]] = row
        for request_id in whole:
            row = rows[request_id]
            assert row["outcome"] == "complete", row
            assert (row["input_tokens"], row["output_tokens"]) == (11, 7), row
