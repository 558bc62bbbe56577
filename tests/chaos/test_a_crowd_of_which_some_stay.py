# SPDX-License-Identifier: Apache-2.0
"""Of many streams a good part goes on: what the others had is given back all the same."""

import contextlib
import resource
import time

import pytest
from books import chaos_config, mock_stats, rss_bytes
from harness import SANITIZED, Mock, Sluice, chat_request, config_for, eventually
from streams import Streams

PARTS = (1500, 1000, 1000, 1000)  # come at the same time; the first and the third leave
STAY = PARTS[1] + PARTS[3]  # more than a quarter, each with memory of others about its own
MODELS = {"drip": "mock/rate-1+tokens-600"}
PART = 0.25  # of what a stream takes: what is left lies in pages that others use, too


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed")
def test_what_those_had_who_leave_is_given_back_while_the_others_go_on():
    count = sum(PARTS)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or hard >= 2 * count + 1000, f"a hard limit of {hard} descriptors is too low"
    with Mock() as mock:
        config = chaos_config(mock, config_for, MODELS)
        config["server"]["limits"] = {"max_connections": 4 * count}
        config["providers"][0]["pool"] = {"max_connections": 4 * count}
        request = chat_request({"model": "drip", "messages": [{"role": "user", "content": "Hi"}], "stream": True})
        with Sluice(config) as gate:
            before = rss_bytes(gate)
            with contextlib.ExitStack() as clients:
                crowd = [clients.enter_context(Streams(gate.address(), part, request)) for part in PARTS]
                for part in crowd:
                    part.hear()
                time.sleep(2.5)  # for the janitor: what only their beginning took
                full = rss_bytes(gate)
                crowd[0].leave()
                crowd[2].leave()
                eventually(lambda: mock_stats(mock)["in_flight"] == STAY, within=60)
                want = full - PART * (full - before) * (count - STAY) / count
                eventually(lambda: rss_bytes(gate) < want, within=120, every=0.5,
                           what=f"memory, {full / 1e6:.1f} MB of {count} streams, is below {want / 1e6:.1f} MB")
                for part in crowd[1::2]:
                    held = part.look()
                    assert held["open"] and not held["ended"], held
