# SPDX-License-Identifier: Apache-2.0
"""What a limit allows is never exceeded, and what was not used is given back."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import (
    KEY_ACME,
    KEY_ACME_FAST,
    KEY_GLOBEX,
    Sluice,
    chat_body,
    chat_request,
    config_for,
    eventually,
    merged,
    sha256_hash,
    stream_chat,
)
from raw_upstream import openai_answer

pytestmark = pytest.mark.threads
INPUT, OUTPUT = 1000, 4000  # nano-dollars per token (harness.PRICE)


def tenant(name="acme", key=KEY_ACME, **changes):
    return merged({"name": name, "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(key)}]}, changes)


def gate_for(upstream, tenants, **changes):
    return Sluice(config_for(upstream, tenants=tenants, **changes))


def ask_many(gate, count, at_once, **options):
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda _: gate.chat(**options), range(count)))


def statuses(answers):
    return {status: sum(1 for a in answers if a.status == status) for status in {a.status for a in answers}}


def greedy(call):
    """Uses every token it may."""
    body = call.json
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 4096
    usage = {"prompt_tokens": 20, "completion_tokens": most * body.get("n", 1)}
    usage["total_tokens"] = sum(usage.values())
    if body.get("stream"):
        stream_chat(call, usage=usage)
    else:
        call.respond(200, chat_body(usage=usage))


# ------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize("algorithm", ["sliding_window", "token_bucket"])
def test_requests_per_window(upstream, algorithm):
    limits = {"requests_per_minute": 40}
    with gate_for(upstream, [tenant(limits=limits)], limits={"algorithm": algorithm}) as gate:
        answers = ask_many(gate, 200, 32)
        good = statuses(answers)
        assert 0 < good[200] <= 40 and good[429] == 200 - good[200], good
        if algorithm == "sliding_window":
            assert good[200] == 40
        assert len(upstream.calls) == good[200]
        refused = next(a for a in answers if a.status == 429)
        error = refused.json["error"]
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded"), error
        assert "requests_per_minute" in error["message"] and "acme" in error["message"], error
        assert 0 < int(refused.header("retry-after")) <= 61
        assert 0 < int(refused.header("retry-after-ms")) <= 61000


def test_headers_tell_what_is_left(upstream):
    limits = {"requests_per_minute": 10, "tokens_per_minute": 100000}
    with gate_for(upstream, [tenant(limits=limits)]) as gate:
        for left in (9, 8, 7):
            answer = gate.chat()
            assert answer.header("x-ratelimit-limit-requests") == "10"
            assert answer.header("x-ratelimit-remaining-requests") == str(left)
            assert answer.header("x-ratelimit-limit-tokens") == "100000"
            assert 0 < int(answer.header("x-ratelimit-remaining-tokens")) < 100000
            assert answer.header("x-ratelimit-reset-requests")
            assert '"requests_per_minute";q=10;w=60' in answer.header("ratelimit-policy")
            assert f'"requests_per_minute";r={left};t=' in answer.header("ratelimit")


def test_a_window_slides(upstream):
    with gate_for(upstream, [tenant(limits={"requests_per_second": 20})]) as gate:
        admitted = []
        end = time.monotonic() + 4

        def hammer():
            while (asked := time.monotonic()) < end:
                if gate.chat().status == 200:
                    admitted.append((asked, time.monotonic()))

        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # A call was admitted between its two stamps: what counts is what is inside for certain.
        times = sorted(admitted)
        for i, (begin, _) in enumerate(times):
            inside = sum(1 for _, at in times[i:] if at < begin + 0.99)
            assert inside <= 20, (i, inside)
        assert len(times) >= 0.85 * 20 * 4, len(times)


def test_what_the_parent_refuses_is_not_counted_below(upstream):
    tenants = [tenant("acme", limits={"requests_per_minute": 5}),
               tenant("search", key=KEY_GLOBEX, parent="acme", limits={"requests_per_minute": 100})]
    with gate_for(upstream, tenants) as gate:
        assert statuses(ask_many(gate, 20, 8, key=KEY_GLOBEX)) == {200: 5, 429: 15}
        refused = gate.chat(key=KEY_GLOBEX)
        assert "acme" in refused.json["error"]["message"]
        assert refused.header("x-ratelimit-limit-requests") == "5"
        assert gate.chat(key=KEY_ACME).status == 429  # the parent's own key meets the same limit


def test_limits_of_keys_and_models_and_users(upstream):
    keys = [{"name": "a", "hash": sha256_hash(KEY_ACME), "limits": {"models": {"fast": {"requests_per_minute": 2}}}},
            {"name": "b", "hash": sha256_hash(KEY_ACME_FAST)}]
    tenants = [{"name": "acme", "models": ["*"], "keys": keys, "users": {"limits": {"requests_per_minute": 3}}}]
    with gate_for(upstream, tenants) as gate:
        assert [gate.chat("fast").status for _ in range(3)] == [200, 200, 429]
        assert [gate.chat("quick").status for _ in range(1)] == [429]  # an alias of the same model
        assert [gate.chat("slow").status for _ in range(3)] == [200] * 3
        assert [gate.chat("slow", key=KEY_ACME_FAST, user="u1").status for _ in range(4)] == [200, 200, 200, 429]
        assert gate.chat("slow", key=KEY_ACME_FAST, user="u2").status == 200
        assert gate.chat("slow", key=KEY_ACME_FAST).status == 200


def test_a_refused_call_counts_nothing(upstream):
    with gate_for(upstream, [tenant(limits={"requests_per_minute": 3})]) as gate:
        for _ in range(10):
            assert gate.chat("no-such-model").status == 404
        assert statuses(ask_many(gate, 5, 2)) == {200: 3, 429: 2}


# ---------------------------------------------------------------------------------- at once


def test_parallel_calls(upstream):
    inside, most, lock = [0], [0], threading.Lock()

    def slow(call):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        with lock:
            inside[0] -= 1
        call.respond(200, chat_body())

    upstream.answer = slow
    with gate_for(upstream, [tenant(limits={"concurrent": 3})]) as gate:
        good = statuses(ask_many(gate, 60, 20))
        assert most[0] <= 3 and good[200] >= 3 and set(good) <= {200, 429}, (most, good)
        upstream.answer = openai_answer
        assert [gate.chat().status for _ in range(10)] == [200] * 10


def test_who_leaves_frees_the_slot(upstream):
    def stuck(call):
        call.begin_stream()
        call.event({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]})
        call.wait_gone(10)

    upstream.answer = stuck
    with gate_for(upstream, [tenant(limits={"concurrent": 2})]) as gate:
        for _ in range(3):
            with contextlib.ExitStack() as open_ones:
                for _ in range(2):
                    client, _response = gate.open_stream()
                    open_ones.enter_context(client)
                assert gate.chat().status == 429
            upstream.answer = openai_answer
            eventually(lambda: gate.chat().status == 200, what="the slots are free again")
            upstream.answer = stuck
        upstream.answer = openai_answer


# ------------------------------------------------------------------------------------ money


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fields", [{}, {"max_tokens": 300}, {"max_completion_tokens": 100, "n": 3}])
def test_a_budget_is_never_overspent(upstream, stream, fields):
    upstream.answer = greedy
    amount = 5_000_000
    budget = {"amount": f"{amount / 1e9:.6f} USD", "period": "day"}
    with gate_for(upstream, [tenant(budget=budget)]) as gate:
        answers = ask_many(gate, 60, 12, stream=stream, **fields)
        good = statuses(answers)
        assert good.get(200, 0) >= 1 and good.get(429, 0) >= 1 and set(good) == {200, 429}, good
        for _ in range(20):  # what is left is used, down to what is of no use
            if gate.chat(stream=stream, **fields).status != 200:
                break
        refused = gate.chat(stream=stream, **fields)
        assert refused.status == 429 and refused.json["error"]["code"] == "insufficient_quota", refused
        assert refused.header("x-should-retry") == "false"
        spent = gate.usage_total("cost_nanos", tenant="acme")
        assert spent <= amount
        # Down to the shortest useful answer, beside the most that so small a prompt may be counted as.
        least = 64 * max(1, fields.get("n", 1)) * OUTPUT + 1000 * INPUT
        assert spent >= amount - least, (spent, amount)


def test_the_output_is_lowered_to_what_can_be_paid(upstream):
    upstream.answer = greedy
    budget = {"amount": "0.001 USD", "period": "month"}
    with gate_for(upstream, [tenant(budget=budget)]) as gate:
        answer = gate.chat(max_tokens=100000)
        assert answer.status == 200, answer
        lowered = int(answer.header("x-sluice-max-tokens"))
        sent = upstream.calls[-1].json
        assert sent["max_tokens"] == lowered and 64 <= lowered <= 250
        assert gate.usage_total("cost_nanos", tenant="acme") <= 1_000_000


def test_what_is_not_used_comes_back(upstream):
    budget = {"amount": "0.05 USD", "period": "day"}
    with gate_for(upstream, [tenant(budget=budget)]) as gate:
        # Each may cost 0.04 at most and costs 0.000039: one after the other they all fit.
        assert [gate.chat(max_tokens=10000).status for _ in range(30)] == [200] * 30


def test_a_budget_that_only_warns(upstream):
    upstream.answer = greedy
    budget = {"amount": "0.001 USD", "period": "day", "on_exceeded": "warn"}
    with gate_for(upstream, [tenant(budget=budget)]) as gate:
        answers = [gate.chat(max_tokens=200) for _ in range(4)]
        assert [a.status for a in answers] == [200] * 4
        assert answers[-1].header("x-sluice-warning")


@pytest.mark.parametrize("marks, told", [([0.5, 0.8], ["50.0", "80.0", "100.0"]), ([], ["100.0"]), ([1], ["100.0"]),
                                         ([0.1, 0.2, 0.3, 0.4], ["10.0", "20.0", "30.0", "40.0", "100.0"])])
def test_the_log_says_once_that_a_budget_which_only_warns_is_spent(upstream, marks, told):
    upstream.answer = greedy
    budget = {"amount": "0.001 USD", "period": "month", "on_exceeded": "warn", "warn_at": marks}
    with gate_for(upstream, [tenant(budget=budget)]) as gate:
        for _ in range(12):  # seven times the amount, each more than half of it
            assert gate.chat(max_tokens=300).status == 200
        assert gate.stop() == 0
        lines = [line["msg"] for line in gate.log_lines() if "has reached" in line.get("msg", "")]
        assert [line.split("has reached ")[1].split(" %")[0] for line in lines] == told, lines


@pytest.mark.parametrize("seconds", [0, 0.05])
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_gives_no_second_budget(upstream, how, seconds):
    """However many rounds it takes to spend it: where answers are slow, few calls hold all of it at once, and most of a
    round is refused meanwhile."""
    def slow(call):
        time.sleep(seconds)
        greedy(call)

    upstream.answer = slow
    amount, rounds_max = 3_000_000, 10
    config = config_for(upstream, tenants=[tenant(budget={"amount": "0.003 USD", "period": "month"},
                                                  limits={"requests_per_hour": 50})])
    gate = Sluice(config)
    good = []
    try:
        while good[-2:] != [0, 0] and len(good) < rounds_max:
            good.append(statuses(ask_many(gate, 12, 6, max_tokens=100)).get(200, 0))
            if how == "stop":
                assert gate.stop() == 0
            else:
                gate.kill()
            gate.start()
        assert good[0] > 0 and good[-2:] == [0, 0] and 0 not in good[:-2], good
        eventually(lambda: gate.usage_total("requests", tenant="acme", status=200) == sum(good), what="each is booked")
        assert 0.7 * amount < gate.usage_total("cost_nanos", tenant="acme") <= amount, good
    finally:
        gate.stop()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_knows_the_calls_that_failed(upstream, how):
    upstream.answer = lambda call: call.respond(500, {"error": {"message": "no", "type": "server_error"}})
    with gate_for(upstream, [tenant(limits={"requests_per_hour": 5})]) as gate:
        assert statuses(ask_many(gate, 8, 4)) == {500: 5, 429: 3}
        getattr(gate, how)()
        gate.start()
        assert gate.chat().status == 429
        assert len(upstream.calls) == 5


def test_a_reload_changes_limits_and_forgets_nothing(upstream):
    with gate_for(upstream, [tenant(limits={"requests_per_minute": 5})]) as gate:
        assert statuses(ask_many(gate, 8, 4)) == {200: 5, 429: 3}
        gate.write(merged(gate.config, {"tenants": [tenant(limits={"requests_per_minute": 8})]}))
        assert gate.cli("reload").returncode == 0
        assert statuses(ask_many(gate, 8, 4)) == {200: 3, 429: 5}


# ------------------------------------------------------------------------------------ tokens


def test_windows_of_tokens_carry_debt(upstream):
    usage = {"prompt_tokens": 20, "completion_tokens": 500, "total_tokens": 520}
    upstream.answer = lambda call: call.respond(200, chat_body(usage=usage))
    with gate_for(upstream, [tenant(limits={"tokens_per_minute": 2000})]) as gate:
        good = statuses(ask_many(gate, 40, 4))
        assert good[429] > 0 and 1 <= good[200] <= 10, good
        # On a busy machine most were refused while the first one ran: there may be room for a few.
        answers = [gate.chat() for _ in range(5)]
        assert answers[-1].status == 429 and answers[-1].json["error"]["type"] == "tokens", answers


def test_strict_windows_of_tokens_are_never_exceeded(upstream):
    upstream.answer = greedy
    with gate_for(upstream, [tenant(limits={"output_tokens_per_minute": 1000, "strict": True})]) as gate:
        answers = ask_many(gate, 20, 10, max_tokens=150)
        used = sum(a.json["usage"]["completion_tokens"] for a in answers if a.status == 200)
        assert 850 <= used <= 1000, used


# ------------------------------------------------------------------------------------- waiting


def test_a_short_wait_is_held_instead_of_refused(upstream):
    limits = {"requests_per_second": 5}
    with gate_for(upstream, [tenant(limits=limits)], limits={"hold_429": "5s"}) as gate:
        begun = time.monotonic()
        assert statuses(ask_many(gate, 15, 15)) == {200: 15}
        assert time.monotonic() - begun >= 1.9


def test_who_waits_is_told_in_the_end(upstream):
    with gate_for(upstream, [tenant(limits={"requests_per_minute": 2})], limits={"hold_429": "5s"}) as gate:
        begun = time.monotonic()
        assert statuses(ask_many(gate, 4, 4)) == {200: 2, 429: 2}
        assert time.monotonic() - begun < 4.9  # it would have to wait a minute: it is told at once


def test_who_leaves_while_it_waits_takes_nothing(upstream):
    with gate_for(upstream, [tenant(limits={"requests_per_second": 1})], limits={"hold_429": "10s"}) as gate:
        assert gate.chat().status == 200
        clients = []
        for _ in range(15):
            client = gate.connect()
            client.send(chat_request())
            clients.append(client)
        time.sleep(0.2)
        for client in clients:
            client.close()
        begun = time.monotonic()
        assert gate.chat().status == 200
        assert time.monotonic() - begun < 9, "they would have taken fifteen seconds"



def test_users_are_known_again_after_a_restart(upstream):
    names = ["plain", "é" * 120, "a" * 255, "x\ny\t", "a|b", "~x", "a,b\"c'", "a:requests_per_day", " lead ", "\U0001f600" * 60]
    config = config_for(upstream, tenants=[tenant(users={"limits": {"requests_per_day": 1}})])
    with Sluice(config) as gate:
        assert statuses([gate.chat(user=name) for name in names]) == {200: len(names)}
        assert statuses([gate.chat(user=name) for name in names]) == {429: len(names)}
        assert gate.chat(user="a" * 256).status == 400  # the ledger could not tell it from the one before
        gate.stop()
        with Sluice(config, directory=gate.directory) as again:
            assert statuses([again.chat(user=name) for name in names]) == {429: len(names)}
