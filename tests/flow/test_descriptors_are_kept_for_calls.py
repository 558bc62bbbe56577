# SPDX-License-Identifier: Apache-2.0
"""With `ulimit -n 64` clients cannot take the descriptors that their own calls need, and whoever is idle gives way."""

import signal
import threading

import pytest

from harness import Client, Sluice, Upstream, chat_request, config_for, eventually
from raw_client import Closed
from raw_upstream import openai_answer

LIMIT = 64
CROWD = 60  # more than there are descriptors left for
CALLS_AT_LEAST = 12  # of a crowd have a connection to the provider at the same time


@pytest.fixture
def scene():
    with Upstream() as upstream:
        config = config_for(upstream, server={"workers": 1, "shutdown": {"drain_delay": "0s", "grace": "25s"}})
        with Sluice(config, prefix=["prlimit", f"--nofile={LIMIT}:{LIMIT}"]) as gate:
            yield upstream, gate
            assert not upstream.violations and not upstream.failures
            assert gate.stop() == 0


def hold(upstream):
    """Nobody is answered until the event is set."""
    go = threading.Event()

    def answer(call):
        assert go.wait(120)
        return openai_answer(call)

    upstream.answer = answer
    return go


def read(client):
    """The answer, or None where the connection was closed instead."""
    try:
        return client.read_response()
    except (OSError, Closed):
        return None


def ask(client):
    try:
        client.send(chat_request())
    except OSError:
        return


def test_who_is_let_in_finds_a_connection_to_the_provider(scene):
    upstream, gate = scene
    go = hold(upstream)
    crowd = [Client(gate.address(), timeout=60) for _ in range(CROWD)]
    for client in crowd:
        ask(client)
    upstream.wait_calls(CALLS_AT_LEAST)
    go.set()
    answers = []
    for client in crowd:
        answers.append(read(client))
        client.close()  # the next one of those that wait is let in
    answers = [answer for answer in answers if answer]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(answers) - len(refused) >= CALLS_AT_LEAST
    assert len(answers) >= CROWD - 5, "hardly anybody hears nothing"
    for answer in refused:
        assert answer.status == 503 and answer.error["code"] == "overloaded", answer
        assert answer.header("retry-after") == "1", answer
    upstream.answer = openai_answer
    assert gate.chat().status == 200, "the provider is not to blame"
    booked = [row for row in gate.ledger_rows() if row["fault"] == "overloaded"]
    assert all(row["cost_nanos"] == 0 and row["status"] == 503 for row in booked), booked
    eventually(lambda: "no descriptor is left for new connections" in gate.log(), what="it is said")


def test_when_it_lasts_who_comes_is_turned_away(scene):
    upstream, gate = scene
    go = hold(upstream)
    crowd = [Client(gate.address(), timeout=60) for _ in range(CROWD)]
    for client in crowd:
        ask(client)
    for client in reversed(crowd):  # those that got in last, or not at all
        answer = read(client)
        if answer and answer.json["error"]["message"].startswith("Too many connections are open"):
            break
    assert answer.status == 503 and answer.error["code"] == "overloaded" and answer.header("retry-after") == "1"
    go.set()
    for client in crowd:
        client.close()


def test_the_longest_idle_give_way_to_who_comes(scene):
    _, gate = scene
    crowd = []
    with Client(gate.address()) as busy:
        for _ in range(CROWD):
            assert busy.request("GET", "/livez").status == 200, "who asks again and again stays"
            client = Client(gate.address(), timeout=30)
            crowd.append(client)
            client.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = read(client)
            while not answer or answer.status != 200:  # while nobody is idle for long enough, some are turned away
                assert not answer or answer.header("retry-after") == "1", answer
                with Client(gate.address(), timeout=30) as again:
                    again.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
                    answer = read(again)
    closed = [client for client in crowd if not client.is_quiet(0.01)]
    assert closed and len(closed) < CROWD
    for client in crowd:
        client.close()


def test_the_idle_give_way_to_a_call(scene):
    upstream, gate = scene
    go = hold(upstream)
    crowd = []
    for _ in range(18):
        crowd.append(Client(gate.address(), timeout=30))
        assert crowd[-1].request("GET", "/livez").status == 200
    for count, client in enumerate(crowd):
        ask(client)
        if count < CALLS_AT_LEAST:
            upstream.wait_calls(count + 1)
    go.set()
    statuses = [answer.status if answer else None for answer in map(read, crowd)]
    for client in crowd:
        client.close()
    assert statuses.count(200) >= CALLS_AT_LEAST and set(statuses) <= {200, None}, statuses


NO_DESCRIPTOR = "no descriptor is left for new connections"


def drain(gate):
    gate.signal(signal.SIGTERM)
    eventually(lambda: "may finish" in gate.log(), what="it has stopped listening")


def hold_one(upstream, gate):
    """A call that is not answered before the event is set, and who reads its answer."""
    go = hold(upstream)
    last = Client(gate.address(), timeout=30)
    ask(last)
    upstream.wait_calls(1)
    return go, last


def overview(client):
    return client.request("GET", "/admin/v1/overview").json


def test_operators_are_let_in_again_when_it_drains(scene):
    """Where nobody could be let in when the drain began."""
    upstream, gate = scene
    go, last = hold_one(upstream, gate)
    crowd = [Client(gate.address(), timeout=30) for _ in range(CROWD)]
    for client in crowd:
        ask(client)
    eventually(lambda: NO_DESCRIPTOR in gate.log())
    drain(gate)
    for client in crowd:
        client.close()
    with Client(str(gate.state / "admin.sock"), timeout=30) as operator:
        assert overview(operator)["calls"] >= 1
    go.set()
    assert read(last).status == 200


def test_operators_that_find_no_descriptor_do_not_keep_it_busy(scene):
    """Not even while it drains: they wait, and the loop rests."""
    upstream, gate = scene
    go, last = hold_one(upstream, gate)
    first, second = (Client(str(gate.state / "admin.sock"), timeout=30) for _ in range(2))
    assert overview(first) and overview(second), "both are let in"
    drain(gate)
    crowd = [Client(str(gate.state / "admin.sock"), timeout=30) for _ in range(CROWD)]
    eventually(lambda: NO_DESCRIPTOR in gate.log())
    before = overview(first)["workers"][0]["rounds"]
    assert last.is_quiet(1.0), "its call is held"
    rounds = overview(second)["workers"][0]["rounds"] - before
    for client in crowd:
        client.close()
    assert rounds < 1000, f"{rounds} rounds"
    go.set()
    assert read(last).status == 200
