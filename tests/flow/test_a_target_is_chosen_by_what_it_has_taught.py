# SPDX-License-Identifier: Apache-2.0
"""Where a call goes follows from what the targets have shown, from their prices, and from the policy."""

import json
import threading
import time
from collections import Counter

import pytest
from harness import Sluice, Upstream, chat_body, chat_chunk, config_for, provider_for

pytestmark = pytest.mark.threads
ONE, TWO, METRICS = Upstream(), Upstream(), Upstream()
POLICIES = [
    {"name": "by-score", "strategy": "score"},
    {"name": "by-cost", "strategy": "cost", "max_ttft": "300ms"},
    {"name": "by-weight", "strategy": "weighted"},
    {"name": "in-turn", "strategy": "round_robin"},
    {"name": "idlest", "strategy": "least_busy"},
    {"name": "in-order", "strategy": "priority"},
    {"name": "by-user", "strategy": "score", "sticky": {"by": "user", "ttl": "1m"}},
    {"name": "drawn", "strategy": "sticky", "sticky": {"by": "user"}},
]


def model(name, policy, first=None, second=None):
    """Each test has targets of its own: nothing was learnt of them before."""
    targets = [{"id": f"{name}-one", "provider": "one", "model": f"{name}-one", "price": {"input": 1, "output": 1}},
               {"id": f"{name}-two", "provider": "two", "model": f"{name}-two", "price": {"input": 1, "output": 1}}]
    targets[0].update(first or {})
    targets[1].update(second or {})
    return {"name": name, "policy": policy, "targets": targets}


MODELS = [
    model("slow-one", "by-score"),
    model("slow-streams", "by-score"),
    model("failing", "by-score"),
    model("dear-time", "by-score", {"price": {"input": 1, "output": 1}}, {"price": {"input": 900000, "output": 1}}),
    model("cheap", "by-cost", second={"price": {"input": 5, "output": 5}}),
    model("cheap-slow", "by-cost", second={"price": {"input": 5, "output": 5}}),
    model("weighted", "by-weight", {"weight": 3}),
    model("turns", "in-turn"),
    model("idle", "idlest"),
    model("ordered", "in-order"),
    model("stuck", "by-user"),
    model("drawn", "drawn"),
    model("prompts", "by-score"),
    model("dry", "by-score"),
    model("bounded", "by-score", {"limits": {"concurrent": 1}}, {"limits": {"concurrent": 1}}),
    model("per-minute", "by-score", {"limits": {"requests_per_minute": 3}}, {"limits": {"requests_per_minute": 2}}),
]


@pytest.fixture(scope="module")
def gate():
    config = config_for(ONE)
    breaker = {"min_requests": 1000}
    config["providers"] = [provider_for(ONE, "one", retry={"attempts": 1}, breaker=breaker),
                           provider_for(TWO, "two", retry={"attempts": 1}, breaker=breaker),
                           provider_for(ONE, "limited", rate={"requests_per_minute": 4}),
                           provider_for(ONE, "queueing", metrics_url=METRICS.url.replace("/v1", "/metrics"))]
    config["models"] = MODELS + [{"name": "rated", "targets": [
        {"id": "rated-1", "provider": "limited", "model": "a", "price": {"input": 1, "output": 1}}]}]
    config["models"].append(model("queues", "never-curious", {"provider": "queueing"}))
    METRICS.answer = lambda call: call.respond(200, b"vllm:num_requests_running 8\nvllm:num_requests_waiting 4000\n",
                                               content_type="text/plain")
    config["routing"] = {"policies": [*POLICIES, {"name": "never-curious", "strategy": "score", "explore": 0}]}
    with Sluice(config) as started:
        yield started
    for upstream in (ONE, TWO, METRICS):
        upstream.stop()


@pytest.fixture(autouse=True)
def fresh():
    for upstream in (ONE, TWO):
        upstream.forget()
        upstream.answer = lambda call: call.respond(200, chat_body())
    yield
    for upstream in (ONE, TWO):
        assert not upstream.violations and not upstream.failures


def after(seconds):
    def answer(call):
        time.sleep(seconds)
        call.respond(200, chat_body())
    return answer


def went(gate, name, count, **fields):
    """Which of the two answered each of <count> calls, one after the other."""
    seen = []
    for _ in range(count):
        answer = gate.chat(name, **fields)
        assert answer.status == 200, answer
        seen.append(answer.header("x-sluice-target").rsplit("-", 1)[1])
    return seen


def test_a_slow_target_loses_its_calls(gate):
    ONE.answer = after(0.4)
    seen = went(gate, "slow-one", 25)
    assert seen[5:].count("one") <= 2, seen


def test_a_target_whose_first_token_is_late_loses_its_calls(gate):
    def stream(call, wait):
        call.begin_stream()
        time.sleep(wait)
        for _ in range(10):
            call.event(chat_chunk({"content": "b"}))
        call.event("[DONE]")
        call.end_stream()

    ONE.answer = lambda call: stream(call, 1.5)
    TWO.answer = lambda call: stream(call, 0)
    seen = went(gate, "slow-streams", 25, stream=True)
    assert seen[5:].count("one") <= 2, seen


def test_a_target_that_fails_at_once_is_no_fast_one(gate):
    ONE.answer = lambda call: call.respond(500, {"error": {"message": "x"}})
    TWO.answer = after(0.05)
    assert set(went(gate, "failing", 30)) == {"two"}  # with another try where the first one failed
    assert len(ONE.calls) <= 4


def test_time_is_bought_where_it_is_worth_its_price(gate):
    ONE.answer = after(0.3)
    seen = went(gate, "dear-time", 20)  # some dollars for 0.3 s: too dear
    assert seen.count("two") <= 2, seen


def test_the_cheapest_is_asked_that_is_fast_enough(gate):
    ONE.answer = after(0.1)
    assert went(gate, "cheap", 15).count("one") >= 14
    ONE.answer = after(0.5)
    seen = went(gate, "cheap-slow", 20)
    assert seen[4:].count("one") <= 2, seen


def test_weights_are_shares(gate):
    seen = Counter(went(gate, "weighted", 300))
    assert 190 <= seen["one"] <= 260, seen  # 225, and about five standard deviations


def test_turns_are_taken(gate):
    seen = went(gate, "turns", 10)
    assert seen in (["one", "two"] * 5, ["two", "one"] * 5)


def test_the_first_of_the_file_is_asked_first(gate):
    assert set(went(gate, "ordered", 10)) == {"one"}


def test_the_least_busy_is_asked(gate):
    held, release = threading.Event(), threading.Event()

    def hold(call):
        held.set()
        release.wait(20)
        call.respond(200, chat_body())

    ONE.answer = TWO.answer = hold
    thread = threading.Thread(target=lambda: gate.chat("idle"))
    thread.start()
    assert held.wait(10)
    busy, idle = (ONE, "two") if ONE.calls else (TWO, "one")
    (TWO if busy is ONE else ONE).answer = lambda call: call.respond(200, chat_body())
    assert set(went(gate, "idle", 10)) == {idle}
    release.set()
    thread.join(20)


@pytest.mark.parametrize("name", ["stuck", "drawn"])
def test_the_calls_of_a_user_stay_together(gate, name):
    homes = {}
    for user in [f"user-{i}" for i in range(12)] * 3:
        [home] = went(gate, name, 1, user=user)
        assert homes.setdefault(user, home) == home, (user, homes)
    assert len(set(homes.values())) == 2, homes


def test_a_long_prompt_goes_back_to_who_has_read_it(gate):
    homes = {}
    for turn in range(3):
        for prompt in range(8):
            messages = [{"role": "system", "content": f"{prompt} " + "of many words " * 800}]
            messages += [{"role": "user", "content": f"turn {i}"} for i in range(turn + 1)]
            answer = gate.chat("prompts", messages=messages)
            home = answer.header("x-sluice-target")
            assert homes.setdefault(prompt, home) == home, (prompt, turn, homes)
    assert len(set(homes.values())) == 2, homes


def test_a_target_whose_quota_runs_out_is_left_alone_before_it_refuses(gate):
    left = {"count": 6}

    def limited(call):
        left["count"] -= 1
        call.respond(200, chat_body(), headers={
            "x-ratelimit-limit-requests": "1000", "x-ratelimit-remaining-requests": str(max(left["count"], 0)),
            "x-ratelimit-reset-requests": "10m0s"})

    ONE.answer = limited
    seen = went(gate, "dry", 20)
    assert seen.count("one") <= 2, seen
    assert left["count"] > 0


def test_limits_of_targets_are_kept(gate):
    inside, release = [], threading.Event()

    def hold(call):
        inside.append(call)
        release.wait(20)
        call.respond(200, chat_body())

    ONE.answer = TWO.answer = hold
    threads = [threading.Thread(target=lambda: gate.chat("bounded")) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(inside) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(ONE.calls) == 1 and len(TWO.calls) == 1
    answer = gate.chat("bounded")
    assert answer.status == 503 and "limits" in answer.json["error"]["message"], answer
    assert answer.header("retry-after")
    release.set()
    for thread in threads:
        thread.join(20)
    assert gate.chat("bounded").status == 200


def test_limits_by_the_minute_are_kept(gate):
    answers = [gate.chat("per-minute").status for _ in range(8)]
    assert answers == [200] * 5 + [503] * 3
    assert len(ONE.calls) == 3 and len(TWO.calls) == 2


def test_the_rate_of_a_provider_is_kept(gate):
    answers = [gate.chat("rated").status for _ in range(6)]
    assert answers == [200] * 4 + [503] * 2
    assert len(ONE.calls) == 4


def test_a_queue_that_a_server_tells_of_is_avoided(gate):
    METRICS.wait_calls(2)  # the second one is asked when the first has been read
    assert METRICS.last().target == "/metrics"
    assert set(went(gate, "queues", 10)) == {"two"}


def test_the_figures_are_shown(gate):
    went(gate, "slow-one", 1)
    done = gate.cli("status", "--format", "json")
    assert done.returncode == 0, done.stderr
    targets = {one["id"]: one for one in json.loads(done.stdout)["targets"]}
    shown = targets["slow-one-two"]
    assert shown["circuit"] == "closed" and shown["first_token_us"] > 0 and shown["in_flight"] == 0, shown
    assert "first token" in gate.cli("status").stdout
