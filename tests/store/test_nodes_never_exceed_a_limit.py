# SPDX-License-Identifier: Apache-2.0
"""Four nodes of two workers hammer one limit of each kind: never more than it allows, in any window,
and at least 95 % of it."""

import contextlib

import pytest

from nodes import (
    CONCURRENT, HOUR, MONEY, NONE, REQUESTS, ROLLING, SECOND, TOKENS, TOTAL, Node, most_at_once, most_in_65_slots,
    most_in_any_window, steady_share, wait_sum,
)

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def nodes(redis):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Node(redis, name, workers=2, replicas_max=4, timeout_us=2 * SECOND))
               for name in NAMES]


def limit_all(nodes, *words, **options):
    for node in nodes:
        node.limit(*words, **options)


def hammer(nodes, callers, hold_us, pause_us, duration_us, *uses):
    for node in nodes:
        node.wait_up()
    for node in nodes:
        node.load(callers, "acme", hold_us, pause_us, duration_us, *uses)
    loads = [node.loaded() for node in nodes]
    for load, node in zip(loads, nodes):
        assert load.away == load.local == 0, node.log()
    return loads, [call for load in loads for call in load.calls]


def check_window(loads, calls, amount, window_us):
    late = max(load.late_us for load in loads)
    assert most_in_65_slots(calls) <= amount
    assert most_in_any_window(calls, window_us - late) <= amount
    assert steady_share(calls, amount, window_us) >= 0.95


@pytest.mark.parametrize("window_us, amount, seconds", [(SECOND, 300, 5), (3 * SECOND, 500, 10)])
def test_requests_in_a_rolling_window(nodes, window_us, amount, seconds):
    limit_all(nodes, "k/r", REQUESTS, ROLLING, amount, window_us)
    loads, calls = hammer(nodes, 10, 1000, 10_000, seconds * SECOND, ("k/r", 1))
    check_window(loads, calls, amount, window_us)


def test_tokens_of_many_sizes_in_a_rolling_window(nodes):
    window_us, amount = 2 * SECOND, 100_000
    limit_all(nodes, "k/t", TOKENS, ROLLING, amount, window_us)
    for node in nodes:
        node.wait_up()
    for node, size in zip(nodes, [100, 300, 700, 1100]):
        node.load(10, "acme", 1000, 10_000, 7 * SECOND, ("k/t", size))
    loads = [node.loaded() for node in nodes]
    check_window(loads, [call for load in loads for call in load.calls], amount, window_us)


def test_parallel_calls_go_round_among_the_nodes(nodes, redis):
    limit_all(nodes, "k/p", CONCURRENT, NONE, 30)
    loads, calls = hammer(nodes, 20, 50_000, 2000, 4 * SECOND, ("k/p", 1))
    assert most_at_once(calls) <= 30
    assert sum(until - at for at, until, *_ in calls) >= 0.8 * 30 * 4 * SECOND
    assert min(load.granted for load in loads) > 100
    wait_sum(redis, "k/p", 0)


@pytest.mark.parametrize("period", [HOUR, TOTAL])
def test_money_to_the_nano_dollar(nodes, redis, period):
    amount, most = 50_000_000_007, 90_000_001
    limit_all(nodes, "t/acme:budget", MONEY, period, amount)
    limit_all(nodes, "k/budget", MONEY, TOTAL, 10 * amount)
    loads, calls = hammer(nodes, 10, 1000, 5000, 5 * SECOND, ("t/acme:budget", most, 1000), ("k/budget", most, 1000))
    spent = sum(load.spent for load in loads)
    assert amount - 1000 <= spent <= amount
    assert max(held for _, _, held, *_ in calls) <= most
    # Whatever was held and not used has come back.
    wait_sum(redis, "t/acme:budget", spent)
    wait_sum(redis, "k/budget", spent)


def test_all_kinds_at_once(nodes, redis):
    limit_all(nodes, "k/r", REQUESTS, ROLLING, 400, SECOND)
    limit_all(nodes, "k/p", CONCURRENT, NONE, 40)
    limit_all(nodes, "k/t", TOKENS, ROLLING, 1_000_000, 2 * SECOND)
    limit_all(nodes, "k/m", MONEY, HOUR, 10**12)
    loads, calls = hammer(nodes, 10, 5000, 5000, 5 * SECOND, ("k/r", 1), ("k/p", 1), ("k/t", 900), ("k/m", 10**6, 10))
    check_window(loads, calls, 400, SECOND)
    assert most_at_once(calls) <= 40
    wait_sum(redis, "k/p", 0)
    wait_sum(redis, "k/m", sum(load.spent for load in loads))


def evaluations(redis):
    return int(redis.information("commandstats")["cmdstat_evalsha"].split("calls=")[1].split(",")[0])


def test_a_slice_needs_no_round_trip(nodes, redis):
    limit_all(nodes, "k/r", REQUESTS, ROLLING, 10_000_000, 60 * SECOND)
    limit_all(nodes, "k/m", MONEY, TOTAL, 10**15)
    loads, _ = hammer(nodes[:1], 10, 1000, 1000, 4 * SECOND, ("k/r", 1), ("k/m", 1000))
    assert loads[0].granted > 2000
    assert nodes[0].figures()["asked"] < loads[0].granted / 10
    assert evaluations(redis) < loads[0].granted / 4  # with reports, and the beats of four nodes


def test_one_round_trip_where_little_is_left(nodes, redis):
    limit_all(nodes, "k/r", REQUESTS, ROLLING, 300, 60 * SECOND)
    limit_all(nodes, "k/t", TOKENS, ROLLING, 3000, 60 * SECOND)
    node = nodes[0].wait_up()
    node.call("acme", ("k/r", 200), ("k/t", 2000)).settle(input_tokens=2000)
    asked = node.figures()["asked"]
    for i in range(1, 9):
        assert node.call("acme", ("k/r", 10), ("k/t", 100)).result == "G"
        assert node.figures()["asked"] == asked + i
