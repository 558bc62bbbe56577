# SPDX-License-Identifier: Apache-2.0
"""Each call once, with its tokens and its exact price in nano-dollars."""

import threading
from decimal import Decimal

import pytest
from harness import (
    KEY_ACME_FAST,
    KEY_GLOBEX,
    KEY_WRONG,
    Sluice,
    chat_body,
    chat_chunk,
    config_for,
    eventually,
    model_for,
    run_cli,
    stream_chat,
)

pytestmark = pytest.mark.threads
COST = 11 * 1000 + 7 * 4000  # nano-dollars of the usual answer


def row_of(gate, answer):
    return gate.ledger_row(answer.header("x-request-id"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_complete_call(gate, stream):
    row = row_of(gate, gate.chat("quick", stream=stream, user="end-user-7", headers={"x-sluice-tags": "team=a"}))
    wanted = {
        "tenant": "acme", "key": "main", "model": "quick", "target": "fast-1", "provider": "up",
        "upstream_model": "upstream-model", "operation": "chat", "status": 200, "outcome": "complete", "counted": "provider",
        "input_tokens": 11, "output_tokens": 7, "cost_nanos": COST, "attempts": 1, "user": "end-user-7"}
    if stream:  # an unstreamed answer's choices are not looked into
        wanted["finish"] = "stop"
    assert {name: row[name] for name in wanted} == wanted
    assert bool(row["stream"]) == stream
    assert 0 < row["ttft_us"] <= row["duration_us"] and 0 < row["overhead_us"] <= row["duration_us"], row


@pytest.mark.parametrize("usage, cost", [
    ({"prompt_tokens": 0, "completion_tokens": 0}, 0),
    ({"prompt_tokens": 1, "completion_tokens": 0}, 1000),
    ({"prompt_tokens": 1000, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 999}}, 1000 + 999 * 500 + 4000),
    ({"prompt_tokens": 123456789, "completion_tokens": 987654321}, 123456789 * 1000 + 987654321 * 4000),
    ({"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 8}}, 5000 + 36000)])
@pytest.mark.parametrize("stream", [False, True])
def test_the_price_is_exact(gate, upstream, usage, cost, stream):
    if stream:
        upstream.answer = lambda call: stream_chat(call, usage=usage)
    else:
        upstream.answer = lambda call: call.respond(200, chat_body(usage=usage))
    assert row_of(gate, gate.chat(stream=stream))["cost_nanos"] == cost


@pytest.mark.parametrize("usage", [
    {"prompt_tokens": -5, "completion_tokens": -7}, {"prompt_tokens": "many", "completion_tokens": None},
    {"prompt_tokens": 1e30, "completion_tokens": 10**25}, {}, [], "x", {"prompt_tokens": 1.5, "completion_tokens": 2.5},
    {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 500}}])
def test_nonsense_is_never_negative_and_never_crashes(gate, upstream, usage):
    upstream.answer = lambda call: call.respond(200, chat_body("some words of an answer", usage=usage))
    row = row_of(gate, gate.chat())
    assert row["outcome"] == "complete" and row["cost_nanos"] >= 0 and row["input_tokens"] >= 0 and row["output_tokens"] >= 0, row


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_usage_is_estimated(gate, upstream, stream):
    words = ["word "] * 50

    def answer(call):
        if stream:
            stream_chat(call, words=words, usage=None)
        else:
            call.respond(200, chat_body("".join(words), usage=None))

    upstream.answer = answer
    row = row_of(gate, gate.chat(stream=stream))
    assert row["counted"] == "estimate" and row["output_tokens"] >= 50 and row["input_tokens"] > 0, row
    assert row["cost_nanos"] > 0


@pytest.mark.parametrize("how, status", [("no key", 401), ("unknown model", 404), ("not allowed", 403)])
def test_a_refused_call(gate, how, status):
    before = gate.usage_total("cost_nanos")
    answer = {"no key": lambda: gate.chat(key=KEY_WRONG), "unknown model": lambda: gate.chat("nobody"),
              "not allowed": lambda: gate.chat("slow", key=KEY_ACME_FAST)}[how]()
    assert answer.status == status
    if how != "no key":
        row = row_of(gate, answer)
        assert row["outcome"] == "refused" and row["status"] == status and row["cost_nanos"] == 0, row
        assert row["fault"]
    assert gate.usage_total("cost_nanos") == before


def test_sums_agree_with_what_the_upstream_saw(gate, upstream):
    before = {row["key"]: row for row in gate.usage(by="key")}
    lock, seen = threading.Lock(), []

    def answer(call):
        with lock:
            seen.append(call.json["stream"] if "stream" in call.json else False)
        (stream_chat if call.json.get("stream") else lambda c: c.respond(200, chat_body()))(call)

    upstream.answer = answer
    threads = [threading.Thread(target=lambda i=i: [gate.chat(stream=(i + j) % 2 == 0, key=KEY_GLOBEX) for j in range(25)])
               for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 200
    rows = [row for row in gate.usage(by="tenant") if row["tenant"] == "globex"]
    assert rows[0]["requests"] == 200 and rows[0]["cost_nanos"] == 200 * COST, rows
    assert (rows[0]["input_tokens"], rows[0]["output_tokens"]) == (2200, 1400)
    assert before is not None


def test_usage_counts_what_is_not_drained_yet(gate):
    for _ in range(5):
        before = gate.usage_total("requests")
        gate.chat()
        assert gate.usage_total("requests") == before + 1, "asked at once, it is already there"


def test_ids_stand_once(gate):
    eventually(gate.ledger_rows)
    ids = [row["id"] for row in gate.ledger_rows()]
    assert len(ids) == len(set(ids)), "booked twice"


@pytest.mark.parametrize("by", ["tenant", "key", "user", "model", "target", "provider", "operation", "status", "outcome", "minute", "hour", "day"])
def test_every_way_to_ask(gate, by):
    gate.chat()
    rows = gate.usage(by=by)
    assert rows and all(by in row and row["requests"] > 0 for row in rows), rows
    assert sum(row["requests"] for row in rows) == gate.usage_total("requests")
    table = gate.usage_csv(by=by)
    assert sum(int(row["requests"]) for row in table) == sum(row["requests"] for row in rows)
    assert sum(Decimal(row["cost_usd"]) for row in table) == Decimal(sum(row["cost_nanos"] for row in rows)) / 10**9
    words = gate.cli("usage", "--by", by, "--since", "1d")
    assert words.returncode == 0 and "\033" not in words.stdout and len(words.stdout.splitlines()) > len(rows)


def test_usage_without_a_server(upstream):
    with Sluice(config_for(upstream)) as gate:
        for _ in range(3):
            gate.chat()
        gate.stop()
        assert gate.usage_total("requests") == 3 and gate.usage_total("cost_nanos") == 3 * COST


def test_the_ledger_survives_a_restart(upstream):
    with Sluice(config_for(upstream)) as gate:
        gate.chat()
        gate.stop()
        gate.start()
        gate.chat()
        assert gate.usage_total("requests") == 2
        gate.stop()
        gate.start()
        assert gate.usage_total("requests") == 2 and gate.usage_total("cost_nanos") == 2 * COST


def test_wrong_words_are_a_usage_error(gate):
    for args in (("--by", "nonsense"), ("--since", "yesterdayish"), ("--format", "xml")):
        assert gate.cli("usage", *args).returncode == 2, args
    done = run_cli("usage", "-c", "/nonexistent.yaml")
    assert done.returncode in (1, 78) and done.stderr


@pytest.mark.parametrize("policy, status", [("reject", 503), ("cap", 200), ("zero", 200)])
def test_an_unknown_price(upstream, policy, status):
    nobody = model_for("nobody-knows", model="a-model-nobody-knows")
    del nobody["targets"][0]["price"]
    changes = {"unknown_price": policy}
    if policy == "cap":
        changes["price_cap"] = {"input": 10, "output": 50}
    config = config_for(upstream, ledger=changes)
    config["models"].append(nobody)
    with Sluice(config) as gate:
        answer = gate.chat("nobody-knows")
        assert answer.status == status, answer
        if policy == "reject":
            eventually(lambda: "price" in gate.log(), what="it is said")
        else:
            row = row_of(gate, answer)
            assert row["cost_nanos"] == (11 * 10_000 + 7 * 50_000 if policy == "cap" else 0), row


def test_a_known_price_comes_from_the_catalogue(upstream):
    config = config_for(upstream)
    config["models"] = [model_for("fast", model="gpt-4o-mini")]
    config["models"][0]["targets"][0]["price"] = "catalog"
    with Sluice(config) as gate:
        assert row_of(gate, gate.chat())["cost_nanos"] == 11 * 150 + 7 * 600


def test_a_cut_stream_is_booked_with_what_was_produced(gate, upstream):
    def answer(call):
        call.begin_stream()
        for i in range(40):
            call.event(chat_chunk({"content": f"word{i} "}))
        call.wait_gone(10)

    upstream.answer = answer
    client, response = gate.open_stream()
    got = b""
    for piece in client.pieces(response):
        got += piece
        if b"word39" in got:
            break
    client.close()
    row = gate.ledger_row(response.header("x-request-id"))
    assert row["outcome"] == "partial" and row["counted"] == "estimate" and 40 <= row["output_tokens"] <= 200, row
    assert row["cost_nanos"] == row["input_tokens"] * 1000 + row["output_tokens"] * 4000


def test_the_end_of_an_answer_comes_after_its_line(gate):
    """Whoever has read [DONE] finds the call in the ledger."""
    for stream in (True, False):
        for _ in range(10):
            answer = gate.chat(stream=stream)
            assert answer.status == 200
            total = gate.usage_total("requests", outcome="complete")
            assert total >= 1
    rows = gate.usage(by="outcome")
    assert not [row for row in rows if row["outcome"] == "lost"], rows
