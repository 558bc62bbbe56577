# SPDX-License-Identifier: Apache-2.0
"""Status, body, retry-after and rate-limit headers of an error that no other target can cure."""

import json

import pytest

LIMITS = {
    "retry-after": "17", "retry-after-ms": "17000", "x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "6m0s", "x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "7",
    "x-ratelimit-reset-tokens": "12ms",
}
BODIES = {
    400: {"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}},
    404: {"error": {"message": "no such model", "type": "invalid_request_error", "param": None, "code": "model_not_found"}},
    409: {"error": {"message": "conflict", "type": "x", "param": None, "code": None}},
    422: {"detail": [{"loc": ["body", "x"], "msg": "wrong"}]},
    429: {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
    500: {"error": {"message": "oops", "type": "server_error", "param": None, "code": None}},
    503: {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", BODIES)
def test_an_error(gate, upstream, status, stream):
    body = json.dumps(BODIES[status], indent=1).encode()
    upstream.answer = lambda call: call.respond(status, body, headers=LIMITS)
    answer = gate.chat(stream=stream)
    assert answer.status == status and answer.body == body, answer
    for name, value in LIMITS.items():
        assert answer.header(name) == value, name
    row = gate.ledger_row(answer.header("x-request-id"))
    assert row["outcome"] == "refused" and row["status"] == status and row["cost_nanos"] == 0, row


@pytest.mark.parametrize("body, kind", [(b"<html>Bad Gateway</html>", "text/html"), (b"", "text/plain"), (b"not json", "application/json")])
def test_an_error_that_is_no_json(gate, upstream, body, kind):
    upstream.answer = lambda call: call.respond(502, body, content_type=kind)
    answer = gate.chat()
    assert answer.status in (502, 503), answer
    assert answer.body == body or answer.error["type"] == "server_error"


def test_an_error_inside_a_good_stream_passes(gate, upstream):
    def answer(call):
        call.begin_stream()
        call.event({"choices": [{"delta": {"content": "a"}}]})
        call.event({"error": {"message": "overloaded", "type": "server_error", "code": 502}})
        call.end_stream()

    upstream.answer = answer
    client, response = gate.open_stream()
    with client:
        body = client.read_to_close(within=10) if response.framing == "close" else b"".join(client.pieces(response))
    assert b'"overloaded"' in body and b"[DONE]" not in body
    row = gate.ledger_row(response.header("x-request-id"))
    assert row["outcome"] == "partial", row


def test_a_huge_error_is_bounded(gate, upstream):
    upstream.answer = lambda call: call.respond(400, b"x" * (8 << 20), content_type="text/plain")
    answer = gate.chat()
    assert answer.status in (400, 502), answer.status
    assert gate.chat(key=None).status == 401


def wait_of(gate, upstream, message, headers=()):
    body = json.dumps({"error": {"message": message, "type": "tokens", "param": None, "code": "rate_limit_exceeded"}}).encode()
    upstream.answer = lambda call: call.respond(429, body, headers=list(headers))
    answer = gate.chat()
    assert answer.status == 429 and answer.body == body, answer
    return answer.header("retry-after")


@pytest.mark.parametrize("words, seconds", [("20s", "20"), ("1m2.5s", "63"), ("350ms", "1"), ("6.001s. Visit us", "7"), ("1h", "3600"),
                                            ("a moment", None), ("0s", None), ("99999999999999999999h", "86400")])
def test_the_body_says_how_long_to_wait(gate, upstream, words, seconds):
    assert wait_of(gate, upstream, f"Rate limit reached for m. Please try again in {words}.") == seconds


def test_the_shorter_of_two_waits_is_told(gate, upstream):
    said = "Please try again in 20s."
    assert wait_of(gate, upstream, said, [("Retry-After", "7")]) == "7"
    assert wait_of(gate, upstream, said, [("X-Ratelimit-Limit-Requests", "3"), ("Retry-After", "60"), ("X-Groq-Region", "x")]) == "20"
    assert wait_of(gate, upstream, said, [("Retry-After", "Fri, 01 Jan 2100 00:00:00 GMT")]) == "Fri, 01 Jan 2100 00:00:00 GMT"
    assert wait_of(gate, upstream, "No.", [("Retry-After", "60")]) == "60"
