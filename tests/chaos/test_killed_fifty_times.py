# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments under load: the ledger has every call that the provider counted, once."""

import contextlib
import os
import random
import signal
import time

import pytest
from books import chaos_config, check_books, provider_calls, wait_drained
from harness import SANITIZED, Mock, Sluice, config_for, eventually, is_alive
from load import Load, ask, assert_no_nonsense

KILLS = 15 if SANITIZED else 50
SUPERVISOR_EVERY = 6  # which also keeps the pause before a new service short
RATE = 20 if SANITIZED else 100  # calls a second, over the whole time
SECONDS = 90

MODELS = {
    "plain": "mock/tokens-12",
    "slow": "mock/slow-60ms+tokens-30",
    "long": "mock/tokens-400",
    "paced": "mock/rate-200+tokens-40",
}
ASKS = [
    ask("plain"), ask("plain"), ask("plain", stream=True), ask("plain", stream=True, stream_options={"include_usage": True}),
    ask("slow"), ask("slow", stream=True), ask("long", stream=True), ask("long"), ask("paced", stream=True), ask("paced"),
]


def kill_service(gate):
    """SIGKILL of the serving child; the supervisor starts another."""
    child = eventually(gate.children, what="a service runs")[0]
    os.kill(child, signal.SIGKILL)
    eventually(lambda: not is_alive(child), within=30)


def kill_supervisor(gate, with_child):
    """SIGKILL of the supervisor, which takes its child along; then both are started again."""
    children = gate.children()
    os.kill(gate.process.pid, signal.SIGKILL)
    for child in children if with_child else []:  # none, when the last one has just died
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    gate.process.wait(10)
    for child in children:
        eventually(lambda child=child: not is_alive(child), within=5, what="the service goes with its supervisor")
    gate.start()


@pytest.mark.parametrize("sync", ["os", "disk"])
def test_nothing_is_lost_and_nothing_twice(sync):
    chance = random.Random(f"kill-{sync}-{os.environ.get('CHAOS_SEED', 1)}")
    kills = KILLS if sync == "os" else KILLS // 5
    began = time.monotonic()
    with Mock() as mock:
        config = chaos_config(mock, config_for, MODELS, ledger={"sync": sync})
        with Sluice(config) as gate, Load(gate.address(), ASKS, callers=32, think=0.04, seed=1) as load:
            for number in range(1, kills + 1):
                time.sleep(chance.uniform(0.05, 1.0))
                if number % SUPERVISOR_EVERY:
                    kill_service(gate)
                else:
                    kill_supervisor(gate, with_child=chance.random() < 0.5)
            eventually(lambda: gate.get("/readyz", key=None).status == 200, within=30)
            time.sleep(0.5)
            answers = load.stop()
            took = time.monotonic() - began
            calls = provider_calls(mock)
            before = gate.usage_total("requests")
            wait_drained(gate)
            assert gate.stop() == 0
            assert not [path for path in (gate.state / "ledger").iterdir() if path.is_dir()], "a stop leaves an empty journal"
            assert_no_nonsense(answers)
            outcomes = check_books(gate, calls, answers)
            # A report counts what is not drained yet, too; what was lost perhaps only when it is booked.
            assert sum(outcomes.values()) - outcomes["lost"] <= before <= sum(outcomes.values())
    done = [answer for answer in answers if answer.done]
    refused = [answer for answer in answers if answer.whole and answer.status != 200]
    assert not refused, f"{len(refused)} calls were refused: {refused[:3]}"
    assert outcomes["lost"] >= kills / 2, f"hardly a call was open when it was killed: {outcomes}"
    assert sum(answer.stream for answer in done) > len(done) / 4 > 0
    assert len(done) / took >= RATE, f"{len(done) / took:.0f} answers a second"
    assert took < SECONDS * (4 if SANITIZED else 1), f"{took:.0f} s"
    print(f"\n{sync}: {kills} kills in {took:.0f} s, {len(calls)} calls, {len(done)} answered, ledger: {dict(outcomes)}")
