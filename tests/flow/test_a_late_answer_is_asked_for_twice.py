# SPDX-License-Identifier: Apache-2.0
"""`hedge`: when the first token is late, a second target is asked as well; who answers first is the one, the other is
cancelled, both are booked, and only a share of the calls is asked twice."""

import json
import time
import urllib.request

import pytest
from harness import PRICE, Mock, Sluice, config_for, eventually, provider_for

CASES = {  # what the first target does, and the second
    "late": ("mock/slow-3s", "mock/tokens-11"),
    "not-so-late": ("mock/slow-400ms+tokens-12", "mock/slow-5s+tokens-13"),
    "second-fails": ("mock/slow-400ms+tokens-14", "mock/500+tokens-15"),
    "first-fails": ("mock/slow-300ms+500+tokens-16", "mock/slow-600ms+tokens-17"),
    "second-busy": ("mock/slow-400ms+tokens-25", "mock/429-retry-after-300+tokens-26"),
    "first-busy": ("mock/slow-300ms+429-retry-after-300+tokens-27", "mock/slow-600ms+tokens-28"),
    "both-fail": ("mock/slow-300ms+500+tokens-18", "mock/500+tokens-19"),
    "quick": ("mock/tokens-21", "mock/tokens-22"),
    "rare": ("mock/slow-130ms+tokens-23", "mock/tokens-24"),
}


@pytest.fixture(scope="module")
def mocks():
    with Mock() as first, Mock() as second:
        yield {"first": first, "second": second}


def configured(mocks):
    config = config_for(mocks["first"].url)
    config["providers"] = [provider_for(mock.url, name, retry={"attempts": 2}, health={"mode": "none"})
                           for name, mock in mocks.items()]
    config["models"] = [
        {"name": name, "policy": "rarely" if name == "rare" else "hedged",
         "targets": [{"id": f"{name}-{provider}", "provider": provider, "model": model, "priority": i, "price": PRICE}
                     for i, (provider, model) in enumerate(zip(("first", "second"), words, strict=True), 1)]}
        for name, words in CASES.items()]
    config["routing"] = {"policies": [
        {"name": "hedged", "strategy": "priority", "hedge": {"after": "100ms", "max_share": 1.0}},
        {"name": "rarely", "strategy": "priority", "hedge": {"after": "50ms", "max_share": 0.1}}]}
    return config


@pytest.fixture(scope="module")
def gate(mocks):
    with Sluice(configured(mocks)) as sluice:
        yield sluice


def outcomes(mock, model):
    with urllib.request.urlopen(mock.url.replace("/v1", "/__mock/stats"), timeout=10) as answer:
        return json.load(answer)["models"].get(model, {})


def assert_answered_by(answer, target, attempts=2):
    assert answer.status == 200 and b"[DONE]" in answer.body, answer
    assert answer.header("x-sluice-target") == target and answer.header("x-sluice-attempts") == str(attempts), answer


def test_the_second_answers_first_and_the_first_is_cancelled(gate, mocks):
    assert_answered_by(gate.chat("late", stream=True, options={"timeout": 2}), "late-second")
    eventually(lambda: outcomes(mocks["first"], "mock/slow-3s").get("cut") == 1)


def test_the_first_answers_first_after_all_and_the_second_is_cancelled(gate, mocks):
    assert_answered_by(gate.chat("not-so-late", stream=True, options={"timeout": 2}), "not-so-late-first")
    eventually(lambda: outcomes(mocks["second"], "mock/slow-5s+tokens-13").get("cut") == 1)


def test_a_second_target_that_fails_harms_nobody(gate):
    assert_answered_by(gate.chat("second-fails", stream=True), "second-fails-first")


def test_a_first_target_that_fails_leaves_the_call_to_the_second(gate):
    assert_answered_by(gate.chat("first-fails", stream=True), "first-fails-second")


def test_who_asks_to_be_left_alone_is_left_alone(gate, mocks):
    for _ in range(3):
        assert gate.chat("second-busy", stream=True).header("x-sluice-target") == "second-busy-first"
    assert outcomes(mocks["second"], "mock/429-retry-after-300+tokens-26")["received"] == 1
    assert_answered_by(gate.chat("first-busy", stream=True), "first-busy-second")
    time.sleep(1.5)  # longer than one is left alone that says no time
    assert_answered_by(gate.chat("first-busy", stream=True), "first-busy-second", attempts=1)


def test_when_both_fail_the_client_is_told(gate):
    assert gate.chat("both-fail", stream=True).status in (500, 503)


def test_a_quick_answer_is_asked_for_once(gate, mocks):
    for _ in range(5):
        assert_answered_by(gate.chat("quick", stream=True), "quick-first", attempts=1)
    assert not outcomes(mocks["second"], "mock/tokens-22")


def test_a_whole_answer_is_asked_for_once(gate, mocks):
    answer = gate.chat("not-so-late")
    assert answer.status == 200 and answer.header("x-sluice-attempts") == "1", answer


def test_no_more_than_a_share_is_asked_twice(gate):
    twice = sum(gate.chat("rare", stream=True).header("x-sluice-attempts") == "2" for _ in range(21))
    assert 1 <= twice <= 3, twice


def test_both_are_booked(mocks):
    with Sluice(configured(mocks)) as gate:
        late, early = gate.chat("late", stream=True), gate.chat("not-so-late", stream=True)
        assert gate.stop() == 0
        rows = {(row["id"], row["target"]): row for row in gate.ledger_rows()}
    assert len(rows) == 4, rows
    for answer, winner, loser in ((late, "late-second", "late-first"), (early, "not-so-late-first", "not-so-late-second")):
        mine = rows[answer.header("x-request-id"), winner]
        assert (mine["outcome"], mine["counted"], mine["attempts"]) == ("complete", "provider", 2), mine
        other, = [row for row in rows.values() if row["target"] == loser]
        assert (other["outcome"], other["fault"], other["tags"]) == ("partial", "too_late", "abandoned=1"), other
        assert other["cost_nanos"] > 0 and other["input_tokens"] > 0, other


def test_a_client_that_leaves_cancels_both(gate, mocks):
    model = {"first": "mock/slow-3s", "second": "mock/slow-5s+tokens-13"}
    before = outcomes(mocks["first"], model["first"]).get("cut", 0)
    client = gate.connect()
    from harness import chat_request

    client.send(chat_request({"model": "late", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}))
    eventually(lambda: outcomes(mocks["first"], model["first"]).get("in_flight") == 1)
    client.close()
    eventually(lambda: outcomes(mocks["first"], model["first"]).get("cut", 0) == before + 1)
    assert gate.chat("quick", stream=True).status == 200
