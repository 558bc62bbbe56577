# SPDX-License-Identifier: Apache-2.0
"""`sluice upgrade` where things go on meanwhile, or go wrong: no budget is spent twice, and what one process does not
know of the other's is refused, not lost."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest
from harness import (
    BINARY,
    Background,
    Sluice,
    chat_body,
    chat_chunk,
    config_for,
    eventually,
    is_alive,
    merged,
    sse_events,
    temporary_folder,
)
from raw_client import Client
from test_an_upgrade_in_place_loses_nothing import (
    GRACE,
    gate_for,
    replace,
    services,
    serving,
    slow,
    tenant,
    until_alone,
    upgrade,
)
from test_batches_are_paid_for import Batches, body_of, lines_of, submission, submit, upload
from test_batches_are_paid_for import tenant as tenant_of_batches

pytestmark = pytest.mark.threads


def begin(gate):
    """An upgrade that takes a while to warm; its outcome comes with result()."""
    old = gate.children()
    going = Background(lambda: gate.cli("upgrade", timeout=120))
    eventually(lambda: len(gate.children()) > len(old), what="the new one is started")
    return going


def place_for(upstream, **changes):
    folder = temporary_folder("sluice-program-")
    program = os.path.join(folder, "sluice")
    shutil.copy(BINARY, program)
    return gate_for(upstream, program=program, **changes)


# ------------------------------------------------------------------------------------ limits that come back

USAGE = {"prompt_tokens": 10, "completion_tokens": 1000, "total_tokens": 1010}  # 4,010,000 nano-dollars
COMING_BACK = {
    "requests": {"limits": {"requests_per_hour": 6}},
    "budget": {"budget": {"amount": "0.0245 USD", "period": "month"}},
    "users": {"users": {"limits": {"requests_per_hour": 6}}},
}


@pytest.mark.parametrize("kind", sorted(COMING_BACK))
def test_a_limit_that_comes_back_knows_the_time_between(upstream, kind):
    upstream.answer = lambda call: call.respond(200, chat_body(usage=USAGE))
    limited = tenant(**COMING_BACK[kind])
    with gate_for(upstream, tenants=[limited]) as gate:
        assert [gate.chat(max_tokens=1000, user="mia").status for _ in range(2)] == [200, 200]
        gate.write(merged(gate.config, {"tenants": [tenant()]}))
        assert gate.cli("reload").returncode == 0
        assert [gate.chat(max_tokens=1000, user="mia").status for _ in range(3)] == [200] * 3
        eventually(lambda: len(gate.ledger_rows()) == 5)
        gate.write(merged(gate.config, {"tenants": [limited]}))
        upgrade(gate)
        until_alone(gate)
        assert [gate.chat(max_tokens=1000, user="mia").status for _ in range(3)] == [200, 429, 429]


# ------------------------------------------------------------------------------------ streams that grow


class Growing:
    """Streams that begin, and go on when told to, to be much longer than was held for them."""

    def __init__(self, events=200):
        self.begun, self.done, self.events = [], threading.Event(), events

    def __call__(self, call):
        if not call.json.get("stream"):
            call.respond(200, chat_body())
            return
        call.begin_stream()
        call.event(chat_chunk({"content": "begin"}))
        self.begun.append(call)
        self.done.wait(120)
        for _ in range(self.events):
            call.event(chat_chunk({"content": "word word word word word word word word " * 4}))
        call.event("[DONE]")
        call.end_stream()


RICH = tenant(budget={"amount": "50 USD", "period": "month"})

# It says that it is warm, and nothing more, ever.
HANGS = """#!{}
import os, socket, sys, time
facts = dict(line.split(" ", 1) for line in open("/proc/self/fd/" + os.environ["SLUICE_HANDOFF"]))
channel = socket.socket(fileno=int(facts["channel"]))
channel.setblocking(True)
channel.send(b"W1.2.3")
channel.recv(100)
open({!r}, "w").close()
time.sleep(600)
"""


def all_of(client, response):
    with client:
        return sse_events(b"".join(client.pieces(response)))


def test_streams_outlive_a_new_one_that_hangs(upstream):
    upstream.answer = growing = Growing()
    with place_for(upstream, tenants=[RICH]) as gate:
        stream = gate.open_stream(max_tokens=16)
        stream[0].timeout = 60  # a slow program has half a minute to take over
        eventually(lambda: growing.begun)
        sign = gate.program + ".handed"
        replace(gate, HANGS.format(sys.executable, sign))
        gate.signal(signal.SIGUSR2)
        eventually(lambda: os.path.exists(sign), 60, what="the limits are handed over")
        growing.done.set()
        assert all_of(*stream)[-1] == "[DONE]", gate.log()[-2000:]
        eventually(lambda: "not upgraded: the new service did not take over in time" in gate.log(), 60)
        assert gate.chat(options={"timeout": 60}).status == 200
        assert all_of(*gate.open_stream(max_tokens=16))[-1] == "[DONE]"


def test_term_behind_an_upgrade_cuts_nothing(upstream):
    upstream.answer = growing = Growing()
    with gate_for(upstream, tenants=[RICH]) as gate:
        stream = gate.open_stream(max_tokens=16)
        eventually(lambda: growing.begun)
        upgrade(gate)
        new = serving(gate)
        gate.signal(signal.SIGTERM)
        eventually(lambda: gate.log().count("connections may finish") == 2, what="both drain")
        for _ in range(20):
            assert is_alive(new), "what counts for the old one"
            time.sleep(0.1)
        growing.done.set()
        assert all_of(*stream)[-1] == "[DONE]", gate.log()[-2000:]
        assert gate.process.wait(60) == 0


def test_a_stream_whose_counter_has_gone_is_told_so(upstream):
    upstream.answer = growing = Growing(4000)  # what comes at once, with its end, needs nothing more
    with gate_for(upstream, tenants=[RICH]) as gate:
        gate.may_crash = True
        stream = gate.open_stream(max_tokens=16)
        eventually(lambda: growing.begun)
        upgrade(gate)
        new = serving(gate)
        os.kill(new, signal.SIGKILL)
        eventually(lambda: not is_alive(new))
        growing.done.set()
        assert "The service that counts has gone" in all_of(*stream)[-1]


# ------------------------------------------------------------------------------------ changes


def test_a_reload_meanwhile_is_refused(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with place_for(upstream) as gate:
        slow(gate)
        going = begin(gate)
        refused = gate.cli("reload")
        assert refused.returncode != 0 and "an upgrade is under way" in refused.stderr, refused
        assert going.result(120).returncode == 0
        assert gate.cli("reload").returncode == 0


def test_a_drain_that_the_old_one_is_asked_for_is_for_both(upstream):
    upstream.answer = growing = Growing()
    with gate_for(upstream) as gate, Client(str(gate.state / "admin.sock")) as client:
        assert client.request("GET", "/admin/v1/overview").status == 200
        stream = gate.open_stream()
        eventually(lambda: growing.begun)
        upgrade(gate)
        assert client.request("POST", "/admin/v1/drain").status == 202
        eventually(lambda: gate.log().count("connections may finish") == 2, what="both drain")
        growing.done.set()
        assert all_of(*stream)[-1] == "[DONE]"
        assert gate.process.wait(60) == 0


@pytest.mark.parametrize("name, change, why", [
    ("sluice.db", -1, "takes a restart"), ("sluice.db", 1, "newer than this program's"),
    ("answers.db", 1, "newer than this program's"),
    ("jobs/jobs.db", 1, "newer than this program's")])
def test_a_database_of_another_version(upstream, name, change, why):
    """What was upgraded for one that then fails would be of no use to the old one; and one that cannot read what the old
    one writes knows nothing of calls that were paid for."""
    upstream.answer = lambda call: call.respond(200, chat_body())

    def version(to=None):
        with contextlib.closing(sqlite3.connect(file)) as database:
            was = database.execute("PRAGMA user_version").fetchone()[0]
            if to is not None:
                database.execute(f"PRAGMA user_version = {to}")
                database.commit()
            return was

    with gate_for(upstream) as gate:
        file = gate.database if name == "sluice.db" else gate.state / name
        assert gate.chat(headers={"Idempotency-Key": "k1"}).status == 200
        assert gate.post("/v1/jobs", {"model": "fast", "messages": []}).status in (200, 202)
        now = eventually(lambda: os.path.exists(file) and version())
        version(now + change)
        try:
            refused = gate.cli("upgrade", timeout=120)
            assert refused.returncode == 1 and why in refused.stderr, refused.stderr
            assert version() == now + change and gate.chat().status == 200
        finally:
            version(now)
        upgrade(gate)


def test_files_that_the_old_one_does_without_are_no_reason(upstream):
    """Nothing is lost where nobody has them: the new one goes on as the old one does, and as a start would."""
    upstream.answer = lambda call: call.respond(200, chat_body())
    with Sluice(config_for(upstream, **GRACE), begin=False) as gate:
        (gate.state / "jobs").mkdir()
        for name in ("answers.db", "jobs/jobs.db"):
            (gate.state / name).write_bytes(b"no database" * 1000)
        gate.start()
        for services_so_far in (1, 2):
            assert gate.chat(headers={"Idempotency-Key": f"k{services_so_far}"}).status == 200
            assert gate.post("/v1/jobs", {"model": "fast", "messages": []}).status >= 500
            for words in ("answers to Idempotency-Keys do not outlive a restart", "there are no jobs"):
                assert gate.log().count(words) == services_so_far
            if services_so_far == 1:
                upgrade(gate)
                until_alone(gate)


def test_one_that_was_cut_off_is_no_longer_under_way(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with gate_for(upstream) as gate:
        upgrade(gate)
        until_alone(gate)
        gate.stop()
        file = gate.state / "upgrade.json"
        outcome = json.loads(file.read_text())
        assert outcome["state"] == "done"
        file.write_text(json.dumps(outcome | {"state": "running"}))
        gate.start()
        outcome = json.loads(file.read_text())
        assert outcome["state"] == "failed" and outcome["reason"] == "sluice ended meanwhile"


def test_what_the_old_one_was_asked_with_a_key_is_known(upstream):
    """Also where nothing was kept before, so that the new one has begun without a file of answers."""
    go, begun = threading.Event(), threading.Event()

    def answer(call):
        begun.set()
        go.wait(60)
        call.respond(200, chat_body())

    upstream.answer = answer
    key = [("Idempotency-Key", "k1")]
    with gate_for(upstream) as gate:
        first = Background(lambda: gate.chat(headers=key, max_tokens=5, options={"timeout": 60}))
        assert begun.wait(30)
        upgrade(gate)
        go.set()
        assert first.result(60).status == 200
        until_alone(gate)
        assert gate.chat(headers=key, max_tokens=5).status == 200
        assert len(upstream.calls) == 1


def computed(pid):
    """Seconds that it has had of a processor."""
    facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")


def computed_in(pid, seconds):
    before = computed(pid)
    time.sleep(seconds)
    return computed(pid) - before


def test_a_supervisor_that_waits_for_the_old_one_sleeps(upstream):
    upstream.answer = growing = Growing()
    with gate_for(upstream) as gate:
        gate.may_crash = True
        stream = gate.open_stream()
        eventually(lambda: growing.begun)
        upgrade(gate)
        new = serving(gate)
        os.kill(new, signal.SIGKILL)
        eventually(lambda: not is_alive(new))
        assert gate.chat(options={"timeout": 60}).status == 200
        gate.signal(signal.SIGTERM)
        eventually(lambda: len(services(gate)) == 1, what="only the old one is left")
        # At last: what has to be done for the one that was killed may fall into the first of these.
        eventually(lambda: computed_in(gate.process.pid, seconds=2) < 0.2, 60, what="the supervisor sleeps")
        growing.done.set()
        assert all_of(*stream)[-1] == "[DONE]"
        gate.process.wait(60)


# ------------------------------------------------------------------------------------ batches


def test_no_batch_is_submitted_while_the_new_one_warms(upstream):
    upstream.answer = Batches()
    with place_for(upstream, tenants=[tenant_of_batches()]) as gate:
        file = upload(gate, lines_of(body_of()))
        slow(gate)
        going = begin(gate)
        with gate.connect() as client:
            client.send(submission(file))
            answer = client.read_response("POST")
        assert answer.status == 503 and "upgrade" in answer.text, answer.text
        assert going.result(120).returncode == 0
        until_alone(gate)
        replace(gate)
        assert submit(gate, body_of()).status == 200
        refused = gate.cli("upgrade", timeout=120)
        assert refused.returncode == 1 and "batches are under way" in refused.stderr


def test_a_batch_that_is_being_submitted_is_waited_for(upstream):
    provider = upstream.answer = Batches()
    with gate_for(upstream, tenants=[tenant_of_batches()], batches={"poll": "1s"}) as gate:
        file = upload(gate, lines_of(body_of()))

        def late(call):
            eventually(lambda: "is started beside" in gate.log(), 60)
            provider.refuse = None
            provider(call)

        provider.refuse = late
        provider.submitted.clear()
        with gate.connect(timeout=60) as client:
            client.send(submission(file))
            assert provider.submitted.wait(30)
            refused = gate.cli("upgrade", timeout=120)
            answer = client.read_response("POST")
        assert answer.status == 200
        assert refused.returncode == 1 and "batches are under way" in refused.stderr, refused.stderr
        provider.end(answer.json["id"], usage={"input_tokens": 20, "output_tokens": 30, "total_tokens": 50})
        eventually(lambda: any(row["id"] == answer.json["id"] for row in gate.ledger_rows()), 60)
        upgrade(gate)
        assert submit(gate, body_of()).status == 200
