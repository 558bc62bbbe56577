# SPDX-License-Identifier: Apache-2.0
"""SIGUSR2 and `sluice upgrade`: another program takes over at the same place. No connection is refused, no stream
loses a byte, no call is booked twice or lost, and no limit is exceeded, though calls run in both."""

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
    KEY_ACME,
    KEY_GLOBEX,
    SANITIZED,
    Sluice,
    chat_body,
    chat_chunk,
    chat_request,
    config_for,
    eventually,
    is_alive,
    merged,
    model_for,
    name_of,
    sha256_hash,
    sse_events,
    stream_chat,
    temporary_folder,
)
from raw_client import Closed

pytestmark = pytest.mark.threads
STREAMS = 40 if SANITIZED else 150
CALLERS = 4 if SANITIZED else 8
GRACE = {"server": {"shutdown": {"grace": "60s"}}}


def gate_for(upstream, program=None, env=None, **changes):
    return Sluice(config_for(upstream, **merged(GRACE, changes)), program=program, env=env)


def tenant(name="acme", key=KEY_ACME, **changes):
    return merged({"name": name, "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(key)}]}, changes)


def upgrade(gate):
    """Upgrade it; what is told of that."""
    done = gate.cli("upgrade", "--format", "json", timeout=120)
    assert done.returncode == 0, (done.stdout, done.stderr, gate.log()[-4000:])
    outcome = json.loads(done.stdout)
    assert outcome["state"] == "done" and outcome["pid"] == gate.process.pid and outcome["to"], outcome
    return outcome


def services(gate):
    """Pids of the services, the one that was started last behind the others; not of model servers, whose parent may
    be the supervisor, too. One that has ended is one until the supervisor has noticed: until then it has no words."""
    def is_one(pid):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text()
            return not words or str(gate.file) in words
        return False

    return [pid for pid in gate.children() if is_one(pid)]


def serving(gate):
    """The pid of the service that was started last."""
    return services(gate)[-1]


def until_alone(gate, within=60):
    """The service that was replaced has ended."""
    eventually(lambda: len(services(gate)) == 1, within, what="the old service has ended")


def booked(gate, count, within=30):
    """All calls are in the ledger: <count> rows, each of another call."""
    eventually(lambda: len(gate.ledger_rows()) >= count, within, what=f"{count} calls in the ledger")
    rows = gate.ledger_rows()
    assert len(rows) == count == len({row["id"] for row in rows}), len(rows)
    return rows


class Ticker:
    """Holds many streams, each until it is told to end, and writes to all of them in turn."""

    def __init__(self, usage=None):
        self.calls, self.lock, self.usage = [], threading.Lock(), usage
        self.ticks = 0

    def __call__(self, call):
        call.begin_stream()
        call.event(chat_chunk({"content": "#begin#"}))
        done = threading.Event()
        with self.lock:
            self.calls.append((call, done))
        done.wait(120)

    def tick(self, last=False):
        with self.lock:
            for call, done in self.calls:
                call.event(chat_chunk({"content": f"#{self.ticks}#"}))
                if last:
                    if self.usage:
                        call.event(chat_chunk({}, choices=[], usage=self.usage))
                    call.event("[DONE]")
                    call.end_stream()
                    done.set()
            self.ticks += 1


def read_ticks(client, response):
    with client:
        events = sse_events(b"".join(client.pieces(response)))
    assert events[-1] == "[DONE]"
    found = [json.loads(e)["choices"] for e in events[:-1]]
    return [choices[0]["delta"]["content"] for choices in found if choices and "content" in choices[0]["delta"]]


# ------------------------------------------------------------------------------------ streams and callers


@pytest.mark.parametrize("sync", ["os", "disk"])
def test_many_open_streams(upstream, sync):
    upstream.answer = ticker = Ticker()
    with gate_for(upstream, ledger={"sync": sync}) as gate:
        streams = [gate.open_stream() for _ in range(STREAMS)]
        upstream.wait(lambda: len(ticker.calls) == STREAMS, within=60)
        old = serving(gate)
        ticker.tick()
        upgrade(gate)
        assert serving(gate) != old and is_alive(old)
        ticker.tick()
        upstream.answer = lambda call: call.respond(200, chat_body())
        assert gate.chat().status == 200, "new calls are for the new one"
        assert gate.get("/readyz", key=None).status == 200
        time.sleep(0.5)
        ticker.tick(last=True)
        for client, response in streams:
            assert read_ticks(client, response) == ["#begin#", *(f"#{i}#" for i in range(ticker.ticks))]
        until_alone(gate)
        rows = booked(gate, STREAMS + 1)
        assert {row["outcome"] for row in rows} == {"complete"}, rows
        assert gate.process.poll() is None


class Caller(threading.Thread):
    """Asks without a pause, on a connection that it keeps for as long as it may, or on a new one each time."""

    def __init__(self, gate, keeps, stream):
        super().__init__()
        self.gate, self.keeps, self.stream = gate, keeps, stream
        self.answers, self.ended, self.problem = 0, threading.Event(), None
        self.start()

    def run(self):
        client = None
        try:
            while not self.ended.is_set():
                client = client or self.gate.connect(timeout=60)
                client.send(chat_request({"model": "fast", "messages": [], "stream": self.stream}))
                answer = client.read_response("POST")
                assert answer.status == 200, (answer.status, answer.text)
                assert not self.stream or answer.text.rstrip().endswith("[DONE]")
                self.answers += 1
                if not self.keeps or answer.closes:
                    client.close()
                    client = None
        except Exception as problem:  # pylint: disable=broad-except
            self.problem = problem
        finally:
            if client:
                client.close()


def test_callers_that_never_pause(upstream):
    upstream.answer = lambda call: stream_chat(call) if call.json.get("stream") else call.respond(200, chat_body())
    with gate_for(upstream) as gate:
        callers = [Caller(gate, i % 2 == 0, i % 4 < 2) for i in range(CALLERS)]
        for _ in range(3):
            time.sleep(0.3)
            upgrade(gate)
            until_alone(gate)
        time.sleep(0.3)
        for caller in callers:
            caller.ended.set()
        for caller in callers:
            caller.join(60)
            assert caller.problem is None and caller.answers > 0, repr(caller.problem)
        total = sum(caller.answers for caller in callers)
        assert len(upstream.calls) == total
        rows = booked(gate, total)
        assert {row["outcome"] for row in rows} == {"complete"}
        assert gate.usage_total("requests") == total, "and the sums, to which two have added, are those of the rows"


def test_a_kept_connection_has_one_more_call(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with gate_for(upstream) as gate, gate.connect() as client:
        client.send(chat_request())
        assert not client.read_response("POST").closes
        old = serving(gate)
        upgrade(gate)
        client.send(chat_request())
        answer = client.read_response("POST")
        assert answer.status == 200 and answer.closes, "it is answered, and told that it was the last"
        with pytest.raises(Closed):
            client.read_head()
        eventually(lambda: not is_alive(old), within=30)
        booked(gate, 2)


def test_idle_connections_do_not_hold_the_old_one(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with gate_for(upstream) as gate, gate.connect() as client:
        client.send(chat_request())
        client.read_response("POST")
        upgrade(gate)
        until_alone(gate)


# ------------------------------------------------------------------------------------ limits


def test_a_limit_of_requests_holds_over_it(upstream):
    upstream.answer = ticker = Ticker()
    most = 300
    with gate_for(upstream, tenants=[tenant(limits={"requests_per_hour": most})]) as gate:
        streams = [gate.open_stream() for _ in range(20)]
        upstream.wait(lambda: len(ticker.calls) == 20, within=60)
        upstream.answer = lambda call: call.respond(200, chat_body())
        lock, admitted, refused = threading.Lock(), [20], [0]
        over = threading.Event()

        def hammer(keeps):
            client = None
            while not over.is_set():
                client = client or gate.connect(timeout=60)
                client.send(chat_request())
                answer = client.read_response("POST")
                assert answer.status in (200, 429), answer.text
                with lock:
                    admitted[0] += answer.status == 200
                    refused[0] += answer.status == 429
                    if refused[0] > 60:
                        over.set()
                if not keeps or answer.closes:
                    client.close()
                    client = None
                time.sleep(0.005)

        threads = [threading.Thread(target=hammer, args=(i % 2 == 0,)) for i in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: admitted[0] >= 60)
        upgrade(gate)
        for thread in threads:
            thread.join(120)
        assert admitted[0] == most, "no more than the limit, and no less"
        ticker.tick(last=True)
        for client, response in streams:
            read_ticks(client, response)
        until_alone(gate)
        assert gate.chat().status == 429
        good = [row for row in booked(gate, most + refused[0] + 1) if row["status"] == 200]
        assert len(good) == most == len(upstream.calls)


def test_parallel_calls_are_counted_in_both(upstream):
    upstream.answer = ticker = Ticker()
    with gate_for(upstream, tenants=[tenant(limits={"concurrent": 5})]) as gate:
        streams = [gate.open_stream() for _ in range(3)]
        upstream.wait(lambda: len(ticker.calls) == 3)
        upgrade(gate)
        streams += [gate.open_stream() for _ in range(2)]
        upstream.wait(lambda: len(ticker.calls) == 5)
        assert gate.chat().status == 429, "three run in the old one, two in the new one"
        ticker.tick(last=True)
        for client, response in streams:
            read_ticks(client, response)
        until_alone(gate)
        upstream.answer = lambda call: call.respond(200, chat_body())
        eventually(lambda: gate.chat().status == 200, what="those of the old one have ended")


BUDGET = 10_000_000  # nano-dollars; at 1000 and 4000 for a token (harness.PRICE)


def greedy(call):
    """Uses every token it may."""
    most = call.json.get("max_completion_tokens") or call.json["max_tokens"]
    usage = {"prompt_tokens": 10, "completion_tokens": most, "total_tokens": 10 + most}
    call.respond(200, chat_body(usage=usage))


def spent(gate):
    return sum(row["cost_nanos"] for row in gate.ledger_rows())


def test_what_calls_hold_of_a_budget_goes_over(upstream):
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    upstream.answer = ticker = Ticker(usage)
    tenants = [tenant(budget={"amount": "0.01 USD", "period": "month"})]
    with gate_for(upstream, tenants=tenants) as gate:
        # Each may cost 4,000,000 and a little: two fit, and a third does not.
        streams = [gate.open_stream(max_tokens=1000) for _ in range(2)]
        upstream.wait(lambda: len(ticker.calls) == 2)
        assert gate.chat(max_tokens=1000).status == 429
        upgrade(gate)
        assert gate.chat(max_tokens=1000).status == 429, "they hold as much as before"
        ticker.tick(last=True)
        for client, response in streams:
            read_ticks(client, response)
        until_alone(gate)
        upstream.answer = lambda call: call.respond(200, chat_body(usage=usage))
        answer = eventually(lambda: (a := gate.chat(max_tokens=1000)).status == 200 and a)
        assert answer.status == 200, "what they did not use is free again"
        upstream.answer = greedy
        while gate.chat(max_tokens=1000).status == 200:
            pass
        eventually(lambda: gate.metric("sluice_ledger_undrained_lines") == 0)
        assert BUDGET - 4_100_000 < spent(gate) <= BUDGET


def test_a_call_on_a_kept_connection_asks_the_new_one(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with gate_for(upstream, tenants=[tenant(limits={"requests_per_hour": 5})]) as gate:
        clients = [gate.connect() for _ in range(3)]
        with contextlib.ExitStack() as stack:
            for client in clients:
                stack.enter_context(client)
                client.send(chat_request())
                assert client.read_response("POST").status == 200
            upgrade(gate)
            assert [gate.chat().status for _ in range(3)] == [200, 200, 429]
            for client in clients:
                client.send(chat_request())
                assert client.read_response("POST").status == 429, "the new one has given away the rest"
        until_alone(gate)
        assert len(upstream.calls) == 5


def test_a_new_limit_knows_what_was_used(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with gate_for(upstream, tenants=[tenant()]) as gate:
        for _ in range(4):
            assert gate.chat().status == 200
        gate.write(merged(gate.config, {"tenants": [tenant(limits={"requests_per_hour": 6})]}))
        upgrade(gate)
        assert [gate.chat().status for _ in range(3)] == [200, 200, 429]


# ------------------------------------------------------------------------------------ what goes wrong


@pytest.fixture
def place(upstream):
    """A gateway whose program may be replaced."""
    folder = temporary_folder("sluice-program-")
    program = os.path.join(folder, "sluice")
    shutil.copy(BINARY, program)
    with gate_for(upstream, program=program) as gate:
        yield gate


def replace(gate, words=None, mode=0o755):
    """Put another program in its place, in one step as packages do; None: the same again."""
    new = gate.program + ".new"
    if words is None:
        shutil.copy(BINARY, new)
    else:
        with open(new, "w") as file:
            file.write(words)
    os.chmod(new, mode)
    os.replace(new, gate.program)


def fails(gate, *words):
    """It is refused, for one of these reasons, and the old one goes on."""
    old = serving(gate)
    with gate.connect() as client:
        client.send(chat_request())
        assert client.read_response("POST").status == 200
        done = gate.cli("upgrade", timeout=120)
        assert done.returncode == 1 and "not upgraded" in done.stderr, (done.stdout, done.stderr)
        assert any(word in done.stderr for word in words), done.stderr
        assert serving(gate) == old and gate.chat().status == 200
        assert any("not upgraded" in json.dumps(line) for line in gate.log_lines())
        client.send(chat_request())
        assert client.read_response("POST").status == 200, "its connections live on"


BROKEN = {
    "no_program": ("\x7fELF nothing", 0o755, ["cannot be started", "exit code"]),
    "not_executable": ("#!/bin/sh\n", 0o644, ["cannot be started"]),
    "ends": ("#!/bin/sh\nexit 3\n", 0o755, ["exit code 3"]),
    "ends_well": ("#!/bin/sh\nexit 0\n", 0o755, ["exit code 0"]),
    "crashes": ("#!/bin/sh\nkill -SEGV $$\n", 0o755, ["signal 11"]),
    "no_shell": ("#!/no/such/shell\n", 0o755, ["cannot be started"]),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_program_changes_nothing(place, upstream, name):
    upstream.answer = lambda call: call.respond(200, chat_body())
    words, mode, reasons = BROKEN[name]
    place.may_crash = True  # so does one of them
    replace(place, words, mode)
    fails(place, *reasons)
    replace(place)
    upgrade(place)
    assert place.chat().status == 200


def test_a_broken_configuration_changes_nothing(place, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    good = place.config
    place.write("server: [")
    place.config = good
    fails(place, "the configuration has")
    place.write(merged(good, {"server": {"workers": 3}}))
    fails(place, "workers")
    place.write(good)
    upgrade(place)


def test_a_database_of_a_later_version_is_refused(place, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    assert place.chat().status == 200
    with contextlib.closing(sqlite3.connect(place.database)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute("PRAGMA user_version = 999")
        db.commit()
    try:
        fails(place, "newer than this program", "exit code")
    finally:
        with contextlib.closing(sqlite3.connect(place.database)) as db:
            db.execute(f"PRAGMA user_version = {version}")
            db.commit()
    upgrade(place)


# One that takes its time as a service, and none as a supervisor.
SLOW = """#!{}
import os, sys, time
if "to_supervisor 0" in open("/proc/self/fd/" + os.environ["SLUICE_HANDOFF"]).read():
    open({!r}, "w").close()
    time.sleep(3)
os.execv({!r}, [{!r}, *sys.argv[1:]])
"""


def slow(gate):
    replace(gate, SLOW.format(sys.executable, gate.program + ".slow", BINARY, gate.program))


def test_the_new_one_is_killed(place, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    slow(place)
    old = serving(place)
    place.signal(signal.SIGUSR2)
    eventually(lambda: len(place.children()) == 2)
    os.kill(serving(place), signal.SIGKILL)
    eventually(lambda: any("not upgraded" in json.dumps(line) for line in place.log_lines()))
    assert place.children() == [old] and place.chat().status == 200


def test_the_old_one_is_killed(place, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    place.may_crash = True
    slow(place)
    old = serving(place)
    place.signal(signal.SIGUSR2)
    eventually(lambda: len(place.children()) == 2)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: not is_alive(old))
    assert place.chat(options={"timeout": 60}).status == 200, "another takes its place"
    replace(place)
    until_alone(place)
    upgrade(place)
    assert place.chat().status == 200


def test_the_supervisor_is_killed(place, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    slow(place)
    place.signal(signal.SIGUSR2)
    eventually(lambda: len(place.children()) == 2)
    pids = place.children()
    place.process.kill()
    place.process.wait(30)
    for pid in pids:
        eventually(lambda pid=pid: not is_alive(pid), what=f"pid {pid} has ended with it")
    replace(place)
    place.start()
    assert place.chat().status == 200


def test_the_new_one_dies_while_the_old_one_has_calls(upstream):
    upstream.answer = ticker = Ticker()
    with gate_for(upstream, tenants=[tenant(limits={"concurrent": 50})]) as gate:
        gate.may_crash = True
        streams = [gate.open_stream() for _ in range(10)]
        upstream.wait(lambda: len(ticker.calls) == 10)
        upgrade(gate)
        new = serving(gate)
        os.kill(new, signal.SIGKILL)
        upstream.answer = lambda call: call.respond(200, chat_body())
        eventually(lambda: not is_alive(new))
        assert gate.chat(options={"timeout": 60}).status == 200
        ticker.tick(last=True)
        for client, response in streams:
            assert read_ticks(client, response) == ["#begin#", "#0#"]
        until_alone(gate)
        booked(gate, 11)


def test_the_old_one_dies_with_its_calls(upstream):
    upstream.answer = ticker = Ticker()
    with gate_for(upstream, tenants=[tenant(limits={"concurrent": 5, "requests_per_hour": 20})]) as gate:
        gate.may_crash = True
        streams = [gate.open_stream() for _ in range(5)]
        upstream.wait(lambda: len(ticker.calls) == 5)
        old = serving(gate)
        upgrade(gate)
        assert gate.chat().status == 429
        os.kill(old, signal.SIGKILL)
        until_alone(gate)
        for _, done in ticker.calls:
            done.set()
        for client, _ in streams:
            client.close()
        upstream.answer = lambda call: call.respond(200, chat_body())
        statuses = [eventually(lambda: (a := gate.chat()).status == 200 and a).status]
        statuses += [gate.chat().status for _ in range(20)]
        assert statuses.count(200) == 15, "the five count as calls that were made, and not as calls that run"
        eventually(lambda: sum(row["outcome"] == "lost" for row in gate.ledger_rows()) == 5, within=30)


# ------------------------------------------------------------------------------------ signals, and twice


def test_two_at_once_and_one_behind_the_other(place, upstream):
    upstream.answer = ticker = Ticker()
    slow(place)
    streams = [place.open_stream()]
    upstream.wait(lambda: len(ticker.calls) == 1)
    place.signal(signal.SIGUSR2)
    eventually(lambda: len(place.children()) == 2)
    second = place.cli("upgrade")
    assert second.returncode == 1 and "under way" in second.stderr
    eventually(lambda: any("upgraded from" in json.dumps(line) for line in place.log_lines()), within=60)
    replace(place)
    third = place.cli("upgrade")
    assert third.returncode == 1 and "calls that still run" in third.stderr, third.stderr
    ticker.tick(last=True)
    for client, response in streams:
        read_ticks(client, response)
    until_alone(place)
    upgrade(place)
    until_alone(place)
    upgrade(place)
    upstream.answer = lambda call: call.respond(200, chat_body())
    assert place.chat().status == 200


def test_a_drain_ends_it_and_waits_for_both(upstream):
    upstream.answer = ticker = Ticker()
    with gate_for(upstream) as gate:
        streams = [gate.open_stream()]
        upstream.wait(lambda: len(ticker.calls) == 1)
        upgrade(gate)
        streams.append(gate.open_stream())
        upstream.wait(lambda: len(ticker.calls) == 2)
        gate.signal(signal.SIGTERM)
        time.sleep(0.5)
        assert gate.process.poll() is None
        ticker.tick(last=True)
        for client, response in streams:
            assert read_ticks(client, response) == ["#begin#", "#0#"]
        assert gate.process.wait(60) == 0


def test_term_in_the_middle(place, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    slow(place)
    place.signal(signal.SIGUSR2)
    eventually(lambda: len(place.children()) == 2)
    place.signal(signal.SIGTERM)
    assert place.process.wait(60) == 0
    assert "not upgraded: it is draining" in place.log()
    replace(place)
    place.start()
    assert place.chat().status == 200


def test_a_reload_in_the_middle_comes_behind_it(place, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    slow(place)
    place.signal(signal.SIGUSR2)
    eventually(lambda: len(place.children()) == 2)
    place.signal(signal.SIGHUP)
    eventually(lambda: any("upgraded from" in json.dumps(line) for line in place.log_lines()), within=60)
    eventually(lambda: any("reloaded: generation" in json.dumps(line) for line in place.log_lines()), within=30)


def test_the_configuration_of_now_is_in_force(place, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    assert place.chat("other").status == 404
    place.write(merged(place.config, {"models": [model_for("fast"), model_for("other")]}))
    upgrade(place)
    assert place.chat("other").status == 200
    os.kill(serving(place), signal.SIGKILL)
    place.may_crash = True
    assert eventually(lambda: place.chat("other").status == 200, within=60), "and one that replaces it has it, too"


def test_the_supervisor_becomes_the_program_that_serves(place):
    """Whatever stands at the path by then."""
    slow(place)
    place.signal(signal.SIGUSR2)
    eventually(lambda: os.path.exists(place.program + ".slow"), within=30, what="the new one has begun")
    replace(place, *BROKEN["crashes"][:2])
    place.may_crash = True
    eventually(lambda: "the supervisor is sluice" in place.log(), within=60)
    until_alone(place)
    pids = [place.process.pid, serving(place)]
    assert {os.path.realpath(f"/proc/{pid}/exe") for pid in pids} <= {BINARY} or os.geteuid() != 0
    assert {name_of(pid) for pid in pids} == {"sluice"} and place.get("/readyz", key=None).status == 200


def test_unix_sockets_and_the_admin_socket_stay(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    folder = temporary_folder("sluice-sock-")
    config = config_for(upstream)
    config["server"]["listeners"].append({"name": "unix", "address": f"unix:{folder}/api.sock", "serve": ["api"]})
    with Sluice(config) as gate:
        for _ in range(2):
            upgrade(gate)
            until_alone(gate)
            with gate.connect("unix") as client:
                client.send(chat_request())
                assert client.read_response("POST").status == 200
            status = gate.cli("status", "--format", "json")
            assert status.returncode == 0, status.stderr
        assert gate.cli("reload").returncode == 0
    assert not os.path.exists(f"{folder}/api.sock"), "and go with the last"


def test_another_tenants_key_is_still_no_key(upstream):
    with gate_for(upstream) as gate:
        upgrade(gate)
        assert gate.chat(key=None).status == 401
        assert gate.chat("slow", key=KEY_GLOBEX).status in (403, 404)
