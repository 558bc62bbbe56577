# SPDX-License-Identifier: Apache-2.0
"""Failures that another target can cure do not reach the client; after a byte did, nothing is tried."""

import threading
import time

import pytest
from harness import Upstream, chat_body, chat_chunk, config_for, eventually, free_port, model_for, provider_for, raw_answer

pytestmark = pytest.mark.threads
SECOND = Upstream()
CASES = ("500", "502", "503", "529", "429", "closed", "reset", "half a head", "garbage", "two lengths", "silence")


def model_of(case, stream):
    """Each case has targets of its own: what one of them has learnt is not the next one's."""
    return f"{case}-{stream}".replace(" ", "-")


def configure(upstream):
    config = config_for(upstream)
    retry = {"attempts": 2, "backoff": "1ms", "max_backoff": "5ms"}
    config["providers"] = [
        provider_for(upstream, "first", retry=retry, timeouts={"first_byte": "1s", "connect": "1s"},
                     health={"mode": "none"}),  # what was learnt in one test is not for the next one
        provider_for(SECOND, "second", retry=retry, health={"mode": "none"}),
        provider_for(f"http://127.0.0.1:{free_port()}/v1", "closed", retry=retry),
    ]

    def target(provider, priority, **more):
        return {"id": f"on-{provider}", "provider": provider, "model": f"at-{provider}", "priority": priority,
                "price": {"input": priority, "output": priority}, **more}

    second = [target("first", 1), target("second", 2)]
    cases = [{"name": model_of(case, stream),
              "targets": [{**target("first", 1), "id": f"first-{case}-{stream}"},
                          {**target("second", 2), "id": f"second-{case}-{stream}"}]}
             for case in CASES for stream in (False, True)]
    config["models"] = [
        {"name": "fast", "targets": second},
        {"name": "closed", "targets": [dict(target("closed", 1)), dict(target("second", 2), id="on-second-2")]},
        model_for("alone", "first"),
    ] + cases
    config["tenants"][1]["models"] = ["*"]
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


def close(call):
    call.close()


def reset(call):
    call.reset()


def refusing(status, body=None, content_type="application/json", **headers):
    """Without keeping its connection: a reset of one that was kept may mean that the call was not read."""
    fields = {"connection": "close", **headers}
    return lambda call: call.respond(status, body or {"error": {"message": "x"}}, headers=fields, content_type=content_type)


CURABLE = {
    "500": refusing(500),
    "502": refusing(502, b"<html>", content_type="text/html"),
    "503": refusing(503),
    "529": refusing(529),
    "429": refusing(429, **{"retry-after": "60"}),
    "closed": close,
    "reset": reset,
    "half a head": raw_answer(b"HTTP/1.1 200 OK\r\nContent-", then_close=True),
    "garbage": raw_answer(b"\x00\x01\x02garbage\r\n\r\n", then_close=True),
    "two lengths": raw_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", then_close=True),
    "silence": stall,
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_failure_that_another_target_cures(gate, upstream, case, stream):
    upstream.answer = CURABLE[case]
    if stream:
        SECOND.answer = lambda call: _stream(call)
    answer = gate.chat(model_of(case, stream), stream=stream)
    assert answer.status == 200, answer
    assert answer.header("x-sluice-attempts") == "2"
    second = f"second-{case}-{stream}"
    assert answer.header("x-sluice-target") == second and answer.header("x-sluice-provider") == "second"
    assert len(upstream.calls) == 1 and len(SECOND.calls) == 1
    assert SECOND.last().json["model"] == "at-second"
    row = gate.ledger_row(answer.header("x-request-id"))
    assert row["attempts"] == 2 and row["target"] == second, row


def _stream(call):
    call.begin_stream()
    call.event(chat_chunk({"content": "b"}))
    call.event("[DONE]")
    call.end_stream()


def test_a_target_that_cannot_be_reached(gate):
    answer = gate.chat("closed")
    assert answer.status == 200 and answer.header("x-sluice-attempts") == "2", answer


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_no_other_target_cures_is_not_tried_again(gate, upstream, status):
    body = {"error": {"message": "as the provider says", "type": "x", "code": "y", "param": None}}
    upstream.answer = lambda call: call.respond(status, body)
    answer = gate.chat()
    if status in (401, 403):
        # our own credentials at the provider are at fault, not the client's
        assert answer.status in (200, 401, 403, 500, 502, 503), answer
    else:
        assert answer.status == status and answer.json == body, answer
        assert not SECOND.calls


def test_nothing_is_tried_after_the_first_byte(gate, upstream):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "half"}))
        time.sleep(0.2)
        call.reset()

    upstream.answer = answer
    client, response = gate.open_stream()
    with client:
        body = client.read_to_close(within=10)
    assert b"half" in body and b"[DONE]" not in body
    assert not SECOND.calls and len(upstream.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_all_fail(gate, upstream, stream):
    upstream.answer = CURABLE["503"]
    SECOND.answer = CURABLE["503"]
    answer = gate.chat(stream=stream)
    assert answer.status == 503 and answer.header("content-type").startswith("application/json"), answer
    assert answer.header("x-should-retry") == "false"
    assert answer.header("x-sluice-attempts") == "2" and answer.header("x-sluice-model") == "fast"
    assert answer.header("x-sluice-target") == "on-second" and answer.header("x-sluice-provider") == "second"
    assert int(answer.header("x-sluice-overhead-us")) < 60_000_000 and "server-timing" in answer.fields
    assert "x-sluice-cost-usd" not in answer.fields
    assert len(upstream.calls) == 1 and len(SECOND.calls) == 1


def test_the_tries_are_bounded(gate, upstream):
    """One model, one target, always failing: further tries are a small share of the calls."""
    upstream.answer = CURABLE["500"]
    for _ in range(10):
        assert gate.chat("alone").status in (500, 503)
    assert 10 <= len(upstream.calls) <= 10 + 5 + 2


def test_a_client_that_leaves_between_tries_ends_them(gate, upstream):
    reached, proceed = threading.Event(), threading.Event()

    def answer(call):
        reached.set()
        proceed.wait(60)
        call.respond(500, {})

    upstream.answer = answer
    client = gate.connect()
    from harness import chat_request

    client.send(chat_request())
    assert reached.wait(30)
    client.close()
    eventually(lambda: gate.metric("sluice_inflight_requests") == 0, what="it is noticed")
    proceed.set()
    time.sleep(0.3)
    assert not SECOND.calls
