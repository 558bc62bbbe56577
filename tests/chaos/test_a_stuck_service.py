# SPDX-License-Identifier: Apache-2.0
"""SIGSTOP under load: the supervisor ends the stuck service, another serves, the books are right."""

import os
import signal
import time

from books import chaos_config, check_books, provider_calls, wait_drained
from harness import Mock, Sluice, config_for, eventually, is_alive
from load import Load, ask, assert_no_nonsense

MODELS = {"plain": "mock/tokens-12", "paced": "mock/rate-100+tokens-20"}
STOPPED = 0.7  # seconds that a stopped service has to go on; a stop as short as this one's half is no death
SERVES_WITHIN = 10.0  # from the end of the old one


def test_a_stopped_service_is_replaced():
    asks = [ask("plain"), ask("plain", stream=True), ask("paced", stream=True)]
    with Mock() as mock, Sluice(chaos_config(mock, config_for, MODELS)) as gate:
        with Load(gate.address(), asks, callers=16, think=0.02, limit=25) as load:
            eventually(lambda: load.counts[200] > 100)
            old = gate.children()[0]
            os.kill(old, signal.SIGSTOP)
            try:
                time.sleep(STOPPED / 2)
                assert is_alive(old), "a short stop is forgiven"
                os.kill(old, signal.SIGCONT)
                before = load.counts[200]
                eventually(lambda: load.counts[200] > before + 100, what="it goes on as if nothing had been")
                time.sleep(1.5)  # until it has given a sign of life
                assert gate.children() == [old] and not load.counts["cut"] and not load.counts["reset"], load.counts
                os.kill(old, signal.SIGSTOP)
                stopped = time.monotonic()
                eventually(lambda: not is_alive(old), within=STOPPED + 8, every=0.01, what="the stopped service is ended")
                ended = time.monotonic()
                assert ended - stopped > STOPPED / 2
            finally:
                if is_alive(old):
                    os.kill(old, signal.SIGCONT)
            before = load.counts[200]
            eventually(lambda: load.counts[200] > before, within=20, every=0.01, what="another serves")
            served = time.monotonic()
            eventually(lambda: load.counts[200] > before + 300, within=20)
            answers = load.stop()
        assert_no_nonsense(answers)
        assert not [answer for answer in answers if answer.whole and not answer.done], "refused"
        calls = provider_calls(mock)
        wait_drained(gate)
        assert gate.stop() == 0
        outcomes = check_books(gate, calls, answers)
        assert served - ended < SERVES_WITHIN, f"{served - ended:.2f} s until it served again"
    print(f"\nended {ended - stopped:.1f} s after it stood still, served {1000 * (served - ended):.0f} ms later; {dict(outcomes)}")
