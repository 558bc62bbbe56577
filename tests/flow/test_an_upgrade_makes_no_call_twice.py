# SPDX-License-Identifier: Apache-2.0
"""An upgrade in place, and calls with an Idempotency-Key that run meanwhile: whichever service is asked again, the old
one or the new one, waits for the other's answer; it is paid for once."""

import os
import shutil
import signal
import sys
import threading
import time

import pytest
from harness import (
    BINARY,
    Background,
    chat_body,
    chat_request,
    eventually,
    is_alive,
    sse_events,
    stream_chat,
    temporary_folder,
)
from test_an_upgrade_in_place_loses_nothing import booked, gate_for, replace, serving, until_alone, upgrade

pytestmark = pytest.mark.threads
PATIENT = {"timeout": 60}


class Held:
    """Answers once it may."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, call):
        self.begun.set()
        self.go.wait(120)
        stream_chat(call) if call.json.get("stream") else call.respond(200, chat_body("slow words"))


@pytest.fixture
def held(upstream):
    held = upstream.answer = Held()
    yield held
    held.go.set()


def keyed(name="k1"):
    return {"Idempotency-Key": name}


def ask(gate, **more):
    return Background(lambda: gate.chat(headers=keyed(), options=PATIENT, **more))


# Behind an upgrade who says nothing for two seconds is closed: a request has begun before. BEGUN bytes of it are there.
BEGUN, LONG = 10, {"server": {"timeouts": {"client_header": "120s"}}}


@pytest.mark.parametrize("stream", [False, True])
def test_the_new_one_has_the_answer_of_the_old_one(upstream, held, stream):
    with gate_for(upstream) as gate:
        first = ask(gate, stream=stream)
        assert held.begun.wait(30)
        upgrade(gate)
        second = ask(gate, stream=stream)
        conflict = gate.chat(headers=keyed(), temperature=0.5)
        assert conflict.status == 409 and conflict.header("x-should-retry") == "false", conflict
        assert second.thread.is_alive(), "it waits"
        held.go.set()
        first, second = first.result(60), second.result(60)
        assert first.status == second.status == 200 and first.body == second.body
        assert not stream or sse_events(second.body)[-1] == "[DONE]"
        assert len(upstream.calls) == 1
        until_alone(gate)
        rows = booked(gate, 3)
        assert sum(row["cost_nanos"] > 0 for row in rows) == 1, "it is paid for once"


@pytest.mark.parametrize("first_asks", ["old", "new"])
def test_who_is_still_connected_to_the_old_one(upstream, held, first_asks):
    """It has one more answer there; its key is one for both."""
    request = chat_request({"model": "fast", "messages": [], "max_tokens": 5}, headers=keyed())
    with gate_for(upstream, **LONG) as gate, gate.connect(timeout=60) as client:
        upstream.answer = lambda call: call.respond(200, chat_body())
        client.send(chat_request())
        assert client.read_response("POST").status == 200
        upstream.answer = held
        stays = Background(lambda: gate.chat(options=PATIENT))  # so the old one does
        assert held.begun.wait(30)
        held.begun.clear()
        client.send(request[:BEGUN])
        upgrade(gate)
        if first_asks == "old":
            client.send(request[BEGUN:])
            assert held.begun.wait(30)
            other = ask(gate, messages=[], max_tokens=5)
        else:
            other = ask(gate, messages=[], max_tokens=5)
            assert held.begun.wait(30)
            client.send(request[BEGUN:])
        time.sleep(0.5)  # so that the other waits for it; one that comes later has the same answer
        held.go.set()
        own = client.read_response("POST")
        assert own.status == other.result(60).status == 200 and own.closes
        assert own.body == other.result(60).body and stays.result(60).status == 200 and len(upstream.calls) == 3
        until_alone(gate)
        assert sum(row["cost_nanos"] > 0 for row in booked(gate, 4)) == 3


def test_what_the_dead_one_was_asked_is_asked_again(upstream, held):
    with gate_for(upstream) as gate:
        gate.may_crash = True
        first = ask(gate)
        assert held.begun.wait(30)
        old = serving(gate)
        upgrade(gate)
        second = ask(gate)
        os.kill(old, signal.SIGKILL)
        upstream.wait_calls(2)
        held.go.set()
        assert second.result(60).status == 200
        with pytest.raises(Exception):
            first.result(60)
        assert {row["outcome"] for row in booked(gate, 2)} == {"lost", "complete"}


def test_one_that_is_started_for_the_new_one_knows_too(upstream, held):
    with gate_for(upstream) as gate:
        gate.may_crash = True
        first = ask(gate)
        assert held.begun.wait(30)
        upgrade(gate)
        new = serving(gate)
        os.kill(new, signal.SIGKILL)
        eventually(lambda: not is_alive(new))
        eventually(lambda: gate.chat(options=PATIENT, headers=keyed(), temperature=0.5).status == 409, 60)
        second = ask(gate)
        held.go.set()
        first, second = first.result(60), second.result(60)
        assert first.status == second.status == 200 and first.body == second.body and len(upstream.calls) == 1


@pytest.mark.parametrize("status, calls", [(400, 1), (500, 2)])
def test_a_call_that_failed_in_the_old_one(upstream, held, status, calls):
    """What the provider refuses is an answer; what it fails at may be tried again."""
    def refuse(call):
        held.begun.set()
        held.go.wait(120)
        call.respond(status, {"error": {"message": "no", "type": "x", "param": None, "code": None}})

    upstream.answer = refuse
    with gate_for(upstream) as gate:
        first = ask(gate)
        assert held.begun.wait(30)
        upgrade(gate)
        upstream.answer = lambda call: call.respond(200, chat_body())
        second = ask(gate)
        held.go.set()
        assert first.result(60).status >= 400
        assert second.result(60).status == (first.result(60).status if calls == 1 else 200)
        assert len(upstream.calls) == calls


# A program of another version: it does not know the table of such calls that it is handed.
LATER = """#!{}
import os, sys
with open("/proc/self/fd/" + os.environ["SLUICE_HANDOFF"]) as file:
    facts = dict(line.rstrip("\\n").split(" ", 1) for line in file)
os.pwrite(int(facts["underway"]), (99).to_bytes(4, sys.byteorder), 8)
os.execv({!r}, [{!r}, *sys.argv[1:]])
"""


def test_a_version_that_does_not_know_what_is_under_way_says_so(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    program = os.path.join(temporary_folder("sluice-program-"), "sluice")
    shutil.copy(BINARY, program)
    with gate_for(upstream, program=program) as gate:
        upgrade(gate)
        until_alone(gate)
        assert "may be made again" not in gate.log()
        replace(gate, LATER.format(sys.executable, BINARY, program))
        upgrade(gate)
        eventually(lambda: gate.log().count("may be made again") == 1)
        assert gate.chat(headers=keyed()).status == 200
