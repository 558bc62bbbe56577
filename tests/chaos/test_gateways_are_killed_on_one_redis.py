# SPDX-License-Identifier: Apache-2.0
"""kill -9 of gateways that share a Redis, at random moments under load: nothing is lost, nothing is booked
twice, no budget is overspent, no parallel call is held for ever; and Redis has what the ledgers have."""

import os
import random
import time
from collections import Counter

from books import calls_so_far, check_books_of_all, provider_calls
from harness import SANITIZED, eventually
from load import Load, ask, assert_no_nonsense
from redis_servers import Redis
from replicas import Fleet, check_no_leaks, cost_nanos, counters, key_of, shared, tenant, wait_no_slot_held
from test_killed_fifty_times import kill_service, kill_supervisor

LONG = os.environ.get("CHAOS") == "long"
KILLS = 1000 if LONG else 12 if SANITIZED else 40
GATES = 3
MODELS = {
    "acme-plain": "mock/tokens-12", "acme-slow": "mock/slow-60ms+tokens-30", "acme-paced": "mock/rate-200+tokens-40",
    "globex-plain": "mock/tokens-9", "poor-plain": "mock/tokens-10",
}
SLOTS, POOR = 20, 30_000_000
TENANTS = [
    tenant("acme", budget={"amount": "5000 USD", "period": "month"}, limits={"requests_per_hour": 10_000_000}),
    tenant("globex", limits={"concurrent": SLOTS, "tokens_per_day": 1_000_000_000}),
    tenant("poor", budget={"amount": f"{POOR / 1e9:.6f} USD", "period": "day"}),
]
ASKS = [ask(name, stream, key_of(name.partition("-")[0]), max_tokens=50) for name in MODELS for stream in (False, True)]


def test_nothing_is_lost_and_nothing_twice():
    chance = random.Random(f"kill-redis-{os.environ.get('CHAOS_SEED', 1)}")
    begun, calls = time.monotonic(), []
    with Redis() as redis, Fleet(GATES, TENANTS, MODELS, shared(redis, timeout="500ms")) as fleet:
        fleet.wait_together()
        with Load(fleet.addresses(), ASKS, callers=45, think=0.04, seed=1) as load:
            for number in range(1, KILLS + 1):
                gate = chance.choice(fleet.gates)
                time.sleep(chance.uniform(0.02, 0.6))
                if number % 5:
                    kill_service(gate)
                else:
                    kill_supervisor(gate, with_child=chance.random() < 0.5)
                if number % 50 == 0:
                    calls = calls_so_far(fleet.mock, calls)
            for gate in fleet.gates:
                eventually(lambda gate=gate: gate.get("/readyz", key=None).status == 200, within=30)
            fleet.wait_together(30)
            time.sleep(1)
            answers = load.stop()
        fleet.wait_quiet()
        calls = provider_calls(fleet.mock, known=calls)
        for gate in fleet.gates:  # what dead processes left is in the ledger
            eventually(lambda gate=gate: len(list((gate.state / "ledger").glob("*-*"))) == 1, 40, every=0.1)
            for name in ("acme", "globex", "poor"):  # and each counter is touched
                gate.chat(f"{name}-plain", key=key_of(name), max_tokens=1)
        wait_no_slot_held(redis)
        check_no_leaks(redis, GATES)
        extra = provider_calls(fleet.mock, known=calls)[len(calls):]
        check_counters(fleet, redis)
        told = fleet.used("cost_nanos")
        for gate in fleet.gates:
            assert gate.stop() == 0
        assert_no_nonsense(answers)
        odd = [answer for answer in answers if answer.whole and answer.status not in (200, 429, 503)]
        assert not odd, odd[:3]
        rows = check_books_of_all(fleet.gates, calls + extra, answers)
        assert told == sum(row["cost_nanos"] for row in rows.values())
    outcomes = Counter(row["outcome"] for row in rows.values())
    assert outcomes["lost"] >= KILLS / 4, f"hardly a call was open when it was killed: {outcomes}"
    poor = [call for call in calls if call["model"] == MODELS["poor-plain"]]
    spent = sum(cost_nanos(call["prompt_tokens"], call["completion_tokens"]) for call in poor)
    assert spent <= POOR, f"{spent} of {POOR}"
    print(f"\n{KILLS} kills in {time.monotonic() - begun:.0f} s, {len(calls)} calls, ledger: {dict(outcomes)}")


def check_counters(fleet, redis):
    """A budget's counter is what the ledgers of all nodes have, to the nano-dollar."""
    def booked(name):
        return sum(row["cost_nanos"] for gate in fleet.gates for row in fleet.own(gate) if row["tenant"] == name)

    def agrees():
        told = counters(redis)
        pairs = {name: (told.get(f"t/{name}:budget_per_{period}"), booked(name))
                 for name, period in (("acme", "month"), ("poor", "day"))}
        last.clear()
        last.update(pairs)
        return all(both == (mine, mine) for both, mine in pairs.values())

    last = {}
    try:
        eventually(agrees, 20, every=0.5)
    except AssertionError:
        raise AssertionError(f"in Redis (sum, parts) and in the ledgers: {last}") from None
