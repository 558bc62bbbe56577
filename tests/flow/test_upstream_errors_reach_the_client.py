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
