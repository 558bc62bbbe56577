# SPDX-License-Identifier: Apache-2.0
"""256 MiB for somebody who never reads: they stay with the provider, not in our memory."""

import time

import pytest
from books import chaos_config, check_books, mock_stats, provider_calls, rss_bytes
from harness import SANITIZED, Mock, Sluice, chat_request, config_for, eventually
from load import Load, ask

MIB = 1 << 20
CLIENTS = 8
MODELS = {"big": "mock/big-256", "warm": "mock/big-4", "plain": "mock/tokens-12"}


def flow(mock):
    """Tokens that the provider has got rid of so far, in calls that are over: none while it is stuck."""
    return mock_stats(mock)["models"].get("mock/big-256", {})


def settled_rss(gate):
    """Resident memory once it has stopped to move."""
    last, since, deadline = rss_bytes(gate), time.monotonic(), time.monotonic() + 20
    while time.monotonic() - since < 1.0:
        now = rss_bytes(gate)
        assert time.monotonic() < deadline, "memory goes on growing"
        if abs(now - last) > 64 << 10:
            last, since = now, time.monotonic()
        time.sleep(0.05)
    return last


def hold(gate, mock, asked, count):
    """What `count` clients make us hold that do not read; they leave in the end."""
    before, stuck = settled_rss(gate), []
    for _ in range(count):
        client = gate.connect(rcvbuf=8192)
        stuck.append(client.send(asked))
    eventually(lambda: flow(mock).get("in_flight") == count)
    held = settled_rss(gate) - before
    with Load(gate.address(), [ask("plain"), ask("plain", stream=True)], callers=4) as load:
        time.sleep(0.5)
        eventually(lambda: load.counts[200] >= 10)
        answers = load.stop()
    assert len(answers) >= 10 and all(answer.done for answer in answers), "others are served meanwhile"
    assert flow(mock)["in_flight"] == count, "nobody has left"
    for client in stuck:
        client.close()
    eventually(lambda: flow(mock)["in_flight"] == 0, within=5, what="the provider is cancelled")
    return held, answers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_of_256_mib(stream):
    with Mock() as mock, Sluice(chaos_config(mock, config_for, MODELS, server={"workers": 1})) as gate:
        for _ in range(2):
            assert len(gate.chat("warm", stream=stream).body) > 3 * MIB
        asked = chat_request({"model": "big", "messages": [{"role": "user", "content": "Hi"}], "stream": stream})
        one, answers = hold(gate, mock, asked, 1)
        many, more = hold(gate, mock, asked, CLIENTS)
        more += hold(gate, mock, asked, CLIENTS)[1]
        before = settled_rss(gate)
        again, even_more = hold(gate, mock, asked, CLIENTS)
        grown = settled_rss(gate) - before
        calls = provider_calls(mock)
        assert gate.stop() == 0
        outcomes = check_books(gate, calls, answers + more + even_more, lost_allowed=False)
        assert outcomes["partial"] == 1 + 3 * CLIENTS, outcomes
        print(f"\nheld: {one >> 10} KiB for one, {many >> 10} KiB for {CLIENTS}, {again >> 10} KiB once more, {grown >> 10} KiB stay")
        if not SANITIZED:
            assert one <= MIB, f"{one >> 10} KiB for one client"
            assert many <= CLIENTS * MIB, f"{many >> 10} KiB for {CLIENTS} clients"
            assert grown <= MIB, f"{grown >> 10} KiB stay behind"
