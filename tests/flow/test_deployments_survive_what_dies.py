# SPDX-License-Identifier: Apache-2.0
"""A server that is killed comes back; a gateway that is killed finds its servers again; one that ends takes them along, or leaves them."""

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import Background, Sluice, eventually, is_alive


def test_a_server_that_is_killed_under_load_comes_back():
    with Sluice(deployed(server_for("qwen", "--first-ms", 30, scaling={"parallel": 4}))) as gate:
        desk = Desk(gate)
        assert gate.chat("qwen").status == 200
        statuses, over = [], time.monotonic() + 3

        def work():
            while time.monotonic() < over:
                answer = gate.chat("qwen", options={"timeout": 30})
                statuses.append(answer.status)
                assert answer.status in (200, 502, 503), answer
                assert answer.status == 200 or answer.error["message"], answer

        workers = [Background(work) for _ in range(8)]
        for _ in range(3):
            time.sleep(0.6)
            for pid in pids():
                os.kill(pid, signal.SIGKILL)
        for worker in workers:
            worker.result()
        desk.until("ready")
        assert gate.chat("qwen").status == 200
        assert statuses.count(200) > len(statuses) * 0.8, statuses
        assert len(pids()) == 1 and any("signal" in reason or "crash" in reason or "exit" in reason for reason in desk.reasons()), desk.reasons()


def test_a_stream_that_breaks_says_so():
    with Sluice(deployed(server_for("qwen", "--tps", 5, "--tokens", 50))) as gate:
        client, response = gate.open_stream("qwen")
        next(iter(client.pieces(response)))
        os.kill(pids()[0], signal.SIGKILL)
        rest = b"".join(client.pieces(response))
        assert b'"error"' in rest and b"[DONE]" not in rest, rest
        client.close()


@pytest.mark.parametrize("whole", [False, True])
def test_a_gateway_that_is_killed_finds_its_servers_again(whole):
    """The service alone, which its supervisor starts anew; or all of it, and somebody starts it again."""
    gate = Sluice(deployed(server_for("qwen", scaling={"min": 2, "max": 2})))
    try:
        desk = Desk(gate)
        eventually(lambda: desk.show()["ready"] == 2, what="two are ready")
        before = pids()
        assert len(before) == 2
        if whole:
            gate.kill()
            assert pids() == before, "nobody has ended them"
            gate.start()
        else:
            service = gate.worker_pid
            os.kill(service, signal.SIGKILL)
            eventually(lambda: gate.worker_pid != service, what="another service")
            gate.wait_ready()
        eventually(lambda: desk.show()["ready"] == 2, what="both are used again")
        assert pids() == before, "no second ones"
        assert gate.chat("qwen").status == 200
        time.sleep(0.5)
        assert pids() == before and "adopted" in desk.reasons(), desk.reasons()
    finally:
        gate.may_crash = True
        assert gate.stop() == 0
        gate.__exit__(None)
    assert not pids()


def test_who_is_left_is_found_at_the_next_start():
    config = deployed(server_for("qwen"), deployments={"on_exit": "leave"})
    gate = Sluice(config)
    try:
        assert gate.chat("qwen").status == 200
        [pid] = pids()
        assert gate.stop() == 0 and is_alive(pid)
        gate.start()
        Desk(gate).until("ready")
        assert gate.chat("qwen").status == 200 and pids() == [pid]
        config["deployments"]["models"] = []
        gate.write(config)
        assert gate.cli("reload").returncode == 0
        eventually(lambda: not pids(), what="who is not wanted any more ends")
    finally:
        gate.__exit__(None)


def keepers(gate):
    """Of logs, in this gateway's state directory."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")[1:3] == [b"log-keeper", bytes(gate.state)]:
                found.append(int(entry))
    return found


def test_the_log_of_who_outlives_its_gateway_does_not_grow_without_bound():
    config = deployed(server_for("qwen", "--log-every-ms", 1, "--log-bytes", 200000))
    gate = Sluice(config)
    try:
        assert gate.chat("qwen").status == 200
        [pid], [log] = pids(), (gate.state / "deployments/qwen").glob("*.log")
        gate.kill()
        for _ in range(2):
            eventually(lambda: log.stat().st_size > 32 << 20, 60, what="it writes on")
            eventually(lambda: log.stat().st_size < 32 << 20, 60, what="it is cut")
        aside = Path(f"{log}.1").read_bytes()
        assert len(aside) == 4 << 20 and b"\nfakellm: line " in aside, "its end is kept"
        assert len(keepers(gate)) == 1 and pids() == [pid]
        gate.start()
        Desk(gate).until("ready")
        assert pids() == [pid] and gate.chat("qwen").status == 200
        eventually(lambda: len(keepers(gate)) == 1, what="not a second one")
    finally:
        gate.may_crash = True
        assert gate.stop() == 0
        gate.__exit__(None)
    assert not pids()
    eventually(lambda: not keepers(gate), what="nobody is left whose log it could keep")


def test_what_was_spent_is_known_after_a_restart():
    """A dollar a second, of which it has six: not six after each start."""
    node = {"name": "local", "launcher": "process", "memory": "8GiB", "price_per_hour": "3600 USD"}
    dear = server_for("qwen", resources={"memory": "8GiB"}, scaling={"min": 1}, limits={"max_spend": "6 USD"})
    config = deployed(dear, nodes=[node])
    with Sluice(config) as gate:
        eventually(lambda: Desk(gate).show()["cost"]["spent_nanos"] > 3 * 10**9, 20, what="it costs something")
        gate.stop()
        begun = time.monotonic()
        with Sluice(config, directory=gate.directory) as again:
            desk = Desk(again)
            eventually(lambda: desk.show()["cost"]["spent_nanos"] > (time.monotonic() - begun) * 10**9,
                       what="it goes on where it was: it has spent more than it can have since")
            eventually(lambda: desk.show()["state"] == "stopped", 20, what="all is spent")
            assert desk.show()["reason"] == "max_spend" and desk.show()["cost"]["spent_nanos"] < 8 * 10**9, desk.show()


def test_what_it_costs_while_nobody_counts_is_counted_when_it_is_found_again():
    """A dollar a second: it runs on without its sluice."""
    node = {"name": "local", "launcher": "process", "memory": "8GiB", "price_per_hour": "3600 USD"}
    config = deployed(server_for("qwen", resources={"memory": "8GiB"}, scaling={"min": 1}), nodes=[node], deployments={"on_exit": "leave"})
    first, gate = time.monotonic(), Sluice(config)
    try:
        desk = Desk(gate)
        desk.until("ready")
        [pid] = pids()
        assert gate.stop() == 0
        begun = time.monotonic()
        time.sleep(4)
        away = time.monotonic() - begun
        gate.start()
        desk.until("ready")
        spent = desk.show()["cost"]["spent_nanos"]
        assert pids() == [pid]
        assert away * 1e9 < spent < (time.monotonic() - first) * 1e9, (spent, away)
    finally:
        gate.__exit__(None)
        for left in pids():
            os.kill(left, signal.SIGKILL)


def spent_nanos(gate):
    return Desk(gate).show()["cost"]["spent_nanos"]


@pytest.mark.parametrize("ready", [False, True])
def test_what_it_costs_counts_from_its_start_however_soon_its_sluice_dies(ready):
    """A dollar a second: it is killed before it has written down much."""
    node = {"name": "local", "launcher": "process", "memory": "8GiB", "price_per_hour": "3600 USD"}
    config = deployed(server_for("qwen", resources={"memory": "8GiB"}, scaling={"min": 1}), nodes=[node])
    first, gate = time.monotonic(), Sluice(config)
    try:
        gate.may_crash = True
        eventually(lambda: list(gate.state.glob("deployments/*/*.run")), what="it is started, and that is written down")
        if ready:
            Desk(gate).until("ready")
        [pid] = pids()
        gate.kill()
        begun = time.monotonic()
        time.sleep(2)
        away = time.monotonic() - begun
        gate.start()
        Desk(gate).until("ready")
        spent = spent_nanos(gate)
        assert pids() == [pid]
        assert away * 1e9 < spent < (time.monotonic() - first) * 1e9, (spent, away)
    finally:
        gate.__exit__(None)


@pytest.mark.parametrize("same_boot", [True, False])
def test_a_clock_that_leaps_costs_nothing(same_boot):
    """What was written down is years ago by the clock of now: its server is not as old as that."""
    node = {"name": "local", "launcher": "process", "memory": "8GiB", "price_per_hour": "3600 USD"}
    config = deployed(server_for("qwen", resources={"memory": "8GiB"}, scaling={"min": 1}), nodes=[node], deployments={"on_exit": "leave"})
    first, gate = time.monotonic(), Sluice(config)
    try:
        Desk(gate).until("ready")
        [pid] = pids()
        assert gate.stop() == 0
        with contextlib.closing(sqlite3.connect(gate.state / "deployments.db")) as database:
            [(lines,)] = database.execute("SELECT lines FROM spent")
            name, nanos, since, seen, *boot = lines.split()
            assert name == "qwen" and len(boot) == 2, lines
            line = " ".join([name, nanos, since, str(int(seen) - 10**11), *(boot if same_boot else [boot[0], "another"])])
            database.execute("UPDATE spent SET lines = ?", [line + "\n"])
            database.commit()
        gate.start()
        Desk(gate).until("ready")
        spent = spent_nanos(gate)
        assert pids() == [pid]
        assert int(nanos) <= spent < (1 if same_boot else 2) * (time.monotonic() - first) * 1e9, (spent, nanos)
    finally:
        gate.__exit__(None)
        for left in pids():
            os.kill(left, signal.SIGKILL)


def test_calls_end_before_their_server_does():
    with Sluice(deployed(server_for("qwen", "--tps", 10, "--tokens", 15))) as gate:
        desk = Desk(gate)
        client, response = gate.open_stream("qwen")
        assert desk.order("stop").status == 200
        text = b"".join(client.pieces(response))
        assert text.rstrip().endswith(b"[DONE]"), text
        client.close()
        desk.until("stopped")
        refused = gate.chat("qwen")
        assert refused.status == 503 and "stopped" in refused.error["message"], refused
        assert desk.order("start").status == 200
        assert gate.chat("qwen").status == 200
