# SPDX-License-Identifier: Apache-2.0
"""A rule's mirror gets the call, too: its answer goes nowhere, it is booked by itself, and nobody waits for it."""

import json
import threading
import time

import pytest
from harness import Sluice, Upstream, chat_body, config_for, eventually, provider_for

pytestmark = pytest.mark.threads


def target(name, provider, price=1):
    return {"id": name, "provider": provider, "model": f"at-{name}", "price": {"input": price, "output": price}}


@pytest.fixture
def pair():
    with Upstream() as first, Upstream() as second:
        config = config_for(first)
        config["server"]["workers"] = 1
        config["providers"] = [provider_for(first, "first"), provider_for(second, "second", tags=["abroad"])]
        config["models"] = [{"name": "fast", "targets": [target("a", "first")]},
                            {"name": "half", "targets": [target("h", "first")]},
                            {"name": "shadow", "targets": [target("b", "second", price=3)]}]
        config["routing"] = {"rules": [
            {"name": "half", "when": {"model": ["half"]}, "use": {"mirror": {"target": "b", "share": 0.5}}},
            {"name": "all", "when": {"model": ["fast"]},
             "use": {"mirror": {"target": "b", "concurrent": 3, "max_body_bytes": "8KiB"}}}]}
        with Sluice(config) as gate:
            gate.first, gate.second = first, second
            yield gate


def mirrored(gate, count):
    eventually(lambda: len(gate.second.calls) >= count, 10)
    return gate.second.calls


def rows_of_mirrors(gate, count):
    def find():
        rows = [row for row in gate.ledger_rows() if "mirror=1" in row["tags"]]
        return rows if len(rows) >= count else None

    return eventually(find, 15)


def test_the_second_target_gets_the_call_and_is_booked_by_itself(pair):
    pair.second.answer = lambda call: call.respond(
        200, chat_body("of the mirror", usage={"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}))
    answer = pair.chat("fast", temperature=0.5)
    assert answer.status == 200 and b"of the mirror" not in answer.body
    assert answer.header("x-sluice-target") == "a"
    call = mirrored(pair, 1)[0]
    assert json.loads(call.body) == {"model": "at-b", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5}
    row = rows_of_mirrors(pair, 1)[0]
    assert (row["target"], row["input_tokens"], row["output_tokens"]) == ("b", 11, 5)
    assert row["cost_nanos"] == 16 * 3000 and row["tenant"] == "acme"
    assert row["id"] != answer.header("x-request-id")


def test_a_stream_is_mirrored_in_one_piece(pair):
    answer = pair.chat("fast", stream=True, stream_options={"include_usage": True})
    assert answer.status == 200
    sent = json.loads(mirrored(pair, 1)[0].body)
    assert sent["stream"] is False and sent["stream_options"] is None and sent["model"] == "at-b"


SEAL = "Z2VtaW5pLXNlYWw="
SEALED = {"type": "redacted_thinking", "data": f"sluice:1:gemini:call:{SEAL}::c1"}


def test_what_another_provider_has_sealed_is_not_mirrored():
    """Reasoning that only one provider may read goes to no second one, not even in part."""
    said = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 5, "output_tokens": 2}}

    def body(*blocks):
        return {"model": "fast", "max_tokens": 9, "messages": [
            {"role": "user", "content": "weather?"}, {"role": "assistant", "content": [*blocks, {"type": "text", "text": "Let me see."}]},
            {"role": "user", "content": "and?"}]}

    with Upstream(lambda call: call.respond(200, said)) as first, Upstream(lambda call: call.respond(200, said)) as second:
        config = config_for(first)
        config["server"]["workers"] = 1
        config["providers"] = [provider_for(up, name, type="anthropic", base_url=up.url.removesuffix("/v1"))
                               for up, name in ((first, "first"), (second, "second"))]
        config["models"] = [{"name": "fast", "targets": [target("a", "first")]}, {"name": "shadow", "targets": [target("b", "second")]}]
        config["routing"] = {"rules": [{"name": "all", "when": {"model": ["fast"]}, "use": {"mirror": {"target": "b"}}}]}
        with Sluice(config) as gate:
            gate.second = second
            assert gate.post("/v1/messages", body(SEALED)).status == 200
            assert gate.post("/v1/messages", body()).status == 200
            plain = mirrored(gate, 1)[0].json
            assert plain["messages"] == body()["messages"]
            time.sleep(0.3)
            assert len(second.calls) == 1
            assert [len(call.json["messages"]) for call in first.calls] == [3, 3]
            assert all(SEAL not in json.dumps(call.json) for call in (*first.calls, *second.calls))


def test_a_mirror_that_hangs_is_not_felt(pair):
    held = threading.Event()
    pair.second.answer = lambda call: held.wait(20)
    times = []
    for _ in range(10):
        begun = time.monotonic()
        assert pair.chat("fast").status == 200
        times.append(time.monotonic() - begun)
    assert len(mirrored(pair, 3)) == 3, "no more than three at once"
    assert max(times) < 5, times
    assert pair.metric("sluice_mirrors_denied_total") == 7
    held.set()


def test_a_mirror_that_fails_is_not_felt(pair):
    pair.second.answer = lambda call: call.respond(500, b"{}")
    assert pair.chat("fast").status == 200
    row = rows_of_mirrors(pair, 1)[0]
    assert row["cost_nanos"] == 0 and row["status"] == 500
    pair.second.answer = lambda call: call.close()
    assert pair.chat("fast").status == 200
    assert len(rows_of_mirrors(pair, 2)) == 2


def test_long_calls_and_embeddings_of_a_share_are_minded(pair):
    long = [{"role": "user", "content": "x" * 9000}]
    assert pair.chat("fast", messages=long).status == 200
    for _ in range(100):
        assert pair.chat("half").status == 200
    eventually(lambda: len(pair.second.calls) + pair.metric("sluice_mirrors_denied_total") >= 25)
    time.sleep(0.3)
    assert 25 <= len(pair.second.calls) + pair.metric("sluice_mirrors_denied_total") <= 75  # 50 and 5 deviations
    assert all(len(call.body) < 9000 for call in pair.second.calls)


def test_what_is_mirrored_at_the_end_is_booked(pair):
    held = threading.Event()
    pair.second.answer = lambda call: held.wait(20)
    assert pair.chat("fast").status == 200
    mirrored(pair, 1)
    pair.stop()
    held.set()
    rows = [row for row in pair.ledger_rows() if "mirror=1" in row["tags"]]
    assert len(rows) == 1 and rows[0]["outcome"] == "partial", rows


def test_one_that_was_cut_by_our_death_is_booked_at_the_most_it_may_cost(pair):
    held = threading.Event()
    pair.second.answer = lambda call: held.wait(20)
    assert pair.chat("fast").status == 200
    assert pair.chat("fast", max_tokens=50, n=3).status == 200
    mirrored(pair, 2)
    pair.kill()
    held.set()
    pair.start()
    rows = sorted(rows_of_mirrors(pair, 2), key=lambda row: row["output_tokens"])
    assert [row["outcome"] for row in rows] == ["lost"] * 2, rows
    assert rows[0]["output_tokens"] == 150 and rows[1]["output_tokens"] >= 4096, rows
    assert all(row["cost_nanos"] == 3000 * (row["input_tokens"] + row["output_tokens"]) for row in rows), rows
