# SPDX-License-Identifier: Apache-2.0
"""100 reloads under 200 streams: no byte is lost, no call refused."""

import json
import re
import signal
import threading
import time

from books import chaos_config, check_books, provider_calls
from harness import (
    SANITIZED,
    Client,
    Mock,
    Sluice,
    chat_request,
    config_for,
    eventually,
    merged,
    model_for,
    provider_for,
    sha256_hash,
)
from load import Answer, Load, ask

STREAMS = 60 if SANITIZED else 200
RELOADS = 30 if SANITIZED else 100
TOKENS = 120
MODELS = {"paced": f"mock/rate-12+tokens-{TOKENS}", "plain": "mock/tokens-12"}
# What differs between two answers to the same question.
VARIES = [
    (re.compile(rb'"id":"chatcmpl-[0-9a-f]+"'), b'"id":"X"'),
    (re.compile(rb'"created":\d+'), b'"created":0'),
    (re.compile(rb'"model":"mock/[^"]+"'), b'"model":"M"'),
]


def question(number, model):
    return {"model": model, "messages": [{"role": "user", "content": f"Question {number}"}], "stream": True,
            "stream_options": {"include_usage": True}}


def plain(body):
    for pattern, same in VARIES:
        body = pattern.sub(same, body)
    return body


def expected(mock, number):
    """What the provider says to that question when it is asked directly, and in no hurry to wait."""
    with Client(("127.0.0.1", mock.port)) as client:
        return client.request("POST", "/v1/chat/completions", {}, question(number, f"mock/tokens-{TOKENS}")).body


class Reader:
    """One stream, read to its end by a thread that all share."""

    def __init__(self, gate, number):
        self.number, self.client = number, gate.connect(timeout=60)
        self.client.send(chat_request(question(number, "paced")))
        self.response = self.client.begin_response("POST")
        assert self.response.status == 200
        self.answer = Answer("paced", True)
        self.answer.id, self.answer.status = self.response.header("x-request-id"), 200

    def read(self):
        with self.client:
            self.answer.body = b"".join(self.client.pieces(self.response))
        self.answer.whole = True


def variant(good, number):
    """A configuration that differs from the last one in every part that may change."""
    new = json.loads(json.dumps(good))
    keys = new["tenants"][1]["keys"]
    keys.append({"name": f"key-{number}", "hash": sha256_hash(f"sk-chaos-{number}")})
    new["providers"].append(provider_for("http://127.0.0.1:9/v1", f"other-{number}"))
    new["models"].append(model_for(f"model-{number}", f"other-{number}"))
    # The pool in use changes its shape every other time, so that its connections must be left behind.
    new["providers"][0] = merged(new["providers"][0], {"pool": {"max_connections": 1000 + number % 2}})
    return new


def is_in_force(gate, number):
    return gate.get("/v1/models", key=f"sk-chaos-{number}").status == 200


def test_a_hundred_reloads():
    with Mock() as mock:
        config = chaos_config(mock, config_for, MODELS, server={"timeouts": {"stream_idle": "30s"}})
        config["providers"][0]["pool"] = {"max_connections": 1000}
        with Sluice(config) as gate, Load(gate.address(), [ask("plain"), ask("plain", stream=True)], callers=8) as load:
            began = time.monotonic()
            readers = [Reader(gate, number) for number in range(STREAMS)]
            threads = [threading.Thread(target=reader.read) for reader in readers]
            for thread in threads:
                thread.start()
            opened = time.monotonic()
            for number in range(RELOADS):
                gate.write(variant(config, number))
                if number % 10 == 9:
                    assert gate.cli("reload").returncode == 0
                else:
                    gate.signal(signal.SIGHUP)
                eventually(lambda number=number: is_in_force(gate, number), every=0.005, what="reloaded")
                time.sleep(0.02)
            reloaded = time.monotonic()
            still_open = sum(thread.is_alive() for thread in threads)
            assert still_open == STREAMS, f"only {still_open} streams were open during all reloads"
            for thread in threads:
                thread.join(60)
            answers = load.stop()
            broken = [answer for answer in answers if not answer.done]
            assert not broken, f"{len(broken)} calls suffered: {broken[:3]}"
            for reader in readers:
                assert reader.answer.done, f"{reader.number}: {reader.answer}"
                assert plain(reader.answer.body) == plain(expected(mock, reader.number)), reader.number
            assert is_in_force(gate, RELOADS - 1)
            assert gate.get("/v1/models", key=f"sk-chaos-{RELOADS - 2}").status == 401
            eventually(lambda: gate.metric("sluice_inflight_requests") == 0)
            calls = [call for call in provider_calls(mock) if call["request_id"]]
            assert gate.stop() == 0
            check_books(gate, calls, answers + [reader.answer for reader in readers], lost_allowed=False)
    print(f"\n{RELOADS} reloads in {reloaded - opened:.1f} s under {STREAMS} streams (opened in {opened - began:.1f} s), "
          f"{len(answers)} other calls")


