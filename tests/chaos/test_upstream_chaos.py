# SPDX-License-Identifier: Apache-2.0
"""A provider that does everything wrong, under load: clean errors, no crash, every call booked."""

import time
from collections import Counter

import pytest
from books import chaos_config, check_books, provider_calls
from harness import PRICE, SANITIZED, Mock, Sluice, config_for, provider_for
from load import Load, ask, assert_no_nonsense

SECONDS = 12
CALLERS = 40
RATE = 10 if SANITIZED else 100
FAULTS = ["reset", "reset-mid", "stall-head", "stall", "cut", "bad-chunk", "garbage", "bad-head", "error-mid",
          "400", "429", "429-retry-after-1", "500", "503", "slow-300ms", "close"]
# Before the first byte came to the client: then another target can answer.
CURABLE = {"reset", "stall-head", "bad-head", "429", "429-retry-after-1", "500", "503"}
STATUSES = {"reset": {503}, "stall-head": {504}, "bad-head": {502}, "400": {400}, "429": {429}, "429-retry-after-1": {429},
            "500": {500}, "503": {503}, "reset-mid": {502, 503}, "stall": {504}, "cut": {502}, "bad-chunk": {502},
            "garbage": {502}, "error-mid": {502}}


def faulty_config(mock):
    """For each fault a model of its name, and `safe-NAME` with a second target that is well."""
    config = chaos_config(mock, config_for, {}, server={"timeouts": {"stream_idle": "1s"}})
    timeouts = {"connect": "2s", "first_byte": "1s", "total": "5s"}
    config["providers"] = [
        provider_for(mock.url, "once", timeouts=timeouts, retry={"attempts": 0}),
        provider_for(mock.url, "again", timeouts=timeouts, retry={"attempts": 2, "backoff": "10ms"}),
    ]

    def target(name, provider, model, priority):
        return {"id": name, "provider": provider, "model": model, "priority": priority, "price": PRICE}

    for fault in FAULTS:
        model = f"mock/odds-50+tokens-24+{fault}"
        config["models"] += [
            {"name": fault, "targets": [target(f"{fault}-1", "once", model, 1)]},
            {"name": f"safe-{fault}", "targets": [target(f"safe-{fault}-1", "again", model, 1),
                                                  target(f"safe-{fault}-2", "again", "mock/tokens-24", 2)]},
        ]
    return config


def problem_of(answer):
    """What is not clean about an answer, or None."""
    fault = answer.model.removeprefix("safe-")
    if answer.how == "left":
        return None
    if answer.status is None or not answer.whole:
        return "no whole answer"
    if answer.status != 200:
        error = answer.error
        if not error or not error.get("message") or not error.get("type"):
            return "an error without its object"
        return None if answer.status in STATUSES.get(fault, ()) else "not the status for it"
    if not answer.stream:
        return None if b'"choices"' in answer.body and b'"usage"' in answer.body else "a 200 that is no answer"
    if answer.done and answer.error:
        return "an error and [DONE]"
    return None if answer.done or answer.error else "a stream that is neither finished nor broken"


@pytest.mark.parametrize("impatient", [0.0, 0.2], ids=["patient", "impatient"])
def test_upstream_chaos(impatient):
    asks = [ask(prefix + fault, stream) for fault in FAULTS for prefix in ("", "safe-") for stream in (False, True)]
    with Mock() as mock, Sluice(faulty_config(mock)) as gate:
        begun = time.monotonic()
        with Load(gate.address(), asks, callers=CALLERS, think=0.01, limit=15, impatient=impatient, seed=2) as load:
            time.sleep(SECONDS)
            answers = load.stop()
        took = time.monotonic() - begun
        assert_no_nonsense(answers)
        assert gate.chat("close").status == 200
        calls = provider_calls(mock)
        assert len(gate.children()) == 1 and gate.metric("sluice_inflight_requests") == 0
        assert gate.stop() == 0
        answers_whole = [answer for answer in answers if answer.how == ""]
        bad = [(problem_of(answer), answer) for answer in answers if problem_of(answer)]
        kinds = Counter((words, answer.model, answer.stream, answer.status) for words, answer in bad)
        assert not bad, f"{len(bad)} of {len(answers)}: {kinds.most_common(8)} {bad[:2]}"
        unhelped = [a for a in answers_whole if a.model.startswith("safe-") and a.model[5:] in CURABLE and not a.done]
        assert not unhelped, f"{len(unhelped)} failures that another target could cure: {unhelped[:3]}"
        outcomes = check_books(gate, calls, answers, lost_allowed=False, retried=True)
        seen = {call["outcome"] for call in calls}
        assert {"whole", "broken", "refused"} <= seen, seen
        statuses = Counter(answer.status for answer in answers_whole)
        assert {200, 400, 429, 500, 502, 503, 504} <= set(statuses), statuses
        assert len(answers) / took >= RATE, f"{len(answers) / took:.0f} calls a second"
    print(f"\n{len(answers)} calls in {took:.0f} s, statuses {dict(statuses)}, provider's count {len(calls)}, "
          f"ledger: {dict(outcomes)}")
