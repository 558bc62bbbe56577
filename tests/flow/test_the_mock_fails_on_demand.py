# SPDX-License-Identifier: Apache-2.0
"""`sluice mock` and `type: mock`: answers like a real server's, streams, and faults."""

import json
import time

import pytest
from harness import Client, Mock, Sluice, config_for, eventually, model_for, request_bytes, sse_events
from raw_client import ProtocolError


@pytest.fixture(scope="module")
def mock():
    with Mock() as server:
        yield server


@pytest.fixture(scope="module")
def gate(mock):
    config = config_for(mock.url)
    config["providers"].append({"name": "inside", "type": "mock"})
    config["models"].append(model_for("inside", "inside"))
    with Sluice(config) as sluice:
        yield sluice


def ask(mock, path, body):
    with Client(("127.0.0.1", mock.port)) as client:
        return client.request("POST", path, {}, body)


@pytest.mark.parametrize("model", ["fast", "inside"])
def test_through_the_gateway(gate, model):
    answer = gate.chat(model)
    assert answer.status == 200 and answer.json["choices"][0]["message"]["content"], answer
    usage = answer.json["usage"]
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0
    row = gate.ledger_row(answer.header("x-request-id"))
    assert (row["input_tokens"], row["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    stream = gate.chat(model, stream=True)
    events = sse_events(stream.body)
    assert events[-1] == "[DONE]" and len(events) > 3
    text = "".join(json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events[:-1] if json.loads(e)["choices"])
    assert text
    row = gate.ledger_row(stream.header("x-request-id"))
    assert row["counted"] == "provider" and row["output_tokens"] > 0


@pytest.mark.parametrize("path, body", [
    ("/v1/completions", {"model": "m", "prompt": "x"}), ("/v1/embeddings", {"model": "m", "input": ["a", "b"]}),
    ("/v1/responses", {"model": "m", "input": "x"}), ("/v1/moderations", {"model": "m", "input": "x"})])
def test_other_endpoints(mock, path, body):
    answer = ask(mock, path, body)
    assert answer.status == 200 and answer.json, answer


def test_its_models(mock):
    with Client(("127.0.0.1", mock.port)) as client:
        answer = client.request("GET", "/v1/models")
    assert answer.status == 200 and answer.json["data"]


def test_it_can_be_asked_for_a_whole_run_of_chats(gate):
    for _ in range(50):
        assert gate.chat("inside").status == 200
    eventually(lambda: gate.metric("sluice_inflight_requests") == 0)


def test_it_speaks_over_one_connection(mock):
    with Client(("127.0.0.1", mock.port)) as client:
        for _ in range(20):
            assert client.request("POST", "/v1/chat/completions", {}, {"model": "m", "messages": []}).status == 200
        client.send(request_bytes("POST", "/v1/chat/completions", {}, {"model": "m", "messages": [], "stream": True}))
        assert sse_events(client.read_response().body)[-1] == "[DONE]"


assert time and ProtocolError
