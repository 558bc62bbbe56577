# SPDX-License-Identifier: Apache-2.0
"""The scripts of the shared counters keep every kind of counter as they should: one by one."""

import pytest
from harness import eventually

from scripts import (
    CLOCK, FULL, GRANTED, SECOND, STALE, UNKNOWN, YOUNG, Counter, Node, Redis, Want, calendar,
    parallel, pause, rolling, sums, total,
)

DAY = 86400 * SECOND


@pytest.fixture(scope="module")
def redis():
    with Redis() as server:
        yield server


@pytest.fixture
def nodes(redis):
    """Two nodes that have asserted that they claim nothing."""
    redis.flushall()
    both = [Node(redis, "a"), Node(redis, "b", "bbbb")]
    for node in both:
        assert node.claim()[0] == GRANTED
    return both


def day_of(now):
    return now - now % DAY, now - now % DAY + DAY


def counters_of_all_kinds(now):
    return [rolling(10), calendar(10, *day_of(now)), total(10), parallel(10)]


def test_a_counter_of_each_kind_gives_its_amount_and_no_more(nodes):
    a, b = nodes
    for counter in counters_of_all_kinds(a.now()):
        assert a.granted(Want(counter, 4)) == [4]
        assert b.granted(Want(counter, 6)) == [6]
        assert a.granted(Want(counter, 1)) is None
        assert sum(sums(a, counter).values()) == 10


def test_all_is_granted_or_nothing(nodes):
    a, b = nodes
    counters = counters_of_all_kinds(a.now())
    assert b.granted(Want(counters[2], 10)) == [10]
    answer = a.admit(*(Want(counter, 1) for counter in counters))
    assert answer[0] == FULL and answer[2] == 2
    for counter in counters[:2] + counters[3:]:
        assert sum(sums(a, counter).values()) == 0


def test_a_refusal_says_which_and_for_how_long(nodes):
    a, _ = nodes
    minute, day = rolling(10), calendar(5, *day_of(a.now()))
    assert a.granted(Want(minute, 10), Want(day, 5)) == [10, 5]
    answer = a.admit(Want(minute, 1))
    assert answer[:1] + answer[2:3] == [FULL, 0]
    assert 60 * SECOND <= answer[3] <= 61 * SECOND
    answer = a.admit(Want(minute, 1), Want(day, 1))
    assert answer[2] == 1 and 0 < day.z - answer[1] - answer[3] + 1000 < 2000
    assert a.admit(Want(minute, 11))[3] == -1
    assert a.admit(Want(total(0), 1))[3] == -1
    assert a.admit(Want(parallel(0), 1))[3] == -1


def test_the_wait_is_until_enough_has_left_the_window(nodes):
    a, _ = nodes
    counter = rolling(10, 640_000)
    assert a.granted(Want(counter, 3)) == [3]
    pause(200_000)
    assert a.granted(Want(counter, 7)) == [7]
    soon, later = a.admit(Want(counter, 3))[3], a.admit(Want(counter, 4))[3]
    assert 300_000 < soon < 460_000 and 600_000 < later <= 660_000
    pause(soon + 12_000)
    assert a.granted(Want(counter, 3)) == [3]


def test_a_window_lets_nothing_more_in_until_the_oldest_slot_is_a_window_ago(nodes):
    a, b = nodes
    counter = rolling(100, 640_000)
    granted = []
    while 7 * len(granted) < 3 * 98:  # however long that takes where others keep the machine busy
        for node in (a, b):
            before = node.now()
            if node.granted(Want(counter, 7)):
                granted.append((before, node.now()))
            else:
                held = sum(7 for _, after in granted if after >= before - 640_000 - 2 * counter.a)
                assert held + 7 > 100, "refused although there was room"
        pause(3000)
    for i, (_, first) in enumerate(granted):
        assert sum(7 for before, _ in granted[i:] if before < first + 640_000) <= 100
    sums(a, counter)


def test_a_slot_that_is_over_by_the_stores_clock_is_asked_for_whole(nodes):
    a, _ = nodes
    counter = rolling(10)
    past = counter.slot(a.now()) - 1
    answer = a.admit(Want(counter, 1, want=4, slot=past))
    assert answer[0] == GRANTED and answer[2] > past and answer[3] == 4
    assert sums(a, counter) == {answer[2]: 4}


def test_fields_of_old_slots_are_removed(nodes):
    a, b = nodes
    counter = rolling(1000, 64_000)
    for _ in range(60):
        a.granted(Want(counter, 1))
        b.granted(Want(counter, 1))
        pause(4000)
    assert len(a.fields(counter)) <= 3 * 67 + 3
    sums(a, counter)
    pause(150_000)
    assert a.fields(counter) == {}


def test_a_window_that_was_idle_begins_anew(nodes):
    a, _ = nodes
    counter = rolling(10, 64_000)
    assert a.granted(Want(counter, 10)) == [10]
    a.connection.command("PERSIST", a.key(counter))
    pause(150_000)
    assert a.granted(Want(counter, 10)) == [10]
    assert sum(sums(a, counter).values()) == 10


def test_a_new_calendar_span_begins_at_nothing_and_late_reports_find_the_old_one(nodes):
    a, _ = nodes
    begin, end = day_of(a.now())
    days = [calendar(10, begin - i * DAY, end - i * DAY) for i in range(5)]
    for day in reversed(days[1:]):
        a.report((day, day.a, 7))
    assert a.granted(Want(days[0], 10)) == [10]
    assert set(sums(a, days[0])) == {days[0].a, days[1].a, days[2].a}
    a.report((days[1], days[1].a, -5), (days[4], days[4].a, 3))
    assert sums(a, days[0]) == {days[0].a: 10, days[1].a: 2, days[2].a: 7}


def test_another_time_zone_is_another_span(nodes):
    a, _ = nodes
    begin, end = day_of(a.now())
    for hours in (0, 1, 2, 3, 4):
        shift = hours * 3600 * SECOND
        counter = calendar(10, begin - shift, end - shift)
        answer = a.admit(Want(counter, 10))
        if a.now() < end - shift:
            assert answer[0] == GRANTED
            assert a.granted(Want(counter, 1)) is None
        else:
            assert answer[0] == CLOCK


def test_a_span_that_is_not_now_is_refused_with_the_time(nodes):
    a, _ = nodes
    begin, end = day_of(a.now())
    answer = a.admit(Want(calendar(10, begin - DAY, begin - 2 * SECOND), 1))
    assert answer[0] == CLOCK and abs(answer[1] - a.now()) < SECOND
    assert a.admit(Want(calendar(10, end + 2 * SECOND, end + DAY), 1))[0] == CLOCK


@pytest.mark.parametrize("amount", [2**53 - 1, 2**53 + 5, 2**62])
def test_great_amounts_are_counted_exactly_and_never_exceeded(nodes, amount):
    a, _ = nodes
    counter = total(amount)
    step = amount // 5 - 100_000
    given = 0
    for want in [step] * 6 + [300_000, 60_000, 4095, 777, 1, 1, 1]:
        granted = a.granted(Want(counter, want))
        given += granted[0] if granted else 0
    assert given <= amount
    assert given >= amount - 200_000
    assert sums(a, counter) == {0: given}


def test_money_is_cut_to_what_is_left_and_all_by_the_same(nodes):
    a, b = nodes
    small, large = total(1000, "small"), total(5000, "large")
    assert b.granted(Want(small, 400)) == [400]
    assert a.granted(Want(small, 900, least=500, flags="m"), Want(large, 900, least=500, flags="m")) == [600, 600]
    assert a.granted(Want(small, 900, least=1, flags="m"), Want(large, 900, least=1, flags="m")) is None
    # What each has already is its own; what is cut is the same.
    big = total(1000, "big")
    assert a.granted(Want(big, 1500, least=800, flags="m"), Want(large, 600, least=-100, flags="m")) == [1000, 100]


def test_without_money_each_is_cut_by_what_it_lacks(nodes):
    a, _ = nodes
    small, large = total(100, "small"), total(5000, "large")
    assert a.granted(Want(small, 300, least=50), Want(large, 300, least=50)) == [100, 300]
    assert a.granted(Want(small, 300, least=1), Want(large, 300, least=1)) is None


def test_who_only_warns_never_refuses_and_says_by_how_much(nodes):
    a, _ = nodes
    soft, hard = total(10, "soft"), total(1000, "hard")
    answer = a.admit(Want(soft, 25, flags="s"), Want(hard, 25))
    assert answer[0] == GRANTED and answer[2:] == [0, 25, -15, 0, 25, 975]
    assert sums(a, soft) == {0: 25}


def test_asking_ahead_gets_what_there_is(nodes):
    a, _ = nodes
    counter = total(100)
    assert a.granted(Want(counter, 70, flags="a")) == [70]
    assert a.granted(Want(counter, 70, flags="a")) == [30]
    assert a.granted(Want(counter, 70, flags="a")) == [0]


def test_slices_are_given_only_where_there_is_plenty(nodes):
    a, _ = nodes
    counter = rolling(1000)
    assert a.granted(Want(counter, 1, more=50), nodes=4) == [51]
    assert a.granted(Want(counter, 1, more=5000), nodes=4) == [1 + (1000 - 52) // 8]
    assert a.granted(Want(counter, 700), nodes=4) == [700]
    left = 1000 - sum(sums(a, counter).values())
    assert a.granted(Want(counter, 1, more=50), nodes=4) == [1 + (left - 1) // 8]
    assert a.granted(Want(counter, left - (left - 1) // 8 - 1 - 60), nodes=4)
    assert a.granted(Want(counter, 1, more=50), nodes=4) == [1]
    assert a.granted(Want(parallel(10), 1, more=5), nodes=1) == [1]
    assert a.granted(Want(parallel(100), 1, more=5), nodes=1) == [6]


def test_more_is_given_where_nothing_is_lacking(nodes):
    a, _ = nodes
    counter, other = rolling(1000, name="x"), total(5, "y")
    assert a.granted(Want(counter, 0, more=20), Want(other, 5)) == [20, 5]


def test_debt_counts_and_nothing_is_lacking_where_enough_is_held(nodes):
    a, b = nodes
    counter = rolling(10)
    slot = counter.slot(a.now())
    assert a.report((counter, slot, 25))[0] == GRANTED
    assert b.granted(Want(counter, 1)) is None
    assert b.granted(Want(counter, 0)) == [0]
    assert a.report((counter, slot, -20))[0] == GRANTED
    assert b.granted(Want(counter, 5)) == [5]
    sums(a, counter)


def test_reports_of_slots_that_count_no_more_are_dropped(nodes):
    a, _ = nodes
    counter = rolling(10)
    slot = counter.slot(a.now())
    assert a.granted(Want(counter, 2)) == [2]
    a.report((counter, slot - 70, 5), (counter, slot - 60, 4))
    assert set(sums(a, counter).values()) == {2, 4}


def test_every_key_ends_by_itself(nodes):
    a, _ = nodes
    counters = counters_of_all_kinds(a.now())
    assert a.granted(*(Want(counter, 1) for counter in counters))
    left = [a.connection.command("PTTL", a.key(counter)) / 1000 for counter in counters]
    assert 110 < left[0] <= 121
    assert 40 * 86400 <= left[1] <= 41 * 86400
    assert left[2] == -1 / 1000
    assert 590 < left[3] <= 600
    assert 89 * 86400 < a.connection.command("PTTL", a.life) / 1000 <= 90 * 86400
    a.beat()
    assert a.connection.command("PTTL", a.prefix + "nodes") > 0


def test_a_node_that_is_not_heard_of_gives_up_its_parallel_calls_and_must_assert(nodes):
    a, b = nodes
    counter = parallel(10)
    a.dead_us = b.dead_us = 200_000
    assert a.granted(Want(counter, 4)) == [4]
    assert b.granted(Want(counter, 6)) == [6]
    assert b.granted(Want(counter, 1)) is None
    for _ in range(5):
        pause(60_000)
        b.report((counter, 0, 0))
    assert b.granted(Want(counter, 4)) == [4]
    assert b.granted(Want(counter, 1)) is None
    assert b.parts(counter) == {(0, b.me): 10}
    assert a.admit(Want(counter, 1))[0] == STALE
    assert a.report((counter, 0, -1))[0] == STALE
    # It was only asleep: its calls go on, whatever the amount.
    a.incarnation += 1
    assert a.claim({counter: {0: 4}})[0] == GRANTED
    assert sums(a, counter) == {0: 14}


def test_the_dead_are_looked_for_although_there_is_room(nodes):
    a, b = nodes
    counter = parallel(1000)
    a.dead_us = b.dead_us = 100_000
    assert a.granted(Want(counter, 4)) == [4]
    pause(160_000)
    assert b.granted(Want(counter, 1)) == [1]
    assert b.parts(counter) == {(0, b.me): 1}


def test_a_node_that_began_again_leaves_nothing_behind(nodes):
    a, b = nodes
    counters = counters_of_all_kinds(a.now())
    assert a.granted(*(Want(counter, 4) for counter in counters)) == [4] * 4
    assert b.granted(*(Want(counter, 6) for counter in counters)) == [6] * 4
    again = Node(a.redis, "a", "cccc")
    assert again.admit(Want(counters[0], 1))[0] == STALE
    minute = counters[0]
    slot = minute.slot(a.now())
    assert again.claim({minute: {slot: 3}})[0] == GRANTED
    assert sums(again, minute)[slot] in (9, 3)  # the slot may have changed meanwhile
    assert again.granted(Want(minute, 1)) == [1]
    for counter in counters[1:]:
        assert again.granted(Want(counter, 5)) is None
        assert again.granted(Want(counter, 4)) == [4]
        assert sum(sums(again, counter).values()) == 10
    assert a.admit(Want(minute, 1))[0] == STALE


def test_names_of_nodes_that_are_gone_do_not_pile_up(nodes):
    a, _ = nodes
    counter = rolling(10_000, 64_000)
    for i in range(60):
        other = Node(a.redis, f"n{i}")
        other.claim()
        assert other.granted(Want(counter, 1)) == [1]
        pause(3000)
    assert len(a.fields(counter)["n"].split()) < 45
    sums(a, counter)


def test_the_names_of_fields_and_roots_do_not_meet(nodes):
    a, _ = nodes
    odd = Counter("k/a b/{x}:tokens_per_minute:o", "t", 5)
    assert a.granted(Want(odd, 5)) == [5]
    assert a.granted(Want(total(5, "o"), 5)) == [5]


# ------------------------------------------------------------------------------- lives


def test_who_has_not_asserted_gets_nothing(redis):
    redis.flushall()
    node = Node(redis, "a")
    assert node.admit(Want(total(5)))[0] == STALE
    assert node.report((total(5), 0, 1))[0] == STALE
    assert node.claim(create=False)[0] == UNKNOWN
    assert redis.command("DBSIZE") == 0
    assert node.claim()[0] == GRANTED
    assert node.granted(Want(total(5))) == [1]


def test_older_incarnations_are_refused_and_asserting_twice_is_once(nodes):
    a, b = nodes
    counter = total(10)
    assert a.granted(Want(counter, 3)) == [3]
    assert b.granted(Want(counter, 2)) == [2]
    a.incarnation = 2
    assert a.admit(Want(counter))[0] == STALE
    for _ in range(2):
        assert a.claim({counter: {0: 1}})[0] == GRANTED
        assert sums(a, counter) == {0: 3}
    a.incarnation = 1
    assert a.admit(Want(counter))[0] == STALE
    assert a.report((counter, 0, 5))[0] == STALE
    assert a.claim({counter: {0: 9}})[0] == STALE
    assert sums(a, counter) == {0: 3}


def test_an_assertion_replaces_all_that_the_node_had_in_a_counter(nodes):
    a, b = nodes
    counter = rolling(100, 6_400_000)
    for _ in range(3):
        a.granted(Want(counter, 5))
        b.granted(Want(counter, 1))
        pause(110_000)
    now = counter.slot(a.now())
    a.incarnation = 2
    assert a.claim({counter: {now - 3: 4, now - 1: 0, now - 200: 50}})[0] == GRANTED
    assert {at: part for (at, who), part in a.parts(counter).items() if who == a.me} == {now - 3: 4}
    assert sum(sums(a, counter).values()) == 7


def test_an_assertion_may_come_in_pieces(nodes):
    """What is asserted already may be asked for and reported before the last."""
    a, _ = nodes
    one, two = total(10, "one"), total(10, "two")
    a.incarnation = 2
    assert a.claim({two: {0: 1}}, first=False)[0] == STALE
    assert a.claim({one: {0: 1}}, last=False)[0] == GRANTED
    assert a.granted(Want(one, 3)) == [3]
    assert a.report((one, 0, 2))[0] == GRANTED
    a.incarnation = 1
    assert a.admit(Want(one))[0] == STALE
    assert a.report((one, 0, 1))[0] == STALE
    a.incarnation = 2
    assert a.claim({two: {0: 2}}, first=False, last=False)[0] == GRANTED
    assert a.claim(first=False)[0] == GRANTED
    assert a.granted(Want(one, 4), Want(two, 8)) == [4, 8]


def test_what_is_asserted_in_pieces_is_not_asked_for_before_all_have_where_it_was_forgotten(nodes):
    a, _ = nodes
    one = total(10, "one")
    assert a.granted(Want(one, 3)) == [3]
    a.redis.flushall()
    a.incarnation = 2
    assert a.claim({one: {0: 3}}, last=False, lost=True)[0] == GRANTED
    assert a.admit(Want(one))[0] == YOUNG


def test_who_is_given_up_while_it_asserts_must_begin_anew(nodes):
    a, b = nodes
    calls = parallel(10)
    a.dead_us = b.dead_us = SECOND
    assert a.granted(Want(calls, 8)) == [8]
    a.incarnation = 2
    assert a.claim({calls: {0: 8}}, last=False)[0] == GRANTED
    eventually(lambda: b.granted(Want(calls, 10)) == [10], 20, what="a is given up")
    assert a.admit(Want(calls))[0] == STALE
    assert a.report((calls, 0, 0))[0] == STALE
    assert a.claim(first=False)[0] == STALE


def test_who_asserts_goes_on_when_what_it_has_not_said_yet_is_given_up(nodes):
    """It comes back after long, and others' calls look for the dead in what it says later: it need not begin anew."""
    a, b = nodes
    said, later = parallel(10, "said"), [parallel(10, f"later{i}") for i in range(3)]
    a.dead_us = b.dead_us = 200_000
    for calls in (said, *later):
        assert a.granted(Want(calls, 8)) == [8]
    pause(300_000)
    a.incarnation = 2
    assert a.claim({said: {0: 8}}, last=False)[0] == GRANTED
    for calls in later:
        assert b.granted(Want(calls, 10)) == [10]
        assert a.claim({calls: {0: 8}}, first=False, last=False)[0] == GRANTED
        assert sums(a, calls) == {0: 18}
    assert a.claim(first=False)[0] == GRANTED
    assert b"at/a" not in a.connection.command("HKEYS", a.life)


def test_a_later_assertion_takes_over_from_one_in_pieces(nodes):
    a, _ = nodes
    one = total(10, "one")
    a.incarnation = 2
    assert a.claim({one: {0: 5}}, last=False)[0] == GRANTED
    a.incarnation = 3
    assert a.claim({one: {0: 1}}, last=False)[0] == GRANTED
    a.incarnation = 2
    assert a.claim({one: {0: 7}}, first=False)[0] == STALE
    a.incarnation = 3
    assert a.claim(first=False)[0] == GRANTED
    assert sums(a, one) == {0: 1}


def test_what_was_forgotten_is_young_for_everybody_until_all_have_asserted(nodes):
    a, b = nodes
    counter = total(10)
    assert a.granted(Want(counter, 6)) == [6]
    assert b.granted(Want(counter, 4)) == [4]
    a.redis.flushall()
    assert a.admit(Want(counter))[0] == STALE
    a.incarnation = 2
    answer = a.claim({counter: {0: 6}}, lost=True)
    assert answer[0] == GRANTED and 0 < answer[2] <= 300_000
    answer = a.admit(Want(counter))
    assert answer[0] == YOUNG and 0 < answer[2] <= 300_000
    assert b.admit(Want(counter))[0] == STALE
    b.incarnation = 2
    assert b.claim({counter: {0: 4}}, lost=True)[0] == GRANTED
    assert b.report((counter, 0, -1))[0] == GRANTED
    pause(310_000)
    assert a.granted(Want(counter, 2)) is None
    assert a.granted(Want(counter, 1)) == [1]


def test_nobody_gets_anything_while_another_asserts_much(redis):
    a, b = Node(redis, "a"), Node(redis, "b")
    redis.flushall()
    counter = total(10)
    assert a.claim({counter: {0: 1}}, lost=True, create=False)[2] > 0
    until = int(redis.command("HGET", a.life, "young"))
    assert b.claim(last=False, lost=True, create=False, young=3600 * SECOND)[0] == GRANTED
    assert int(redis.command("HGET", a.life, "young")) > until
    assert a.admit(Want(counter))[0] == YOUNG
    assert b.claim({counter: {0: 4}}, first=False, young=3600 * SECOND)[2] > 0


def test_another_server_process_makes_everybody_assert(redis, nodes):
    a, b = nodes
    counter = total(10)
    assert a.granted(Want(counter, 6)) == [6]
    assert b.granted(Want(counter, 4)) == [4]
    # As a failover that lost the last writes: what is there says that another process wrote it.
    redis.command("HSET", a.life, "run", "0" * 40)
    redis.command("HINCRBY", a.key(counter), "0", -4)
    redis.command("HDEL", a.key(counter), "0/" + b.me)
    a.incarnation = 2
    answer = a.claim({counter: {0: 6}})
    assert answer[0] == GRANTED and answer[2] > 0
    assert b.admit(Want(counter))[0] == STALE
    assert b.report((counter, 0, 1))[0] == STALE
    b.incarnation = 2
    assert b.claim({counter: {0: 4}})[2] > 0
    pause(310_000)
    assert a.granted(Want(counter, 1)) is None
    assert sums(a, counter) == {0: 10}


def test_the_clock_of_a_root_never_goes_back(redis, nodes):
    a, _ = nodes
    counter = rolling(10, 640_000)
    ahead = 3600 * SECOND
    # As if the server's clock had been an hour ahead when this was written.
    redis.command("HSET", a.life, "now", a.now() + ahead)
    first = a.admit(Want(counter, 10, slot=0))
    assert first[0] == GRANTED and first[1] >= a.now() + ahead - SECOND
    assert a.admit(Want(counter, 1))[0] == FULL
    pause(300_000)
    second = a.admit(Want(counter, 1))
    assert second[0] == FULL and 250_000 < second[1] - first[1] < 400_000
    pause(400_000)
    assert a.granted(Want(counter, 1)) == [1]
    # It comes back to what it should be, slowly.
    assert int(redis.command("HGET", a.life, "ahead")) < ahead - 10_000


def test_the_clock_of_a_root_is_not_far_behind_the_nodes(redis, nodes):
    """Of one that nobody looked at when the server's clock was set back."""
    a, b = nodes
    counter = rolling(10)
    a.clock = a.now() + 3600 * SECOND
    first = a.admit(Want(counter, 4, slot=a.clock // counter.a))
    assert first[0] == GRANTED and first[1] >= a.clock, first
    assert b.admit(Want(counter, 7, slot=0))[0] == FULL  # who does not know the time finds the same window
    fresh = Node(redis, "a", root="fresh")
    fresh.clock = a.clock
    assert fresh.claim()[1] >= a.clock
    a.clock = a.now()  # behind: never back
    assert a.admit(Want(counter, 1))[1] >= first[1]


# -------------------------------------------------------------------------------- beats


def test_nodes_hear_of_each_other_and_of_a_flush(redis):
    redis.flushall()
    a, b = Node(redis, "a"), Node(redis, "b")
    now, since, heard, swept, double = a.beat()
    assert since <= now and (heard, swept, double) == (1, 0, 0)
    assert b.beat(swept=since)[1:] == [since, 2, 1, 0]
    assert a.beat(swept=since)[1:] == [since, 2, 2, 0]
    redis.flushall()
    _, later, heard, swept, _ = b.beat(swept=since)
    assert later > since and (heard, swept) == (1, 0)


def test_a_beat_on_a_new_connection_finds_another_server_process(redis):
    redis.flushall()
    a = Node(redis, "a")
    since = a.beat(check=True)[1]
    assert a.beat(check=True)[1] == since
    redis.command("HSET", "s:nodes", "run", "0" * 40)
    assert a.beat()[1] == since
    later = a.beat(check=True)[1]
    assert later > since
    assert a.beat(check=True)[1] == later


def test_what_a_clock_moves_out_of_the_windows_when_it_is_set_is_asserted_by_all(redis):
    redis.flushall()
    a, b = Node(redis, "a"), Node(redis, "b")
    since = a.beat()[1]
    redis.command("HSET", "s:nodes", "now", a.now() + SECOND)
    assert a.beat(leapt=since)[1] == since  # it was asleep itself: time went on as it does
    redis.command("HSET", "s:nodes", "now", a.now() - 2 * SECOND, "ahead", 0)
    assert b.beat()[1] == since
    later = a.beat(leapt=since)[1]
    assert later > since
    assert b.beat(leapt=since)[1] == later  # it saw the same
    assert b.beat()[2:4] == [2, 0]


def test_nodes_that_are_long_gone_are_forgotten(redis):
    redis.flushall()
    a = Node(redis, "a")
    a.beat()
    redis.command("HSET", "s:nodes", "n/late", f"{a.now() - 6 * SECOND} 0 x",
                  "n/gone", f"{a.now() - 3601 * SECOND} 0 x")
    assert a.beat()[2] == 1
    assert redis.command("HEXISTS", "s:nodes", "n/late") == 1
    assert redis.command("HEXISTS", "s:nodes", "n/gone") == 0




def test_two_of_one_name_notice_each_other(redis):
    redis.flushall()
    a, other = Node(redis, "a"), Node(redis, "a", "zzzz")
    assert a.beat()[4] == 0
    assert a.beat()[4] == 0
    assert other.beat()[4] == 1
    assert a.beat()[4] == 1
    assert a.beat()[4] == 0
