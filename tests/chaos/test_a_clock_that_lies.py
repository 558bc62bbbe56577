# SPDX-License-Identifier: Apache-2.0
"""The clock of one gateway is an hour ahead, of another an hour behind, and is set while calls run, and so is that of
Redis: no window opens, no call is lost, and what was admitted stays within its limits."""

import contextlib
import os
import struct
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from books import check_books_of_all, provider_calls
from harness import eventually, temporary_folder
from load import Load, ask, assert_no_nonsense
from redis_servers import Redis
from replicas import Fleet, cost_nanos, counters, key_of, shared, tenant
from windows import made_calls, surely_within

LONG = os.environ.get("CHAOS") == "long"
SECOND, HOUR = 1_000_000, 3600
ROUND = 20 if LONG else 3  # seconds between two settings of the clocks
MODELS = {"second": "mock/tokens-10", "minute": "mock/tokens-11", "hour": "mock/tokens-12", "money": "mock/tokens-13"}
AMOUNTS = {"second": 40, "minute": 120, "hour": 150, "money": 8_000_000}
TENANTS = [
    tenant("second", limits={"requests_per_second": AMOUNTS["second"]}),
    tenant("minute", limits={"requests_per_minute": AMOUNTS["minute"]}),
    tenant("hour", limits={"requests_per_hour": AMOUNTS["hour"]}),
    tenant("money", budgets=[{"amount": "0.008 USD", "period": "30d"}, {"amount": "0.008 USD", "period": "total"}]),
]
ASKS = [ask(name, stream, key_of(name), max_tokens=20) for name in MODELS for stream in (False, True)]


@pytest.fixture(scope="module")
def shim():
    folder = Path(temporary_folder("sluice-clock-"))
    made = folder / "false_clock.so"
    source = Path(__file__).with_name("false_clock.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", made, source, "-ldl"], check=True)
    return made


class Clock:
    """What one gateway takes for the time of day."""

    def __init__(self, shim):
        self.file = Path(temporary_folder("sluice-clock-")) / "ahead"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(shim), "FALSE_CLOCK": str(self.file)}

    def set(self, seconds):
        with open(self.file, "r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


def skew_of(gate):
    """How far the gateway's log is from our clock, in seconds."""
    stamp = eventually(gate.log_lines, 10, what="the log is written")[-1]["ts"]
    return time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - time.time()


@pytest.mark.parametrize("store", ["redis", "embedded"])
def test_clocks_are_set_under_load(shim, store):
    gates = 3 if store == "redis" else 1
    clocks = [Clock(shim) for _ in range(gates)]
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis()) if store == "redis" else None
        clocks[0].set(HOUR)
        if redis:
            clocks[1].set(-HOUR)
        fleet = stack.enter_context(Fleet(gates, TENANTS, MODELS, shared(redis, timeout="1s") if redis else None,
                                          environments=[clock.environment for clock in clocks]))
        assert abs(skew_of(fleet.gates[0]) - HOUR) < 60, "the shim does not work"
        if redis:
            fleet.wait_together()
        with Load(fleet.addresses(), ASKS, callers=90, think=0.2, seed=5) as load:
            for step in (0, -HOUR, HOUR, 30 * 24 * HOUR, 0):
                time.sleep(ROUND)
                clocks[0].set(step)
            time.sleep(ROUND)
            answers = load.stop()
        fleet.wait_quiet()
        calls = provider_calls(fleet.mock)
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) == {200, 429}, statuses
        if redis:
            told = counters(redis)["t/money:budget_total"]
            eventually(lambda: counters(redis)["t/money:budget_total"][0] <= AMOUNTS["money"], 5, what=f"{told}")
        for gate in fleet.gates:
            assert gate.stop() == 0
        assert_no_nonsense(answers)
        rows = check_books_of_all(fleet.gates, calls, answers, lost_allowed=False)
    made = {name: [call for call in made_calls(calls, answers) if call.label == name] for name in MODELS}
    assert surely_within(made["second"], SECOND) <= AMOUNTS["second"]
    assert surely_within(made["minute"], 60 * SECOND) <= AMOUNTS["minute"]
    assert len(made["hour"]) <= AMOUNTS["hour"]
    assert sum(cost_nanos(call.input, call.output) for call in made["money"]) <= AMOUNTS["money"]
    # And the limits were used: the clock closed no window for good.
    assert len(made["second"]) >= 0.6 * AMOUNTS["second"] * 5 * ROUND, len(made["second"])
    assert len(made["minute"]) >= 0.9 * AMOUNTS["minute"] and len(made["hour"]) >= 0.9 * AMOUNTS["hour"]
    print(f"\n{store}: {dict(statuses)}, ledger: {dict(Counter(row['outcome'] for row in rows.values()))}")


@pytest.mark.parametrize("skew, after", [(0, 0), (HOUR, HOUR), (-HOUR, -HOUR), (HOUR, 0)])
@pytest.mark.parametrize("store", ["redis", "embedded"])
def test_a_gateway_with_a_false_clock_is_killed(shim, store, skew, after):
    """It counts again what its ledger has, by whatever clock that was written."""
    clock = Clock(shim)
    clock.set(skew)
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis()) if store == "redis" else None
        fleet = stack.enter_context(Fleet(2 if redis else 1, TENANTS, MODELS, shared(redis, timeout="1s") if redis else None,
                                          environments=[clock.environment]))
        if redis:
            fleet.wait_together()
        gate = fleet.gates[0]

        def ask(name, times, gates):
            return sum(gates[i % len(gates)].chat(name, key=key_of(name), max_tokens=20).status == 200 for i in range(times))

        made = {name: ask(name, 100, [gate]) for name in ("minute", "hour", "money")}
        for _ in range(2):
            gate.kill()
            clock.set(after)
            gate.start()
            if redis:
                fleet.wait_together()
            for name in made:
                made[name] += ask(name, 40, fleet.gates)
        calls = provider_calls(fleet.mock)
        spent = sum(cost_nanos(call["prompt_tokens"], call["completion_tokens"]) for call in calls if call["model"] == MODELS["money"])
    assert made["hour"] == AMOUNTS["hour"], made
    assert made["minute"] <= AMOUNTS["minute"] and spent <= AMOUNTS["money"], (made, spent)


def statuses_of(fleet, name, count):
    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(lambda i: fleet.gates[i % 2].chat(name, key=key_of(name), max_tokens=20).status, range(count)))


def calls_of(fleet, name):
    return sum(call["model"] == MODELS[name] for call in provider_calls(fleet.mock))


@pytest.mark.parametrize("by", [2 * HOUR, -2 * HOUR])
def test_the_clock_of_redis_is_set(shim, by):
    """What is used up stays so, and the calendar is where Redis says it is."""
    clock = Clock(shim)
    spans = [{"amount": "1 USD", "period": period} for period in ("hour", "day", "month")]
    tenants = [*TENANTS, tenant("calendar", budgets=spans), tenant("later", budgets=spans)]
    with Redis(environment=clock.environment) as redis, Fleet(
            2, tenants, {**MODELS, "calendar": "mock/tokens-14", "later": "mock/tokens-15"}, shared(redis, timeout="1s")) as fleet:
        fleet.wait_together()
        amount = AMOUNTS["hour"]
        eventually(lambda: statuses_of(fleet, "hour", 40) == {429: 40} and calls_of(fleet, "hour") == amount, 20,
                   what="all of it is used")
        assert statuses_of(fleet, "calendar", 10) == {200: 10}
        clock.set(by)
        assert abs(int(redis.command("TIME")[0]) - by - time.time()) < 60, "the shim does not work"
        for _ in range(3):
            assert 200 not in statuses_of(fleet, "hour", 40)
        for name in ("calendar", "later"):  # nobody has claimed anything ahead of the latter
            eventually(lambda name=name: statuses_of(fleet, name, 10) == {200: 10}, 10, every=0.1, what=f"{name} is let in")
        fleet.wait_store(1)
        assert statuses_of(fleet, "hour", 40) == {429: 40}
        time.sleep(1)  # many beats
        assert statuses_of(fleet, "later", 10) == {200: 10}
        assert calls_of(fleet, "hour") == amount
