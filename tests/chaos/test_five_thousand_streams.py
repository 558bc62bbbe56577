# SPDX-License-Identifier: Apache-2.0
"""5,000 slow streams at once: all are held, cheaply, and nothing of them stays behind."""

import resource
import time

from books import chaos_config, mock_stats, provider_calls, rows_by_id, rss_bytes
from harness import SANITIZED, Mock, Sluice, chat_request, config_for, eventually
from load import Load, ask
from streams import Streams

COUNT = 1000 if SANITIZED else 5000
HOLD = 6  # seconds
BYTES_PER_STREAM = 5 << 10
RESERVE = 128  # descriptors it may hold from then on: half of all were in use (gateway/base/descriptors.h)
GONE_WITHIN = 10
MODELS = {"drip": "mock/rate-1+tokens-600", "plain": "mock/tokens-12"}


def warm_up(gate):
    """What the first calls allocate for good is no cost of streams."""
    with Load(gate.address(), [ask("plain"), ask("plain", stream=True)], callers=64, think=0.005) as load:
        time.sleep(1.5)
        eventually(lambda: load.counts[200] > 100, within=20)
        answers = load.stop()
    assert len(answers) > 100 and all(answer.done for answer in answers)
    time.sleep(2.5)  # for the janitor
    return len(answers)


def test_five_thousand_streams():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or hard >= 2 * COUNT + 1000, f"a hard limit of {hard} descriptors is too low"
    with Mock() as mock:
        config = chaos_config(mock, config_for, MODELS)
        config["server"]["limits"] = {"max_connections": 4 * COUNT}
        config["providers"][0]["pool"] = {"max_connections": 4 * COUNT}
        with Sluice(config) as gate:
            warm = warm_up(gate)
            before, descriptors = rss_bytes(gate), gate.descriptors()
            request = chat_request({"model": "drip", "messages": [{"role": "user", "content": "Hi"}], "stream": True})
            with Streams(gate.address(), COUNT, request) as streams:
                begun = streams.hear()
                assert begun["open"] == COUNT, begun
                time.sleep(HOLD)
                held = streams.look()
                assert held["open"] == COUNT and not held["ended"], held
                assert held["least"] >= HOLD - 2, f"a stream stands still: {held}"
                assert mock_stats(mock)["in_flight"] == COUNT
                assert gate.descriptors() >= 2 * COUNT
                each = (rss_bytes(gate) - before) / COUNT
                assert gate.get("/readyz", key=None).status == 200 and gate.chat("plain").status == 200
                streams.leave()
                left = time.monotonic()
                eventually(lambda: mock_stats(mock)["in_flight"] == 0, within=30, every=0.01)
                gone = time.monotonic() - left
            eventually(lambda: gate.descriptors() <= descriptors + 70 + RESERVE, within=5,
                       what="descriptors are given back")
            assert gone < GONE_WITHIN, f"{gone:.2f} s until the upstream's connections were closed"
            if not SANITIZED:
                assert each <= BYTES_PER_STREAM, f"{each:.0f} bytes for each stream"
                eventually(lambda: rss_bytes(gate) <= before * 1.2, within=15, every=0.2,
                           what=f"memory back to {before} and 20 %")
            after = rss_bytes(gate)
            calls = provider_calls(mock)
            assert gate.stop() == 0
            rows = rows_by_id(gate)
            cut = [rows[call["request_id"]] for call in calls if call["model"].startswith("mock/rate-1")]
            assert len(cut) == COUNT and len(rows) == len(calls) == warm + COUNT + 1
            assert {row["outcome"] for row in cut} == {"partial"} and {row["status"] for row in cut} == {499}
            assert min(row["output_tokens"] for row in cut) >= HOLD - 2, "what was produced is booked"
    print(f"\n{COUNT} streams: {each:.0f} bytes each; {before >> 10} KiB before, {after >> 10} after; gone in {gone:.2f} s")
