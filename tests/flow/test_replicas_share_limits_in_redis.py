# SPDX-License-Identifier: Apache-2.0
"""Replicas on one Redis: what a limit allows is never exceeded by all of them together."""

import contextlib
import shlex
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import KEY_ACME, Sluice, chat_body, config_for, eventually, free_port, merged, run_cli, sha256_hash
from redis_servers import Redis

pytestmark = pytest.mark.threads
ADMIN = "sk-admin-5ecre7-0123456789"
INPUT, OUTPUT = 1000, 4000  # nano-dollars per token (harness.PRICE)


@contextlib.contextmanager
def replicas(upstream, redis, count, timeout="2s", **limits):
    tenant = merged({"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}, limits)
    store = {"type": "redis", "redis": {"url": redis.url(), "timeout": timeout, "replicas_max": count}}
    with contextlib.ExitStack() as stack:
        gates = [stack.enter_context(Sluice(config_for(upstream, tenants=[tenant], store=store)))
                 for _ in range(count)]
        for gate in gates:
            wait_counts(gate)
        yield gates


def wait_counts(gate, times=1):
    eventually(lambda: gate.log().count("Redis counts") >= times, 15, what="the store is up")


def ask_all(gates, count, at_once=32, **options):
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda i: gates[i % len(gates)].chat(**options).status, range(count)))


def test_requests(upstream):
    with Redis() as redis, replicas(upstream, redis, 3, limits={"requests_per_minute": 40}) as gates:
        answers = ask_all(gates, 150)
        assert answers.count(200) == 40 and answers.count(429) == 110, answers
        assert len(upstream.calls) == 40


def test_parallel_calls(upstream):
    def slow(call):
        time.sleep(0.3)
        call.respond(200, chat_body())

    upstream.answer = slow
    with Redis() as redis, replicas(upstream, redis, 2, limits={"concurrent": 6}) as gates:
        answers = ask_all(gates, 40, at_once=40)
        assert 6 <= answers.count(200) < 30
        assert set(answers) == {200, 429}
        eventually(lambda: ask_all(gates, 6).count(200) == 6, 10, what="all have come back")


def admissions(redis, gate, ask):
    """What Redis is asked while ask() runs, by its own log of commands: (questions for a call, all the rest)."""
    def count():
        return gate.metric("sluice_store_round_trips_total")

    def at_rest(do):
        """What is asked ahead has come to rest while <do> is done: else again."""
        for _ in range(100):
            before = count()
            do()
            if count() == before:
                return before
            time.sleep(0.05)
        raise AssertionError("it asks without end")

    with contextlib.ExitStack() as stack:
        def listen():
            nonlocal log
            log = stack.enter_context(redis.connect())
            log.command("MONITOR")

        log = None
        before = at_rest(listen)
        ask()
        counted = at_rest(lambda: time.sleep(0.1)) - before
        redis.command("ECHO", "the end")
        lines = []
        while not lines or b"the end" not in lines[-1]:
            lines.append(log.read())
    questions = others = 0
    for line in lines:
        source, _, text = line.decode().partition("] ")
        words = shlex.split(text)
        if source.endswith("lua") or words[0].upper() != "EVALSHA":
            continue
        keys, values = int(words[2]), len(words) - 3 - int(words[2])
        if keys > 1 and values == 6 + 9 * (keys - 1):  # policy/scripts/admit.lua; a beat has one key
            questions += 1
        else:
            others += 1
    assert abs(questions - counted) <= 1, (questions, counted)  # one may be under way at an end
    return questions, others


def test_a_call_takes_one_round_trip_at_most(upstream):
    """Whatever number of limits it meets; and none where what this gateway has is enough."""
    kinds = {"requests_per_minute": 1000, "input_tokens_per_hour": 10**6, "tokens_per_day": 10**7, "concurrent": 5}
    limits = {**kinds, "models": {"fast": kinds}}
    budgets = [{"amount": "50 USD", "period": "day"}, {"amount": "90 USD", "period": "month"}]
    with Redis() as redis, replicas(upstream, redis, 1, limits=limits, budgets=budgets,
                                    users={"limits": kinds}) as gates:
        def ask(count, user, gates=gates):
            answers = [gates[0].chat(user=user, max_tokens=10).status for _ in range(count)]
            assert answers == [200] * count, answers

        alone, _ = admissions(redis, gates[0], lambda: [ask(1, f"user-{i}") for i in range(30)])
        assert 30 <= alone <= 31, "each user is another: a question for each call"
        ask(20, "one")
        again, _ = admissions(redis, gates[0], lambda: ask(60, "one"))
        assert again <= 60, again
    kinds = {"requests_per_minute": 10**6, "tokens_per_day": 10**9}
    with Redis() as redis, replicas(upstream, redis, 1, limits=kinds) as gates:
        ask(50, None, gates)
        slices, _ = admissions(redis, gates[0], lambda: ask(200, None, gates))
        assert slices < 60, f"{slices} questions for 200 calls where there is plenty"


def test_money_to_the_nano_dollar_through_the_death_of_a_replica(upstream):
    usage = {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120}
    cost = 20 * INPUT + 100 * OUTPUT
    upstream.answer = lambda call: call.respond(200, chat_body(usage=usage))
    amount = 30 * cost + 7000
    budget = {"amount": f"{amount / 1e9:.6f} USD", "period": "month"}
    with Redis() as redis, replicas(upstream, redis, 2, budget=budget) as gates:
        first = ask_all(gates, 10, at_once=4, max_tokens=100)
        assert first.count(200) == 10, (first, gates[0].log()[-2000:])
        gates[1].kill()
        gates[1].start()
        wait_counts(gates[1], 2)
        answers = ask_all(gates, 60, at_once=4, max_tokens=100)
        spent = len(upstream.calls) * cost
        assert spent <= amount
        assert spent >= amount - 5 * cost, (answers, spent, amount)
        assert answers[-1] == 429


def counters(gate, nodes=None):
    where = f"&nodes={nodes}" if nodes else ""
    answer = gate.request("GET", f"/admin/v1/limits?tenant=acme{where}", key=ADMIN, listener="ops")
    assert answer.status == 200, answer
    return {(c["level"], c["limit"]): c for c in answer.json["data"]}


def test_each_shows_what_all_have_used(upstream):
    """Also one that no call has met; without Redis each shows its own, and says so."""
    limits = {"requests_per_minute": 400, "tokens_per_day": 10**6, "concurrent": 50}
    acme = {"name": "acme", "models": ["*"], "limits": limits, "budget": {"amount": "50 USD", "period": "month"},
            "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME), "limits": {"requests_per_hour": 400}}]}
    used = {("tenant", "requests_per_minute"): 12, ("key", "requests_per_hour"): 12, ("tenant", "tokens_per_day"): 12 * 18,
            ("tenant", "budget_per_month"): 12 * (11 * INPUT + 7 * OUTPUT)}
    with Redis() as redis, contextlib.ExitStack() as stack:
        gates = []
        for _ in range(3):
            config = config_for(upstream, tenants=[acme], store={"type": "redis", "redis": {"url": redis.url(), "replicas_max": 3}})
            config["server"]["listeners"].append({"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
            gates.append(stack.enter_context(Sluice(config, env={"SLUICE_ADMIN_KEY": ADMIN})))
            wait_counts(gates[-1])
        assert counters(gates[2]) == {}
        assert ask_all(gates[:2], 12, at_once=1) == [200] * 12

        def settled():
            """What was taken ahead has come back, or is at most the slices of the two."""
            for gate in gates:
                shown = counters(gate)
                if not set(used) <= set(shown) or any(
                        not used[name] <= shown[name]["used"] + shown[name]["held"] <= shown[name]["amount"] for name in used):
                    return False
                assert {c["nodes"] for c in shown.values()} == {"all"}
                if shown["tenant", "budget_per_month"]["used"] != used["tenant", "budget_per_month"]:
                    return False
            return True

        eventually(settled, 20, what="all three show the same")
        alone = [counters(gate, "this") for gate in gates]
        assert [a.get(("tenant", "requests_per_minute"), {"used": 0})["used"] for a in alone] == [6, 6, 0]
        assert {c["nodes"] for a in alone for c in a.values()} == {"this"}
        done = run_cli("limits", "ls", "-c", gates[2].file, "--tenant", "acme", "--format", "csv", env=gates[2].env)
        assert done.returncode == 0 and "budget_per_month" in done.stdout and ",all" in done.stdout, done
        redis.kill()
        shown = counters(gates[0])
        assert {c["nodes"] for c in shown.values()} == {"this"} and shown["tenant", "requests_per_minute"]["used"] == 6


@pytest.mark.parametrize(("memory", "policy", "said"), [
    ("100mb", "allkeys-lru", True), ("100mb", "volatile-ttl", True), ("100mb", "noeviction", False), ("0", "allkeys-lru", False)])
def test_a_redis_that_forgets_counters_is_complained_of(upstream, memory, policy, said):
    with Redis(f"maxmemory {memory}", f"maxmemory-policy {policy}") as redis, replicas(upstream, redis, 1) as gates:
        assert (f"maxmemory-policy {policy}" in gates[0].log()) == said
