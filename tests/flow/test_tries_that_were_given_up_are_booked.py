# SPDX-License-Identifier: Apache-2.0
"""A target that has all of a call works on it although nobody waits any more: what was given up is booked, by
itself when another target answered, and stays within budgets."""

import pytest
from harness import KEY_ACME, PRICE, Sluice, Upstream, chat_body, chat_chunk, config_for, provider_for, sha256_hash

pytestmark = pytest.mark.threads
SECOND = Upstream()
INPUT, OUTPUT = 1000, 4000  # nano-dollars per token (harness.PRICE)


def configured(upstream, **tenant):
    retry = {"attempts": 2, "backoff": "1ms", "max_backoff": "5ms"}
    config = config_for(upstream)
    config["providers"] = [provider_for(upstream, "first", retry=retry, timeouts={"first_byte": "300ms", "connect": "1s"}),
                           provider_for(SECOND, "second", retry=retry)]
    targets = [{"id": name, "provider": name, "model": name, "priority": i, "price": PRICE}
               for i, name in enumerate(("first", "second"), 1)]
    config["models"] = [{"name": "fast", "targets": targets}, {"name": "alone", "targets": [dict(targets[0], id="alone")]}]
    config["tenants"] = [{"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}], **tenant}]
    return config


@pytest.fixture(autouse=True)
def fresh():
    SECOND.forget()
    SECOND.answer = lambda call: call.respond(200, chat_body("from the second"))
    yield
    assert not SECOND.violations and not SECOND.failures


@pytest.fixture(scope="module", autouse=True)
def end():
    yield
    SECOND.stop()


def stall(call):
    call.wait_gone(10)


def rows(gate):
    assert gate.stop() == 0
    found = gate.ledger_rows()
    gate.start()
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_one_that_was_too_slow(upstream, stream):
    upstream.answer = stall
    with Sluice(configured(upstream)) as gate:
        answer = gate.chat(stream=stream)
        assert answer.status == 200, answer
        name = answer.header("x-request-id")
        mine, other = sorted(rows(gate), key=lambda row: row["id"] != name)
        assert (mine["id"], mine["target"], mine["outcome"], mine["attempts"]) == (name, "second", "complete", 2)
        assert (other["target"], other["outcome"], other["status"], other["fault"]) == ("first", "partial", 504, "target_slow")
        assert other["tags"] == "abandoned=1" and any(name in line and other["id"] in line for line in gate.log().splitlines())
        assert other["counted"] == "estimate" and other["input_tokens"] > 0
        assert (other["output_tokens"] > 0) == (not stream), "of a stream nothing was seen; of others nothing can be"
        assert other["cost_nanos"] == other["input_tokens"] * INPUT + other["output_tokens"] * OUTPUT


def test_a_count_of_tokens_costs_nothing_however_late_it_is(upstream):
    """Nothing is made of it: a try that was given up is not booked, as one that was answered is not."""
    upstream.answer = stall
    SECOND.answer = lambda call: call.respond(200, b'{"input_tokens":77}')
    config = configured(upstream)
    for provider in config["providers"]:
        provider["type"] = "anthropic"
    with Sluice(config) as gate:
        answer = gate.post("/v1/messages/count_tokens", {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]})
        assert answer.status == 200 and answer.json["input_tokens"] == 77, answer
        row, = rows(gate)
        assert (row["target"], row["attempts"], row["operation"]) == ("second", 2, "count")
        assert (row["cost_nanos"], row["input_tokens"], row["output_tokens"]) == (0, 0, 0)


def test_the_last_one_is_booked_with_the_call(upstream):
    upstream.answer = stall
    with Sluice(configured(upstream)) as gate:
        answer = gate.chat("alone", stream=True)
        assert answer.status == 504
        row, = rows(gate)
        assert (row["outcome"], row["status"], row["fault"]) == ("partial", 504, "target_slow")
        assert row["cost_nanos"] > 0


@pytest.mark.parametrize("answer", [lambda call: call.respond(503, b"{}"), lambda call: call.reset()], ids=["refused", "reset"])
def test_what_a_target_refused_or_broke_off_costs_nothing(upstream, answer):
    upstream.answer = answer
    with Sluice(configured(upstream)) as gate:
        assert gate.chat().status == 200
        row, = rows(gate)
        assert row["target"] == "second" and row["attempts"] == 2


def test_what_was_seen_of_an_answer_is_booked(upstream):
    """It broke before anything of it went to the client, and the second target refused."""
    def broken(call):
        call.begin_stream()
        call.chunk(b"data: " + str(chat_chunk("word " * 40)).encode()[:60])
        call.reset()

    upstream.answer = broken
    with Sluice(configured(upstream)) as gate:
        assert gate.chat("alone", stream=True).status in (200, 502)
        row, = rows(gate)
        assert row["outcome"] == "partial" and row["cost_nanos"] > 0


@pytest.mark.parametrize("tries", [1, 6])
def test_budgets_hold_with_all_tries(upstream, tries):
    """What was given up is held beside the next try, which is made shorter or not at all."""
    upstream.answer = stall
    amount = 1200 * OUTPUT

    def greedy(call):
        usage = {"prompt_tokens": 20, "completion_tokens": call.json["max_tokens"]}
        call.respond(200, chat_body("x", usage={**usage, "total_tokens": sum(usage.values())}))

    SECOND.answer = greedy
    budget = {"amount": f"{amount / 1e9:.9f} USD", "period": "month"}
    with Sluice(configured(upstream, budget=budget)) as gate:
        answers = [gate.chat(max_tokens=600) for _ in range(tries)]
        assert answers[0].status == 200, answers[0]
        assert {answer.status for answer in answers} <= {200, 429, 504}
        spent = sum(row["cost_nanos"] for row in rows(gate))
        assert 0 < spent <= amount, spent
        if tries > 1:
            assert spent > amount / 2 and 429 in {answer.status for answer in answers}
