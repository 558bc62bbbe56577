# SPDX-License-Identifier: Apache-2.0
"""A client that leaves early takes nothing with it: not the gateway, nor what its call had held."""

import threading
import time

import pytest
from harness import (
    KEY_ACME,
    Sluice,
    chat_request,
    config_for,
    eventually,
    sha256_hash,
)
from raw_upstream import openai_answer

pytestmark = pytest.mark.threads


def gate_for(upstream, allowed, **changes):
    keys = [{"name": "main", "hash": sha256_hash(KEY_ACME)}]
    tenants = [{"name": "acme", "models": ["*"], "keys": keys, "limits": allowed}]
    return Sluice(config_for(upstream, tenants=tenants, **changes))


def leave(gate, after, **headers):
    client = gate.connect()
    client.send(chat_request(headers=headers))
    time.sleep(after)
    client.close()


class Slow:
    """Answers nobody before it is told to."""

    def __init__(self, upstream):
        self.go = threading.Event()
        upstream.answer = self.answer

    def answer(self, call):
        self.go.wait(20)
        openai_answer(call)


@pytest.mark.parametrize("hold", ["0s", "5s"])
def test_with_an_idempotency_key_while_the_limit_is_full(upstream, hold):
    slow = Slow(upstream)
    with gate_for(upstream, {"concurrent": 1}, limits={"hold_429": hold}) as gate:
        first = gate.connect()
        first.send(chat_request())
        upstream.wait_calls(1)
        for i in range(12):  # some alone with their key, some together
            leave(gate, 0.02 * (i % 3), **{"Idempotency-Key": f"key{i % 5}"})
        slow.go.set()
        assert first.read_response("POST").status == 200
        assert eventually(lambda: gate.chat(headers={"Idempotency-Key": "key1"}).status == 200)
        eventually(lambda: gate.metric("sluice_inflight_requests", model="fast") == 0)
        first.close()
