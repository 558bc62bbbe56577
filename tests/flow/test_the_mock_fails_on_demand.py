# SPDX-License-Identifier: Apache-2.0
"""`sluice mock` and `type: mock`: answers like a real server's, streams, and faults."""

import json
import time

import pytest
from harness import Client, Mock, Sluice, chat_request, config_for, eventually, model_for, request_bytes, sse_events
from raw_client import ProtocolError


@pytest.fixture(scope="module")
def mock():
    with Mock() as server:
        yield server


@pytest.fixture(scope="module")
def gate(mock):
    config = config_for(mock.url)
    config["providers"].append({"name": "inside", "type": "mock"})
    for word in THROUGH:
        config["models"].append(model_for(f"mock-{word}", model=f"mock/{word}", aliases=[f"mock/{word}"]))
    config["models"].append(model_for("inside", "inside"))
    with Sluice(config) as sluice:
        yield sluice


CHAT = "/v1/chat/completions"


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


STATUSES = {"400": 400, "401": 401, "404": 404, "429": 429, "429-retry-after-7": 429, "500": 500, "503": 503, "529": 529}


@pytest.mark.parametrize("word", STATUSES)
def test_a_refusal(mock, word):
    answer = ask(mock, CHAT, {"model": f"mock/{word}", "messages": []})
    assert answer.status == STATUSES[word] and answer.error["message"], answer
    assert answer.header("retry-after") == ("7" if word.endswith("-7") else answer.header("retry-after"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("word", ["reset", "reset-mid", "bad-head", "bad-chunk", "stall-head", "stall"])
def test_a_fault_that_breaks_http(mock, word, stream):
    with Client(("127.0.0.1", mock.port), timeout=1.5) as client:
        with pytest.raises((ProtocolError, OSError)):
            client.request("POST", CHAT, {}, {"model": f"mock/{word}", "messages": [], "stream": stream})


def test_a_slow_first_byte_and_a_rate(mock):
    begin = time.monotonic()
    answer = ask(mock, CHAT, {"model": "mock/slow-300ms+tokens-10+rate-50", "messages": [], "stream": True})
    assert answer.status == 200 and time.monotonic() - begin >= 0.45
    assert len(sse_events(answer.body)) >= 10


@pytest.mark.parametrize("word, last", [("no-done", False), ("tokens-20", True), ("usage-every-chunk", True), ("no-usage", True)])
def test_streams(mock, word, last):
    answer = ask(mock, CHAT, {"model": f"mock/{word}", "messages": [], "stream": True})
    assert (sse_events(answer.body)[-1] == "[DONE]") == last


def test_an_error_inside_a_200(mock):
    answer = ask(mock, CHAT, {"model": "mock/error-mid", "messages": [], "stream": True})
    assert answer.status == 200 and '"error"' in answer.text and "[DONE]" not in answer.text


THROUGH = {
    "400": (400, "refused"), "429": (429, "refused"), "500": (500, "refused"), "503": (503, "refused"), "reset": (503, "refused"),
    "bad-head": (502, "refused"), "no-done": (200, "complete"), "no-usage": (200, "complete"), "usage-every-chunk": (200, "complete"),
    "reset-mid": (200, "partial"), "bad-chunk": (200, "partial"), "error-mid": (200, "partial"), "cut": (200, "partial"),
}


@pytest.mark.parametrize("word", THROUGH)
def test_each_fault_through_the_gateway(gate, word):
    """What the client sees, and what is booked."""
    status, outcome = THROUGH[word]
    answer, body = stream_through(gate, f"mock/{word}")
    if outcome == "partial" and answer.status == 502:  # it broke before anything went to the client
        status = 502
    assert answer.status == status, (answer, body)
    row = gate.ledger_row(answer.header("x-request-id"))
    assert row["outcome"] == outcome and (row["cost_nanos"] > 0) == (outcome != "refused"), row
    if status == 200 and outcome == "partial":
        assert b"[DONE]" not in body and b'"error"' in body


def stream_through(gate, model):
    with gate.connect() as client:
        client.send(chat_request({"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": True}))
        answer = client.begin_response("POST")
        pieces = []
        try:
            for piece in client.pieces(answer):
                pieces.append(piece)
        except ProtocolError:
            pass
        answer.body = b"".join(pieces)
        return answer, answer.body


def test_its_own_count_agrees_with_the_ledger(gate, mock):
    with Client(("127.0.0.1", mock.port)) as client:
        client.request("POST", "/__mock/reset", {}, b"")
    before = gate.usage_total("requests", provider="up"), gate.usage_total("output_tokens", provider="up")
    for i in range(40):
        gate.chat("fast", stream=i % 2 == 0)
    with Client(("127.0.0.1", mock.port)) as client:
        calls = client.request("GET", "/__mock/calls?since=0").json["calls"]
    assert len(calls) == 40 and all(call["outcome"] == "whole" for call in calls), calls
    assert gate.usage_total("requests", provider="up") - before[0] == 40
    assert gate.usage_total("output_tokens", provider="up") - before[1] == sum(call["completion_tokens"] for call in calls)
