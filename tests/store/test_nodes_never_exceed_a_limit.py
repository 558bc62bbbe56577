# SPDX-License-Identifier: Apache-2.0
"""Four nodes of two workers hammer one limit of each kind: never more than it allows, in any window,
and at least 95 % of it."""

import contextlib

import pytest

from nodes import (
    CONCURRENT, HOUR, MONEY, REQUESTS, ROLLING, NONE, SECOND, TOKENS, TOTAL, Node, most_at_once, most_in_any_window,
)

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def nodes(redis):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Node(redis, name, workers=2, replicas_max=4, timeout_us=2 * SECOND))
               for name in NAMES]


def hammer(nodes, callers, hold_us, pause_us, duration_us, *uses):
    for node in nodes:
        node.wait_up()
    for node in nodes:
        node.load(callers, "acme", hold_us, pause_us, duration_us, *uses)
    loads = [node.loaded() for node in nodes]
    for load, node in zip(loads, nodes):
        assert load.away == load.local == 0, node.log()
    return loads, [call for load in loads for call in load.calls]


def limit_all(nodes, *words, **options):
    for node in nodes:
        node.limit(*words, **options)


@pytest.mark.parametrize("window_us, amount, seconds", [(SECOND, 300, 4), (3 * SECOND, 500, 8)])
def test_requests_in_a_rolling_window(nodes, window_us, amount, seconds):
    limit_all(nodes, "k/r", REQUESTS, ROLLING, amount, window_us)
    _, calls = hammer(nodes, 10, 1000, 10_000, seconds * SECOND, ("k/r", 1))
    assert most_in_any_window(calls, window_us) <= amount
    begin, end = min(at for at, *_ in calls), max(at for at, *_ in calls)
    windows = (end - begin) / window_us
    assert sum(held for _, _, held, _ in calls) >= 0.95 * amount * windows


def test_tokens_of_many_sizes_in_a_rolling_window(nodes):
    window_us, amount = 2 * SECOND, 100_000
    limit_all(nodes, "k/t", TOKENS, ROLLING, amount, window_us)
    for node in nodes:
        node.wait_up()
    sizes = [100, 300, 700, 1100]
    for node, size in zip(nodes, sizes):
        node.load(10, "acme", 1000, 10_000, 6 * SECOND, ("k/t", size))
    calls = [call for node in nodes for call in node.loaded().calls]
    assert most_in_any_window(calls, window_us) <= amount
    begin, end = min(at for at, *_ in calls), max(at for at, *_ in calls)
    assert sum(held for _, _, held, _ in calls) >= 0.95 * amount * (end - begin) / window_us


def test_parallel_calls(nodes):
    limit_all(nodes, "k/p", CONCURRENT, NONE, 30)
    _, calls = hammer(nodes, 20, 20_000, 2000, 3 * SECOND, ("k/p", 1))
    assert most_at_once(calls) <= 30
    busy = sum(until - at for at, until, *_ in calls)
    assert busy >= 0.5 * 30 * 3 * SECOND  # what one gives back is told ten times a second


@pytest.mark.parametrize("period", [HOUR, TOTAL])
def test_money_to_the_nano_dollar(nodes, redis, period):
    amount = 50_000_000_007
    limit_all(nodes, "t/acme:budget", MONEY, period, amount)
    limit_all(nodes, "k/budget", MONEY, TOTAL, 10 * amount)
    loads, _ = hammer(nodes, 10, 1000, 5000, 4 * SECOND, ("t/acme:budget", 90_000_001, 1000), ("k/budget", 90_000_001, 1000))
    spent = sum(load.spent for load in loads)
    assert amount - 1000 * 4 <= spent <= amount
    assert all(held <= 90_000_001 for load in loads for _, _, held, _ in load.calls)
    # Whatever was held and not used has come back.
    assert sum_of(redis, "t/acme:budget") == sum_of(redis, "k/budget") == spent


def sum_of(redis, counter, within=3):
    """The sum in Redis, when nothing has changed for a while."""
    import time

    last, until = None, time.monotonic() + within
    while time.monotonic() < until:
        flat = redis.command("HGETALL", f"s:{{acme}}:c:{counter}")
        fields = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        last = sum(int(value) for field, value in fields.items() if field.isdigit())
        parts = sum(int(value) for field, value in fields.items() if "/" in field)
        assert last == parts
        time.sleep(0.2)
    return last


def test_all_kinds_at_once(nodes, redis):
    limit_all(nodes, "k/r", REQUESTS, ROLLING, 400, SECOND)
    limit_all(nodes, "k/p", CONCURRENT, NONE, 40)
    limit_all(nodes, "k/t", TOKENS, ROLLING, 1_000_000, 2 * SECOND)
    limit_all(nodes, "k/m", MONEY, HOUR, 10**12)
    loads, calls = hammer(nodes, 10, 5000, 5000, 4 * SECOND, ("k/r", 1), ("k/p", 1), ("k/t", 900), ("k/m", 10**6, 10))
    assert most_in_any_window(calls, SECOND) <= 400
    assert most_at_once(calls) <= 40
    assert sum(load.granted for load in loads) >= 0.9 * 400 * 3
    assert sum_of(redis, "k/p") == 0
    assert sum_of(redis, "k/m") == sum(load.spent for load in loads)


def test_a_slice_needs_no_round_trip(nodes, redis):
    limit_all(nodes, "k/r", REQUESTS, ROLLING, 10_000_000, 60 * SECOND)
    limit_all(nodes, "k/m", MONEY, TOTAL, 10**15)
    loads, _ = hammer(nodes[:1], 10, 1000, 1000, 4 * SECOND, ("k/r", 1), ("k/m", 1000))
    asked = nodes[0].figures()["asked"]
    assert loads[0].granted > 3000
    assert asked < loads[0].granted / 10


def test_one_round_trip_where_little_is_left(nodes, redis):
    limit_all(nodes, "k/r", REQUESTS, ROLLING, 300, 60 * SECOND)
    limit_all(nodes, "k/p", CONCURRENT, NONE, 10)
    node = nodes[0].wait_up()
    for _ in range(20):
        node.call("acme", ("k/r", 1), ("k/p", 1)).settle()
    redis.command("CONFIG", "RESETSTAT")
    before = node.figures()["asked"]
    for other in nodes[1:]:
        other.signal(19)
    for _ in range(50):
        assert node.call("acme", ("k/r", 5), ("k/p", 1)).result == "G"
        if _ == 4:
            break
    asked = node.figures()["asked"] - before
    assert asked <= 5
    for other in nodes[1:]:
        other.signal(18)
