# SPDX-License-Identifier: Apache-2.0
"""Eleven real targets, one of which is slow or fails at once: the simulated cases, live."""

import threading
import time

import pytest
from harness import Mock, Sluice, config_for, provider_for

pytestmark = pytest.mark.threads
TARGETS, CALLS, PER_SECOND, CLIENTS = 11, 1000, 40, 40


def model(name, bad):
    """Ten good targets, and one that is not, at providers of their own."""
    return {"name": name, "targets": [
        {"id": f"{name}-{i}", "provider": f"p{i}", "model": bad if i == TARGETS - 1 else "mock/slow-50ms+tokens-5",
         "price": {"input": 1, "output": 1}} for i in range(TARGETS)]}


@pytest.fixture(scope="module")
def gate():
    with Mock() as mock:
        config = config_for(mock.url, models=[model("one-slow", "mock/slow-2s+tokens-5"),
                                              model("one-dead", "mock/503")])
        config["providers"] = [provider_for(mock.url, f"p{i}", retry={"attempts": 2, "backoff": "20ms"})
                               for i in range(TARGETS)]
        with Sluice(config) as sluice:
            yield sluice


def play(gate, name):
    """All calls at an even, modest rate. Each one's status, how long it took, and who answered."""
    seen, lock, begun = [], threading.Lock(), time.monotonic()

    def client(first):
        for n in range(first, CALLS, CLIENTS):
            time.sleep(max(0, begun + n / PER_SECOND - time.monotonic()))
            at = time.monotonic()
            answer = gate.chat(name)
            with lock:
                seen.append((answer.status, time.monotonic() - at, answer.header("x-sluice-target")))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(seen) == CALLS
    return seen


def test_a_slow_target_is_not_felt(gate):
    seen = play(gate, "one-slow")
    assert all(status == 200 for status, _, _ in seen)
    late = [(round(took, 2), target) for _, took, target in seen if took > 1]
    assert len(late) <= CALLS / 1000, late
    assert len({target for _, _, target in seen}) >= TARGETS - 1, "the good ones share the calls"


def test_a_target_that_fails_at_once_is_not_felt(gate):
    seen = play(gate, "one-dead")
    assert all(status == 200 for status, _, _ in seen)
    assert f"one-dead-{TARGETS - 1}" not in {target for _, _, target in seen}
