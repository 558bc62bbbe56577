# SPDX-License-Identifier: Apache-2.0
"""One to four gateways, a thousand callers, a limit of each kind at each level, all at once: no stretch of
time as long as its window has more than a limit allows, and steady load gets nearly all of it."""

import contextlib
import os
import random
from collections import Counter, namedtuple

import pytest
from books import check_books_of_all, provider_calls
from replicas import Fleet, cost_nanos, counters, key_of, shared, tenant, wait_no_slot_held
from harness import SANITIZED, eventually, merged
from load import Load, ask, assert_no_nonsense
from redis_servers import Redis
from windows import Made, at_once, made_calls, steady_share, surely_within

LONG = os.environ.get("CHAOS") == "long"
SECONDS = 200 if LONG else 11
CALLERS = 1000
SECOND = 1_000_000
PROMPT = [{"role": "user", "content": "Tell me all about it. " * 8}]

# What a case limits: <weight> of its calls may come to <amount> in <window_us> (None: in all).
Case = namedtuple("Case", "amount weight window_us tenants words fields", defaults=("mock/tokens-10", {}))


def one(call):
    return 1


def cost(call):
    return cost_nanos(call.input, call.output)


def key_with(name, **changes):
    made = tenant(name)
    made["keys"][0] = merged(made["keys"][0], changes)
    return made


def money(dollars, **changes):
    return {"amount": f"{dollars} USD", **changes}


CASES = {
    "requests-of-a-key": Case(30, one, SECOND, lambda n: [key_with(n, limits={"requests_per_second": 30})]),
    "requests-of-a-tenant": Case(30, one, SECOND, lambda n: [tenant(n, limits={"requests_per_second": 30})]),
    "requests-of-a-parent": Case(30, one, SECOND, lambda n: [
        {"name": f"{n}-top", "models": ["*"], "limits": {"requests_per_second": 30}},
        tenant(n, parent=f"{n}-top"), tenant(f"{n}-b", parent=f"{n}-top")]),
    "requests-of-users": Case(10, one, SECOND, lambda n: [tenant(n, users={"limits": {"requests_per_second": 10}})]),
    "requests-of-a-model": Case(30, one, SECOND, lambda n: [
        tenant(n, limits={"models": {n: {"requests_per_second": 30}}})]),
    "a-bucket": Case(30, one, SECOND, lambda n: [
        tenant(n, limits={"requests_per_second": 30, "algorithm": "token_bucket"})]),
    "requests-per-minute": Case(150, one, 60 * SECOND, lambda n: [tenant(n, limits={"requests_per_minute": 150})]),
    "strict-input": Case(2000, lambda call: call.input, SECOND, lambda n: [
        tenant(n, limits={"input_tokens_per_second": 2000, "strict": True})], fields={"messages": PROMPT}),
    "strict-output": Case(600, lambda call: call.output, SECOND, lambda n: [
        tenant(n, limits={"output_tokens_per_second": 600, "strict": True})], fields={"max_tokens": 25}),
    "strict-tokens": Case(1500, lambda call: call.input + call.output, SECOND, lambda n: [
        key_with(n, limits={"tokens_per_second": 1500, "strict": True})], "mock/tokens-40", {"max_tokens": 40}),
    "parallel-calls": Case(15, at_once, None, lambda n: [tenant(n, limits={"concurrent": 15})], "mock/slow-250ms+tokens-5"),
    "many-requests": Case(200, one, SECOND, lambda n: [tenant(n, limits={"requests_per_second": 200})]),
    "many-tokens": Case(6000, lambda call: call.input + call.output, SECOND, lambda n: [
        tenant(n, limits={"tokens_per_second": 6000})], "mock/tokens-40"),
    "many-strict-tokens": Case(2000, lambda call: call.output, SECOND, lambda n: [
        tenant(n, limits={"output_tokens_per_second": 2000, "strict": True})], fields={"max_tokens": 10}),
    "many-parallel-calls": Case(30, at_once, None, lambda n: [tenant(n, limits={"concurrent": 30})],
                                "mock/slow-500ms+tokens-5"),
    "money-of-a-day": Case(9_000_000, cost, None, lambda n: [tenant(n, budget=money("0.009", period="day"))],
                           fields={"max_tokens": 30}),
    "money-in-5-minutes": Case(9_000_000, cost, None, lambda n: [key_with(n, budget=money("0.009", period="5m"))]),
    "money-for-a-model": Case(9_000_000, cost, None, lambda n: [
        tenant(n, limits={"models": {n: {"budget": money("0.009", period="month", time_zone="Asia/Kolkata")}}})],
        fields={"n": 3, "max_tokens": 10}),
    # A provider that always uses all that it may: what is held is what is spent.
    "money-greedy": Case(9_000_000, cost, None, lambda n: [key_with(n, budget=money("0.009", period="total"))],
                         "mock/tokens-100000", {"n": 2, "max_tokens": 40}),
    "money-unbounded": Case(50_000_000, cost, None, lambda n: [tenant(n, budget=money("0.05", period="day"))],
                            "mock/tokens-100000"),
}
if LONG:
    CASES["many-tokens-a-minute"] = Case(100_000, CASES["many-tokens"].weight, 60 * SECOND, lambda n: [
        tenant(n, limits={"tokens_per_minute": 100_000})])
STEADY = [name for name in CASES if name.startswith("many-")]
MIXED = [name for name in CASES if name not in STEADY]
NAMES = {0: "embedded", 1: "one", 2: "two", 3: "three", 4: "four"}
USERS = ("ann", "bob", "eve")
# Of these some is always held for what a call might use, and a bucket spreads a burst.
HARDLY = {"strict-input": 0.25, "strict-tokens": 0.25, "a-bucket": 0.5}


def asks_of(name):
    """What the callers of a case ask: plain and streamed; for users, one label each."""
    case = CASES[name]
    for stream in (False, True):
        if name == "requests-of-users":
            for user in USERS:
                yield ask(name, stream, key_of(name), f"{name}/{user}", user=user, **case.fields)
        elif name == "requests-of-a-parent":
            yield ask(name, stream, key_of(name))
            yield ask(name, stream, key_of(f"{name}-b"))
        else:
            yield ask(name, stream, key_of(name), **case.fields)


def bursts(chance, number):
    """Random arrivals: most come at once after another, some after a long pause."""
    return chance.choice((0.02, 0.3, 1.0)) if chance.random() < 0.5 else chance.uniform(0.3, 3.0)


def fleet_of(count, redis, names):
    tenants = [each for name in names for each in CASES[name].tenants(name)]
    models = {name: CASES[name].words for name in names}
    return Fleet(count, tenants, models, shared(redis, timeout="2s") if redis else None)


def check_case(label, made):
    """Of one label's calls: never more than it may, in any stretch."""
    case = CASES[label.partition("/")[0]]
    if case.weight is at_once:
        used = at_once(made)
    elif case.window_us is None:
        used = sum(map(case.weight, made))
    else:
        used = surely_within(made, case.window_us, case.weight)
    assert used <= case.amount, f"{label}: {used} of {case.amount} in {len(made)} calls"
    return used / case.amount


def by_label(made):
    out = {}
    for call in made:
        out.setdefault(call.label, []).append(call)
    return out


def test_the_measure_itself():
    def at(*pairs):
        return [Made("", begin, arrival, arrival, 0, 0) for begin, arrival in pairs]

    assert surely_within(at((0, 1), (5, 6), (9, 10)), 10) == 3
    assert surely_within(at((0, 1), (5, 6), (9, 11)), 10) == 2
    assert surely_within(at((0, 11), (5, 6), (9, 11)), 10) == 2
    assert surely_within(at((0, 1), (0, 1), (0, 1)), 10) == 3
    assert at_once([Made("", 0, 0, 5, 0, 0), Made("", 0, 5, 6, 0, 0), Made("", 0, 5, 7, 0, 0)]) == 2
    chance = random.Random(1)
    for _ in range(200):
        made = at(*[(begin := chance.randrange(50), begin + chance.randrange(8)) for _ in range(12)])
        slow = max(sum(1 for call in made if first <= call.began_us and call.at_us <= first + 10)
                   for first in (call.began_us for call in made))
        assert surely_within(made, 10) == slow


@pytest.mark.parametrize("gates", [0, 1, 2, 3, 4] if LONG else [0, 1, 2, 4], ids=NAMES.get)
def test_every_limit_with_random_arrivals(gates):
    asks = [each for name in MIXED for each in asks_of(name)]
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis()) if gates else None
        fleet = stack.enter_context(fleet_of(max(gates, 1), redis, MIXED))
        if redis:
            fleet.wait_together()
        with Load(fleet.addresses(), asks, CALLERS, think=bursts, seed=f"{gates}-{os.environ.get('CHAOS_SEED', 1)}",
                  own=True) as load:
            eventually(lambda: load.is_over or load.seconds() > SECONDS, SECONDS + 60)
            answers = load.stop()
        fleet.wait_quiet()
        calls = provider_calls(fleet.mock)
        assert fleet.metric("sluice_store_refusals_total") == 0
        if redis:
            wait_no_slot_held(redis)
            uneven = {name: both for name, both in counters(redis).items() if both[0] != both[1]}
            assert not uneven, f"sums that are not those of their parts: {uneven}"
        for gate in fleet.gates:
            assert gate.stop() == 0
        assert_no_nonsense(answers)
        odd = [answer for answer in answers if answer.status not in (200, 429)]
        assert not odd, odd[:3]
        check_books_of_all(fleet.gates, calls, answers, lost_allowed=False)
    labels = by_label(made_calls(calls, answers))
    shares = {label: check_case(label, made) for label, made in labels.items()}
    refused = Counter(answer.model for answer in answers if answer.status == 429)
    assert set(refused) == set(labels), "a limit was not met at all"
    for label, share in shares.items():
        assert share > HARDLY.get(label, 0.9), f"{label}: hardly used, {shares}"
    print(f"\n{len(answers)} calls, {len(calls)} made; peaks: " + ", ".join(f"{k} {100 * v:.1f} %" for k, v in shares.items()))


def parallel_share(made, amount):
    """How much of the parallel calls ran, on the average, from a second after the first to the last."""
    begin, end = min(call.at_us for call in made) + SECOND, max(call.at_us for call in made)
    busy = sum(max(0, min(call.until_us, end) - max(call.at_us, begin)) for call in made)
    return busy / (amount * (end - begin))


@pytest.mark.parametrize("gates", [0, 1, 2, 3, 4] if LONG else [0, 1, 4], ids=NAMES.get)
def test_steady_load_gets_nearly_all(gates):
    asks = [each for name in STEADY for each in asks_of(name)]
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis()) if gates else None
        fleet = stack.enter_context(fleet_of(max(gates, 1), redis, STEADY))
        if redis:
            fleet.wait_together()
        with Load(fleet.addresses(), asks, CALLERS, think=0.7, seed=gates, own=True) as load:
            eventually(lambda: load.is_over or load.seconds() > SECONDS, SECONDS + 60)
            answers = load.stop()
        calls = provider_calls(fleet.mock)
    labels = by_label(made_calls(calls, answers))
    shares = {}
    for label, made in labels.items():
        case = CASES[label]
        if not label.startswith("many-tokens"):  # those carry debt
            check_case(label, made)
        shares[label] = (parallel_share(made, case.amount) if case.weight is at_once else
                         steady_share(made, case.amount, case.window_us, case.weight))
    print(f"\n{len(answers)} calls, {len(calls)} made; " + ", ".join(f"{k} {100 * v:.1f} %" for k, v in shares.items()))
    assert shares["many-tokens"] <= 1.0, shares
    for label, share in shares.items():
        assert share >= 0.95, f"{label}: {shares}"
