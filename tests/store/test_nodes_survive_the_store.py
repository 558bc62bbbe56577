# SPDX-License-Identifier: Apache-2.0
"""Redis is emptied, stopped, killed, slow, full; nodes are killed: no limit is exceeded, nobody waits
longer than the time-out, and what was used is in the counters afterwards."""

import contextlib
import signal
import time

import pytest

import scripts
from harness import eventually
from nodes import (
    CLOSED, CONCURRENT, LOCAL, MONEY, MONTH, NONE, OPEN, REQUESTS, ROLLING, SECOND, TOTAL, WARN, Node, Redis, most_at_once,
    most_in_65_slots, wait_sum,
)

TIMEOUT_US = 300_000
PATIENT_US = 5_000_000  # where the store does not go, and the machine may be busy


@contextlib.contextmanager
def running(redis, count=4, **options):
    options = {"workers": 2, "replicas_max": count, "timeout_us": TIMEOUT_US, **options}
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Node(redis, name, **options)) for name in "abcd"[:count]]


def limit_all(nodes, *words, **options):
    for node in nodes:
        node.limit(*words, **options)


def begin(nodes, seconds, *uses, callers=5, hold_us=5000, pause_us=5000):
    for node in nodes:
        node.wait_up()
    for node in nodes:
        node.load(callers, "acme", hold_us, pause_us, seconds * SECOND, *uses)


def finish(nodes):
    loads = [node.loaded() for node in nodes]
    for node, load in zip(nodes, loads):
        # Timers of the loop are 10 ms wide, and the machine may be busy; who waited for Redis would wait a second.
        assert load.late_us < TIMEOUT_US + 650_000, node.log()
    return loads, [call for load in loads for call in load.calls]


def test_emptied_under_load(redis):
    with running(redis) as nodes:
        limit_all(nodes, "k/r", REQUESTS, ROLLING, 400, 2 * SECOND)
        limit_all(nodes, "k/p", CONCURRENT, NONE, 12)
        limit_all(nodes, "k/m", MONEY, TOTAL, 20_000_000)
        begin(nodes, 8, ("k/r", 1), ("k/p", 1), ("k/m", 100_000, 1))
        for _ in range(3):
            time.sleep(1.7)
            redis.flushall()
        loads, calls = finish(nodes)
        assert most_in_65_slots(calls) <= 400
        assert most_at_once(calls) <= 12
        spent = sum(load.spent for load in loads)
        assert spent <= 20_000_000
        assert sum(load.granted for load in loads) > 400
        assert sum(load.away for load in loads) > 0
        wait_sum(redis, "k/m", spent)
        wait_sum(redis, "k/p", 0)


def test_killed_and_begun_again_empty_under_load(redis):
    with running(redis) as nodes:
        limit_all(nodes, "k/r", REQUESTS, ROLLING, 400, 2 * SECOND)
        limit_all(nodes, "k/m", MONEY, TOTAL, 10**9)
        begin(nodes, 10, ("k/r", 1), ("k/m", 100_000, 1))
        time.sleep(2)
        redis.restart()
        time.sleep(3)
        redis.kill()
        time.sleep(1)
        redis.start()
        loads, calls = finish(nodes)
        assert most_in_65_slots(calls) <= 400
        assert sum(load.away for load in loads) > 0
        assert max(at for at, *_ in calls) - min(at for at, *_ in calls) > 8 * SECOND
        wait_sum(redis, "k/m", sum(load.spent for load in loads))


def test_stopped_for_a_while(redis):
    with running(redis, 2) as nodes:
        limit_all(nodes, "k/p", CONCURRENT, NONE, 6)
        limit_all(nodes, "k/m", MONEY, TOTAL, 10**9)
        begin(nodes, 6, ("k/p", 1), ("k/m", 100_000, 1))
        for _ in range(2):
            time.sleep(1)
            redis.stop()
            time.sleep(1)
            redis.cont()
        loads, calls = finish(nodes)
        assert most_at_once(calls) <= 6
        assert sum(load.away for load in loads) > 0
        assert max(at for at, *_ in calls) - min(at for at, *_ in calls) > 5 * SECOND
        wait_sum(redis, "k/m", sum(load.spent for load in loads))
        wait_sum(redis, "k/p", 0)


@pytest.mark.parametrize("away", [LOCAL, OPEN, CLOSED])
def test_each_limit_does_what_it_says_while_the_store_is_away(redis, away):
    with running(redis, 2, replicas_max=4) as nodes:
        limit_all(nodes, "k/r", REQUESTS, ROLLING, 40, 60 * SECOND, away=away)
        for node in nodes:
            node.wait_up()
        assert [nodes[0].call("acme", ("k/r", 1)).result for _ in range(4)] == ["G"] * 4
        redis.stop()
        began = time.monotonic()
        first = nodes[0].call("acme", ("k/r", 20)).result
        assert time.monotonic() - began < TIMEOUT_US / SECOND + 2  # a busy machine; without a timeout it would be for ever
        assert first == {LOCAL: "R", OPEN: "G", CLOSED: "A"}[away]
        nodes[0].wait_down()
        began = time.monotonic()
        results = [nodes[0].call("acme", ("k/r", 1)).result for _ in range(10)]
        assert time.monotonic() - began < 2.5  # nobody waits any more
        granted = results.count("G")
        assert granted == {LOCAL: 6, OPEN: 10, CLOSED: results.count("G")}[away]
        assert set(results) == {LOCAL: {"G", "R"}, OPEN: {"G"}}.get(away, set(results) & {"G", "A"})
        redis.cont()
        nodes[0].wait_up()
        # What was admitted meanwhile is told afterwards.
        used = 4 + granted + 20 * (first == "G")
        eventually(lambda: nodes[1].call("acme", ("k/r", 40 - used + 1)).result == "R", 5)
        assert nodes[1].call("acme", ("k/r", 40 - used)).result == "G"


def test_calls_that_only_warn_are_told_so(redis):
    with running(redis, 1, timeout_us=PATIENT_US) as (node,):
        node.limit("k/w", REQUESTS, ROLLING, 3, 60 * SECOND, exceeded=WARN)
        node.wait_up()
        calls = [node.call("acme", ("k/w", 1)) for _ in range(5)]
        assert [call.result for call in calls] == ["G"] * 5
        assert [call.warned for call in calls] == [False] * 3 + [True] * 2


def test_a_full_redis_is_away_and_comes_back():
    with Redis("maxmemory-policy noeviction") as redis, running(redis, 1) as (node,):
        node.limit("k/r", REQUESTS, ROLLING, 1000, 60 * SECOND, away=LOCAL)
        node.wait_up()
        assert node.call("acme", ("k/r", 1)).local is False
        redis.command("CONFIG", "SET", "maxmemory", "1")
        assert eventually(lambda: node.call("acme", ("k/r", 300)).local, 5)
        node.wait_down()
        redis.command("CONFIG", "SET", "maxmemory", "0")
        node.wait_up()
        assert not node.call("acme", ("k/r", 1)).local
        assert node.log().count("OOM") <= 3


def test_a_killed_nodes_parallel_calls_are_given_up(redis):
    with running(redis, 2, dead_us=6 * SECOND, timeout_us=PATIENT_US) as (a, b):
        limit_all((a, b), "k/p", CONCURRENT, NONE, 5)
        a.wait_up(), b.wait_up()
        assert [a.call("acme", ("k/p", 1)).result for _ in range(3)] == ["G"] * 3
        kept = [b.call("acme", ("k/p", 1)) for _ in range(2)]
        assert [call.result for call in kept] == ["G"] * 2
        assert b.call("acme", ("k/p", 1)).result == "R"
        a.kill()
        time.sleep(4)
        assert b.call("acme", ("k/p", 1)).result == "R"
        eventually(lambda: b.call("acme", ("k/p", 1)).result == "G", 5)
        assert [b.call("acme", ("k/p", 1)).result for _ in range(3)] == ["G", "G", "R"]


def test_a_node_that_begins_again_has_its_ledgers_figures_and_no_more(redis):
    with running(redis, 2, timeout_us=PATIENT_US) as (a, b):
        limit_all((a, b), "k/m", MONEY, TOTAL, 1000)
        limit_all((a, b), "k/p", CONCURRENT, NONE, 5)
        a.wait_up(), b.wait_up()
        a.call("acme", ("k/m", 300), ("k/p", 1)).settle(cost=250)
        a.call("acme", ("k/m", 500), ("k/p", 1))
        assert b.call("acme", ("k/m", 300)).result == "R"
        a.kill()
        a.start()
        a.rebuild("acme", ("k/m", 250))
        a.wait_up()
        assert a.call("acme", ("k/m", 1), ("k/p", 1)).result == "G"
        wait_sum(redis, "k/p", 1)
        eventually(lambda: b.call("acme", ("k/m", 749)).result == "G", 5)
        assert b.call("acme", ("k/m", 1)).result == "R"


def test_a_node_that_was_asleep_asserts_before_it_goes_on(redis):
    with running(redis, 2, dead_us=6 * SECOND, timeout_us=PATIENT_US) as (a, b):
        limit_all((a, b), "k/p", CONCURRENT, NONE, 5)
        a.wait_up(), b.wait_up()
        sleeping = [a.call("acme", ("k/p", 1)) for _ in range(3)]
        a.signal(signal.SIGSTOP)
        time.sleep(6.5)
        assert eventually(lambda: b.call("acme", ("k/p", 5)).result == "G", 3)
        a.signal(signal.SIGCONT)
        wait_sum(redis, "k/p", 8)  # its calls go on
        assert a.call("acme", ("k/p", 1)).result == "R"
        for call in sleeping:
            call.settle()
        wait_sum(redis, "k/p", 5)


def test_an_abandoned_call_leaves_nothing_behind(redis):
    with running(redis, 1, workers=1, timeout_us=2 * SECOND) as (node,):
        node.limit("k/p", CONCURRENT, NONE, 5)
        node.limit("k/m", MONEY, TOTAL, 1000)
        node.wait_up()
        node.call("acme", ("k/p", 1), ("k/m", 10)).settle(cost=10)
        redis.stop()
        calls = [node.begin("acme", ("k/p", 1), ("k/m", 200)) for _ in range(4)]
        eventually(lambda: all(call.result for call in calls), 5)
        waiting = [call for call in calls if call.result == "W"]
        assert waiting
        for call in waiting:
            call.abandon()
        time.sleep(0.2)
        redis.cont()
        for call in calls:
            if call not in waiting:
                call.settle(cost=0)
        wait_sum(redis, "k/p", 0)
        wait_sum(redis, "k/m", 10)
        assert all(call.result == "W" for call in waiting)


def test_a_stream_gets_more_in_steps_until_there_is_no_more(redis):
    with running(redis, 1, timeout_us=PATIENT_US) as (node,):
        node.limit("k/m", MONEY, TOTAL, 1000)
        node.wait_up()
        call = node.call("acme", ("k/m", 100))
        held = 100
        for _ in range(200):
            if call.extend(MONEY, 90):
                held += 90
            time.sleep(0.005)
            if held > 910:
                break
        assert held == 1000 - (1000 - 100) % 90
        assert not call.extend(MONEY, 90)
        call.settle(cost=held)
        wait_sum(redis, "k/m", held)


def test_more_streams_at_once_than_may_ask_wait_for_their_turn(redis):
    """Who finds no room to ask is not taken for who has nothing left."""
    with running(redis, 1, workers=1, timeout_us=2 * PATIENT_US) as (node,):
        node.limit("k/m", MONEY, TOTAL, 10_000_000)
        node.wait_up()
        calls = [node.call("acme", ("k/m", 1000)) for _ in range(400)]
        assert {call.result for call in calls} == {"G"}
        redis.stop()
        tried = [call.try_to_extend(MONEY, 9000) for call in calls]
        redis.cont()
        assert all(asks for held, asks in tried if not held), tried
        assert sum(asks for _, asks in tried) > 256
        for call in calls:
            eventually(lambda call=call: call.extend(MONEY, 9000), 20, what="it has its turn")
        assert not calls[0].extend(MONEY, 20_000_000)


def spend(node, want):
    """What comes of a call that is to cost so much, when Redis counts again: a root may be young for a moment."""
    return eventually(lambda: (result := node.call("acme", ("k/m", want)).result) != "A" and result, 20)


def limited(nodes, period):
    limit_all(nodes, "k/m", MONEY, period, 1000, 3600 * SECOND if period == ROLLING else 0)
    for node in nodes:
        node.wait_up()


def since(redis):
    return int(redis.command("HGET", "s:nodes", "since") or 0)


def wait_settled(redis, nodes, before):
    """All nodes have said again what they have, to a Redis that remembers since later than <before>."""
    def swept():
        flat = redis.command("HGETALL", "s:nodes")
        return [int(flat[i + 1].split()[1]) for i in range(0, len(flat), 2) if flat[i].startswith(b"n/")]

    eventually(lambda: since(redis) > before and swept() == [since(redis)] * len(nodes), 30, what="all have asserted")
    for node in nodes:
        node.wait_up()


@pytest.mark.parametrize("period", [MONTH, TOTAL, ROLLING])
def test_money_that_was_spent_is_known_when_its_counter_was_thrown_away(redis, period):
    """As Redis does when its memory is full and its policy lets it."""
    with running(redis, 2, timeout_us=PATIENT_US) as (a, b):
        limited((a, b), period)
        for node in (a, b):
            call = node.call("acme", ("k/m", 400))
            assert call.result == "G"
            call.settle(cost=400)
        wait_sum(redis, "k/m", 800)
        before = since(redis)
        assert redis.command("DEL", "s:{acme}:c:k/m") == 1
        assert a.call("acme", ("k/m", 300)).result == "A", "who has something in it says that it is gone"
        wait_settled(redis, (a, b), before)
        assert spend(a, 300) == "R" and spend(b, 300) == "R"
        assert spend(b, 200) == "G"
        assert a.log().count("thrown away") == 1


@pytest.mark.parametrize("period", [MONTH, TOTAL, ROLLING])
def test_what_comes_back_to_a_counter_that_was_thrown_away_is_not_given_twice(redis, period):
    with running(redis, 2, timeout_us=PATIENT_US) as (a, b):
        limited((a, b), period)
        call, other = a.call("acme", ("k/m", 600)), b.call("acme", ("k/m", 100))
        assert call.result == other.result == "G"
        before = since(redis)
        assert redis.command("DEL", "s:{acme}:c:k/m") == 1
        call.settle(cost=100)
        wait_settled(redis, (a, b), before)
        wait_sum(redis, "k/m", 200)
        assert spend(b, 801) == "R"
        assert spend(b, 800) == "G"


def test_parallel_calls_whose_counter_was_thrown_away_are_there_again(redis):
    with running(redis, 2, timeout_us=PATIENT_US) as (a, b):
        limit_all((a, b), "k/p", CONCURRENT, NONE, 5)
        a.wait_up(), b.wait_up()
        assert [a.call("acme", ("k/p", 1)).result for _ in range(3)] == ["G"] * 3
        redis.command("DEL", "s:{acme}:c:k/p")
        wait_sum(redis, "k/p", 3)  # a says that it lives
        assert b.call("acme", ("k/p", 3)).result == "R"


def test_money_that_is_held_is_known_after_a_flush(redis):
    with running(redis, 2, timeout_us=PATIENT_US) as (a, b):
        limited((a, b), MONTH)
        call = a.call("acme", ("k/m", 600))
        assert call.result == "G"
        before = since(redis)
        redis.flushall()
        assert b.call("acme", ("k/m", 600)).result != "G"
        wait_settled(redis, (a, b), before)
        assert spend(b, 401) == "R" and spend(b, 100) == "G"
        call.settle(cost=200)
        wait_sum(redis, "k/m", 300)
        assert spend(b, 701) == "R" and spend(b, 700) == "G"


def test_many_roots_are_swept_after_a_flush(redis):
    with running(redis, 2, workers=1, timeout_us=PATIENT_US) as (a, b):
        limit_all((a, b), "k/m", MONEY, TOTAL, 1000)
        a.wait_up(), b.wait_up()
        roots = [f"root{i}" for i in range(300)]
        for root in roots:
            a.begin(root, ("k/m", 600))
        eventually(lambda: len(a.calls) == 300 and all(call.result == "G" for call in a.calls.values()), 10)
        for call in a.calls.values():
            call.settle(cost=600)
        redis.flushall()
        # The other one knows nothing of these roots: it must not take them for new.
        results = [b.call(root, ("k/m", 600)).result for root in roots]
        assert "G" not in results
        b.wait_up()
        time.sleep(0.4)  # the last one may be young until then
        assert {b.call(root, ("k/m", 400)).result for root in roots} == {"G"}


def test_calls_are_let_in_while_a_crowd_is_asserted(redis):
    """What is lost between the node and Redis is said again of each counter before a call of it: not of all before
    the first call."""
    crowd, life = 100_000, "s:{acme}:l"
    with running(redis, 1, timeout_us=PATIENT_US) as (node,):
        users = [f"u/{i}" for i in range(50, crowd, crowd // 20)]
        limit_all((node,), "u", MONEY, TOTAL, 1500)
        limit_all((node,), "k/m", MONEY, TOTAL, 10**9)
        for user in users:
            node.limit(user, MONEY, TOTAL, 1500)
        node.crowd("acme", "u", crowd, 1000)
        node.wait_up(120)
        eventually(lambda: redis.command("HEXISTS", life, "inc/a"), 60)
        lost = users.pop()
        for user in users:  # what Redis has of it may be less, when nobody knows whether it was told
            key = f"s:{{acme}}:c:{user}"
            (part,) = (field for field in redis.command("HKEYS", key) if field.startswith(b"0/"))
            redis.command("HSET", key, "0", 0, part, 0)
        redis.stop()
        asked = node.begin("acme", (lost, 100), ("k/m", 100))
        node.wait_down()
        redis.cont()
        node.wait_up()
        before = 0
        for user in users:
            assert node.call("acme", (user, 600), ("k/m", 1)).result == "R", user
            call = node.call("acme", (user, 500), ("k/m", 500))
            assert call.result == "G", user
            before += redis.command("HEXISTS", life, "as/a")
            call.settle(cost=500)
        assert before > 0, "all was asserted before the first call was let in"
        eventually(lambda: redis.command("HEXISTS", life, "inc/a"), 120, what="and in the end all is")
        for user in users:
            wait_sum(redis, user, 1500)
        wait_sum(redis, lost, 1000)
        wait_sum(redis, "k/m", 500 * len(users))
        wait_sum(redis, "u/7", 1000)
        assert asked.result == "A"


def test_a_stream_is_told_to_wait_while_a_crowd_is_asserted(redis):
    """What it lacks is asked for when that counter is said again: else its session would end as if all were spent."""
    crowd, life, rounds = 20_000, "s:{acme}:l", 4
    with running(redis, 1, workers=1, timeout_us=PATIENT_US) as (node,):
        limit_all((node,), "u", MONEY, TOTAL, 1500)
        limit_all((node,), "k/m", MONEY, TOTAL, 10**9)
        node.crowd("acme", "u", crowd, 1000)
        node.wait_up(120)
        eventually(lambda: redis.command("HEXISTS", life, "inc/a"), 60)
        held, calls = 1000, []
        eventually(lambda: calls.append(node.call("acme", ("k/m", held))) or calls[-1].result == "G", 20)
        call = calls[-1]
        for turn in range(rounds):
            redis.stop()
            asked = node.begin("acme", ("k/m", 10**6))
            node.wait_down()
            redis.cont()
            node.wait_up()
            answers, until = [], time.monotonic() + 30
            while not answers or (answers[-1] == (False, True) and time.monotonic() < until):
                answers.append(call.try_to_extend(MONEY, 10**5))
                time.sleep(0.002)
            assert answers[-1][0], (turn, answers)
            held += 10**5
            eventually(lambda: redis.command("HEXISTS", life, "inc/a"), 60)
            assert asked.result == "A"
        call.settle(cost=held)
        wait_sum(redis, "k/m", held)


def test_who_still_asserts_is_waited_for_and_who_is_gone_is_not(redis):
    """After a flush nobody is let in by who has little to tell while another has not told all."""
    other = scripts.Node(redis, "z")
    with running(redis, 1) as (node,):
        node.limit("k/t", REQUESTS, TOTAL, 10)
        since = other.beat()[1]
        node.wait_up()
        eventually(lambda: node.figures()["nodes"] == 2, 10, what="they know each other")
        redis.flushall()
        until = time.monotonic() + 4.5  # more than the 3 s that those are waited for that do not come back
        while time.monotonic() < until:
            since = other.beat(swept=0)[1]
            assert node.call("acme", ("k/t", 1)).result == "A"
            assert not node.figures()["up"]
            time.sleep(0.1)
        other.beat(swept=since)
        node.wait_up()
        assert node.call("acme", ("k/t", 1)).result == "G"
        redis.flushall()
        node.wait_down()
        node.wait_up()  # nobody hears of the other any more


def test_odd_names_of_roots_stay_apart(redis):
    with running(redis, 1, workers=1, timeout_us=PATIENT_US) as (node,):
        node.limit("k/m", MONEY, TOTAL, 1000)
        node.wait_up()
        for root in ("a{b}c", "a%7bb%7dc", "{", "}", "%", "a:l"):
            assert node.call(root, ("k/m", 1000)).result == "G", root
            assert node.call(root, ("k/m", 1)).result == "R", root
        assert redis.command("EXISTS", "s:{a%7bb%7dc}:l", "s:{a%257bb%257dc}:l", "s:{%7b}:l") == 3


def test_two_processes_of_one_name_do_not_count(redis):
    with running(redis, 1) as (a,):
        a.limit("k/r", REQUESTS, ROLLING, 10, 60 * SECOND)
        a.wait_up()
        with Node(redis, "a", timeout_us=TIMEOUT_US) as other:
            a.wait_down()
            eventually(lambda: not other.figures()["up"] and "calls itself node a" in other.log() + a.log(), 5)
            assert a.call("acme", ("k/r", 1)).result == "A"
        a.wait_up()
        assert a.call("acme", ("k/r", 1)).result == "G"


def test_what_is_left_is_told_to_who_was_refused(redis):
    with running(redis, 2) as (a, b):
        limit_all((a, b), "k/r", REQUESTS, ROLLING, 10, 60 * SECOND)
        a.wait_up(), b.wait_up()
        assert a.call("acme", ("k/r", 1)).result == "G"
        assert a.view("acme", "k/r") == 9
        assert b.call("acme", ("k/r", 8)).result == "G"
        refused = a.call("acme", ("k/r", 2))
        assert refused.result == "R" and 55 * SECOND < refused.retry_us < 62 * SECOND
        assert a.view("acme", "k/r") == 1
        again = a.call("acme", ("k/r", 2))  # this one may be answered from memory
        assert again.result == "R" and 55 * SECOND < again.retry_us <= refused.retry_us
