# SPDX-License-Identifier: Apache-2.0
"""Ids, target, attempts, cost and time, on answers and on refusals."""

import re
import time

import pytest
from harness import KEY_WRONG, SANITIZED

COST = "0.000039"  # 11 input tokens at 1 USD per million, 7 output tokens at 4


@pytest.mark.parametrize("stream", [False, True])
def test_on_an_answer(gate, stream):
    answer = gate.chat("quick", stream=stream)
    assert re.fullmatch(r"[A-Za-z0-9_-]{8,64}", answer.header("x-request-id"))
    assert answer.header("request-id") == answer.header("x-request-id")
    assert answer.header("x-sluice-model") == "fast"
    assert answer.header("x-sluice-provider") == "up"
    assert answer.header("x-sluice-target") == "fast-1"
    assert answer.header("x-sluice-attempts") == "1"
    assert re.fullmatch(r"\d+", answer.header("x-sluice-overhead-us"))
    assert re.search(r"upstream;dur=[0-9.]+", answer.header("server-timing"))
    assert "date" in answer.fields
    for name in ("x-request-id", "date", "content-type", "x-sluice-target"):
        assert len(answer.fields.all(name)) == 1, name
    if not stream:
        cost = answer.header("x-sluice-cost-usd")
        assert cost is None or float(cost) == float(COST), cost


def test_ids_are_unique(gate):
    ids = {gate.get("/v1/models").header("x-request-id") for _ in range(50)}
    assert len(ids) == 50


def test_the_upstreams_own_id_does_not_replace_ours(gate, upstream):
    upstream.answer = lambda call: call.respond(200, {}, headers={"x-request-id": "req_theirs", "request-id": "req_theirs"})
    answer = gate.chat()
    assert answer.fields.all("x-request-id") != ["req_theirs", answer.header("x-request-id")]
    assert len(answer.fields.all("x-request-id")) == 1 and len(answer.fields.all("request-id")) <= 1


@pytest.mark.parametrize("value", ["a" * 5000, "x y", "x\ty", "a\xe9", "<script>", "a;b", ""])
def test_an_odd_id_of_the_client_is_not_taken_over(gate, value):
    answer = gate.chat(headers={"x-request-id": value})
    assert answer.status in (200, 400, 431), answer
    assert answer.header("x-request-id") != value


def test_on_a_refusal(gate):
    answer = gate.chat(key=KEY_WRONG)
    assert answer.header("x-request-id") and answer.header("request-id")
    assert "x-sluice-target" not in answer.fields


def test_the_overhead_is_what_an_outside_clock_sees(gate, upstream):
    """Sums over many calls with an upstream whose own time is known; loose, so as never to flake: the
    figure must neither be idle (the upstream's 20 ms counted in) nor invented (more than there was)."""
    spent = []

    def answer(call):
        begin = time.monotonic()
        time.sleep(0.02)
        spent.append(time.monotonic() - begin)  # what comes behind may be held up by others when all is answered
        call.respond(200, {"a": 1})

    upstream.answer = answer
    with gate.connect() as client:
        from harness import chat_request

        outside, inside = [], []
        for _ in range(30):
            begin = time.monotonic()
            got = client.send(chat_request()).read_response()
            outside.append(time.monotonic() - begin)
            inside.append(int(got.header("x-sluice-overhead-us")) / 1e6)
    added = sum(outside) - sum(spent)
    assert 0 < sum(inside) <= added * 1.2 + 0.01 * (2 if SANITIZED else 1), (sum(inside), added)
    assert sum(inside) < sum(spent), "the upstream's time is not ours"


def test_server_timing_names_the_upstreams_time(gate, upstream):
    def answer(call):
        time.sleep(0.1)
        call.respond(200, {})

    upstream.answer = answer
    timing = gate.chat().header("server-timing")
    upstream_ms = float(re.search(r"upstream;dur=([0-9.]+)", timing)[1])
    assert 95 <= upstream_ms < 5000, timing


def test_the_ledgers_overhead_is_a_part_of_the_duration(gate, upstream):
    """A stream sent as fast as it goes, in many pieces; then one that the upstream paces."""

    def fast(call):
        call.begin_stream()
        for _ in range(1500):
            call.chunk(b"data: " + b"x" * 16000 + b"\n\n")
        call.event("[DONE]")
        call.end_stream()

    def paced(call):
        call.begin_stream()
        for _ in range(30):
            time.sleep(0.01)
            call.event({"choices": [{"delta": {"content": "x"}}]})
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = fast
    row = gate.ledger_row(gate.chat(stream=True).header("x-request-id"))
    assert 0 < row["overhead_us"] <= row["duration_us"], row
    upstream.answer = paced
    row = gate.ledger_row(gate.chat(stream=True).header("x-request-id"))
    assert 0 < row["overhead_us"] < row["duration_us"] - 200_000, row
