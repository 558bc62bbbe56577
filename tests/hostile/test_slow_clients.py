# SPDX-License-Identifier: Apache-2.0
"""Slow heads, slow bodies, idle connections: all ended by a total deadline, nobody else is delayed."""

import time

import pytest
from cases_slow import SLOW
from harness import Background, Client, Sluice, config_for
from raw_client import Closed

LIMIT = 20


@pytest.fixture(scope="module")
def hasty(upstream):
    config = config_for(upstream, server={"timeouts": {
        "client_header": "1s", "client_body": {"total": "1s", "min_rate": "256KiB"}, "client_idle": "1s"}})
    with Sluice(config) as sluice:
        yield sluice


def play(address, acts):
    """(status of the last answer or "close", seconds until the gateway closed)."""
    status = "close"
    with Client(address, timeout=LIMIT) as client:
        begin = time.monotonic()
        try:
            for act in acts:
                if isinstance(act, bytes):
                    client.send(act)
                elif isinstance(act, tuple):
                    for byte in act[1]:
                        client.send(bytes([byte]))
                        if not client.is_quiet(act[2]):
                            break
                else:
                    time.sleep(act)
        except OSError:
            pass
        try:
            while True:
                status = client.read_response().status
        except Closed:
            pass
        return status, time.monotonic() - begin


@pytest.fixture(scope="module")
def played(hasty):
    """All at once, each four times, and good requests beside them."""
    running = {name: [Background(play, hasty.address(), acts) for _ in range(4)] for name, (acts, _) in SLOW.items()}
    slowest = 0
    for _ in range(50):
        begin = time.monotonic()
        assert hasty.chat().status == 200
        slowest = max(slowest, time.monotonic() - begin)
    return {name: [task.result(LIMIT * 3) for task in tasks] for name, tasks in running.items()}, slowest


@pytest.mark.parametrize("name", SLOW)
def test_case(played, name):
    for status, took in played[0][name]:
        assert status in SLOW[name][1], (status, took)
        assert took < LIMIT, f"held for {took:.1f} s"


def test_nobody_else_is_delayed(played):
    assert played[1] < 5
