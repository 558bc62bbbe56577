# SPDX-License-Identifier: Apache-2.0
"""No descriptor is left: service goes on for those who have one, and for all when there are more."""

import contextlib
import re
import resource
import socket
import time

from books import chaos_config, check_books, provider_calls
from harness import Mock, Sluice, config_for, eventually
from load import Load, ask, assert_no_nonsense
from raw_client import ProtocolError

MODELS = {"plain": "mock/tokens-12", "paced": "mock/rate-100+tokens-30", "close": "mock/tokens-12+close"}
ASKS = [ask("plain"), ask("plain", stream=True), ask("paced", stream=True), ask("close"), ask("close", stream=True)]


def limit(gate, soft):
    """How many descriptors the serving process may have from now on."""
    pid = gate.children()[0]
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft if soft else hard, hard))


def is_served(gate):
    with contextlib.suppress(OSError, ProtocolError):  # turned away while the last of a crowd leave
        return gate.chat("plain").status == 200


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def crowd(gate, count):
    """Connections that say nothing and take a descriptor each, as far as they are let in."""
    sockets = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            sockets.append(socket.create_connection(gate.address(), 2))
    return sockets


def test_squeezed_under_load():
    """From plenty to nothing and back, again and again."""
    with Mock() as mock, Sluice(chaos_config(mock, config_for, MODELS)) as gate:
        with Load(gate.address(), ASKS, callers=30, think=0.01) as load:
            eventually(lambda: load.counts[200] > 100)
            for room in (0, 3, 10):
                limit(gate, gate.descriptors() - 20 + room)
                sockets = crowd(gate, 60)
                before = load.counts[200]
                eventually(lambda before=before: load.counts[200] > before + 100, what="who is connected is served")
                for each in sockets:
                    each.close()
                limit(gate, None)
                before = load.counts[200]
                eventually(lambda before=before: load.counts[200] > before + 200, within=20, what="all are served again")
            settled = len(load.answers)
            time.sleep(1)
            answers = load.stop()
        assert_no_nonsense(answers)
        unwell = [answer for answer in answers[settled + 50 :] if not answer.done]
        assert not unwell, f"it has not recovered: {unwell[:3]}"
        odd = [answer for answer in answers if answer.whole and answer.status not in (200, 503)]
        assert not odd, odd[:3]
        calls = provider_calls(mock)
        assert len(gate.children()) == 1 and gate.get("/readyz", key=None).status == 200
        assert gate.stop() == 0
        outcomes = check_books(gate, calls, answers, lost_allowed=False)
    statuses = {key: count for key, count in load.counts.items()}
    print(f"\n{len(answers)} calls: {statuses}; ledger: {dict(outcomes)}")


def test_a_small_limit_from_the_start():
    """As `ulimit -n 64` would have it: 200 clients come, some are served, nobody spins."""
    with Mock() as mock, Sluice(chaos_config(mock, config_for, MODELS)) as gate:
        limit(gate, gate.descriptors() + 24)
        with gate.connect() as kept:
            head = [("Authorization", "Bearer " + "sk-acme-5ecre7-0123456789abcdef")]
            body = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}]}
            assert kept.request("POST", "/v1/chat/completions", head, body).status == 200
            sockets = crowd(gate, 200)
            child = gate.children()[0]
            used, begun = cpu_seconds(child), time.monotonic()
            for _ in range(20):
                assert kept.request("POST", "/v1/chat/completions", head, body).status in (200, 503)
                time.sleep(0.05)
            share = (cpu_seconds(child) - used) / (time.monotonic() - begun)
            assert share < 0.5, f"{100 * share:.0f} % of a core are burnt while it waits for descriptors"
            for each in sockets:
                each.close()
            eventually(lambda: is_served(gate), within=20, what="the crowd has gone")
        eventually(lambda: re.search("descriptor", gate.log()), what="the log says why")
        assert len(gate.children()) == 1 and gate.children()[0] == child
        assert gate.stop() == 0
        check_books(gate, provider_calls(mock), [], lost_allowed=False)


def test_sixty_four_descriptors():
    """As `ulimit -n 64` has it, from the start, with three times as many callers: who is let in is answered, what is
    refused says so, all of it is booked, and when the crowd has gone there is nothing left of it."""
    with Mock() as mock, Sluice(chaos_config(mock, config_for, MODELS), prefix=["prlimit", "--nofile=64:64"]) as gate:
        with Load(gate.address(), ASKS, callers=200, think=0.05, limit=60) as load:
            eventually(lambda: load.counts[200] > 300, 30, what="some are served")
            time.sleep(1)
            answers = load.stop(90)
        hung = [answer for answer in answers if answer.how == "hung" and answer.status]
        assert not hung, hung[:3]
        assert_no_nonsense([answer for answer in answers if answer.how != "hung"])  # they are let in when there is room
        odd = [answer for answer in answers if answer.whole and answer.status not in (200, 503)]
        assert not odd, odd[:3]
        eventually(lambda: gate.get("/readyz", key=None).status == 200, 10)
        assert [gate.chat("plain").status for _ in range(20)] == [200] * 20
        calls = provider_calls(mock)
        assert "descriptor" in gate.log() and len(gate.children()) == 1
        assert gate.stop() == 0
        outcomes = check_books(gate, calls, answers, lost_allowed=False)
    print(f"\n{len(answers)} calls: {dict(load.counts)}; ledger: {dict(outcomes)}")
