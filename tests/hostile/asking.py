# SPDX-License-Identifier: Apache-2.0
"""Sends the bytes of a case and judges what came of them."""

import time

from case import MARK
from harness import Client
from raw_client import Closed


class Outcome:
    def __init__(self):
        self.answers, self.rest, self.closed = [], b"", False

    @property
    def first(self):
        return self.answers[0].status if self.answers else "close"


def ask(address, data, answers=1, timeout=20):
    """Send `data`, read every answer until the gateway has closed. When `answers` have come, our side is
    closed: what is answered after that was executed without our wish."""
    outcome = Outcome()
    method = "HEAD" if data.startswith(b"HEAD ") else "GET"
    with Client(address, timeout=timeout) as client:
        try:
            client.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused in the middle; its answer may still be read
        try:
            answer = client.read_response(method)
            outcome.answers.append(answer)
            while True:
                if len(outcome.answers) >= answers:
                    client.half_close()
                outcome.answers.append(client.read_response(method))
        except Closed as error:
            outcome.closed = True
            outcome.rest = bytes(client.buffer)
            if "got b''" not in str(error):
                raise
    return outcome


def check_shape(answer, path):
    """An error is an object in the caller's dialect."""
    if answer.framing == "none" or answer.status < 400:
        return
    kind = answer.header("content-type") or ""
    assert kind.startswith("application/json"), answer
    body = answer.json
    if path.startswith(("/v1beta/", "/gemini/", "/genai/")):
        assert set(body["error"]) >= {"code", "message", "status"}, answer
    elif "/messages" in path or path.startswith("/anthropic/"):
        assert body["type"] == "error" and body["error"]["type"] and body["error"]["message"], answer
    else:
        assert set(body) == {"error"} and set(body["error"]) >= {"message", "type", "param", "code"}, answer
    assert answer.header("x-request-id"), answer


def judge(case, data, gate, upstream):
    before = len(upstream.calls)
    outcome = ask(gate.address(), data, min(case.answers))
    calls = upstream.calls[before:]
    if len(calls) > max(case.reach):  # perhaps one of an earlier case, whose client did not wait for it: that comes once
        assert not any(MARK.encode() in call.body for call in calls), f"SMUGGLED: {case.id} ({case.note!r}): {calls}"
        time.sleep(0.5)
        before = len(upstream.calls)
        outcome = ask(gate.address(), data, min(case.answers))
        calls = upstream.calls[before:]
    shown = f"{case.id} ({case.note!r}): {data[:300]!r} -> {outcome.answers}"
    assert outcome.first in case.expect, f"{shown}; expected {case.expect}"
    if outcome.answers:
        assert len(outcome.answers) in case.answers, f"{len(outcome.answers)} answers: {shown}"
    assert len(calls) in case.reach, f"{len(calls)} calls went upstream: {shown}; {calls}"
    for call in calls:
        assert MARK.encode() not in call.body, f"SMUGGLED: {shown}; {call}"
    if case.closes and outcome.answers:
        last = outcome.answers[-1]
        assert last.closes or last.framing == "close" or last.minor == 0, f"it must say that it closes: {shown}"
    for answer in outcome.answers:
        check_shape(answer, data.split(b" ")[1].decode("latin-1") if b" " in data else "")
    if case.forwarded is not None and calls:
        expected = case.forwarded.replace(b'"model":"fast"', b'"model":"upstream-model"', 1)
        assert calls[0].body == expected, f"{shown}; {calls[0].body[:300]!r}"
    assert not upstream.violations, f"the gateway broke HTTP upstream: {shown}; {upstream.violations}"
