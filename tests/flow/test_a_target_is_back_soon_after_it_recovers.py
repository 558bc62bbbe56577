# SPDX-License-Identifier: Apache-2.0
"""A target that is down for a minute under five calls a second: no client sees an error, nearly no call is wasted on it, and it has
its calls again within `open_for` after it is well. All times are shorter by SCALE, and calls come so much faster; with FLAP_SCALE=1
it is the minute itself, at the settings that are the default."""

import os
import threading
import time

import pytest
from harness import Sluice, Upstream, chat_body, config_for, provider_for

pytestmark = pytest.mark.threads
SCALE = float(os.environ.get("FLAP_SCALE", "15"))
DOWN, OPEN, EVERY, WELL = 60 / SCALE, 15 / SCALE, 0.2 / SCALE, 5 / SCALE
SLACK = 0.3  # what a busy machine may take besides, and the call that probes
PRICE = {"input": 1, "output": 1}
FAILURES = {"503": lambda call: call.respond(503, {"error": {"message": "down"}}), "closed": lambda call: call.close()}


def configure(first, second):
    config = config_for(first)
    config["server"]["workers"] = 1
    config["telemetry"] = {"log": {"level": "error"}, "access_log": {"enabled": False}}
    breaker = {} if SCALE == 1 else {"breaker": {"open_for": f"{int(1000 * OPEN)}ms", "window": f"{int(30000 / SCALE)}ms"}}
    retry = {"retry": {"attempts": 2, "backoff": "10ms"}}
    config["providers"] = [provider_for(first, "first", **breaker, **retry), provider_for(second, "second", **breaker, **retry)]
    config["models"] = [{"name": "fast", "targets": [
        {"id": "one", "provider": "first", "model": "m", "priority": 1, "price": PRICE},
        {"id": "two", "provider": "second", "model": "m", "priority": 2, "price": PRICE}]}]
    return config


class Flap:
    """The first target's answers: good, then none for DOWN seconds, then good again."""

    def __init__(self, failure):
        self.failure, self.until, self.wasted = failure, 0, []
        self.lock = threading.Lock()
        self.asked = 0  # calls of clients so far

    def begin(self):
        self.until = time.monotonic() + DOWN

    def __call__(self, call):
        if time.monotonic() < self.until:
            with self.lock:
                self.wasted.append(self.asked)
            self.failure(call)
        else:
            call.respond(200, chat_body())


def steadily(gate, flap, seconds, until=lambda target: False):
    """Calls at their pace; the targets that answered, and when."""
    answered, begun = [], time.monotonic()
    for number in range(int(seconds / EVERY) + 1):
        time.sleep(max(0.0, begun + number * EVERY - time.monotonic()))
        flap.asked += 1
        answer = gate.chat()
        assert answer.status == 200, answer
        answered.append((time.monotonic(), answer.header("x-sluice-target")))
        if until(answered[-1][1]) or time.monotonic() - begun > seconds:
            break
    return answered


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.timeout(150)
def test_a_target_that_was_down_for_a_minute(failure):
    flap = Flap(FAILURES[failure])
    with Upstream(flap) as first, Upstream(lambda call: call.respond(200, chat_body())) as second, \
            Sluice(configure(first, second)) as gate:
        assert {target for _, target in steadily(gate, flap, WELL)} == {"one"}
        flap.begin()
        assert {target for at, target in steadily(gate, flap, DOWN) if at < flap.until} == {"two"}  # the last may be later
        back = steadily(gate, flap, OPEN + SLACK, until=lambda target: target == "one")
        assert back[-1][1] == "one", f"it is not back within {OPEN + SLACK} s"
        assert back[-1][0] - flap.until <= OPEN + SLACK
        assert {target for _, target in steadily(gate, flap, WELL)} == {"one"}
        for asked in flap.wasted:
            assert sum(asked <= other < asked + 15 for other in flap.wasted) <= 3, flap.wasted
        assert len(flap.wasted) <= 3 + DOWN / (OPEN * 7 / 8) + 1, flap.wasted
