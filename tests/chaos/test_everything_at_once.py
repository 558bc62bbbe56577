# SPDX-License-Identifier: Apache-2.0
"""A faulty provider, impatient clients, reloads, and kill -9, all together: the books are right."""

import os
import random
import signal
import time

from books import check_books, provider_calls, wait_drained
from harness import SANITIZED, Mock, Sluice, eventually
from load import Load, ask, assert_no_nonsense
from test_killed_fifty_times import kill_service, kill_supervisor
from test_upstream_chaos import FAULTS, faulty_config

ROUNDS = 10 if SANITIZED else 24


def test_everything_at_once():
    chance = random.Random(f"all-{os.environ.get('CHAOS_SEED', 1)}")
    asks = [ask(prefix + fault, stream) for fault in FAULTS for prefix in ("", "safe-") for stream in (False, True)]
    with Mock() as mock, Sluice(faulty_config(mock)) as gate:
        with Load(gate.address(), asks, callers=40, think=0.01, limit=40, impatient=0.1, seed=3) as load:
            kills = 0
            for number in range(1, ROUNDS + 1):
                time.sleep(chance.uniform(0.1, 0.8))
                if number % 3 == 0:
                    gate.signal(signal.SIGHUP)
                elif number % 7 == 0:
                    kill_supervisor(gate, with_child=False)
                else:
                    kill_service(gate)
                    kills += 1
            eventually(lambda: gate.get("/readyz", key=None).status == 200, within=30)
            before = load.counts[200]
            eventually(lambda: load.counts[200] > before + 100, within=30)
            answers = load.stop()
        assert_no_nonsense(answers)
        calls = provider_calls(mock)
        wait_drained(gate)
        assert gate.stop() == 0
        outcomes = check_books(gate, calls, answers, retried=True)
        assert all(outcomes[outcome] > 5 for outcome in ("complete", "partial", "refused", "lost")), outcomes
    print(f"\n{kills} kills, {len(answers)} calls, provider's count {len(calls)}, ledger: {dict(outcomes)}")
