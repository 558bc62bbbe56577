# SPDX-License-Identifier: Apache-2.0
"""TERM under load, again and again on one state directory: nobody is cut, nothing is lost."""

import signal
import time

import pytest
from books import chaos_config, check_books, provider_calls
from harness import Mock, Sluice, config_for, eventually
from load import Load, ask, assert_no_nonsense

ROUNDS = {"os": 4, "disk": 2}
MODELS = {"plain": "mock/tokens-12", "slow": "mock/slow-300ms+tokens-30", "paced": "mock/rate-60+tokens-40"}
ASKS = [ask("plain"), ask("plain", stream=True), ask("slow"), ask("slow", stream=True), ask("paced", stream=True)]


@pytest.mark.parametrize("sync", ["os", "disk"])
def test_drained_again_and_again(sync):
    with Mock() as mock:
        config = chaos_config(mock, config_for, MODELS, ledger={"sync": sync},
                              server={"shutdown": {"drain_delay": "300ms", "grace": "20s"}})
        with Sluice(config) as gate, Load(gate.address(), ASKS, callers=32, think=0.02) as load:
            took = []
            for number in range(ROUNDS[sync]):
                before = load.counts[200]
                eventually(lambda before=before: load.counts[200] > before + 150, within=30)
                begun = time.monotonic()
                gate.signal(signal.SIGTERM if number % 2 else signal.SIGQUIT)
                assert gate.process.wait(30) == 0, gate.log()[-3000:]
                took.append(time.monotonic() - begun)
                assert not [path for path in (gate.state / "ledger").iterdir() if path.is_dir()], "the journal is drained before it ends"
                gate.start()
            before = load.counts[200]
            eventually(lambda: load.counts[200] > before + 150, within=30)
            answers = load.stop()
            assert_no_nonsense(answers)
            calls = provider_calls(mock)
            assert gate.stop() == 0
            outcomes = check_books(gate, calls, answers, lost_allowed=False)
    made = {call["request_id"] for call in calls}
    # A connection that was closed as idle just when its client asked, or that was never accepted, is
    # nobody's loss: no call was made of it. But what was made has reached its client to the end.
    cut = [a for a in answers if not a.whole and a.id]
    assert not cut, f"{len(cut)} of {len(answers)} were cut: {cut[:3]}"
    unheard = made - {a.id for a in answers if a.done}
    assert not unheard, f"{len(unheard)} calls were made whose client got no answer"
    assert outcomes["complete"] == len(made), f"{outcomes}, {len(made)} made"
    refused = [a for a in answers if a.whole and a.status != 200]
    assert not [a for a in refused if a.status != 503 or a.id in made], refused[:3]
    assert max(took) < 30, took
    print(f"\n{sync}: drains of {', '.join(f'{t:.1f}' for t in took)} s; {len(answers)} calls, {len(refused)} refused, "
          f"{sum(not a.whole for a in answers)} unheard; ledger: {dict(outcomes)}")
