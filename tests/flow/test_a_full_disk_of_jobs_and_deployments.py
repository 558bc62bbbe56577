# SPDX-License-Identifier: Apache-2.0
"""No room under jobs, deployments and records of decisions: calls go on, what cannot be kept is refused by name, and what had ended is written down later."""

import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from deployed import Desk, deployed, server_for
from harness import Sluice, Upstream, chat_body, config_for, eventually
from small_disk import Disk

CALL = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
LARGE = {**CALL, "metadata": {"filler": "x" * 400_000}}


@pytest.fixture
def disk():
    made = Disk()
    yield made
    made.end()


@pytest.fixture
def gate(disk):
    """Its state directory is on the small disk, its ledger is not."""
    with Upstream() as upstream:
        go = threading.Event()

        def answer(call):
            if b"slow" in call.body:
                go.wait(30)
            call.respond(200, chat_body("Hello"))

        upstream.answer = answer
        ledger = tempfile.mkdtemp(prefix="sluice-ledger-")
        config = deployed(server_for("filed"), upstream=upstream, ledger={"path": f"{ledger}/ledger"}, store={"embedded": {"path": f"{ledger}/sluice.db"}},
                          jobs={"concurrency": 1}, server={"workers": 1})
        gate = Sluice(config, begin=False, env=disk.env)
        gate.state.rmdir()
        gate.state.symlink_to(disk.folder)
        gate.env["STATE_DIRECTORY"] = disk.folder
        gate.state = Path(disk.folder)
        gate.start()
        gate.go, gate.upstream = go, upstream
        with gate:
            yield gate
            go.set()
        shutil.rmtree(ledger)


def submit(gate, body):
    return gate.post("/v1/jobs", body)


def job(gate, name, wait=0):
    got = gate.get(f"/v1/jobs/{name}" + (f"?wait={wait}" if wait else ""))
    assert got.status == 200, got
    return got.json


def no_room(gate):
    """Pages that were free within the files are used up, too."""
    for _ in range(200):
        got = submit(gate, LARGE)
        if got.status == 503:
            return got
    raise AssertionError("it never gets full")


def test_jobs_wait_for_room_and_calls_go_on(gate, disk):
    running = submit(gate, {**CALL, "messages": [{"role": "user", "content": "slow"}]}).json["id"]
    eventually(lambda: job(gate, running)["status"] == "IN_PROGRESS", what="it runs")
    waiting = submit(gate, CALL).json["id"]
    disk.fill()
    refused = no_room(gate)
    assert "disk" in refused.json["error"]["message"] and "full" in refused.json["error"]["message"], refused
    assert gate.chat().status == 200, "a call needs none of this"
    eventually(lambda: gate.metric("sluice_job_store_up") == 0, what="the metric says so")
    asked = len(gate.upstream.calls)
    gate.go.set()
    ended = eventually(lambda: (lambda one: one if one["status"] == "COMPLETED" else None)(job(gate, running)), what="what ran has its answer")
    assert ended["result"]["choices"][0]["message"]["content"] == "Hello"
    assert job(gate, waiting)["status"] == "IN_QUEUE" and len(gate.upstream.calls) == asked, "none begins whose answer could not be kept"
    assert gate.log().count("the store: ") <= 2, "that is said once"
    disk.make_room()
    assert job(gate, waiting, wait=30)["status"] == "COMPLETED"
    eventually(lambda: gate.metric("sluice_job_store_up") == 1, what="and when it is over")

    def is_written():
        with sqlite3.connect(f"file:{gate.state}/jobs/jobs.db?mode=ro", uri=True) as database:
            return database.execute("SELECT state, result IS NOT NULL FROM jobs WHERE id = ?", (running,)).fetchone() == (2, 1)

    eventually(is_written, what="the end is written down")
    asked = len(gate.upstream.calls)
    gate.stop()
    gate.start()
    assert job(gate, running)["status"] == "COMPLETED" and len(gate.upstream.calls) == asked, "it is not made again"


def test_deployments_are_not_made_and_those_there_are_serve(gate, disk):
    desk = Desk(gate)
    assert gate.chat("filed").status == 200
    disk.fill()
    no_room(gate)

    def refused():
        got = desk.ask("POST", "/deployments", server_for("made", env={"FILLER": "x" * 30_000}))
        if got.status == 201:  # there was a free page
            assert desk.ask("DELETE", "/deployments/made").status in (204, 503)
            return None
        return got

    got = eventually(refused, what="there is no room for it")
    assert got.status == 503 and "full" in got.json["detail"], got
    assert gate.chat("filed").status == 200 and gate.chat().status == 200
    assert desk.order("pin", "filed").status == 200, "what is ordered is done"
    disk.make_room()
    eventually(lambda: desk.ask("POST", "/deployments", server_for("after")).status == 201, what="there is room again")
    assert gate.chat("after").status == 200


def test_decisions_are_dropped_and_counted(gate, disk):
    assert gate.chat().status == 200
    eventually(lambda: gate.metric("sluice_decisions_kept_total") >= 1, what="they are written")
    disk.fill()
    no_room(gate)

    def dropped():
        assert gate.chat().status == 200
        return gate.metric("sluice_decisions_dropped_total") >= 1

    eventually(dropped, 30, what="they are dropped, and counted")
    files = len(list((gate.state / "decisions").iterdir()))
    before = gate.metric("sluice_decisions_dropped_total")
    eventually(lambda: gate.chat().status == 200 and gate.metric("sluice_decisions_dropped_total") >= before + 3, 30, what="more of them")
    assert len(list((gate.state / "decisions").iterdir())) <= files + 1, "no file is left behind by each try"
    disk.make_room()
    before = gate.metric("sluice_decisions_kept_total")
    eventually(lambda: gate.chat().status == 200 and gate.metric("sluice_decisions_kept_total") > before, what="they are written again")


def test_a_job_whose_row_is_gone_fails(upstream):
    """Somebody has been at the file: the others go on."""
    go = threading.Event()
    upstream.answer = lambda call: (go.wait(30), call.respond(200, chat_body("Hello")))
    with Sluice(config_for(upstream, jobs={"concurrency": 1})) as gate:
        first, second, third = (submit(gate, CALL).json["id"] for _ in range(3))
        eventually(lambda: job(gate, first)["status"] == "IN_PROGRESS", what="it runs")
        with sqlite3.connect(gate.state / "jobs" / "jobs.db") as database:
            database.execute("DELETE FROM jobs WHERE id = ?", (second,))
        go.set()
        assert job(gate, third, wait=20)["status"] == "COMPLETED"
        lost = job(gate, second, wait=10)
        assert lost["status"] == "FAILED" and "payload" in lost["error"]["message"], lost
